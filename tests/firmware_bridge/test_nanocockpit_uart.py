"""NanoCockpit's serial messages: bytes put together by hand, round trips, a line of noise."""

import binascii
import itertools
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearshift.firmware_bridge.crazyflie.nanocockpit_uart import (
    TO_GAP8,
    TO_STM32,
    EntropyMessage,
    InferenceMessage,
    Message,
    MessageParser,
    StateMessage,
    TofMessage,
    compress_quaternion,
    decompress_quaternion,
    encode,
)

int16 = st.integers(-(2**15), 2**15 - 1)
uint32 = st.integers(0, 2**32 - 1)
vectors = st.tuples(int16, int16, int16)
states = st.builds(StateMessage, uint32, vectors, vectors, vectors, uint32, vectors)
to_gap8 = st.one_of(
    states,
    st.builds(EntropyMessage, uint32),
    st.builds(TofMessage, st.sampled_from([0, 16, 64]), st.binary(min_size=64, max_size=64)),
)
finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
inferences = st.builds(
    InferenceMessage, finite, finite, finite, finite, st.one_of(st.none(), uint32)
)


def with_crc(content: bytes) -> bytes:
    return content + binascii.crc32(content).to_bytes(4, "little")


def test_bytes_of_a_state() -> None:
    state = StateMessage(
        ticks=123_456,
        position=(1000, -2000, 500),
        velocity=(-1, 0, 1),
        acceleration=(32767, -32768, 9810),
        quaternion=0xC0000000,
        rates=(10, -20, 30),
    )
    numbers = [1000, -2000, 500, -1, 0, 1, 32767, -32768, 9810]
    content = b"!STA" + (123_456).to_bytes(4, "little")
    content += b"".join(number.to_bytes(2, "little", signed=True) for number in numbers)
    content += b"\x00\x00\x00\xc0"
    content += b"".join(number.to_bytes(2, "little", signed=True) for number in (10, -20, 30))
    assert len(content) == 4 + 32
    assert encode(state) == with_crc(content)
    assert state.attitude == (0, 0, 0, 1)


def test_bytes_of_entropy_and_tof() -> None:
    assert encode(EntropyMessage(0x01020304)) == with_crc(b"!RNG\x04\x03\x02\x01")
    data = bytes(range(64))
    assert encode(TofMessage(16, data)) == with_crc(b"!TOF\x10\0\0\0" + data)


def test_bytes_of_an_inference() -> None:
    pose = b"".join(struct.pack("<f", value) for value in (1.5, -0.25, 0.125, -3.0))
    stamped = InferenceMessage(1.5, -0.25, 0.125, -3.0, ticks=7)
    assert encode(stamped) == b"\x90\x19\x08\x32" + b"\x07\0\0\0" + pose
    assert len(encode(stamped)) == 24
    unstamped = InferenceMessage(1.5, -0.25, 0.125, -3.0, ticks=None)
    assert encode(unstamped) == b"\x90\x19\x08\x31" + pose
    assert len(encode(unstamped)) == 20


HALF = 361  # 511 * (0.5 / sqrt(0.5)) = 361.3


@pytest.mark.parametrize(
    ("quaternion", "packed"),
    [
        ((0, 0, 0, 1), 3 << 30),
        ((1, 0, 0, 0), 0),
        ((0, -1, 0, 0), 1 << 30 | 0x200 << 20 | 0x200 << 10 | 0x200),  # zeros change sign too
        ((0.5, 0.5, 0.5, 0.5), HALF << 20 | HALF << 10 | HALF),
        ((-0.5, 0.5, -0.5, 0.5), (0x200 | HALF) << 20 | HALF << 10 | 0x200 | HALF),
        ((0, 0, math.sqrt(0.5), math.sqrt(0.5)), 2 << 30 | 511),  # the first of two largest
    ],
)
def test_bits_of_a_quaternion(quaternion: tuple[float, float, float, float], packed: int) -> None:
    assert compress_quaternion(quaternion) == packed


@given(st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: math.hypot(*q) > 0.01))
def test_a_quaternion_survives_within_its_resolution(
    raw: tuple[float, float, float, float],
) -> None:
    norm = math.hypot(*raw)
    x, y, z, w = (value / norm for value in raw)
    found = decompress_quaternion(compress_quaternion((x, y, z, w)))
    assert math.isclose(math.hypot(*found), 1, abs_tol=1e-5)
    dot = abs(sum(a * b for a, b in zip((x, y, z, w), found, strict=True)))
    # Half a step of sqrt(1/2)/511 in three elements, and what follows for the fourth.
    assert 2 * math.acos(min(dot, 1)) < 4 * math.sqrt(0.5) / 511


@given(uint32)
def test_any_bits_are_a_unit_quaternion(packed: int) -> None:
    assert math.isclose(math.hypot(*decompress_quaternion(packed)), 1, abs_tol=1e-5)


@pytest.mark.parametrize("wrong", [(0, 0, 0, 0), (1, 1, 0, 0), (math.nan, 0, 0, 1)])
def test_what_is_no_rotation_is_refused(wrong: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="no unit quaternion"):
        compress_quaternion(wrong)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[a:b] for a, b in itertools.pairwise(edges)]


@given(st.lists(to_gap8, max_size=6), st.lists(st.integers(0, 10_000)))
def test_round_trip_towards_gap8(sent: list[Message], places: list[int]) -> None:
    parser = MessageParser(TO_GAP8)
    stream = b"".join(map(encode, sent))
    assert [item for piece in cut(stream, places) for item in parser.feed(piece)] == sent
    assert (parser.errors, parser.discarded_bytes, parser.pending) == (0, 0, 0)


@given(st.lists(inferences, max_size=6), st.lists(st.integers(0, 10_000)))
def test_round_trip_towards_stm32(sent: list[Message], places: list[int]) -> None:
    parser = MessageParser(TO_STM32)
    stream = b"".join(map(encode, sent))
    assert [item for piece in cut(stream, places) for item in parser.feed(piece)] == sent


noise = st.lists(
    st.one_of(
        st.binary(max_size=30),
        st.sampled_from([b"!", b"!STA", b"!TOF", b"!RN", b"\x90\x19\x08", b"\x90\x90"]),
        to_gap8.map(lambda message: encode(message)[:-3]),
    ),
    max_size=6,
).map(b"".join)


@given(noise, to_gap8, st.lists(st.integers(0, 10_000)))
def test_a_message_is_found_behind_any_noise(
    garbage: bytes, message: Message, places: list[int]
) -> None:
    parser = MessageParser(TO_GAP8)
    found = [
        item for piece in cut(garbage + encode(message), places) for item in parser.feed(piece)
    ]
    assert parser.pending <= 76
    found += parser.idle()
    # No 32-bit CRC holds by accident here, so the message is the only one, wherever it lies.
    assert found == [message]
    assert parser.discarded_bytes == len(garbage)


@given(to_gap8, st.integers(0, 10_000), st.integers(1, 255))
def test_a_changed_byte_is_never_delivered(message: Message, place: int, change: int) -> None:
    line = bytearray(encode(message))
    line[place % len(line)] ^= change
    parser = MessageParser(TO_GAP8)
    assert [*parser.feed(bytes(line)), *parser.idle()] == []


def test_a_wrong_crc_is_counted() -> None:
    parser = MessageParser(TO_GAP8)
    assert parser.feed(encode(EntropyMessage(1))[:-1] + b"\xff") == []
    assert (parser.errors, parser.discarded_bytes) == (1, 12)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_an_inference_that_is_no_number_is_never_delivered(wrong: float) -> None:
    parser = MessageParser(TO_STM32)
    good = InferenceMessage(1, 2, 3, 0.5, ticks=9)
    line = encode(InferenceMessage(1, wrong, 3, 0, ticks=8)) + b"console text" + encode(good)
    assert parser.feed(line) == [good]
    assert parser.errors == 1
