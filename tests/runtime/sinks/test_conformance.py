"""Every sink passes the suite; each is heard by an independent peer where it guides action."""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import threading
import tty
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from pymavlink.dialects.v20 import common

from gearshift.runtime.sinks.sink_conformance import SINK_CHECKS, SinkCheck, SinkUnderTest, Values
from gearshift.runtime.sinks.sink_registry import SINKS, find_sink

NAMES = ("x", "y", "z", "phi")
NANOCOCKPIT_TAG = b"\x90\x19\x08\x32"


class Line:
    """The far end of a pty, read all the time."""

    def __init__(self) -> None:
        self.master, self.slave = os.openpty()
        tty.setraw(self.master)
        tty.setraw(self.slave)
        self.port = os.ttyname(self.slave)
        self._data = bytearray()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        while not self._stopping.is_set():
            if select.select([self.master], [], [], 0.02)[0]:
                with suppress(OSError):
                    self._data += os.read(self.master, 65536)

    def take(self) -> bytes:
        """What arrived since the last call, once the line has been quiet."""
        before = -1
        while before != len(self._data):
            before = len(self._data)
            self._stopping.wait(0.2)
        data = bytes(self._data)
        del self._data[: len(data)]
        return data

    def close(self) -> None:
        self._stopping.set()
        self._thread.join()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def line() -> Iterator[Line]:
    line = Line()
    yield line
    line.close()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.setblocking(False)
        yield listener


def datagrams(listener: socket.socket) -> Iterator[bytes]:
    with suppress(BlockingIOError):
        while True:
            yield listener.recv(65536)


def valid_documents(lines: Iterator[bytes] | Sequence[bytes]) -> list[Values]:
    documents = [json.loads(text, parse_constant=_refuse) for text in lines]
    return [
        tuple(document["values"][name] for name in NAMES)
        for document in documents
        if document["valid"]
    ]


def _refuse(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


def new_lines(path: Path) -> Callable[[], list[Values]]:
    read = 0

    def heard() -> list[Values]:
        nonlocal read
        lines = path.read_bytes().splitlines() if path.exists() else []
        fresh, read = lines[read:], len(lines)
        return valid_documents(fresh)

    return heard


def landing_targets(listener: socket.socket) -> list[Values]:
    parser = common.MAVLink(None)
    messages: list[Any] = []
    for datagram in datagrams(listener):
        messages += parser.parse_buffer(datagram) or []
    return [
        (message.x, message.y, message.z)
        for message in messages
        if message.get_type() == "LANDING_TARGET" and message.position_valid
    ]


def inferences(data: bytes) -> list[Values]:
    found = []
    for start in range(0, len(data), 24):
        tag, _, *values = struct.unpack("<4sI4f", data[start : start + 24])
        assert tag == NANOCOCKPIT_TAG
        found.append(tuple(values))
    return found


@pytest.fixture(params=[*SINKS.names()])
def sink(
    request: pytest.FixtureRequest, tmp_path: Path, line: Line, listener: socket.socket
) -> SinkUnderTest:
    name: str = request.param
    if name == "rerun" and find_spec("rerun") is None:
        pytest.skip("rerun-sdk is not installed (the extra viewer)")
    port = listener.getsockname()[1]
    plugin = find_sink(name)
    if name == "jsonl":
        path = tmp_path / "lines.jsonl"
        return SinkUnderTest(plugin, {"path": str(path)}, new_lines(path))
    if name == "udp":
        return SinkUnderTest(plugin, {"port": port}, lambda: valid_documents(datagrams(listener)))
    if name == "mavlink":
        options = {"to": f"udp:127.0.0.1:{port}"}
        return SinkUnderTest(
            plugin, options, lambda: landing_targets(listener), lambda v: (v[0], -v[1], -v[2])
        )
    if name == "recording":
        return SinkUnderTest(plugin, {"folder": str(tmp_path / "flights")})
    if name == "rerun":
        return SinkUnderTest(plugin, {"to": "save", "path": str(tmp_path / "flight.rrd")})
    if name == "nanocockpit-uart":
        return SinkUnderTest(plugin, {"port": line.port}, lambda: inferences(line.take()))
    raise AssertionError(f"no options to try the sink {name!r} with: add some here")


@pytest.mark.parametrize("check", SINK_CHECKS, ids=lambda check: check.__name__)
def test_sink(check: SinkCheck, sink: SinkUnderTest) -> None:
    check(sink)


def test_a_sink_that_vouches_for_the_lost_fails_the_suite(listener: socket.socket) -> None:
    """The suite can fail: MAVLink's invalid messages, taken for valid ones, are found out."""
    options = {"to": f"udp:127.0.0.1:{listener.getsockname()[1]}", "when_invalid": "flag"}

    def careless() -> list[Values]:
        parser = common.MAVLink(None)
        messages: list[Any] = []
        for datagram in datagrams(listener):
            messages += parser.parse_buffer(datagram) or []
        targets = (m for m in messages if m.get_type() == "LANDING_TARGET")
        return [(m.x, m.y, m.z) for m in targets]

    vouches = next(c for c in SINK_CHECKS if c.__name__ == "vouches_for_nothing_but_tracking")
    with pytest.raises(AssertionError, match="may not be acted upon"):
        vouches(SinkUnderTest(find_sink("mavlink"), options, careless))
