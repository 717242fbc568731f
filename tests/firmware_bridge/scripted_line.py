"""A line and a clock that do exactly what a test of the channel says."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from gearshift.firmware_bridge.line.channel import (
    Channel,
    Ticket,
)
from gearshift.firmware_bridge.line.messages import WINDOW, Status, Type
from gearshift.firmware_bridge.line.wire import ANSWER, Message, Parser, to_line
from gearshift.runtime.errors import LinkError

SESSION = 0x305
RATE = 100_000.0
CREDIT = 4000
LIMIT = 1500
FOREVER = 1e6


def hello_body(nonce: int, window: int = WINDOW) -> bytes:
    return struct.pack(
        "<IBBBBIIHHIIIHH32s16s",
        *(nonce, 1, 0, 2, 1, 3, CREDIT, LIMIT, window, 15_360, 0, 0, 900, 0),
        *(b"build", b"port"),
    )


def answer(
    to: Message,
    body: bytes = b"",
    status: int = Status.OK,
    session: int = SESSION,
    compute_us: int = 0,
) -> Message:
    prefix = struct.pack("<QIIQ", 7, compute_us, 0, 0)
    return Message(to.type + ANSWER, to.sequence, session, prefix + body, status)


def greet(to: Message) -> Message:
    (nonce,) = struct.unpack_from("<I", to.payload)
    return answer(to, hello_body(nonce))


@dataclass
class Line:
    """A port whose time passes only while it is read. sent: what the host put on it, and when."""

    now: float = 100.0
    sent: list[tuple[float, Message]] = field(default_factory=list)
    written: int = 0
    given: int = 0
    greets: Callable[[Message], Message | None] = greet
    gone: bool = False
    _parser: Parser = field(default_factory=Parser)
    _coming: list[tuple[float, bytes]] = field(default_factory=list)

    def write(self, data: bytes) -> None:
        if self.gone:
            raise LinkError("the line is gone")
        self.written += len(data)
        for message in self._parser.feed(data):
            self.sent.append((self.now, message))
            if message.type == Type.HELLO:
                greeting = self.greets(message)
                if greeting is not None:
                    self.bring(greeting, after=0.01)

    def bring(self, *messages: Message, after: float = 0.0) -> None:
        """Let frames arrive together in so many seconds."""
        self._coming.append((self.now + after, b"".join(map(to_line, messages))))
        self._coming.sort(key=lambda coming: coming[0])

    def read(self, timeout_s: float) -> bytes:
        if self.gone:
            raise LinkError("the line is gone")
        assert timeout_s >= 0
        until = self.now + timeout_s
        if not self._coming or self._coming[0][0] > until:
            self.now = until
            return b""
        when, data = self._coming.pop(0)
        self.now = max(self.now, when)
        self.given += len(data)
        return data

    def close(self) -> None: ...

    @property
    def commands(self) -> list[tuple[float, Message]]:
        return [(at, message) for at, message in self.sent if message.type != Type.HELLO]


def connect(line: Line, *, repeats: bool = True, timeout_s: float = 1.0) -> Channel:
    return Channel(line, RATE, timeout_s, repeats, clock=lambda: line.now)


def wait(channel: Channel, line: Line, seconds: float) -> None:
    until = line.now + seconds
    while line.now < until:
        channel.pump(until)


def send(channel: Channel, type_: Type = Type.ECHO, size: int = 0, within: float = 10.0) -> Ticket:
    return channel.send(type_, bytes(size), channel.clock() + within)


def message_of(line: Line, ticket: Ticket) -> Message:
    return next(m for _, m in line.commands if m.sequence == ticket.sequence)


def on_line(size: int) -> int:
    return len(to_line(Message(Type.ECHO, 0x1111, SESSION, bytes(size))))
