"""The kernels as GAP8's cores run them, four products at a time, are exact too."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


HERE = Path(__file__).parent
PRODUCTS4 = HERE.parents[2] / "firmware_bridge" / "firmware" / "ports" / "gap8" / "products4.h"
TESTS = (
    "test_parity_networks.py::test_real_networks",
    "test_parity_networks.py::test_random_networks",
)


def parity_with(library: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    return subprocess.run(
        [*command, *(f"{HERE}/{test}" for test in TESTS)],
        env={**os.environ, "GEARSHIFT_CORE_LIBRARY": str(library)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_four_products_at_a_time(build_core: Callable[..., Path], tmp_path: Path) -> None:
    library = build_core(tmp_path / "libproducts.so", f'-DGS_PRODUCTS4="{PRODUCTS4}"')
    done = parity_with(library)
    assert done.returncode == 0, done.stdout[-3000:]


def test_a_wrong_instruction_would_be_seen(build_core: Callable[..., Path], tmp_path: Path) -> None:
    """Negative control: the path is taken, and signed activations in it are caught."""
    wrong = tmp_path / "wrong.h"
    wrong.write_text(PRODUCTS4.read_text().replace("(int32_t)(activations", "(int8_t)(activations"))
    assert wrong.read_text() != PRODUCTS4.read_text()
    library = build_core(tmp_path / "libwrong.so", f'-DGS_PRODUCTS4="{wrong}"')
    done = parity_with(library)
    assert done.returncode == 1
    assert "AssertionError" in done.stdout
