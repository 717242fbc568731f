"""When the host sends a command again, and how long it waits for the board."""

from __future__ import annotations

import pytest

from gearshift.firmware_bridge.line.channel import (
    LONG,
    LONGEST_PATIENCE_S,
    SHORTEST_PATIENCE_S,
    BoardRefusedError,
    BoardTimeoutError,
    Channel,
    Ticket,
)
from gearshift.firmware_bridge.line.messages import Status, Type

from .scripted_line import (
    FOREVER,
    LIMIT,
    RATE,
    Line,
    answer,
    connect,
    message_of,
    on_line,
    send,
    wait,
)


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
