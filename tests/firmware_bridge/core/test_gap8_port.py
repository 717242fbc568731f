"""The gap8 port stays whole: it compiles without a warning, and its memory report adds up.

It is compiled against declarations of PMSIS only; nothing of it runs here.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gearshift.firmware_bridge.measuring.memory_report import (
    L1_BYTES,
    L2_BYTES,
    EnsembleMemory,
    Firmware,
)

FIRMWARE = Path(__file__).parents[3] / "firmware_bridge" / "firmware"

needs_cross_compiler = pytest.mark.skipif(
    shutil.which("riscv64-unknown-elf-gcc") is None or shutil.which("make") is None,
    reason="make or riscv64-unknown-elf-gcc (Debian: gcc-riscv64-unknown-elf) is not installed",
)


def make(target: str, build: Path) -> str:
    command = ["make", "-C", str(FIRMWARE), f"BUILD={build}", f"PYTHON={sys.executable}", target]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@needs_cross_compiler
def test_it_compiles_and_its_memory_is_reported(tmp_path: Path) -> None:
    report = make("size", tmp_path)
    objects = {path.stem for path in (tmp_path / "gap8").glob("*.o")}
    assert {"uart", "cluster", "camera", "dory_layers", "main", "scheduler"} <= objects
    rows = [line.split() for line in report.splitlines() if re.match(r"D\d ", line)]
    assert [row[0] for row in rows] == ["D1", "D2"]
    for row in rows:
        images, activations, code, data, buffers, l2 = (int(value) for value in row[1:7])
        assert images + activations + code + data + buffers == l2
        assert min(images, activations, code, buffers) > 10_000
        assert int(row[9]) <= L1_BYTES
    assert re.search(r"every ensemble fits|too large: ", report)


def test_what_is_in_l2_and_l1() -> None:
    firmware = Firmware(code=30_000, data=10, zeroed=60_000)
    ensemble = EnsembleMemory("X", images=400_000, activations=50_000, scratch=20_000)
    assert ensemble.l2(firmware) == 540_010 > L2_BYTES
    assert ensemble.l1 == 20_000 + 2048 + 7 * 1024
