"""What Rerun's own reader finds in a file that was saved."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from gearshift.runtime.sinks.rerun import Rerun, RerunOptions
from gearshift.runtime.sinks.sink_conformance import INFO, report


@pytest.mark.skipif(
    find_spec("rerun") is None,
    reason="rerun-sdk is not installed (the extra viewer)",
)
def test_frames_poses_and_decisions_are_there(tmp_path: Path) -> None:
    path = tmp_path / "flight.rrd"
    sink = Rerun(RerunOptions(to="save", path=str(path)))
    sink.open(INFO)
    for index in range(10):
        sink.write(report(index))
    sink.close()
    command = [str(Path(sys.executable).with_name("rerun")), "rrd", "print", str(path)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for entity in ("/camera/image", "/drone/person", "/decision/threshold", "/estimate/x"):
        assert "with 10 rows" in printed
        assert entity in printed
    # The first signal of a flight is infinite, which no plot shows.
    assert "/decision/signal" not in printed
