"""One session with a board over an open port: commands out, each answered at most once.

A channel works in the thread of whoever waits on it; there is none of its own. docs/protocol.md
says what the sequence numbers, the credit and the session promise; this is the host's side of it.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from gearshift.firmware_bridge.line.messages import (
    JOBS,
    WINDOW,
    Answer,
    BoardInfo,
    Status,
    Type,
    hello_payload,
    parse_answer,
    parse_hello,
)
from gearshift.firmware_bridge.line.ports import Port
from gearshift.firmware_bridge.line.wire import ANSWER, Message, Parser, to_line
from gearshift.runtime.errors import LinkError

logger = logging.getLogger(__name__)

Clock = Callable[[], float]
"""Monotonic seconds."""

SHORTEST_PATIENCE_S = 0.02
"""On top of what a command takes: the host's own scheduling may take as long."""
LONGEST_PATIENCE_S = 2.0
LONG = 512
"""Bytes from which on a command's time on the line counts."""
HELLO_INTERVAL_S = 0.05
EVENTS_KEPT = 256


class BoardTimeoutError(LinkError):
    """A command was not answered in its time."""


class BoardResetError(LinkError):
    """The board was reset, or another host has taken it: the session is over."""


class BoardRefusedError(LinkError):
    """The board answered that it cannot do what was asked."""

    def __init__(self, message: str, status: Status) -> None:
        super().__init__(message)
        self.status = status


@dataclass(slots=True)
class ChannelCounts:
    """What a channel has sent and met. round_trip_s: the last command's, link and board together;
    compute_s: the board's share of all."""

    commands: int = 0
    answers: int = 0
    repeated: int = 0
    timed_out: int = 0
    foreign: int = 0
    events: int = 0
    events_lost: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    round_trip_s: float = 0.0
    compute_s: float = 0.0


@dataclass(slots=True, eq=False)
class Ticket:
    """A command under way. answer: once it has come. error: once it was given up."""

    type: Type
    sequence: int
    line: bytes
    deadline: float
    first_sent: float
    last_sent: float
    patience: float
    order: int
    """Counts transmissions: what was sent later and answered earlier has overtaken it."""
    answer: Answer | None = None
    error: LinkError | None = None

    @property
    def done(self) -> bool:
        """Whether there is nothing to wait for."""
        return self.answer is not None or self.error is not None

    def result(self) -> Answer:
        """The answer; raises what went wrong."""
        if self.error is not None:
            raise self.error
        if self.answer is None:
            raise LinkError("a command's answer was asked for before it came")
        return self.answer


@dataclass(slots=True)
class _AnswerTime:
    """Smoothed time that the oldest unanswered command of a kind is that, and its mean deviation
    (after Jacobson and Karels, 1988)."""

    mean: float | None = None
    deviation: float = 0.0

    def add(self, seconds: float) -> None:
        if self.mean is None:
            self.mean, self.deviation = seconds, seconds / 2
            return
        self.deviation += (abs(seconds - self.mean) - self.deviation) / 4
        self.mean += (seconds - self.mean) / 8

    def patience(self, at_first: float) -> float:
        # Twice the mean, because one needless repetition delays what is sent behind it by as much.
        expected = at_first if self.mean is None else 2 * self.mean + 4 * self.deviation
        return min(expected + SHORTEST_PATIENCE_S, LONGEST_PATIENCE_S)


def _kind(type_: Type, length: int) -> str:
    if type_ in JOBS:
        return "job"
    return "long" if length >= LONG else "short"


@dataclass(slots=True, eq=False)
class Channel:
    """The session of one `hello`. Not thread-safe. line_rate: bytes per second, for first guesses.
    repeats: whether a command that nothing answers goes again before its time-out.

    Raises LinkError when nobody answers within `timeout_s` or what answers is no such board.
    """

    port: Port
    line_rate: float
    timeout_s: float = 1.0
    repeats: bool = True
    clock: Clock = time.monotonic
    counts: ChannelCounts = field(default_factory=ChannelCounts)
    parser: Parser = field(default_factory=Parser)
    info: BoardInfo = field(init=False)
    session: int = field(init=False, default=0)
    events: deque[Message] = field(default_factory=lambda: deque(maxlen=EVENTS_KEPT))
    _open: dict[int, Ticket] = field(default_factory=dict)
    _sequence: int = 0
    _order: int = 0
    _credit_used: int = 0
    _event_sequence: int | None = None
    _progress: float = 0.0
    """When a command was last answered or repeated: the oldest one has been that since then."""
    _times: dict[str, _AnswerTime] = field(
        default_factory=lambda: {kind: _AnswerTime() for kind in ("job", "long", "short")}
    )
    _over: LinkError | None = None
    _broken: bool = False

    def __post_init__(self) -> None:
        self._sequence = secrets.randbelow(1 << 16)
        self._say_hello()

    @property
    def broken(self) -> bool:
        """Whether the port has failed or the session is over."""
        return self._broken or self._over is not None

    # -- commands ---------------------------------------------------------------------------------

    def send(self, type_: Type, payload: bytes, deadline: float) -> Ticket:
        """Send a command as soon as window and credit allow; raises LinkError when they do not
        before the deadline (of `clock`) or the session is over."""
        if len(payload) > self.info.payload_limit:
            raise LinkError(f"{len(payload)} bytes, the board takes {self.info.payload_limit}")
        line = to_line(Message(type_, self._next_sequence(), self.session, payload))
        while not self._may_send(len(line)):
            self.pump(deadline)
            if not self._may_send(len(line)) and self.clock() >= deadline:
                raise self._gave_up(type_)
        now = self.clock()
        at_first = 0.1 + 2 * (self._credit_used + len(line)) / self.line_rate
        patience = self._times[_kind(type_, len(line))].patience(at_first)
        if not self._open:
            self._progress = now
        self._order += 1
        ticket = Ticket(
            type_, self._next_sequence(), line, deadline, now, now, patience, self._order
        )
        self._sequence = ticket.sequence
        self._open[ticket.sequence] = ticket
        self._credit_used += len(line)
        self.counts.commands += 1
        self._put(line)
        return ticket

    def ask(self, type_: Type, payload: bytes = b"", timeout_s: float | None = None) -> Answer:
        """Send a command and wait for its answer, whatever its status; raises LinkError."""
        deadline = self.clock() + (self.timeout_s if timeout_s is None else timeout_s)
        ticket = self.send(type_, payload, deadline)
        while not ticket.done:
            self.pump(deadline)
        return ticket.result()

    def abandon(self, ticket: Ticket) -> None:
        """Wait for it no longer."""
        if not ticket.done:
            self._drop(ticket, LinkError("the command was abandoned"))

    def pump(self, until: float) -> None:
        """Take in what has come, waiting for something to happen until then at the latest; repeat
        and give up what is due. Raises LinkError when the port or the session is gone."""
        if self._over is not None:
            raise self._over
        now = self.clock()
        wake = until
        if self._open:
            oldest = next(iter(self._open.values()))
            soonest = min(ticket.deadline for ticket in self._open.values())
            wake = min(until, soonest)
            if self.repeats:
                wake = min(wake, self._progress + oldest.patience)
        for message in self.parser.feed(self._get(wake - now)):
            self._take(message)
        if self._over is not None:
            raise self._over
        self._look_after(self.clock())

    # -- the session ------------------------------------------------------------------------------

    def _say_hello(self) -> None:
        nonce = secrets.randbits(32)
        line = b"\0" + to_line(Message(Type.HELLO, self._sequence, 0, hello_payload(nonce)))
        deadline = self.clock() + self.timeout_s
        damaged: LinkError | None = None
        while (now := self.clock()) < deadline:
            self._put(line)
            next_try = min(now + HELLO_INTERVAL_S, deadline)
            while self.clock() < next_try:
                for message in self.parser.feed(self._get(next_try - self.clock())):
                    if message.type != Type.HELLO + ANSWER or message.sequence != self._sequence:
                        continue
                    try:
                        self._accept(message, nonce)
                    except LinkError as error:
                        damaged = error
                        continue
                    return
        raise damaged or BoardTimeoutError(
            f"no board answers on this line within {self.timeout_s:g} s; check the wiring, the "
            "baud rate and that the board runs gearshift's firmware"
        )

    def _accept(self, message: Message, nonce: int) -> None:
        answer = parse_answer(message)
        if answer.status is Status.VERSION:
            raise LinkError("the board speaks no version of the protocol that this gearshift does")
        if answer.status is not Status.OK:
            raise LinkError(f"the board refused our hello ({answer.status.name.lower()})")
        info = parse_hello(answer.body, nonce)
        if info.window < WINDOW:
            raise LinkError(f"the board remembers {info.window} answers, the protocol {WINDOW}")
        self.info, self.session = info, message.session

    # -- the line ---------------------------------------------------------------------------------

    def _put(self, line: bytes) -> None:
        try:
            self.port.write(line)
        except LinkError:
            self._broken = True
            raise
        self.counts.bytes_sent += len(line)

    def _get(self, timeout_s: float) -> bytes:
        try:
            data = self.port.read(max(0.0, timeout_s))
        except LinkError:
            self._broken = True
            raise
        self.counts.bytes_received += len(data)
        return data

    def _next_sequence(self) -> int:
        return self._sequence + 1 & 0xFFFF

    def _may_send(self, length: int) -> bool:
        if not self._open:
            return True
        oldest = next(iter(self._open))
        ahead = self._next_sequence() - oldest & 0xFFFF
        return ahead < WINDOW and self._credit_used + length <= self.info.credit

    def _take(self, message: Message) -> None:
        if message.type == Type.ESTIMATE and message.session == self.session:
            self._take_event(message)
            return
        ticket = self._open.get(message.sequence)
        if ticket is None or message.type != ticket.type + ANSWER:
            self.counts.foreign += 1
            return
        if message.session != self.session:
            self.counts.foreign += 1
            if message.status == Status.WRONG_SESSION:
                self._over = BoardResetError("the board was reset or taken by another host")
            return
        if message.status == Status.WRONG_SESSION:
            # Of an older session's command that the line brought back, not of this one.
            self.counts.foreign += 1
            return
        try:
            answer = parse_answer(message)
        except LinkError:
            self.counts.foreign += 1
            return
        now = self.clock()
        del self._open[message.sequence]
        self._credit_used -= len(ticket.line)
        ticket.answer = answer
        self.counts.answers += 1
        self.counts.round_trip_s = now - ticket.first_sent
        self.counts.compute_s += answer.compute_us * 1e-6
        if ticket.last_sent == ticket.first_sent:  # else nobody knows which one was answered
            took = now - max(ticket.first_sent, self._progress)
            self._times[_kind(ticket.type, len(ticket.line))].add(took)
            self._progress = now
            self._repeat_overtaken(ticket, now)
        self._progress = now

    def _take_event(self, message: Message) -> None:
        if self._event_sequence is not None:
            self.counts.events_lost += message.sequence - self._event_sequence - 1 & 0xFFFF
        self._event_sequence = message.sequence
        self.counts.events += 1
        self.events.append(message)

    def expect_events(self) -> None:
        """A new stream begins: its events count from 0."""
        self._event_sequence = 0xFFFF
        self.events.clear()

    def _repeat_overtaken(self, answered: Ticket, now: float) -> None:
        """Commands of one kind are answered in the order in which they arrive."""
        is_job = answered.type in JOBS
        for ticket in list(self._open.values()):
            if (ticket.type in JOBS) is is_job and ticket.order < answered.order:
                self._repeat(ticket, now)

    def _repeat(self, ticket: Ticket, now: float) -> None:
        self._order += 1
        ticket.order = self._order
        ticket.last_sent = now
        self.counts.repeated += 1
        self._put(b"\0" + ticket.line)

    def _look_after(self, now: float) -> None:
        for ticket in list(self._open.values()):
            if now >= ticket.deadline:
                self.counts.timed_out += 1
                self._drop(ticket, self._gave_up(ticket.type))
        if not self._open or not self.repeats:
            return
        oldest = next(iter(self._open.values()))
        if now < self._progress + oldest.patience:
            return
        # Nothing has come for so long: the oldest one goes again, and what costs the line little.
        self._progress = now
        for ticket in list(self._open.values()):
            is_long = _kind(ticket.type, len(ticket.line)) == "long"
            if ticket is oldest or (not is_long and now >= ticket.last_sent + ticket.patience):
                # It travels behind everything that is under way.
                per_byte = (self._times["long"].mean or 0.0) / self.info.payload_limit
                longer = 2 * ticket.patience + per_byte * self._credit_used
                ticket.patience = min(longer, LONGEST_PATIENCE_S)
                self._repeat(ticket, now)

    def _drop(self, ticket: Ticket, error: LinkError) -> None:
        ticket.error = error
        if self._open.pop(ticket.sequence, None) is not None:
            self._credit_used -= len(ticket.line)

    def _gave_up(self, type_: Type) -> BoardTimeoutError:
        return BoardTimeoutError(f"the board did not answer '{type_.name.lower()}' in time")
