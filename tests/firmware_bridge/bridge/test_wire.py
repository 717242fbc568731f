"""Frames and messages: Python and C agree on every byte, and nothing damaged passes."""

from __future__ import annotations

import contextlib
import ctypes
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gearshift.firmware_bridge.emulation.emulator import (
    Build,
    EmulatedPort,
    build,
    firmware_folder,
    missing_tools,
)
from gearshift.firmware_bridge.line import cobs
from gearshift.firmware_bridge.line.messages import (
    COUNTERS,
    MAX_PARTS,
    TABLES_TARGET,
    WINDOW,
    Status,
    Type,
    parse_answer,
    parse_counters,
    parse_estimate,
    parse_hello,
    parse_network,
    parse_outputs,
    parse_status,
    write_payloads,
)
from gearshift.firmware_bridge.line.wire import MAX_FRAME, Message, Parser, to_line
from gearshift.runtime.decide.selection import REASONS
from gearshift.runtime.errors import LinkError
from gearshift.runtime.types import EstimateFlag, Reason

CAPACITY = 1 << 13
FRAME_GOOD = 0
COBS_MORE, COBS_FRAME, COBS_BROKEN, COBS_TOO_LONG = range(4)


class Decoder(ctypes.Structure):
    """gs_cobs_decoder."""

    _fields_ = (
        ("buffer", ctypes.c_void_p),
        ("capacity", ctypes.c_uint32),
        ("length", ctypes.c_uint32),
        ("left", ctypes.c_uint8),
        ("zero_next", ctypes.c_bool),
        ("started", ctypes.c_bool),
        ("overflow", ctypes.c_bool),
    )


class Header(ctypes.Structure):
    """gs_header."""

    _fields_ = (
        ("type", ctypes.c_uint8),
        ("status", ctypes.c_uint8),
        ("sequence", ctypes.c_uint16),
        ("session", ctypes.c_uint32),
    )


class Firmware:
    """The firmware's framing through ctypes."""

    def __init__(self, path: Path) -> None:
        self._library = ctypes.CDLL(str(path))

    def encode(self, data: bytes) -> bytes:
        out = ctypes.create_string_buffer(len(data) + len(data) // 254 + 1)
        length = self._library.gs_cobs_encode(data, len(data), out)
        assert length <= len(out)
        return out.raw[:length]

    def crc32(self, data: bytes) -> int:
        function = self._library.gs_crc32
        function.restype = ctypes.c_uint32
        return int(function(0, data, len(data)))

    def decode(self, data: bytes, capacity: int = CAPACITY) -> list[tuple[int, bytes]]:
        """What each delimiter meant, and the frame behind it."""
        buffer = ctypes.create_string_buffer(capacity)
        decoder = Decoder()
        self._library.gs_cobs_decoder_init(ctypes.byref(decoder), buffer, capacity)
        events = []
        for byte in data:
            result = self._library.gs_cobs_decode(ctypes.byref(decoder), ctypes.c_uint8(byte))
            if result != COBS_MORE:
                events.append((result, buffer.raw[: decoder.length]))
        return events

    def open(self, frame: bytes) -> tuple[int, Header, bytes]:
        header, payload = Header(), ctypes.c_void_p()
        length = ctypes.c_uint16()
        memory = ctypes.create_string_buffer(frame, max(len(frame), 1))
        result = self._library.gs_frame_open(
            memory,
            len(frame),
            ctypes.byref(header),
            ctypes.byref(payload),
            ctypes.byref(length),
        )
        if result != FRAME_GOOD or payload.value is None:
            return result, header, b""
        return result, header, ctypes.string_at(payload.value, length.value)

    def to_line(self, message: Message) -> bytes:
        """Without the delimiter in front."""
        length = len(message.payload)
        frame = ctypes.create_string_buffer(bytes(10) + message.payload, length + 14)
        header = Header(message.type, message.status, message.sequence, message.session)
        closed = self._library.gs_frame_close(frame, ctypes.byref(header), ctypes.c_uint16(length))
        line = ctypes.create_string_buffer(closed + closed // 254 + 3)
        size = self._library.gs_frame_to_line(frame, closed, line)
        assert line.raw[0] == 0
        return line.raw[1:size]


@pytest.fixture(scope="module")
def firmware() -> Firmware:
    lacking = missing_tools(EmulatedPort.POSIX)
    if lacking:
        pytest.skip(f"building the firmware's core needs {', '.join(lacking)}")
    return Firmware(build(Build.LIB))


def blocks() -> st.SearchStrategy[bytes]:
    """Bytes with runs around the lengths at which COBS starts a new block."""
    run = st.builds(
        lambda length, byte: bytes([byte]) * length,
        st.one_of(st.integers(0, 12), st.integers(250, 258), st.integers(505, 511)),
        st.integers(0, 255),
    )
    return st.lists(st.one_of(run, st.binary(max_size=300)), max_size=6).map(b"".join)


def messages() -> st.SearchStrategy[Message]:
    return st.builds(
        Message,
        type=st.integers(0, 255),
        status=st.integers(0, 255),
        sequence=st.integers(0, 0xFFFF),
        session=st.integers(0, 0xFFFFFFFF),
        payload=blocks(),
    )


@pytest.mark.parametrize(
    ("data", "encoded"),
    [
        # Cheshire and Baker's examples and the edges of a block.
        (b"", b"\x01"),
        (b"\0", b"\x01\x01"),
        (b"\0\0", b"\x01\x01\x01"),
        (b"\x11\x22\0\x33", b"\x03\x11\x22\x02\x33"),
        (b"\x11\0\0\0", b"\x02\x11\x01\x01\x01"),
        (bytes(range(1, 255)), b"\xff" + bytes(range(1, 255))),
        (bytes(range(255)), b"\x01\xff" + bytes(range(1, 255))),
        (bytes(range(1, 256)), b"\xff" + bytes(range(1, 255)) + b"\x02\xff"),
        (bytes(range(2, 256)) + b"\0", b"\xff" + bytes(range(2, 256)) + b"\x01\x01"),
    ],
)
def test_cobs_is_the_published_one(data: bytes, encoded: bytes) -> None:
    assert cobs.encode(data) == encoded
    assert cobs.decode(encoded) == data


@given(blocks())
def test_cobs_in_c_and_python_are_one(firmware: Firmware, data: bytes) -> None:
    encoded = cobs.encode(data)
    assert 0 not in encoded
    assert firmware.encode(data) == encoded
    assert cobs.decode(encoded) == data
    assert firmware.decode(encoded + b"\0") == [(COBS_FRAME, data)]


@given(st.binary(max_size=600).map(lambda data: data.replace(b"\0", b"\x05")))
def test_both_refuse_the_same_encodings(firmware: Firmware, encoded: bytes) -> None:
    events = firmware.decode(encoded + b"\0")
    decoded = cobs.decode(encoded)
    if not encoded:
        assert events == []
    elif decoded is None:
        assert [event for event, _ in events] == [COBS_BROKEN]
    else:
        assert events == [(COBS_FRAME, decoded)]


def test_the_decoder_never_leaves_its_buffer(firmware: Firmware) -> None:
    encoded = cobs.encode(bytes(range(1, 200)))
    assert firmware.decode(encoded + b"\0", capacity=16)[0][0] == COBS_TOO_LONG
    short = firmware.decode(encoded + b"\0" + cobs.encode(b"next") + b"\0", capacity=16)
    assert short[1] == (COBS_FRAME, b"next")


@given(st.binary(max_size=500))
def test_crc_is_zlibs(firmware: Firmware, data: bytes) -> None:
    assert firmware.crc32(data) == zlib.crc32(data)


def test_a_frame_is_what_the_document_says() -> None:
    """Built here from docs/protocol.md with struct alone."""
    body = struct.pack("<BBHIH", 9, 0, 0x1234, 0xA1B2C3D4, 3) + b"a\0b"
    frame = body + struct.pack("<I", zlib.crc32(body))
    assert to_line(Message(9, 0x1234, 0xA1B2C3D4, b"a\0b")) == cobs.encode(frame) + b"\0"


@given(messages())
def test_frames_in_c_and_python_are_one(firmware: Firmware, message: Message) -> None:
    line = to_line(message)
    assert firmware.to_line(message) == line
    assert list(Parser().feed(line)) == [message]
    ((_, frame),) = firmware.decode(line)
    result, header, payload = firmware.open(frame)
    assert result == FRAME_GOOD
    assert (header.type, header.status) == (message.type, message.status)
    assert (header.sequence, header.session) == (message.sequence, message.session)
    assert payload == message.payload


@given(messages(), st.data())
def test_a_damaged_frame_is_never_delivered(
    firmware: Firmware, message: Message, data: st.DataObject
) -> None:
    """One burst of up to 32 bits, all of which a CRC-32 finds."""
    encoded = bytearray(to_line(message)[:-1])
    body = bytearray(cobs.decode(bytes(encoded)) or b"")
    at = data.draw(st.integers(0, len(body) - 1))
    damage = data.draw(st.binary(min_size=1, max_size=4).filter(any))
    for offset, byte in enumerate(damage):
        if at + offset < len(body):
            body[at + offset] ^= byte
    damaged = cobs.encode(bytes(body)) + b"\0"
    parser = Parser()
    delivered = list(parser.feed(damaged))
    changed = damaged[:-1] != bytes(encoded)
    assert delivered == ([] if changed else [message])
    assert firmware.open(bytes(body))[0] != FRAME_GOOD or not changed
    assert list(parser.feed(to_line(message))) == [message]


@given(messages(), st.integers(0, 0xFFFF))
def test_a_length_that_is_not_the_payloads_is_refused(
    firmware: Firmware, message: Message, length: int
) -> None:
    """Though the checksum is that of the frame as it is."""
    body = struct.pack(
        "<BBHIH", message.type, message.status, message.sequence, message.session, length
    )
    body += message.payload
    frame = body + struct.pack("<I", zlib.crc32(body))
    parser = Parser()
    delivered = list(parser.feed(cobs.encode(frame) + b"\0"))
    right = length == len(message.payload)
    assert delivered == ([message] if right else [])
    assert (parser.counts.good, parser.counts.bad_length) == ((1, 0) if right else (0, 1))
    assert (firmware.open(frame)[0] == FRAME_GOOD) == right


class LineMachine(RuleBasedStateMachine):
    """Frames, garbage and delimiters in any portions: every whole frame comes out, in order, and
    nothing else; garbage costs at most the frame that it touches."""

    @initialize()
    def start(self) -> None:
        self.parser = Parser()
        self.waiting = b""
        self.expected: list[Message] = []
        self.delivered: list[Message] = []

    def feed(self, data: bytes) -> None:
        self.delivered += self.parser.feed(data)

    @rule(message=messages(), cut=st.integers(0, 400))
    def frame(self, message: Message, cut: int) -> None:
        line = b"\0" + to_line(message)
        self.feed(line[:cut])
        self.feed(line[cut:])
        self.expected.append(message)

    @rule(data=st.binary(max_size=80))
    def garbage(self, data: bytes) -> None:
        """It ends with a delimiter or runs into the next frame's own."""
        if not any(_is_frame(part) for part in data.split(b"\0")):
            self.feed(data)

    @rule(message=messages())
    def torn(self, message: Message) -> None:
        line = to_line(message)
        self.feed(b"\0" + line[: len(line) // 2])

    @invariant()
    def everything_whole_came(self) -> None:
        if hasattr(self, "expected"):
            assert self.delivered == self.expected
            assert self.parser.counts.good == len(self.expected)


def _is_frame(encoded: bytes) -> bool:
    return bool(list(Parser().feed(encoded + b"\0")))


TestLineMachine = LineMachine.TestCase
TestLineMachine.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)


def test_a_line_without_delimiters_does_not_fill_the_memory() -> None:
    parser = Parser()
    for _ in range(40):
        assert list(parser.feed(b"\x55" * (MAX_FRAME // 8))) == []
    message = Message(1, 2, 3, b"found again")
    assert list(parser.feed(b"\0" + to_line(message))) == [message]
    assert parser.counts.too_long >= 1


@given(st.binary(max_size=200), st.integers(0, 255))
def test_damaged_bodies_are_link_errors(body: bytes, status: int) -> None:
    """A frame with a right CRC may still come from another firmware."""
    message = Message(Type.HELLO + 0x80, 1, 1, body, status)
    for parse in (
        lambda: parse_answer(message),
        lambda: parse_hello(body, 7),
        lambda: parse_status(body),
        lambda: parse_network(body),
        lambda: parse_outputs(body),
        lambda: parse_counters(body),
        lambda: parse_estimate(body),
    ):
        with contextlib.suppress(LinkError):
            parse()


@given(answered=st.integers(0, 255), reason=st.integers(0, 255), flags=st.integers(0, 255))
def test_an_estimate_of_newer_firmware_is_refused_or_understood(
    answered: int, reason: int, flags: int
) -> None:
    codes = struct.pack("<8B", answered, 0, 0, reason, flags, 1, 0, 0)
    body = struct.pack("<IIQ", 1, 0, 5) + codes + bytes(28) + struct.pack("<ff", 1.5, 0.1)
    try:
        estimate = parse_estimate(body)
    except LinkError:
        assert answered in range(2, 255) or reason >= len(Reason) or flags > 15
        return
    assert REASONS[estimate.reason] in Reason
    assert EstimateFlag(estimate.flags).value == flags
    assert estimate.answered in (None, 0, 1)
    assert estimate.values.tolist() == [1.5]


@given(st.binary(min_size=1, max_size=20_000), st.integers(700, 5000))
def test_parts_make_the_whole(content: bytes, limit: int) -> None:
    payloads = write_payloads(9, 1, content, limit)
    assert max(map(len, payloads)) <= limit
    whole = bytearray(len(content))
    for index, payload in enumerate(payloads):
        image, size, target, part, parts, _ = struct.unpack_from("<IIBBBB", payload)
        assert (image, size, target, part, parts) == (9, len(content), 1, index, len(payloads))
        stride = -(-size // parts)
        data = payload[12:]
        assert len(data) == min(stride, size - part * stride) > 0
        whole[part * stride : part * stride + len(data)] = data
    assert bytes(whole) == content


def test_content_that_fits_no_32_parts_is_refused() -> None:
    with pytest.raises(LinkError, match="32 parts"):
        write_payloads(1, 0, bytes(40_000), 1000)


def test_outputs_and_status_read_back() -> None:
    body = struct.pack("<BBH3i", 2, 0, 3, -5, 0, 7)
    number, outputs = parse_outputs(body)
    assert number == 2
    assert np.array_equal(outputs, [-5, 0, 7])
    assert Status(3) is Status.WRONG_SESSION


def test_the_document_names_and_numbers_what_the_code_does() -> None:
    document = (Path(__file__).parents[3] / "docs" / "protocol.md").read_text()
    statuses = re.findall(r"^\| (\d+) \| ([a-z-]+) \|", document, re.MULTILINE)
    assert {int(n): name.replace("-", "_") for n, name in statuses} == {
        status.value: status.name.lower() for status in Status
    }
    types = re.findall(r"^\*\*(\d+) ([a-z]+)\*\*", document, re.MULTILINE)
    assert {int(n): name for n, name in types} == {t.value: t.name.lower() for t in Type}
    counters = re.search(r"frames (good.*?)\. A later", document, re.DOTALL)
    assert counters is not None
    assert len(counters.group(1).split(",")) == len(COUNTERS)


def test_the_firmware_has_the_same_numbers() -> None:
    header = (firmware_folder() / "include" / "gearshift" / "protocol.h").read_text()

    def numbers(prefix: str) -> dict[str, int]:
        found = re.findall(rf"^    {prefix}(\w+) = (\d+),", header, re.MULTILINE)
        return {name: int(value) for name, value in found}

    assert numbers("GS_ANSWER_") == {status.name: status.value for status in Status}
    commands = numbers("GS_COMMAND_") | numbers("GS_EVENT_")
    assert commands == {type_.name: type_.value for type_ in Type}
    counters = re.findall(r"^    GS_COUNTER_(\w+),", header, re.MULTILINE)
    assert [name.lower() for name in counters] == list(COUNTERS)
    assert f"GS_WINDOW {WINDOW}u" in header
    assert f"GS_MAX_PARTS {MAX_PARTS}u" in header
    assert f"GS_TABLES_TARGET {TABLES_TARGET}u" in header
