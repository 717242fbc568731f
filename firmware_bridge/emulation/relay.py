"""A line between host and board that is as slow and as bad as wanted.

The host connects to a TCP port of this computer instead of the board; everything that passes is
paced to a baud rate (10 bits a byte, each direction on its own) and damaged by `faults`.
"""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable

from gearshift.firmware_bridge.emulation.faults import FaultyLine
from gearshift.firmware_bridge.line.link import BITS_PER_BYTE
from gearshift.firmware_bridge.line.ports import Port
from gearshift.runtime.errors import LinkError

POLL_S = 0.05
PORTION = 512
"""Bytes that travel at a time on a paced line: 1.7 ms at 3 Mbaud."""
SLACK_S = 0.02
"""A relay that was woken late catches up by so much at most: a real line does not wait for a busy
computer. Over longer times the rate is never exceeded."""


class Pace:
    """When bytes come out of a line of a given rate."""

    def __init__(self, baud: int | None) -> None:
        self._baud = baud
        self._free_at = 0.0

    @property
    def portion(self) -> int:
        """How many bytes to take at a time."""
        return PORTION if self._baud else 1 << 16

    def wait(self, length: int) -> None:
        """Until so many bytes have passed."""
        if self._baud is None:
            return
        start = max(self._free_at, time.monotonic() - SLACK_S)
        self._free_at = start + length * BITS_PER_BYTE / self._baud
        pause = self._free_at - time.monotonic()
        if pause > 0:
            time.sleep(pause)


class Relay:
    """Passes bytes between whoever connects to `url` and the board until it is closed.

    open_port: opens the board's line. baud: None for as fast as it goes. faults: share of frames,
    in each direction, to which something happens; may be changed at any time. Raises LinkError when
    the board's line cannot be opened.
    """

    def __init__(
        self, open_port: Callable[[], Port], *, baud: int | None = None, faults: float = 0.0,
        seed: int = 0,
    ) -> None:  # fmt: skip
        self._open_port = open_port
        self._baud = baud
        self._closing = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(POLL_S)
        self._to_board = FaultyLine(faults, random.Random(seed))
        self._to_host = FaultyLine(faults, random.Random(seed + 1))
        self._port = open_port()
        self._host: socket.socket | None = None
        self.url = f"socket://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [
            threading.Thread(target=target, name=f"relay-{target.__name__}", daemon=True)
            for target in (self._towards_board, self._towards_host)
        ]
        for thread in self._threads:
            thread.start()

    def set_faults(self, rate: float) -> None:
        """From the next frame on."""
        self._to_board.rate = self._to_host.rate = rate

    @property
    def faults(self) -> Counter[str]:
        """What has happened to frames so far, in both directions."""
        return self._to_board.counts + self._to_host.counts

    @property
    def frames(self) -> int:
        """Frames that passed, in both directions."""
        return self._to_board.frames + self._to_host.frames

    def close(self) -> None:
        """Cut the line; the board's port is given back."""
        self._closing.set()
        for thread in self._threads:
            thread.join()
        if self._host is not None:
            self._host.close()
        self._listener.close()
        self._port.close()

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _towards_board(self) -> None:
        pace = Pace(self._baud)
        while not self._closing.is_set():
            host = self._host
            try:
                if host is None:
                    connection, _ = self._listener.accept()
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    connection.settimeout(POLL_S)
                    self._host = connection
                    continue
                data = host.recv(pace.portion)
            except TimeoutError:
                continue
            except OSError:
                data = b""
            if not data:
                self._host = None
                if host is not None:
                    host.close()
                continue
            self._pass(self._to_board, pace, data, self._port.write)

    def _towards_host(self) -> None:
        pace = Pace(self._baud)
        while not self._closing.is_set():
            try:
                data = self._port.read(POLL_S)
            except LinkError:
                return
            for start in range(0, len(data), pace.portion):
                portion = data[start : start + pace.portion]
                self._pass(self._to_host, pace, portion, self._send_to_host)

    def _pass(
        self, line: FaultyLine, pace: Pace, data: bytes, send: Callable[[bytes], None]
    ) -> None:
        for piece in line.pass_on(data):
            if piece.pause_s:
                time.sleep(piece.pause_s)
            for start in range(0, len(piece.data), pace.portion):
                portion = piece.data[start : start + pace.portion]
                pace.wait(len(portion))
                with contextlib.suppress(LinkError, OSError):
                    send(portion)

    def _send_to_host(self, data: bytes) -> None:
        host = self._host
        if host is not None:
            host.sendall(data)
