"""A flight recorded on an older processor: decided again exactly, and inferred to the same bits.

ONNX Runtime picks other int8 kernels without VNNI; the ones it picks by default there saturate.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gearshift.runtime.cli import main
from gearshift.runtime.machine import this_machine

QEMU = shutil.which("qemu-x86_64")
FLIGHT = next(Path(__file__).parents[2].glob("sim/data/recordings/known-*.mcap"))
REPLAY = """
import os, sys
from gearshift.runtime.engines import onnx_engine
from gearshift.runtime.cli import main

if sys.argv[1] == "default-kernels":
    onnx_engine.kernels_saturate = lambda: False
code = main(["replay", sys.argv[2], "--ensemble", "D2", "--policy", "op", "--threshold", "0.4",
             "--record", sys.argv[3]])
sys.stdout.flush()
os._exit(code)  # tearing down threads crashes qemu's user mode
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(QEMU is None, reason="needs qemu-x86_64 (Debian: qemu-user)"),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="needs an x86-64 Python"),
]


@pytest.fixture(scope="module")
def short_flight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second of a shipped flight."""
    from itertools import islice

    from gearshift.runtime.recordings.recording import RecordingReader
    from gearshift.runtime.recordings.recording_writer import RecordingWriter

    path = tmp_path_factory.mktemp("short") / "short.mcap"
    reader = RecordingReader(FLIGHT)
    with RecordingWriter(path, camera=reader.header.camera) as writer:
        for entry in islice(reader, 30):
            writer.write_frame(entry.frame, entry.truth)
    return path


def _fly_on(processor: str, kernels: str, flight: Path, out: Path) -> None:
    assert QEMU is not None
    command = [
        QEMU,
        "-cpu",
        processor,
        sys.executable,
        "-c",
        REPLAY,
        kernels,
        str(flight),
        str(out),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_outputs_do_not_hang_on_vnni(
    short_flight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "haswell.mcap"
    _fly_on("Haswell", "exact-kernels", short_flight, out)
    assert main(["replay", str(out), "--decisions"]) == 0
    assert main(["replay", str(out), "--infer"]) == 0
    printed = capsys.readouterr().out
    assert "30 decisions recomputed, 0 differ" in printed
    assert "30 decisions made with the networks run again, 0 differ" in printed


@pytest.mark.skipif(
    "avx512_vnni" not in this_machine().features and "avx_vnni" not in this_machine().features,
    reason="this processor has the same kernels as the emulated one",
)
def test_other_kernels_are_found_out(
    short_flight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "saturating.mcap"
    _fly_on("Haswell", "default-kernels", short_flight, out)
    assert main(["replay", str(out), "--decisions"]) == 0
    assert main(["replay", str(out), "--infer"]) == 1
    assert "frame 0 (decision 0): small's output" in capsys.readouterr().out
