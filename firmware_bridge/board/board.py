"""A board: networks and an adaptive loop behind a line that may fail at any moment.

Whatever the line does, a call ends within its time-out, with an answer that belongs to it or with a
LinkError. When the port goes away or the board falls silent, calls fail at once from then on, and a
thread, which lives only as long as that lasts, brings the link back.
"""

from __future__ import annotations

import logging
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gearshift.firmware_bridge.line.channel import (
    BoardResetError,
    BoardTimeoutError,
    Channel,
    ChannelCounts,
)
from gearshift.firmware_bridge.line.link import BoardAddress, PortFinder
from gearshift.firmware_bridge.line.messages import (
    TABLES_TARGET,
    Answer,
    BoardEstimate,
    BoardInfo,
    BoardNetwork,
    BoardStatus,
    Status,
    Type,
    infer_payload,
    parse_answer,
    parse_counters,
    parse_estimate,
    parse_network,
    parse_outputs,
    parse_status,
    process_payload,
    stream_payload,
    write_payloads,
)
from gearshift.firmware_bridge.line.ports import Port
from gearshift.firmware_bridge.line.transfer import Transfer, refusal
from gearshift.firmware_bridge.line.wire import Parser, ParserCounts
from gearshift.runtime.errors import ConfigurationError, LinkError
from gearshift.runtime.types import Image

logger = logging.getLogger(__name__)

RETRY_S = 0.1
"""Between two attempts to bring a link back."""
HANDSHAKE_S = 0.4
CONNECT_S = 3.0
"""A board may be starting when it is first looked for."""
SILENT_AFTER = 2
"""Calls in a row without an answer after which the link counts as gone."""


OpenPort = Callable[[], Port]


@dataclass(slots=True)
class BoardCounts:
    """Since the board was opened; `channel` and `parser` go on through reconnects."""

    channel: ChannelCounts = field(default_factory=ChannelCounts)
    parser: ParserCounts = field(default_factory=ParserCounts)
    connects: int = 0
    losses: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Inference:
    """A network's run on the board. outputs: int32 (k,). round_trip_s: with the line.
    compute_s: the board's own time; count: its cycles or instructions, 0 where unknown."""

    outputs: NDArray[np.int32]
    round_trip_s: float
    compute_s: float
    count: int


@dataclass(frozen=True, slots=True, eq=False)
class Turn:
    """A turn of the board's adaptive loop; times as in `Inference`."""

    estimate: BoardEstimate
    round_trip_s: float
    compute_s: float
    count: int


class Board:
    """A connected board; thread-safe, one call at a time.

    open_port: opens the line, default `PortFinder(address).open`. repeats: off, nothing reaches the
    board while it computes, for counting; then a lost byte costs a time-out. Raises LinkError when
    no board answers within `connect_s`, ConfigurationError or MissingExtraError when none ever can.
    """

    def __init__(
        self,
        address: BoardAddress,
        open_port: OpenPort | None = None,
        *,
        connect_s: float = CONNECT_S,
        repeats: bool = True,
    ) -> None:
        self.address = address
        self._repeats = repeats
        self.counts = BoardCounts()
        self._open_port = open_port or PortFinder(address).open
        self._lock = threading.RLock()
        self._closing = threading.Event()
        self._recovery: threading.Thread | None = None
        self._channel: Channel | None = None
        self._transfers: list[Transfer] = []
        self._slots: list[int] = []
        self._image = 0
        self._silent = 0
        self._tables: bytes | None = None
        self._threshold: bytes | None = None
        self._info: BoardInfo
        self._session: int
        self._networks: tuple[BoardNetwork, ...] = ()
        self._lost: LinkError = LinkError("the board is not connected")
        deadline = time.monotonic() + connect_s
        while True:
            try:
                self._connect()
            except LinkError:
                if time.monotonic() + RETRY_S >= deadline:
                    raise
                time.sleep(RETRY_S)
            else:
                return

    # -- what it is -------------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        """Whether calls are worth trying."""
        return self._channel is not None

    @property
    def info(self) -> BoardInfo:
        """What the board said when it was last connected."""
        return self._info

    @property
    def networks(self) -> tuple[BoardNetwork, ...]:
        """The networks it has, by number."""
        return self._networks

    @property
    def session(self) -> int:
        """Differs after every reconnection; what was asked of the board before may not hold."""
        return self._session

    def status(self) -> BoardStatus:
        """What it is doing; raises LinkError."""
        return parse_status(self._ask(Type.STATUS).body)

    def counters(self) -> dict[str, int]:
        """What it has counted since its reset; raises LinkError."""
        return parse_counters(self._ask(Type.COUNTERS).body)

    def echo(self, data: bytes) -> Answer:
        """Send bytes there and back; raises LinkError, also when they come back changed."""
        answer = self._ask(Type.ECHO, data)
        if answer.body != data:
            raise LinkError("the board's echo is not what was sent")
        return answer

    # -- networks ---------------------------------------------------------------------------------

    def infer(self, network: int, image: Image, timeout_s: float | None = None) -> Inference:
        """Run the network of that number on a frame; raises LinkError."""
        with self._lock:
            return self.finish_inference(self.submit(network, image, timeout_s))

    def submit(self, network: int, image: Image, timeout_s: float | None = None) -> Transfer:
        """Send a frame without waiting for its outputs, at most `info.slots` at a time; give it to
        `finish_inference` in turn. Raises LinkError."""
        return self._submit(
            image, Type.INFER, lambda number, slot: infer_payload(number, slot, network), timeout_s
        )

    def finish_inference(self, transfer: Transfer) -> Inference:
        """Wait for the outputs of a frame; raises LinkError."""
        answer = self._finish(transfer)
        _, outputs = parse_outputs(answer.body)
        round_trip_s = transfer.finished - transfer.started
        return Inference(outputs, round_trip_s, answer.compute_us * 1e-6, answer.count)

    # -- the adaptive loop ------------------------------------------------------------------------

    def configure(self, tables: bytes) -> None:
        """Give the loop its ensemble, policy and tables (`board_configuration`); the board gets
        them again after a reset. Raises LinkError, ConfigurationError when it refuses them."""
        with self._lock:
            self._configure(self._live(), tables)
            self._tables, self._threshold = tables, None

    def process(
        self, image: Image, frame: int, capture_time_ns: int, timeout_s: float | None = None
    ) -> Turn:
        """One turn of the loop; raises LinkError. frame: counts up. After an error the board may or
        may not have seen the frame."""
        with self._lock:
            transfer = self._submit(
                image,
                Type.PROCESS,
                lambda number, slot: process_payload(number, slot, frame, capture_time_ns),
                timeout_s,
            )
            answer = self._finish(transfer)
        round_trip_s = transfer.finished - transfer.started
        return Turn(
            parse_estimate(answer.body), round_trip_s, answer.compute_us * 1e-6, answer.count
        )

    def set_threshold(self, threshold: float) -> None:
        """Of the loop, from the next frame on, also after a reset; raises LinkError."""
        with self._lock:
            payload = struct.pack("<f", threshold)
            self._ask(Type.THRESHOLD, payload)
            self._threshold = payload

    def reset_history(self) -> None:
        """Start a new flight; raises LinkError."""
        self._ask(Type.RESET, b"\0")

    def stream(self, frames: int, period_s: float = 0.0) -> Iterator[BoardEstimate]:
        """Estimates for `frames` frames of the board's own camera, those that come through; ends
        early when none has come for the time-out. Raises LinkError.

        `counts.channel.events_lost` counts the others.
        """
        with self._lock:
            channel = self._live()
            channel.expect_events()
            self._ask(Type.STREAM, stream_payload(round(period_s * 1e6), frames, on=True))
        came = 0
        while came < frames:
            with self._lock, self._watching():
                deadline = channel.clock() + self.address.timeout_s + period_s
                while not channel.events and channel.clock() < deadline:
                    channel.pump(deadline)
                if not channel.events:
                    return
                event = channel.events.popleft()
            came = event.sequence + 1
            if event.status == Status.OK:
                yield parse_estimate(parse_answer(event).body)

    # -- life -------------------------------------------------------------------------------------

    def reset(self) -> None:
        """Reset the board and wait until it is back; raises LinkError when it does not come."""
        with self._lock:
            before = self._session
            self._ask(Type.RESET, b"\1")
            self._lose(BoardResetError("the board was reset on request"))
        self.wait(CONNECT_S)
        if self._session == before:
            raise LinkError("the board did not come back after its reset")

    def wait(self, timeout_s: float) -> bool:
        """Wait until the link is up; whether it is."""
        recovery = self._recovery
        if recovery is not None:
            recovery.join(timeout_s)
        return self.connected

    def close(self) -> None:
        """Give the port back; closing twice does nothing. Calls afterwards raise LinkError."""
        self._closing.set()
        with self._lock:
            self._lost = LinkError("the board was closed")
            self._disconnect()
        recovery = self._recovery
        if recovery is not None and recovery is not threading.current_thread():
            recovery.join()

    def __enter__(self) -> Board:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- frames -----------------------------------------------------------------------------------

    def _submit(
        self,
        image: Image,
        command: Type,
        payload: Callable[[int, int], bytes],
        timeout_s: float | None,
    ) -> Transfer:
        with self._lock, self._watching():
            channel = self._live()
            if not self._slots:
                raise LinkError(f"the board takes {self._info.slots} frames at a time")
            self._image += 1
            number, slot = self._image & 0xFFFFFFFF, self._slots[0]
            content = np.ascontiguousarray(image).tobytes()
            writes = write_payloads(number, slot, content, self._info.payload_limit)
            patience = self.address.timeout_s if timeout_s is None else timeout_s
            transfer = Transfer(channel, slot, writes, channel.clock() + patience)
            del self._slots[0]
            self._transfers.append(transfer)
            try:
                transfer.start(command, payload(number, slot))
            except LinkError as error:
                transfer.fail(error)
            return transfer

    def _finish(self, transfer: Transfer) -> Answer:
        with self._lock, self._watching():
            while not transfer.done:
                channel = self._live()
                channel.pump(min(t.wake() for t in self._transfers))
                for other in self._transfers:
                    other.advance()
            if transfer in self._transfers:
                self._transfers.remove(transfer)
                self._slots.append(transfer.slot)
            if transfer.error is not None:
                raise transfer.error
            self._silent = 0
            if transfer.answer is None:
                raise LinkError("a frame ended without an answer")
            return transfer.answer

    # -- commands ---------------------------------------------------------------------------------

    def _ask(self, type_: Type, payload: bytes = b"") -> Answer:
        with self._lock, self._watching():
            answer = self._live().ask(type_, payload, self.address.timeout_s)
            self._silent = 0
            if answer.status is not Status.OK:
                raise refusal(type_.name.lower(), answer.status)
            return answer

    def _configure(self, channel: Channel, tables: bytes) -> None:
        self._image += 1
        number = self._image & 0xFFFFFFFF
        limit = channel.info.payload_limit
        if len(tables) > channel.info.table_bytes:
            raise ConfigurationError(
                f"the tables have {len(tables)} bytes, the board takes {channel.info.table_bytes}"
            )
        for write in write_payloads(number, TABLES_TARGET, tables, limit):
            answer = channel.ask(Type.WRITE, write, self.address.timeout_s)
            if answer.status is not Status.OK:
                raise refusal("write", answer.status)
        payload = struct.pack("<II", number, len(tables))
        answer = channel.ask(Type.CONFIGURE, payload, self.address.timeout_s)
        if answer.status is Status.REFUSED:
            (detail,) = struct.unpack_from("<I", answer.body)
            raise ConfigurationError(
                f"the board refused its configuration (reason {detail} of gearshift/status.h)"
            )
        if answer.status is not Status.OK:
            raise refusal("configure", answer.status)

    # -- the link ---------------------------------------------------------------------------------

    def _live(self) -> Channel:
        if self._channel is None:
            raise LinkError(f"the link to the board is down ({self._lost})")
        return self._channel

    @contextmanager
    def _watching(self) -> Iterator[None]:
        """Notice a link that is gone; what is raised is passed on."""
        try:
            yield
        except BoardTimeoutError as error:
            self._silent += 1
            if self._silent >= SILENT_AFTER:
                self._lose(error)
            raise
        except LinkError as error:
            # A refusal or a damaged answer comes over a link that works.
            if self._channel is not None and (
                isinstance(error, BoardResetError) or self._channel.broken
            ):
                self._lose(error)
            raise

    def _lose(self, error: LinkError) -> None:
        if self._channel is None:
            return
        logger.warning("the link to the board is down: %s", error)
        self.counts.losses += 1
        self._lost = error
        # A board that was only reset is still at the other end of a port that works.
        port = self._channel.port if isinstance(error, BoardResetError) else None
        self._disconnect(keep_port=port is not None)
        if not self._closing.is_set():
            self._recovery = threading.Thread(
                target=self._recover, args=(port,), name="board-link", daemon=True
            )
            self._recovery.start()

    def _disconnect(self, *, keep_port: bool = False) -> None:
        channel, self._channel = self._channel, None
        for transfer in self._transfers:
            transfer.fail(self._lost)
        if channel is not None and not keep_port:
            channel.port.close()

    def _still_ours(self, channel: Channel) -> bool:
        """Whether the board has been running since our last session, with no host in between whose
        configuration it might have: sessions are counted."""
        same_boot = channel.info.boot == self._info.boot
        return same_boot and channel.session == (self._session + 1) & 0xFFFFFFFF

    def _recover(self, port: Port | None) -> None:
        while not self._closing.is_set():
            try:
                self._connect(port)
            except Exception as error:
                # Whatever opening a port that comes and goes may raise, it is tried again.
                logger.debug("the board is still away: %s", error)
                port = None
                self._closing.wait(RETRY_S)
            else:
                logger.warning("the link to the board is up again")
                return
        if port is not None:
            port.close()

    def _connect(self, port: Port | None = None) -> None:
        """Open the port unless it is, say hello, learn the networks, configure; without the lock
        until done."""
        port = port or self._open_port()
        try:
            channel = Channel(
                port,
                self.address.line_rate,
                HANDSHAKE_S,
                self._repeats,
                counts=self.counts.channel,
                parser=Parser(self.counts.parser),
            )
            channel.timeout_s = self.address.timeout_s
            networks = []
            for number in range(channel.info.networks):
                answer = channel.ask(Type.NETWORK, bytes([number]))
                if answer.status is not Status.OK:
                    raise refusal("network", answer.status)
                networks.append(parse_network(answer.body))
            if self._tables is not None and not self._still_ours(channel):
                self._configure(channel, self._tables)
                if self._threshold is not None:
                    channel.ask(Type.THRESHOLD, self._threshold)
        except BaseException:
            port.close()
            raise
        with self._lock:
            self._info, self._session = channel.info, channel.session
            self._networks = tuple(networks)
            self._slots = list(range(channel.info.slots))
            self._transfers = []
            self._silent = 0
            self.counts.connects += 1
            self._channel = channel
            if self._closing.is_set():
                self._disconnect()
