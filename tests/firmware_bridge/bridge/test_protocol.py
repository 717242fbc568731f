"""docs/protocol.md on the bare line: what a board answers, what it ignores, what it does once."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

import pytest

from gearshift.firmware_bridge.line import cobs
from gearshift.firmware_bridge.line.messages import (
    WINDOW,
    Ability,
    Answer,
    BoardInfo,
    Status,
    Type,
    hello_payload,
    infer_payload,
    parse_answer,
    parse_counters,
    parse_hello,
    write_payloads,
)
from gearshift.firmware_bridge.line.ports import Port
from gearshift.firmware_bridge.line.wire import ANSWER, Message, Parser, to_line
from gearshift.firmware_bridge.measuring.board_target import Target

from ...waiting import PATIENCE_S

QUIET_S = 0.3


class Line:
    """A host that does exactly what a test says: no repetition, no window, no sense."""

    def __init__(self, port: Port) -> None:
        self.port = port
        self.parser = Parser()
        self.session = 0
        self.sequence = 1000
        self.came: list[Message] = []
        self.info: BoardInfo

    def put(
        self, type_: int, payload: bytes = b"", ahead: int = 1, session: int | None = None
    ) -> Message:
        self.sequence = (self.sequence + ahead) & 0xFFFF
        session = self.session if session is None else session
        message = Message(type_, self.sequence, session, payload)
        self.port.write(b"\0" + to_line(message))
        return message

    def answers(self, count: int = 1) -> list[Message]:
        """The next so many frames; fewer when no more come."""
        while len(self.came) < count:
            data = self.port.read(PATIENCE_S)
            if not data:
                break
            self.came += self.parser.feed(data)
        taken, self.came = self.came[:count], self.came[count:]
        return taken

    def nothing(self) -> bool:
        """Whether nothing is said for a while."""
        self.came += self.parser.feed(self.port.read(QUIET_S))
        return not self.came

    def ask(self, type_: int, payload: bytes = b"") -> Answer:
        sent = self.put(type_, payload)
        (message,) = self.answers()
        assert message.type == type_ + ANSWER
        assert message.sequence == sent.sequence
        return parse_answer(message)

    def hello(self, nonce: int) -> Answer:
        """Greet; what a host before us was answered too late stands on the line in front of it."""
        sent = self.put(Type.HELLO, hello_payload(nonce), session=0)
        (message,) = self.answers()
        while parse_answer(message).body[:4] != sent.payload[:4]:
            (message,) = self.answers()
        answer = parse_answer(message)
        if answer.status is Status.OK:
            self.session = message.session
            self.info = parse_hello(answer.body, nonce)
        return answer

    def counters(self) -> dict[str, int]:
        return parse_counters(self.ask(Type.COUNTERS).body)

    def write_image(self, image: int, slot: int, size: int = 96 * 160) -> None:
        for payload in write_payloads(image, slot, bytes(size), self.info.payload_limit):
            assert self.ask(Type.WRITE, payload).status is Status.OK


@pytest.fixture
def line(target: Target, nonce: Callable[[], int]) -> Iterator[Line]:
    # A board greets whoever comes first only when it is up: connecting waits for that.
    target.connect().close()
    port = target.open_port()
    line = Line(port)
    assert line.hello(nonce()).status is Status.OK
    yield line
    port.close()


@pytest.fixture(scope="session")
def nonce() -> Callable[[], int]:
    numbers = iter(range(0x5EED0000, 0x5EEDFFFF))
    return lambda: next(numbers)


def test_hello_says_what_the_board_is(line: Line, nonce: Callable[[], int]) -> None:
    number = nonce()
    info = parse_hello(line.hello(number).body, number)
    assert info.version == 1
    assert info.window == WINDOW
    assert info.credit >= info.payload_limit
    assert info.slot_bytes >= 96 * 160
    assert line.session == (info.boot * 256 + (line.session & 255)) & 0xFFFFFFFF


def test_a_new_nonce_is_a_new_session_and_a_known_one_is_not(
    line: Line, nonce: Callable[[], int]
) -> None:
    first, second = nonce(), nonce()
    line.hello(first)
    session = line.session
    line.hello(first)
    assert line.session == session
    line.hello(second)
    newer = line.session
    assert newer != session
    # The hello of the session before, from the past of the line: no answer, and nothing changes.
    line.put(Type.HELLO, hello_payload(first), session=0)
    assert line.nothing()
    assert line.ask(Type.STATUS).session == newer


def test_no_common_version_is_said(line: Line) -> None:
    line.put(Type.HELLO, struct.pack("<IBBH", 1, 2, 9, 0), session=0)
    (message,) = line.answers()
    assert message.status == Status.VERSION
    assert line.ask(Type.STATUS).status is Status.OK


def test_time_goes_on_and_what_was_received_is_counted(line: Line) -> None:
    first, second = line.ask(Type.ECHO, b"a"), line.ask(Type.ECHO, b"a")
    assert second.time_us >= first.time_us
    assert (second.received - first.received) & 0xFFFFFFFF == len(
        b"\0" + to_line(Message(Type.ECHO, line.sequence, line.session, b"a"))
    )


def test_a_repeated_command_has_the_same_answer_and_is_not_carried_out_again(line: Line) -> None:
    line.write_image(1, 0)
    before = line.counters()
    line.put(Type.INFER, infer_payload(1, 0, 0))
    (first,) = line.answers()
    for _ in range(3):
        line.put(Type.INFER, infer_payload(1, 0, 0), ahead=0)
        (again,) = line.answers()
        assert again == first
    after = line.counters()
    assert after["carried_out"] - before["carried_out"] == 2  # the run and the counters
    assert after["repeated"] - before["repeated"] == 3


def test_an_overtaken_command_is_carried_out_once(line: Line) -> None:
    """5 is late: 6 came first."""
    line.ask(Type.STATUS)
    line.put(Type.ECHO, b"six", ahead=2)
    assert line.answers()[0].payload.endswith(b"six")
    line.put(Type.ECHO, b"five", ahead=-1)
    (late,) = line.answers()
    assert late.payload.endswith(b"five")
    line.put(Type.ECHO, b"five", ahead=0)
    assert line.answers() == [late]


def test_older_than_the_window_is_dropped(line: Line) -> None:
    line.ask(Type.STATUS)
    before = line.counters()
    newest = line.sequence
    line.put(Type.ECHO, b"old", ahead=-WINDOW)
    assert line.nothing()
    line.put(Type.ECHO, b"at the edge", ahead=1)
    # The edge of the window was counted or carried out before this session began to count: it is
    # answered, old or new, but never dropped.
    assert len(line.answers()) == 1
    line.sequence = newest
    assert line.counters()["stale"] - before["stale"] == 1


def test_the_sequence_number_may_wrap(line: Line) -> None:
    line.sequence = 0xFFF0
    line.session = 0
    for _ in range(40):
        if line.session == 0:
            line.hello(0xAAAA0000 + line.sequence)
        assert line.ask(Type.ECHO, b"round").status is Status.OK
    assert line.sequence < 0x100


def test_another_session_is_told_and_nothing_is_done(line: Line) -> None:
    before = line.counters()
    line.put(Type.RESET, b"\1", session=line.session ^ 0x100)
    (message,) = line.answers()
    assert message.status == Status.WRONG_SESSION
    assert message.session == line.session
    after = line.counters()
    assert after["wrong_session"] == before["wrong_session"] + 1
    assert after["carried_out"] == before["carried_out"] + 1


def test_what_is_said_outside_the_session_is_not_its_commands_answer(
    line: Line, nonce: Callable[[], int]
) -> None:
    """While a run waits, the line brings back another session's command and an old hello that bear
    its number."""
    line.write_image(1, 0)
    line.sequence += 1
    number, run = line.sequence, infer_payload(1, 0, 0)
    infer = to_line(Message(Type.INFER, number, line.session, run))
    other = to_line(Message(Type.INFER, number, line.session ^ 0x100, run))
    hello = to_line(Message(Type.HELLO, number, 0, struct.pack("<IBBH", nonce(), 2, 9, 0)))
    line.port.write(infer + other + hello)
    said = {(m.type, m.status): m for m in line.answers(3)}
    assert (Type.INFER + ANSWER, Status.WRONG_SESSION) in said
    assert (Type.HELLO + ANSWER, Status.VERSION) in said
    line.put(Type.INFER, run, ahead=0)
    assert line.answers() == [said[Type.INFER + ANSWER, Status.OK]]


def test_after_a_reset_the_session_is_over(line: Line, nonce: Callable[[], int]) -> None:
    old = line.session
    assert line.ask(Type.RESET, b"\1").status is Status.OK
    line.put(Type.STATUS)
    (message,) = line.answers()
    assert message.status == Status.WRONG_SESSION
    assert line.hello(nonce()).status is Status.OK
    assert line.session >> 8 != old >> 8


@pytest.mark.parametrize(
    "garbage",
    [
        b"\xff" * 20_000,
        b"\x01" * 50,
        bytes(range(256)) * 8,
        b"\0" * 500,
        to_line(Message(Type.RESET, 1, 1, b"\1"))[:-3],
        b"\x02\x03\0\x05\0",
    ],
    ids=["long", "ones", "everything", "delimiters", "torn", "short"],
)
def test_after_any_garbage_the_next_frame_is_understood(line: Line, garbage: bytes) -> None:
    line.port.write(garbage)
    assert line.ask(Type.ECHO, b"still there").body == b"still there"


def test_a_frame_with_a_wrong_checksum_is_dropped_and_counted(line: Line) -> None:
    before = line.counters()
    line.sequence += 1
    good = to_line(Message(Type.RESET, line.sequence, line.session, b"\1"))
    frame = bytearray(cobs.decode(good[:-1]) or b"")
    # In the checksum, and before it is encoded: a code of COBS would end the frame elsewhere.
    frame[-1] ^= 0x10
    line.port.write(b"\0" + cobs.encode(bytes(frame)) + b"\0")
    assert line.nothing()
    assert line.counters()["bad_crc"] == before["bad_crc"] + 1


@pytest.mark.parametrize(
    ("type_", "payload", "status"),
    [
        (40, b"", Status.UNKNOWN_COMMAND),
        (Type.WRITE, b"short", Status.BAD_PAYLOAD),
        (Type.WRITE, struct.pack("<IIBBBB", 1, 4, 250, 0, 1, 0) + b"abcd", Status.BAD_PAYLOAD),
        (Type.WRITE, struct.pack("<IIBBBB", 1, 4, 0, 1, 1, 0) + b"abcd", Status.BAD_PAYLOAD),
        (Type.WRITE, struct.pack("<IIBBBB", 1, 5, 0, 0, 1, 0) + b"abcd", Status.BAD_PAYLOAD),
        (Type.WRITE, struct.pack("<IIBBBB", 1, 1 << 31, 0, 0, 1, 0) + b"a", Status.BAD_PAYLOAD),
        (Type.WRITE, struct.pack("<IIBBBB", 1, 2, 0, 3, 32, 0) + b"a", Status.BAD_PAYLOAD),
        (Type.WRITE, struct.pack("<IIBBBB", 1, 5, 0, 0, 4, 0) + b"ab", Status.BAD_PAYLOAD),
        (Type.INFER, infer_payload(77, 0, 0), Status.INCOMPLETE),
        (Type.INFER, infer_payload(1, 0, 9), Status.NO_NETWORK),
        (Type.INFER, infer_payload(1, 99, 0), Status.BAD_PAYLOAD),
        (Type.PROCESS, bytes(20), Status.NOT_CONFIGURED),
        (Type.CONFIGURE, bytes(8), Status.INCOMPLETE),
        (Type.NETWORK, b"\x63", Status.NO_NETWORK),
        (Type.RESET, b"\x02", Status.BAD_PAYLOAD),
        (Type.THRESHOLD, struct.pack("<f", 1.0), Status.NOT_CONFIGURED),
        (Type.STREAM, bytes(12), Status.NO_CAMERA),
        (Type.ECHO, bytes(1800), Status.BAD_PAYLOAD),
    ],
)
def test_what_cannot_be_done_is_refused(
    line: Line, nonce: Callable[[], int], type_: int, payload: bytes, status: Status
) -> None:
    line.ask(Type.RESET, b"\1")
    number = nonce()
    info = parse_hello(line.hello(number).body, number)
    if status is Status.NO_CAMERA and Ability.CAMERA in info.abilities:
        status = Status.NOT_CONFIGURED
    assert line.ask(type_, payload).status is status


def test_a_newer_image_empties_its_slot_and_an_older_one_is_stale(line: Line) -> None:
    size, limit = 96 * 160, line.info.payload_limit
    first, second = (write_payloads(image, 0, bytes([image]) * size, limit) for image in (11, 12))
    assert line.ask(Type.WRITE, first[0]).status is Status.OK
    for payload in second:
        assert line.ask(Type.WRITE, payload).status is Status.OK
    assert line.ask(Type.WRITE, first[1]).status is Status.STALE
    assert line.ask(Type.INFER, infer_payload(11, 0, 0)).status is Status.INCOMPLETE
    assert line.ask(Type.INFER, infer_payload(12, 0, 0)).status is Status.OK


def test_a_slot_whose_image_waits_to_be_run_takes_no_parts(line: Line) -> None:
    """Sent in one go, the part finds its slot behind two runs of a large network."""
    frames = b""
    slots = line.info.slots
    for slot in range(slots):
        line.write_image(slot + 1, slot)
    for slot in range(slots):
        line.sequence += 1
        run = infer_payload(slot + 1, slot, 1)
        frames += to_line(Message(Type.INFER, line.sequence, line.session, run))
    line.sequence += 1
    (write,) = write_payloads(9, slots - 1, b"part", line.info.payload_limit)
    line.port.write(frames + to_line(Message(Type.WRITE, line.sequence, line.session, write)))
    answers = line.answers(slots + 1)
    assert [m.status for m in answers if m.type == Type.INFER + ANSWER] == [Status.OK] * slots
    assert [m.status for m in answers if m.type == Type.WRITE + ANSWER] == [Status.BUSY]
    assert line.ask(Type.WRITE, write).status is Status.OK
