"""The host's side of a session, against a line and a clock that do exactly what a test says."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from gearshift.firmware_bridge.line.channel import (
    EVENTS_KEPT,
    HELLO_INTERVAL_S,
    LONG,
    LONGEST_PATIENCE_S,
    SHORTEST_PATIENCE_S,
    BoardRefusedError,
    BoardResetError,
    BoardTimeoutError,
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


# -- hello ----------------------------------------------------------------------------------------


def test_a_session_begins_with_the_answer_to_our_hello() -> None:
    line = Line()
    channel = connect(line)
    ((_, hello),) = line.sent
    assert (hello.type, hello.session) == (Type.HELLO, 0)
    assert channel.session == SESSION
    assert (channel.info.credit, channel.info.payload_limit) == (CREDIT, LIMIT)
    assert channel.info.boot == 3
    assert not channel.broken
    assert channel.counts.bytes_sent == line.written
    assert channel.counts.bytes_received == line.given > 0


def test_it_greets_until_it_is_answered_and_gives_up_in_time() -> None:
    line = Line(greets=lambda hello: None)
    with pytest.raises(BoardTimeoutError, match=r"^no board answers .* runs gearshift's firmware$"):
        connect(line, timeout_s=0.52)
    assert line.now == pytest.approx(100.52)
    times = [at for at, _ in line.sent]
    assert times == pytest.approx([100 + n * HELLO_INTERVAL_S for n in range(11)], abs=1e-6)
    assert len({m.sequence for _, m in line.sent}) == 1
    assert len({m.payload for _, m in line.sent}) == 1


@pytest.mark.parametrize(
    "other",
    [
        lambda hello: Message(Type.ECHO + ANSWER, hello.sequence, 9, greet(hello).payload),
        lambda hello: Message(Type.HELLO, hello.sequence, 9, greet(hello).payload),
        lambda hello: Message(
            Type.HELLO + ANSWER, hello.sequence + 1 & 0xFFFF, 9, greet(hello).payload
        ),
        lambda hello: answer(hello, hello_body(1)),
        lambda hello: answer(hello, b"short"),
        lambda hello: Message(Type.HELLO + ANSWER, hello.sequence, 9, b"short"),
    ],
    ids=["type", "echo of ours", "sequence", "another nonce", "damaged", "no answer"],
)
@pytest.mark.parametrize("together", [False, True])
def test_what_answers_another_hello_does_not_keep_the_right_answer_out(
    other: Callable[[Message], Message], together: bool
) -> None:
    line = Line()

    def both(hello: Message) -> Message | None:
        if together:
            line.bring(other(hello), greet(hello))
            return None
        line.bring(other(hello))
        return greet(hello)

    line.greets = both
    assert connect(line).session == SESSION


@pytest.mark.parametrize(
    ("greeting", "said"),
    [
        (
            lambda h: answer(h, b"", Status.VERSION),
            "^the board speaks no version of the protocol that this gearshift does$",
        ),
        (lambda h: answer(h, b"", Status.BUSY), r"refused our hello \(busy\)"),
        (lambda h: answer(h, hello_body(1)), "another hello than ours"),
        (
            lambda h: answer(h, hello_body(struct.unpack_from("<I", h.payload)[0], WINDOW - 1)),
            f"remembers {WINDOW - 1} answers, the protocol {WINDOW}",
        ),
    ],
)
def test_why_no_session_began_is_said(greeting: Callable[[Message], Message], said: str) -> None:
    with pytest.raises(LinkError, match=said):
        connect(Line(greets=greeting), timeout_s=0.2)


# -- commands -------------------------------------------------------------------------------------


def test_a_command_and_its_answer() -> None:
    line = Line()
    channel = connect(line)
    (hello,) = line.sent
    first = send(channel, size=10)
    sent = message_of(line, first)
    assert (sent.type, sent.session, sent.payload) == (Type.ECHO, SESSION, bytes(10))
    assert sent.sequence == hello[1].sequence + 1 & 0xFFFF
    assert not first.done
    with pytest.raises(LinkError, match=r"^a command's answer was asked for before it came$"):
        first.result()
    line.bring(answer(sent, b"body", compute_us=1500), after=0.03)
    wait(channel, line, 0.05)
    assert first.result().body == b"body"
    second = send(channel)
    assert second.sequence == first.sequence + 1 & 0xFFFF
    line.bring(answer(message_of(line, second), status=Status.BUSY, compute_us=500), after=0.02)
    wait(channel, line, 0.05)
    assert second.result().status is Status.BUSY
    counts = channel.counts
    assert (counts.commands, counts.answers, counts.repeated, counts.foreign) == (2, 2, 0, 0)
    assert counts.round_trip_s == pytest.approx(0.02)
    assert counts.compute_s == pytest.approx(0.002)
    assert counts.bytes_sent == line.written
    assert counts.bytes_received == line.given


def test_asking_waits_for_its_answer_as_long_as_it_was_told() -> None:
    line = Line()
    channel = connect(line, repeats=False, timeout_s=0.5)
    before = line.now
    with pytest.raises(BoardTimeoutError, match="did not answer 'status' in time"):
        channel.ask(Type.STATUS)
    assert line.now == pytest.approx(before + 0.5)
    before = line.now
    with pytest.raises(BoardTimeoutError):
        channel.ask(Type.STATUS, timeout_s=2.0)
    assert line.now == pytest.approx(before + 2.0)
    assert channel.counts.timed_out == 2
    late = line.commands[-1][1]
    assert late.payload == b""
    line.bring(answer(late))
    wait(channel, line, 0.1)
    assert channel.counts.foreign == 1
    assert not channel.broken


def test_the_sequence_number_wraps() -> None:
    line = Line()
    channel = connect(line)
    channel._sequence = 0xFFFE
    tickets = []
    for _ in range(3):
        tickets.append(send(channel))
        line.bring(answer(message_of(line, tickets[-1])), after=0.001)
        wait(channel, line, 0.002)
    assert [t.sequence for t in tickets] == [0xFFFF, 0, 1]
    assert all(t.done for t in tickets)


def test_no_longer_payload_than_the_board_takes() -> None:
    line = Line()
    channel = connect(line)
    send(channel, size=LIMIT)
    with pytest.raises(LinkError, match=f"{LIMIT + 1} bytes, the board takes {LIMIT}"):
        send(channel, size=LIMIT + 1)
    assert len(line.commands) == 1


@pytest.mark.parametrize("start", [0x1000, 0xFFF8])
def test_no_more_are_under_way_than_the_window_holds(start: int) -> None:
    line = Line()
    channel = connect(line, repeats=False)
    channel._sequence = start
    tickets = [send(channel) for _ in range(WINDOW)]
    before = line.now
    with pytest.raises(BoardTimeoutError, match="'echo' in time"):
        send(channel, within=0.3)
    assert line.now == pytest.approx(before + 0.3)
    # The window is counted from the oldest one that has no answer.
    for ticket in tickets[1:]:
        line.bring(answer(message_of(line, ticket)))
    with pytest.raises(BoardTimeoutError):
        send(channel, within=0.3)
    line.bring(answer(message_of(line, tickets[0])), after=0.1)
    before = line.now
    send(channel, within=0.3)
    assert line.now == pytest.approx(before + 0.1)


def on_line(size: int) -> int:
    return len(to_line(Message(Type.ECHO, 0x1111, SESSION, bytes(size))))


def test_no_more_bytes_are_under_way_than_the_credit() -> None:
    line = Line()
    channel = connect(line, repeats=False)
    channel._sequence = 0x1110
    rest = next(s for s in range(LIMIT) if 2 * on_line(LIMIT) + on_line(s) > CREDIT)
    for size in (LIMIT, LIMIT):
        first = send(channel, size=size)
    with pytest.raises(BoardTimeoutError):
        send(channel, size=rest, within=0.2)
    send(channel, size=rest - 1, within=0.2)
    line.bring(answer(message_of(line, first)), after=0.1)
    send(channel, size=rest, within=0.2)


@pytest.mark.parametrize("how", ["timed out", "abandoned", "answered"])
def test_a_command_that_is_done_gives_its_credit_back(how: str) -> None:
    line = Line()
    channel = connect(line, repeats=False)
    for _ in range(5):
        ticket = send(channel, size=LIMIT, within=0.1)
        if how == "answered":
            line.bring(answer(message_of(line, ticket)))
            channel.pump(line.now)
        elif how == "abandoned":
            channel.abandon(ticket)
            with pytest.raises(LinkError, match=r"^the command was abandoned$"):
                ticket.result()
        else:
            wait(channel, line, 0.1)
            with pytest.raises(BoardTimeoutError):
                ticket.result()
        channel.abandon(ticket)  # of one that is done, nothing
    before = line.now
    for _ in range(2):
        send(channel, size=LIMIT)
    assert line.now == before
    assert channel.counts.timed_out == (5 if how == "timed out" else 0)


# -- what is not for us ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "stray",
    [
        lambda m: answer(m, session=SESSION + 1),
        lambda m: answer(m, status=Status.WRONG_SESSION),
        lambda m: Message(Type.STATUS + ANSWER, m.sequence, SESSION, answer(m).payload),
        lambda m: m,
        lambda m: Message(m.type + ANSWER, m.sequence + 1 & 0xFFFF, SESSION, answer(m).payload),
        lambda m: Message(m.type + ANSWER, m.sequence, SESSION, b"short"),
        lambda m: answer(m, status=77),
        lambda m: Message(Type.ESTIMATE, m.sequence, SESSION + 1, b""),
    ],
    ids=[
        *("session", "an older one's command", "type", "echo", "sequence", "damaged"),
        *("unknown status", "another session's event"),
    ],
)
def test_what_is_not_this_commands_answer_is_counted_and_nothing_else(
    stray: Callable[[Message], Message],
) -> None:
    line = Line()
    channel = connect(line)
    ticket = send(channel)
    for count in (1, 2):
        line.bring(stray(message_of(line, ticket)))
        wait(channel, line, 0.01)
        assert not ticket.done
        assert not channel.broken
        counts = channel.counts
        assert (counts.foreign, counts.answers, counts.events) == (count, 0, 0)
    line.bring(answer(message_of(line, ticket)))
    wait(channel, line, 0.01)
    assert ticket.done
    line.bring(answer(message_of(line, ticket)))
    wait(channel, line, 0.01)
    assert (channel.counts.foreign, channel.counts.answers) == (3, 1)


def test_a_board_that_knows_nothing_of_the_session_ends_it() -> None:
    line = Line()
    channel = connect(line)
    ticket = send(channel)
    stale = answer(message_of(line, ticket), session=SESSION + 1, status=Status.WRONG_SESSION)
    line.bring(stale)
    for _ in range(2):
        with pytest.raises(
            BoardResetError, match=r"^the board was reset or taken by another host$"
        ):
            channel.pump(line.now + 1)
        assert channel.broken
    assert channel.counts.foreign == 1
    assert not ticket.done


@pytest.mark.parametrize("use", [lambda c: c.pump(c.clock()), lambda c: c.ask(Type.STATUS)])
def test_a_line_that_is_gone_breaks_the_channel(use: Callable[[Channel], object]) -> None:
    line = Line()
    channel = connect(line)
    line.gone = True
    with pytest.raises(LinkError, match="the line is gone"):
        use(channel)
    assert channel.broken


def test_events_are_kept_and_what_was_lost_of_them_is_counted() -> None:
    line = Line()
    channel = connect(line)

    def event(sequence: int) -> None:
        line.bring(Message(Type.ESTIMATE, sequence, SESSION, b"%d" % sequence))
        channel.pump(line.now)

    for sequence in (0xFFFD, 0xFFFE, 2, 3):
        event(sequence)
    assert [m.sequence for m in channel.events] == [0xFFFD, 0xFFFE, 2, 3]
    assert (channel.counts.events, channel.counts.events_lost) == (4, 3)
    channel.expect_events()
    assert not channel.events
    event(0)
    assert channel.counts.events_lost == 3
    channel.expect_events()
    event(1)
    assert channel.counts.events_lost == 4
    for sequence in range(2, 2 + EVENTS_KEPT):
        event(sequence)
    assert channel.counts.events_lost == 4
    assert [m.sequence for m in channel.events] == list(range(2, 2 + EVENTS_KEPT))


# -- repeating ------------------------------------------------------------------------------------


def first_patience(used: int) -> float:
    return 0.1 + 2 * used / RATE + SHORTEST_PATIENCE_S


def times_of(line: Line, ticket: Ticket) -> list[float]:
    return [at for at, m in line.commands if m.sequence == ticket.sequence]


def test_a_command_that_nothing_answers_goes_again_and_later_each_time() -> None:
    line = Line()
    channel = connect(line)
    began = line.now
    ticket = send(channel, size=20, within=FOREVER)
    wait(channel, line, 7.0)
    patience, at, expected = first_patience(len(ticket.line)), began, [began]
    while (at := at + patience) < began + 7.0:
        expected.append(at)
        patience = min(2 * patience, LONGEST_PATIENCE_S)
    assert len(expected) > 5
    assert times_of(line, ticket) == pytest.approx(expected)
    assert channel.counts.repeated == len(expected) - 1
    assert {m for _, m in line.commands} == {message_of(line, ticket)}
    assert channel.counts.bytes_sent == line.written


def test_nothing_goes_again_where_that_is_not_wanted() -> None:
    line = Line()
    channel = connect(line, repeats=False)
    ticket = send(channel, within=5.0)
    wait(channel, line, 5.0)
    assert len(times_of(line, ticket)) == 1
    with pytest.raises(BoardTimeoutError):
        ticket.result()


def exchange(channel: Channel, line: Line, seconds: float, type_: Type, size: int = 0) -> None:
    ticket = send(channel, type_, size)
    line.bring(answer(message_of(line, ticket)), after=seconds)
    wait(channel, line, seconds + 0.001)
    assert ticket.done


@pytest.mark.parametrize(
    ("type_", "size"), [(Type.INFER, 8), (Type.WRITE, 1000), (Type.ECHO, 8), (Type.PROCESS, 1000)]
)
def test_its_patience_follows_what_commands_of_its_kind_took(type_: Type, size: int) -> None:
    line = Line()
    channel = connect(line)
    took = [0.05, 0.03, 0.08, 0.06]
    mean = deviation = 0.0
    for index, seconds in enumerate(took):
        exchange(channel, line, seconds, type_, size)
        if index == 0:
            mean, deviation = seconds, seconds / 2
        else:
            deviation += (abs(seconds - mean) - deviation) / 4
            mean += (seconds - mean) / 8
    ticket = send(channel, type_, size)
    assert ticket.patience == pytest.approx(2 * mean + 4 * deviation + SHORTEST_PATIENCE_S)
    # Other kinds have learnt nothing of it.
    other = send(channel, Type.STATUS if type_ is not Type.ECHO else Type.INFER)
    under_way = len(ticket.line) + len(other.line)
    assert other.patience == pytest.approx(first_patience(under_way))


def test_an_answer_to_a_command_that_went_twice_teaches_nothing() -> None:
    """Nobody knows which of the two it answers (Karn and Partridge, 1987)."""
    line = Line()
    channel = connect(line)
    exchange(channel, line, 0.05, Type.ECHO)
    ticket = send(channel)
    wait(channel, line, 0.5)
    assert len(times_of(line, ticket)) > 1
    line.bring(answer(message_of(line, ticket)))
    wait(channel, line, 0.01)
    assert ticket.done
    assert send(channel).patience == pytest.approx(2 * 0.05 + 4 * 0.025 + SHORTEST_PATIENCE_S)


def test_a_command_behind_another_is_timed_from_when_it_was_the_oldest() -> None:
    line = Line()
    channel = connect(line)
    first, second = send(channel), send(channel)
    line.bring(answer(message_of(line, first)), after=0.06)
    line.bring(answer(message_of(line, second)), after=0.08)
    wait(channel, line, 0.09)
    mean, deviation = 0.06, 0.03
    deviation += (abs(0.02 - mean) - deviation) / 4
    mean += (0.02 - mean) / 8
    assert send(channel).patience == pytest.approx(2 * mean + 4 * deviation + SHORTEST_PATIENCE_S)


def test_an_overtaken_command_of_its_kind_goes_again_at_once() -> None:
    line = Line()
    channel = connect(line)
    job, lost, answered = (send(channel, t) for t in (Type.INFER, Type.ECHO, Type.STATUS))
    later = send(channel, Type.ECHO)
    line.bring(answer(message_of(line, answered)), after=0.02)
    wait(channel, line, 0.03)
    assert len(times_of(line, lost)) == 2
    assert times_of(line, lost)[1] == pytest.approx(times_of(line, lost)[0] + 0.02)
    assert len(times_of(line, job)) == len(times_of(line, later)) == 1
    # It went behind the later one now, whose answer says nothing of it.
    line.bring(answer(message_of(line, later)), after=0.01)
    wait(channel, line, 0.02)
    assert len(times_of(line, lost)) == 2
    wait(channel, line, 0.2)
    assert len(times_of(line, lost)) == 3


def test_while_answers_come_the_oldest_one_is_waited_for() -> None:
    """A job takes its time: as long as commands before it are answered, it is not repeated."""
    line = Line()
    channel = connect(line)
    for _ in range(10):
        exchange(channel, line, 0.01, Type.ECHO)
    job = send(channel, Type.INFER, within=FOREVER)
    for _ in range(6):
        exchange(channel, line, 0.08, Type.ECHO)
    assert len(times_of(line, job)) == 1
    wait(channel, line, 0.3)
    assert len(times_of(line, job)) == 2


def test_when_nothing_comes_the_oldest_goes_again_and_what_is_short() -> None:
    line = Line()
    channel = connect(line)
    exchange(channel, line, 0.05, Type.WRITE, 1000)
    oldest = send(channel, Type.WRITE, 1000, FOREVER)
    long, short = send(channel, Type.WRITE, 600), send(channel, Type.ECHO)
    job = send(channel, Type.PROCESS, 600)  # long too, but somebody waits for it
    patience = oldest.patience
    wait(channel, line, patience - 0.01)
    late = send(channel, Type.ECHO)  # short, but not waited for long enough
    used = sum(len(ticket.line) for ticket in (oldest, long, short, job, late))
    wait(channel, line, 0.011)
    assert [len(times_of(line, t)) for t in (oldest, long, short, job, late)] == [2, 1, 2, 2, 1]
    # What is behind it on the line is waited for as well.
    per_byte = 0.05 / LIMIT
    assert oldest.patience == pytest.approx(2 * patience + per_byte * used)
    wait(channel, line, oldest.patience)
    assert [len(times_of(line, t)) for t in (oldest, long, short, job, late)] == [3, 1, 3, 3, 2]


def test_from_which_length_on_a_command_is_long() -> None:
    line = Line()
    channel = connect(line)
    channel._sequence = 0x1110
    size = next(size for size in range(LONG) if on_line(size) == LONG)
    exchange(channel, line, 0.05, Type.ECHO, size)
    learnt = 2 * 0.05 + 4 * 0.025 + SHORTEST_PATIENCE_S
    assert send(channel, Type.ECHO, size).patience == pytest.approx(learnt)
    shorter = send(channel, Type.ECHO, size - 1)
    assert shorter.patience == pytest.approx(first_patience(LONG + len(shorter.line)))


def test_a_refusal_says_why() -> None:
    error = BoardRefusedError("the board is busy", Status.BUSY)
    assert (str(error), error.status) == ("the board is busy", Status.BUSY)


def test_the_soonest_of_all_deadlines_wakes_it() -> None:
    line = Line()
    channel = connect(line, repeats=False)
    patient, hasty = send(channel, within=5.0), send(channel, within=0.2)
    before = line.now
    channel.pump(line.now + 9.0)
    assert line.now == pytest.approx(before + 0.2)
    channel.pump(line.now)
    assert (hasty.done, patient.done) == (True, False)
    wait(channel, line, 5.0)
    assert patient.done
    assert channel.counts.timed_out == 2
