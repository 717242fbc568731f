"""JSON lines into files that fill up, pipes whose readers leave, and a closed standard output."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gearshift.runtime.errors import SinkError, SinkStoppedError
from gearshift.runtime.sinks.json_lines import JsonLines, JsonLinesOptions
from gearshift.runtime.sinks.sink import FlightInfo, FlightState, Report
from gearshift.runtime.types import POSE_COMPONENTS

INFO = FlightInfo(POSE_COMPONENTS, None, time.time_ns(), time.monotonic_ns())
REPORT = Report(1_000_000_000, FlightState.LOST)


def opened(path: Path) -> JsonLines:
    sink = JsonLines(JsonLinesOptions(path=str(path)))
    sink.open(INFO)
    return sink


def test_half_a_line_is_taken_back_when_the_disk_is_full(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    sink = opened(path)
    sink.write(REPORT)
    length = path.stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (length + length // 2, limits[1]))
    try:
        with pytest.raises(SinkError, match=r"cannot write .*lines\.jsonl"):
            sink.write(REPORT)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    sink.close()
    sink.open(INFO)
    sink.write(REPORT)
    sink.close()
    lines = path.read_text().splitlines()
    assert [json.loads(line)["state"] for line in lines] == ["lost", "lost"]


def test_another_reader_may_open_a_named_pipe(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    sink = opened(path)
    os.close(reader)
    with pytest.raises(SinkError, match=r"the reader of .*pipe left") as left:
        sink.write(REPORT)
    assert not isinstance(left.value, SinkStoppedError)
    sink.close()
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    sink.open(INFO)
    sink.write(REPORT)
    assert json.loads(os.read(reader, 65536))["state"] == "lost"
    sink.close()
    os.close(reader)


def test_a_closed_standard_output_is_said_in_one_line() -> None:
    code = (
        "from gearshift.runtime.sinks.json_lines import JsonLines, JsonLinesOptions\n"
        "from gearshift.runtime.errors import SinkError\n"
        "import sys\n"
        "try:\n"
        "    JsonLines(JsonLinesOptions()).open(None)\n"
        "except SinkError as error:\n"
        "    sys.stderr.write(str(error))\n"
    )
    words = ["sh", "-c", 'exec "$0" -c "$1" >&-', sys.executable, code]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr == "standard output is closed; give jsonl a path"
