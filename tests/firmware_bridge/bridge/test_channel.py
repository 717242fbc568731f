"""A channel whose far end says what a test wants, on a clock of the test's own: answers that are
nobody's, and the account of bytes under way."""

from __future__ import annotations

import struct

import pytest

from gearshift.firmware_bridge.line.channel import BoardResetError, BoardTimeoutError, Channel
from gearshift.firmware_bridge.line.messages import WINDOW, Status, Type
from gearshift.firmware_bridge.line.wire import ANSWER, Message, Parser, to_line

SESSION = 0x301
PREFIX = bytes(24)
ECHO = b"x" * 100
LINE_BYTES = len(to_line(Message(Type.ECHO, 1, SESSION, ECHO)))


class FarEnd:
    """Answers `hello` at once, and every other command when it is told to. Time passes while the
    channel waits for what does not come."""

    def __init__(self, credit: int) -> None:
        self.now = 100.0
        self.sent: list[Message] = []
        self._credit = credit
        self._commands = Parser()
        self._says = b""

    def clock(self) -> float:
        return self.now

    def write(self, data: bytes) -> None:
        for message in self._commands.feed(data):
            if message.type == Type.HELLO:
                self.answer(message, message.payload[:4] + self._hello())
            else:
                self.sent.append(message)

    def read(self, timeout_s: float) -> bytes:
        if not self._says:
            self.now += timeout_s
        said, self._says = self._says, b""
        return said

    def close(self) -> None:
        """Nothing to give back."""

    def answer(
        self, command: Message, body: bytes = b"", session: int = SESSION, status: int = 0
    ) -> None:
        self.say(Message(command.type + ANSWER, command.sequence, session, PREFIX + body, status))

    def say(self, message: Message) -> None:
        self._says += to_line(message)

    def _hello(self) -> bytes:
        sizes = (3, self._credit, 4096, WINDOW, 15_360, 4096, 0, 700, 0)
        return struct.pack("<BBBBIIHHIIIHH32s16s", 1, 0, 1, 3, *sizes, b"a build", b"a port")


def connect(credit: int = 10 * LINE_BYTES) -> tuple[FarEnd, Channel]:
    far = FarEnd(credit)
    return far, Channel(far, 1e6, timeout_s=1.0, repeats=False, clock=far.clock)


def take_in(far: FarEnd, channel: Channel) -> None:
    """What stands on the line, without waiting."""
    channel.pump(far.now)


@pytest.mark.parametrize("status", [Status.OK, Status.BUSY, Status.NETWORK_FAILED])
@pytest.mark.parametrize("other", [0, SESSION ^ 1, SESSION + 0x100])
def test_an_answer_of_another_session_is_not_taken(status: Status, other: int) -> None:
    far, channel = connect()
    ticket = channel.send(Type.ECHO, ECHO, far.now + 1)
    (command,) = far.sent
    far.answer(command, b"theirs", session=other, status=status)
    take_in(far, channel)
    assert not ticket.done
    assert channel.counts.foreign == 1
    far.answer(command, b"ours")
    take_in(far, channel)
    assert ticket.result().body == b"ours"
    assert (channel.counts.answers, channel.counts.foreign) == (1, 1)


def test_an_event_of_another_session_is_not_taken() -> None:
    far, channel = connect()
    for session in (SESSION, SESSION ^ 1):
        far.say(Message(Type.ESTIMATE, 0, session, PREFIX))
    take_in(far, channel)
    assert channel.counts.events == len(channel.events) == 1
    assert channel.counts.foreign == 1


def test_another_sessions_answer_that_ours_is_over_ends_it() -> None:
    far, channel = connect()
    channel.send(Type.ECHO, ECHO, far.now + 1)
    far.answer(far.sent[0], session=SESSION + 1, status=Status.WRONG_SESSION)
    with pytest.raises(BoardResetError):
        take_in(far, channel)
    assert channel.broken


@pytest.mark.parametrize("end", ["answered", "timed out", "abandoned"])
def test_the_credit_of_a_command_that_has_ended_is_free(end: str) -> None:
    """Two commands fit the credit, over and over, however the ones before them ended."""
    far, channel = connect(credit=2 * LINE_BYTES + 1)

    for turn in range(1, 6):
        before = far.now
        tickets = [channel.send(Type.ECHO, ECHO, far.now + 0.5) for _ in range(2)]
        assert far.now == before, "a command waited for credit that nobody uses"
        assert len(far.sent) == 2 * turn
        for command, ticket in zip(far.sent[-2:], tickets, strict=True):
            if end == "answered":
                far.answer(command)
            elif end == "abandoned":
                channel.abandon(ticket)
        channel.pump(far.now + (1 if end == "timed out" else 0))
        assert all(ticket.done for ticket in tickets)
    assert channel.counts.timed_out == (10 if end == "timed out" else 0)


def test_a_command_beyond_the_credit_waits() -> None:
    """The control: a third command does not go out before one of two has ended."""
    far, channel = connect(credit=2 * LINE_BYTES + 1)
    first, _ = (channel.send(Type.ECHO, ECHO, far.now + 9) for _ in range(2))
    with pytest.raises(BoardTimeoutError):
        channel.send(Type.ECHO, ECHO, far.now + 1)
    assert len(far.sent) == 2
    far.answer(far.sent[0])
    channel.send(Type.ECHO, ECHO, far.now + 1)
    assert first.done
    assert len(far.sent) == 3
