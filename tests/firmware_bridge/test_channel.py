"""The host's side of a session: greetings, commands, answers, and what is not for it."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from gearshift.firmware_bridge.line.channel import (
    EVENTS_KEPT,
    HELLO_INTERVAL_S,
    BoardResetError,
    BoardTimeoutError,
    Channel,
)
from gearshift.firmware_bridge.line.messages import WINDOW, Status, Type
from gearshift.firmware_bridge.line.wire import ANSWER, Message
from gearshift.runtime.errors import LinkError

from .scripted_line import (
    CREDIT,
    LIMIT,
    SESSION,
    Line,
    answer,
    connect,
    greet,
    hello_body,
    message_of,
    on_line,
    send,
    wait,
)

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
