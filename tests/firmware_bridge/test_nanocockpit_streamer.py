"""NanoCockpit's streamer: layouts by hand, and buffers whose packets get lost on the way."""

import binascii
import struct
from collections.abc import Callable
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearshift.firmware_bridge.crazyflie.cpx import CpxFunction, CpxPacket, CpxTarget
from gearshift.firmware_bridge.crazyflie.nanocockpit_streamer import (
    MAX_BUFFER,
    METADATA_BYTES,
    BufferAssembler,
    BufferType,
    StreamedBuffer,
    StreamedImage,
    pack_image,
    pack_reply,
    packets_of,
    unpack_image,
    unpack_reply,
)
from gearshift.firmware_bridge.crazyflie.nanocockpit_uart import (
    InferenceMessage,
    StateMessage,
    TofMessage,
)
from gearshift.runtime.types import Pose


def packet(data: bytes) -> CpxPacket:
    return CpxPacket(CpxTarget.GAP8, CpxTarget.HOST, CpxFunction.STREAMER, data)


def begin(size: int, crc: int, part: bytes, kind: int = 1) -> CpxPacket:
    return packet(
        bytes([0x10, kind])
        + size.to_bytes(4, "little")
        + crc.to_bytes(4, "little")
        + b"\0\0"
        + part
    )


def more(part: bytes) -> CpxPacket:
    return packet(b"\x11\0\0\0" + part)


def carried(content: bytes, max_data: int = 64, checksum: bool = True) -> list[CpxPacket]:
    return list(
        packets_of(
            StreamedBuffer(BufferType.IMAGE, content),
            source=CpxTarget.GAP8,
            destination=CpxTarget.HOST,
            max_data=max_data,
            checksum=checksum,
        )
    )


def example() -> StreamedImage:
    return StreamedImage(
        image=np.arange(160 * 96, dtype=np.uint8).reshape(96, 160),
        frame_id=250,
        frame_time_us=4_000_000_000,
        state_time_us=5,
        state=StateMessage(6, (1, -2, 3), (4, 5, -6), (7, 8, 9), 0xC0000000, (10, 11, -12)),
        tof_time_us=13,
        tof=TofMessage(64, bytes(range(64))),
        reply_frame_time_us=14,
        reply_received_us=15,
        inference=InferenceMessage(1.5, -0.5, 0.25, 2.0, ticks=16),
    )


def example_bytes() -> bytes:
    """The layout once more, from its table and nothing else."""
    parts = [
        struct.pack("<B", 10),
        struct.pack("<HHBB", 160, 96, 1, 0),
        struct.pack("<B", 250),
        struct.pack("<II", 4_000_000_000, 5),
        struct.pack("<I", 6),
        struct.pack("<hhhhhhhhh", 1, -2, 3, 4, 5, -6, 7, 8, 9),
        struct.pack("<i", -(1 << 30)),
        struct.pack("<hhh", 10, 11, -12),
        struct.pack("<I", 13),
        struct.pack("<B", 64) + bytes(3) + bytes(range(64)),
        struct.pack("<II", 14, 15),
        struct.pack("<Iffff", 16, 1.5, -0.5, 0.25, 2.0),
    ]
    assert sum(map(len, parts)) == 148 == METADATA_BYTES
    return b"".join(parts) + bytes(np.arange(160 * 96, dtype=np.uint8))


def test_bytes_of_an_image() -> None:
    assert pack_image(example()) == example_bytes()
    found = unpack_image(example_bytes())
    for field in fields(StreamedImage):
        expected, value = getattr(example(), field.name), getattr(found, field.name)
        assert np.array_equal(value, expected) if field.name == "image" else value == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content[:147], "147 bytes hold no image metadata of 148"),
        (lambda content: b"\x09" + content[1:], "version 9, not 10"),
        (lambda content: content[:5] + b"\x02" + content[6:], "pixels of 2 bytes"),
        (lambda content: content[:6] + b"\x01" + content[7:], "format 1"),
        (lambda content: content[:-1], "15359 pixels are no image of 160x96"),
        (lambda content: content + b"\0", "15361 pixels"),
        (lambda content: content[:1] + bytes(4) + content[5:148], "0 pixels"),
    ],
)
def test_what_is_no_image_is_refused(change: Callable[[bytes], bytes], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        unpack_image(change(example_bytes()))


def test_bytes_of_a_reply() -> None:
    reply = pack_reply(example(), Pose(2.0, 0.5, -0.25, 1.0))
    expected = struct.pack("<IB", 4_000_000_000, 250) + struct.pack("<Iffff", 6, 2.0, 0.5, -0.25, 1)
    assert reply == expected
    assert len(reply) == 25
    inference = InferenceMessage(2.0, 0.5, -0.25, 1.0, ticks=6)
    assert unpack_reply(reply) == (4_000_000_000, 250, inference)
    nothing = InferenceMessage(0, 0, 0, 0, ticks=0)
    assert unpack_reply(pack_reply(example(), None)) == (4_000_000_000, 250, nothing)
    with pytest.raises(ValueError, match="25 bytes, not 24"):
        unpack_reply(reply[1:])


def test_bytes_of_the_packets() -> None:
    content = bytes(range(150))
    crc = binascii.crc32(content)
    expected = [begin(150, crc, content[:52]), more(content[52:112]), more(content[112:])]
    assert carried(content) == expected
    assert carried(content, checksum=False)[0] == begin(150, 0, content[:52])


@given(st.lists(st.binary(min_size=1, max_size=400), max_size=6), st.booleans())
def test_round_trip(contents: list[bytes], checksum: bool) -> None:
    assembler = BufferAssembler()
    packets = [p for content in contents for p in carried(content, checksum=checksum)]
    found = [buffer.content for p in packets if (buffer := assembler.feed(p))]
    assert found == contents
    assert (assembler.torn, assembler.corrupt, assembler.malformed) == (0, 0, 0)


def test_the_padding_of_gap8_is_cut_off() -> None:
    assembler = BufferAssembler()
    assert assembler.feed(begin(6, 0, b"abcdef\0\0")) == StreamedBuffer(1, b"abcdef")
    assert assembler.feed(begin(6, 0, b"abcdef\0\0\0\0")) is None
    assert assembler.torn == 1


@given(
    st.lists(st.binary(min_size=1, max_size=400), min_size=1, max_size=6),
    st.lists(st.integers(0, 10_000), max_size=6),
)
def test_lost_packets_never_make_a_buffer_that_was_not_sent(
    contents: list[bytes], lost: list[int]
) -> None:
    packets = [p for content in contents for p in carried(content)]
    gone = {place % len(packets) for place in lost}
    assembler = BufferAssembler()
    kept = [p for index, p in enumerate(packets) if index not in gone]
    found = [buffer.content for p in kept if (buffer := assembler.feed(p))]
    whole, at = [], 0
    for content in contents:
        indices = range(at, at + len(carried(content)))
        at = indices.stop
        if gone.isdisjoint(indices):
            whole.append(content)
    assert found == whole
    assembler.abandon()
    broken = len(contents) - len(whole)
    assert assembler.torn + assembler.corrupt <= broken


@given(st.integers(1, 400), st.integers(0, 1000))
def test_without_a_checksum_a_lost_packet_is_noticed_all_the_same(size: int, place: int) -> None:
    contents = [bytes([number]) * size for number in (1, 2, 3)]
    packets = [p for content in contents for p in carried(content, checksum=False)]
    del packets[place % len(packets)]
    assembler = BufferAssembler()
    found = [buffer.content for p in packets if (buffer := assembler.feed(p))]
    assert len(found) == 2
    assert set(found) <= set(contents)


def test_without_a_checksum_two_halves_are_not_joined() -> None:
    """Of the first the middle is lost, of the second the beginning: the sizes would add up."""
    first, second, third = (carried(bytes([number]) * 122, checksum=False) for number in (1, 2, 3))
    assert [len(p.data) for p in first] == [64, 64, 14]
    packets = [first[0], first[2], second[1], second[2], *third]
    assembler = BufferAssembler()
    found = [buffer.content for p in packets if (buffer := assembler.feed(p))]
    assert found == [b"\x03" * 122]
    assert assembler.torn == 1


@given(st.binary(min_size=1, max_size=300), st.integers(0, 10_000), st.integers(1, 255))
def test_a_changed_byte_is_never_delivered(content: bytes, place: int, change: int) -> None:
    spoilt = bytearray(content)
    spoilt[place % len(content)] ^= change
    assembler = BufferAssembler()
    packets = [
        replace(p, data=p.data[:12] + q.data[12:]) if index == 0 else q
        for index, (p, q) in enumerate(zip(carried(content), carried(bytes(spoilt)), strict=True))
    ]
    assert [buffer for p in packets if (buffer := assembler.feed(p))] == []
    assert assembler.corrupt == 1


def test_a_checksum_of_zero_is_sent_as_all_ones() -> None:
    # CRC-32 of these four bytes is 0, which would mean that there is none.
    content = b"\x9d\x0a\xd9\x6d"
    assert binascii.crc32(content) == 0
    (only,) = carried(content)
    assert only == begin(4, 0xFFFFFFFF, content)
    assert BufferAssembler().feed(only) == StreamedBuffer(1, content)


@given(st.lists(st.binary(max_size=40).map(packet), max_size=10))
def test_nonsense_raises_nothing_and_keeps_nothing(packets: list[CpxPacket]) -> None:
    assembler = BufferAssembler()
    for each in packets:
        buffer = assembler.feed(each)
        assert buffer is None or len(buffer.content) <= 40
    content = bytes(100)
    assembler.abandon()
    found = [buffer for p in carried(content) if (buffer := assembler.feed(p))]
    assert found == [StreamedBuffer(1, content)]


@pytest.mark.parametrize("size", [0, MAX_BUFFER + 1, 2**32 - 1])
def test_a_size_out_of_bounds_is_refused(size: int) -> None:
    assembler = BufferAssembler()
    assert assembler.feed(begin(size, 0, b"")) is None
    assert assembler.malformed == 1
    assert not assembler.in_progress
