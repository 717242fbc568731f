"""A CPX connection that stays alive: reading never stops, so no full buffer locks both ends.

A thread reads all the time, whoever fetches packets or not: a deck whose bytes nobody takes stops
reading too, and a stream that froze like that never comes back. What is not fetched in time is
dropped, the oldest first, and counted. On a serial line the thread also answers with clear-to-sends
and makes up for those that got lost.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Protocol

from gearshift.firmware_bridge.crazyflie.cpx import (
    CLEAR_TO_SEND,
    CpxPacket,
    UartParser,
    UartSignal,
    encode_uart,
)
from gearshift.firmware_bridge.crazyflie.cpx_tcp import LengthConvention, TcpParser, encode_tcp
from gearshift.firmware_bridge.line.link import BoardAddress, PortFinder
from gearshift.firmware_bridge.line.ports import Port, TcpPort, split_tcp
from gearshift.runtime.errors import LinkError

_log = logging.getLogger(__name__)

UART_BAUD: Final = 576_000
QUIET_S: Final = 0.05
"""Silence after which an unfinished frame was none: longer than any USB adapter's buffering."""
OFFER_S: Final = 0.5
"""How long after its last clear-to-send the link offers another one: that one may have been lost,
and an end that was just switched on waits for its first. One too many does no harm."""
CTS_TIMEOUT_S: Final = 1.0
"""How long a clear-to-send may take before it counts as lost."""
WRITE_TIMEOUT_S: Final = 1.0
RECONNECT_S: Final = (0.1, 0.5)
"""First and longest pause between attempts to reconnect."""


@dataclass(frozen=True, slots=True)
class LinkStatistics:
    """What happened on a link since it was opened, over all its connections.

    connections: how many were made. checksum_errors, discarded_bytes: see `UartParser` (0 on TCP).
    dropped: packets that were not fetched in time. lost_clear_to_sends: packets sent after waiting
    in vain. failure: why the connection is down, None while it is up.
    """

    connections: int = 0
    received: int = 0
    sent: int = 0
    dropped: int = 0
    checksum_errors: int = 0
    discarded_bytes: int = 0
    lost_clear_to_sends: int = 0
    failure: str | None = None


class _Framing(Protocol):
    """What differs between a serial line and TCP; used by the reading thread but for `encode`."""

    flow_control: bool

    def feed(self, data: bytes) -> list[CpxPacket | UartSignal]: ...

    def idle(self) -> list[CpxPacket | UartSignal]: ...

    def encode(self, packet: CpxPacket) -> bytes: ...

    def counts(self) -> tuple[int, int]:
        """Checksum errors and discarded bytes."""


class _UartFraming:
    flow_control = True

    def __init__(self) -> None:
        self._parser = UartParser()
        self.feed = self._parser.feed
        self.idle = self._parser.idle

    def encode(self, packet: CpxPacket) -> bytes:
        return encode_uart(packet)

    def counts(self) -> tuple[int, int]:
        return self._parser.checksum_errors, self._parser.discarded_bytes


class _TcpFraming:
    flow_control = False

    def __init__(self, convention: LengthConvention | None) -> None:
        self._parser = TcpParser(convention)

    def feed(self, data: bytes) -> list[CpxPacket | UartSignal]:
        return list(self._parser.feed(data))

    def idle(self) -> list[CpxPacket | UartSignal]:
        return []

    def encode(self, packet: CpxPacket) -> bytes:
        if self._parser.convention is None:
            raise LinkError(
                "cannot send over TCP before the length convention is known: name it, or wait "
                "for packets"
            )
        return encode_tcp(packet, self._parser.convention)

    def counts(self) -> tuple[int, int]:
        return 0, 0


class CpxLink:
    """A connection to `url`: `tcp://host[:port]`, or a serial line as `BoardAddress.url` has it.

    baud: of a serial line. convention: of TCP, None to find out. deliver: called by the reading
    thread with every packet and its monotonic time of arrival [ns], instead of queueing it for
    `receive`; must not block. queue: packets kept for `receive`. reconnect: come back by itself
    after a failure; otherwise `receive` and `send` raise until the link is opened again.

    `receive` and `send` may be called from different threads.
    """

    def __init__(
        self,
        url: str,
        *,
        baud: int = UART_BAUD,
        convention: LengthConvention | None = None,
        deliver: Callable[[CpxPacket, int], None] | None = None,
        queue: int = 256,
        reconnect: bool = True,
        cts_timeout_s: float = CTS_TIMEOUT_S,
    ) -> None:
        self._url = url
        self._baud = baud
        self._convention = convention
        self._address = split_tcp(url)
        self._finder = PortFinder(BoardAddress(url, baud, WRITE_TIMEOUT_S))
        self._deliver = deliver
        self._reconnect = reconnect
        self._cts_timeout_s = cts_timeout_s
        self._packets: deque[CpxPacket] = deque(maxlen=queue)
        self._changed = threading.Condition()
        self._writing = threading.Lock()
        self._statistics = LinkStatistics()
        self._port: Port | None = None
        self._framing: _Framing = self._new_framing()
        self._cleared = False
        self._heard = False
        self._offered_at = 0.0
        self._broken: tuple[Port, str] | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Connect and start to read; raises LinkError when there is nothing to connect to."""
        if self._thread is not None:
            return
        self._stop.clear()
        self._connect()
        self._thread = threading.Thread(target=self._run, name=f"cpx {self._url}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Disconnect; closing twice does nothing."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._disconnect("closed")

    def __enter__(self) -> CpxLink:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def statistics(self) -> LinkStatistics:
        """What happened so far."""
        with self._changed:
            errors, discarded = self._framing.counts()
            counted = self._statistics
        return replace(
            counted,
            checksum_errors=counted.checksum_errors + errors,
            discarded_bytes=counted.discarded_bytes + discarded,
        )

    def check(self) -> None:
        """Raises LinkError when the connection is down and does not come back by itself."""
        with self._changed:
            self._check_alive()

    def receive(self, timeout_s: float) -> CpxPacket | None:
        """The oldest packet not fetched yet, None when none came in time.

        Raises LinkError when the connection is down and does not come back by itself.
        """
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while not self._packets:
                self._check_alive()
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                self._changed.wait(left)
            return self._packets.popleft()

    def send(self, packet: CpxPacket) -> None:
        """Send one packet; on a serial line after the other end said that it may take one.

        A clear-to-send that does not come within `cts_timeout_s` was lost on the way: waiting on
        would lock the link for ever, so the packet is sent all the same and the loss counted.
        Raises LinkError when the connection is down, or the other end of a serial line has never
        said anything.
        """
        data = self._framing.encode(packet)
        with self._writing:
            port = self._wait_until_clear() if self._framing.flow_control else self._require_port()
            try:
                port.write(data)
            except LinkError as error:
                # Half a packet may be on its way: what follows it would be misread.
                self._broken = (port, str(error))
                raise
        with self._changed:
            self._count(sent=1)

    def _wait_until_clear(self) -> Port:
        """The port, its clear-to-send used up."""
        deadline = time.monotonic() + self._cts_timeout_s
        with self._changed:
            while not self._cleared:
                self._check_alive()
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
            port = self._require_port()
            if not self._heard:
                raise LinkError(
                    f"{self._url} never said that it is ready for a packet (FF 00): check wiring, "
                    f"baud rate ({self._baud}) and that it speaks CPX"
                )
            if not self._cleared:
                self._count(lost_clear_to_sends=1)
            self._cleared = False
            return port

    def _require_port(self) -> Port:
        port = self._port
        if port is None:
            raise LinkError(f"{self._url} is not connected: {self._statistics.failure}")
        return port

    def _check_alive(self) -> None:
        if self._thread is None:
            raise LinkError(f"the link to {self._url} is not open")
        if self._port is None and not self._reconnect:
            raise LinkError(self._statistics.failure or f"{self._url} is not connected")

    def _connect(self) -> None:
        port = self._open_port()
        with self._changed:
            errors, discarded = self._framing.counts()
            self._count(connections=1, checksum_errors=errors, discarded_bytes=discarded)
            self._statistics = replace(self._statistics, failure=None)
            self._framing = self._new_framing()
            self._cleared = self._heard = False
            self._broken = None
            self._port = port
            self._changed.notify_all()

    def _open_port(self) -> Port:
        return self._finder.open() if self._address is None else TcpPort(*self._address)

    def _new_framing(self) -> _Framing:
        return _UartFraming() if self._address is None else _TcpFraming(self._convention)

    def _disconnect(self, why: str) -> None:
        with self._changed:
            port, self._port = self._port, None
            if port is not None:
                self._statistics = replace(self._statistics, failure=why)
            self._changed.notify_all()
        if port is not None:
            port.close()

    def _run(self) -> None:
        pause = RECONNECT_S[0]
        while not self._stop.is_set():
            try:
                if self._port is None:
                    self._connect()
                    _log.info("%s is back", self._url)
                self._read()
            except LinkError as error:
                if self._port is not None:
                    _log.warning("%s", error)
                self._disconnect(str(error))
                if not self._reconnect:
                    return
                # What accepts connections only to end them is not asked in a hurry.
                pause = RECONNECT_S[0] if self._heard else min(2 * pause, RECONNECT_S[1])
                self._heard = False
                self._stop.wait(pause)

    def _read(self) -> None:
        """Read until the link is closed; raises LinkError when the connection fails."""
        port, framing = self._require_port(), self._framing
        answered = 0
        self._offered_at = -OFFER_S
        while not self._stop.is_set():
            if self._broken is not None and self._broken[0] is port:
                raise LinkError(self._broken[1])
            if framing.flow_control and time.monotonic() - self._offered_at >= OFFER_S:
                self._offer(port)
            data = port.read(QUIET_S)
            arrived_ns = time.monotonic_ns()
            for item in framing.feed(data) if data else framing.idle():
                self._take(item, arrived_ns, port)
            discarded = framing.counts()[1]
            if not data and discarded > answered and framing.flow_control:
                # A packet was spoilt on the way; its sender waits for a clear-to-send all the same.
                self._offer(port)
                answered = discarded

    def _offer(self, port: Port) -> None:
        """Send a clear-to-send."""
        port.write(CLEAR_TO_SEND)
        self._offered_at = time.monotonic()

    def _take(self, item: CpxPacket | UartSignal, arrived_ns: int, port: Port) -> None:
        self._heard = True
        if isinstance(item, UartSignal):
            with self._changed:
                self._cleared = True
                self._changed.notify_all()
            return
        if self._framing.flow_control:
            self._offer(port)
        with self._changed:
            self._count(received=1)
            if self._deliver is None:
                self._count(dropped=int(len(self._packets) == self._packets.maxlen))
                self._packets.append(item)
                self._changed.notify_all()
        if self._deliver is not None:
            self._deliver(item, arrived_ns)

    def _count(self, **more: int) -> None:
        """Add to the statistics; the condition is held."""
        values = {name: getattr(self._statistics, name) + count for name, count in more.items()}
        self._statistics = replace(self._statistics, **values)
