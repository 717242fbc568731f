"""A link to a board that may fail at any moment, and is brought back.

When the port goes away or the board falls silent, calls fail at once from then on, and a thread,
which lives only as long as that lasts, opens the port again and gives the board what it had.
"""

from __future__ import annotations

import logging
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

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
    BoardInfo,
    BoardNetwork,
    Status,
    Type,
    parse_network,
    write_payloads,
)
from gearshift.firmware_bridge.line.ports import Port
from gearshift.firmware_bridge.line.transfer import Transfer, refusal
from gearshift.firmware_bridge.line.wire import Parser, ParserCounts
from gearshift.runtime.errors import ConfigurationError, LinkError

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


class Connection:
    """The link; whoever calls it holds `lock` while one call lasts.

    info, session, networks: what the board said when it was last connected; a session differs after
    every reconnection. slots: those that no frame is in. transfers: frames on their way. Raises
    LinkError when no board answers within `connect_s`, ConfigurationError or MissingExtraError when
    none ever can.
    """

    info: BoardInfo
    session: int

    def __init__(
        self,
        address: BoardAddress,
        open_port: OpenPort | None,
        *,
        connect_s: float,
        repeats: bool,
    ) -> None:
        self.address = address
        self.counts = BoardCounts()
        self.lock = threading.RLock()
        self.networks: tuple[BoardNetwork, ...] = ()
        self.slots: list[int] = []
        self.transfers: list[Transfer] = []
        self._repeats = repeats
        self._open_port = open_port or PortFinder(address).open
        self._closing = threading.Event()
        self._recovery: threading.Thread | None = None
        self._channel: Channel | None = None
        self._number = 0
        self._silent = 0
        self._tables: bytes | None = None
        self._threshold: bytes | None = None
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

    @property
    def up(self) -> bool:
        """Whether calls are worth trying."""
        return self._channel is not None

    def channel(self) -> Channel:
        """What calls go through; raises LinkError while the link is down."""
        if self._channel is None:
            raise LinkError(f"the link to the board is down ({self._lost})")
        return self._channel

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Notice a link that is gone; what is raised is passed on."""
        try:
            yield
        except BoardTimeoutError as error:
            self._silent += 1
            if self._silent >= SILENT_AFTER:
                self.lose(error)
            raise
        except LinkError as error:
            # A refusal or a damaged answer comes over a link that works.
            if self._channel is not None and (
                isinstance(error, BoardResetError) or self._channel.broken
            ):
                self.lose(error)
            raise

    def heard(self) -> None:
        """The board answered."""
        self._silent = 0

    def next_number(self) -> int:
        """Of the next image or table that is written to the board."""
        self._number += 1
        return self._number & 0xFFFFFFFF

    # -- commands ---------------------------------------------------------------------------------

    def ask(self, type_: Type, payload: bytes = b"") -> Answer:
        """One command and its answer; raises LinkError."""
        with self.lock, self.watching():
            answer = self.channel().ask(type_, payload, self.address.timeout_s)
            self.heard()
            if answer.status is not Status.OK:
                raise refusal(type_.name.lower(), answer.status)
            return answer

    def configure(self, tables: bytes) -> None:
        """Give the board's loop its tables, also after a reset; raises LinkError, and
        ConfigurationError when it refuses them."""
        with self.lock:
            self._configure(self.channel(), tables)
            self._tables, self._threshold = tables, None

    def set_threshold(self, threshold: float) -> None:
        """Of the board's loop, also after a reset; raises LinkError."""
        with self.lock:
            payload = struct.pack("<f", threshold)
            self.ask(Type.THRESHOLD, payload)
            self._threshold = payload

    def _configure(self, channel: Channel, tables: bytes) -> None:
        number = self.next_number()
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

    # -- life -------------------------------------------------------------------------------------

    def wait(self, timeout_s: float) -> bool:
        """Wait until the link is up; whether it is."""
        recovery = self._recovery
        if recovery is not None:
            recovery.join(timeout_s)
        return self.up

    def close(self) -> None:
        """Give the port back; closing twice does nothing. Calls afterwards raise LinkError."""
        self._closing.set()
        with self.lock:
            self._lost = LinkError("the board was closed")
            self._disconnect()
        recovery = self._recovery
        if recovery is not None and recovery is not threading.current_thread():
            recovery.join()

    def lose(self, error: LinkError) -> None:
        """Take the link for gone, and begin to bring it back."""
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
        for transfer in self.transfers:
            transfer.fail(self._lost)
        if channel is not None and not keep_port:
            channel.port.close()

    def _still_ours(self, channel: Channel) -> bool:
        """Whether the board has been running since our last session, with no host in between whose
        configuration it might have: sessions are counted."""
        same_boot = channel.info.boot == self.info.boot
        return same_boot and channel.session == (self.session + 1) & 0xFFFFFFFF

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
        with self.lock:
            self.info, self.session = channel.info, channel.session
            self.networks = tuple(networks)
            self.slots = list(range(channel.info.slots))
            self.transfers = []
            self._silent = 0
            self.counts.connects += 1
            self._channel = channel
            if self._closing.is_set():
                self._disconnect()
