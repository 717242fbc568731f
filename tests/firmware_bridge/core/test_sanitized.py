"""The same tests on a core that watches every access and every operation."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


HERE = Path(__file__).parent
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g")
LIBRARY_VARIABLE = "GEARSHIFT_CORE_LIBRARY"


@pytest.fixture(scope="module")
def address_sanitizer() -> Path:
    """The runtime that has to be loaded before Python; skips where the compiler has none."""
    compiler = os.environ.get("CC", "cc")
    try:
        command = [compiler, "-print-file-name=libasan.so"]
        path = Path(
            subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no C compiler (cc) to build the firmware's core with")
    if not path.is_absolute():
        pytest.skip(f"{compiler} has no libasan.so")
    return path.resolve()


@pytest.fixture(scope="module")
def library(
    build_core: Callable[..., Path],
    address_sanitizer: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The core, built to watch itself."""
    target = tmp_path_factory.mktemp("sanitized") / "libgearshift-sanitized.so"
    return build_core(target, *SANITIZERS)


@pytest.mark.skipif(LIBRARY_VARIABLE in os.environ, reason="this is the sanitized run")
def test_parity_and_hostile_images_under_sanitizers(library: Path, address_sanitizer: Path) -> None:
    """Any read or write out of bounds, overflow or bad shift ends the run."""
    environment = {
        **os.environ,
        LIBRARY_VARIABLE: str(library),
        "LD_PRELOAD": str(address_sanitizer),
        # Python itself keeps memory until it exits.
        "ASAN_OPTIONS": "detect_leaks=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }
    tests = [
        str(HERE / "test_parity_networks.py"),
        str(HERE / "test_parity_policies.py") + "::test_every_choice_and_every_value",
        str(HERE / "test_network_image.py") + "::test_hostile_images_do_no_harm",
        str(HERE / "test_network_image.py") + "::test_bundles",
        str(HERE / "test_board_configuration.py") + "::test_hostile_configurations_do_no_harm",
        str(HERE / "test_portable_arithmetic.py"),
    ]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def test_the_sanitizers_see_what_they_should(library: Path, address_sanitizer: Path) -> None:
    """Negative control: halving an image of 64x64 that has 16 bytes."""
    program = f"""
import ctypes
library = ctypes.CDLL({str(library)!r})
out = ctypes.create_string_buffer(64 * 64)
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
small = ctypes.c_void_p(libc.malloc(16))
library.gs_halve(small, 64, 64, out)
"""
    environment = {
        **os.environ,
        "LD_PRELOAD": str(address_sanitizer),
        "ASAN_OPTIONS": "detect_leaks=0",
    }
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "heap-buffer-overflow" in done.stderr
