"""CPX packets and both framings, against bytes put together here and a reader written apart."""

import itertools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearshift.firmware_bridge.crazyflie.cpx import (
    CLEAR_TO_SEND,
    UART_MAX_DATA,
    CpxFunction,
    CpxPacket,
    CpxTarget,
    UartParser,
    UartSignal,
    encode_uart,
    unpack,
)
from gearshift.firmware_bridge.crazyflie.cpx_tcp import LengthConvention, TcpParser, encode_tcp
from gearshift.runtime.errors import LinkError


def packets(max_data: int = UART_MAX_DATA) -> st.SearchStrategy[CpxPacket]:
    return st.builds(
        CpxPacket,
        source=st.sampled_from(CpxTarget),
        destination=st.sampled_from(CpxTarget),
        function=st.integers(0, 63),
        data=st.binary(max_size=max_data),
        last=st.booleans(),
    )


def to_host(max_data: int) -> st.SearchStrategy[CpxPacket]:
    return st.builds(
        CpxPacket,
        source=st.sampled_from([CpxTarget.GAP8, CpxTarget.ESP32]),
        destination=st.just(CpxTarget.HOST),
        function=st.sampled_from(CpxFunction),
        data=st.binary(max_size=max_data),
        last=st.booleans(),
    )


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[a:b] for a, b in itertools.pairwise(edges)]


def in_a_row(stream: bytes) -> list[CpxPacket]:
    """The packets of a whole serial stream, read the plain way."""
    found, at = [], 0
    while at < len(stream):
        head = stream[at : at + 2]
        if head == CLEAR_TO_SEND:
            at += 2
            continue
        if len(head) == 2 and head[0] == 0xFF and 2 <= head[1] <= 100:
            frame = stream[at : at + head[1] + 3]
            sum_of_all = 0
            for byte in frame:
                sum_of_all ^= byte
            if len(frame) == head[1] + 3 and sum_of_all == 0:
                packet = unpack(frame[2:-1])
                if packet is not None:
                    found.append(packet)
                    at += len(frame)
                    continue
        at += 1
    return found


# A console text from GAP8 to the host: destination 3, source 4, last, function 2.
HELLO = CpxPacket(CpxTarget.GAP8, CpxTarget.HOST, CpxFunction.CONSOLE, b"hi")
HELLO_BYTES = bytes([0xFF, 4, 0b0_1_100_011, 2, ord("h"), ord("i")])
HELLO_UART = HELLO_BYTES + bytes([0xFF ^ 4 ^ 0x63 ^ 2 ^ ord("h") ^ ord("i")])


def test_bytes_of_a_frame_on_a_serial_line() -> None:
    assert encode_uart(HELLO) == HELLO_UART


def test_bytes_over_tcp_in_both_conventions() -> None:
    assert encode_tcp(HELLO, LengthConvention.BITCRAZE) == b"\x04\x00\x63\x02hi"
    assert encode_tcp(HELLO, LengthConvention.NANOCOCKPIT) == b"\x02\x00\x63\x02hi"


@pytest.mark.parametrize(
    "header",
    [
        b"\x63\x42",  # version 1
        b"\xe3\x02",  # the reserved bit
        b"\x60\x02",  # to nobody
        b"\x43\x02",  # from nobody
        b"\x7b\x02",  # from target 7
        b"\x63",
    ],
)
def test_a_header_that_makes_no_sense_is_no_packet(header: bytes) -> None:
    assert unpack(header) is None


@given(st.lists(packets(), max_size=8), st.lists(st.integers(0, 10_000)))
def test_serial_round_trip_in_any_pieces(sent: list[CpxPacket], places: list[int]) -> None:
    parser = UartParser()
    stream = b"".join(encode_uart(packet) + CLEAR_TO_SEND for packet in sent)
    found = [item for piece in cut(stream, places) for item in parser.feed(piece)]
    expected = [item for packet in sent for item in (packet, UartSignal.CLEAR_TO_SEND)]
    assert found == expected
    assert (parser.checksum_errors, parser.discarded_bytes, parser.pending) == (0, 0, 0)


noise = st.lists(
    st.one_of(
        st.binary(max_size=20),
        st.lists(st.sampled_from([0xFF, 0, 2, 3, 100, 101, 0x63]), max_size=20).map(bytes),
        packets(20).map(encode_uart),
        packets(20).map(lambda packet: encode_uart(packet)[:-2]),
    ),
    max_size=8,
).map(b"".join)


@given(noise, st.lists(st.integers(0, 10_000)))
def test_any_stream_in_any_pieces_is_read_as_a_whole(stream: bytes, places: list[int]) -> None:
    parser = UartParser()
    found = [item for piece in cut(stream, places) for item in parser.feed(piece)]
    assert parser.pending <= 103
    found += parser.idle()
    assert [item for item in found if isinstance(item, CpxPacket)] == in_a_row(stream)
    assert parser.pending == 0


@given(noise, packets())
def test_after_any_garbage_and_silence_the_next_packet_arrives(
    garbage: bytes, packet: CpxPacket
) -> None:
    parser = UartParser()
    parser.feed(garbage)
    parser.idle()
    assert parser.feed(encode_uart(packet)) == [packet]


def test_a_packet_behind_a_false_start_arrives_when_the_line_falls_silent() -> None:
    parser = UartParser()
    assert parser.feed(b"\xff\x64\x63" + HELLO_UART) == []
    assert parser.idle() == [HELLO]
    assert parser.discarded_bytes == 3


@given(packets(), st.integers(0, 10_000), st.integers(1, 255))
def test_a_changed_byte_never_arrives_as_that_packet(
    packet: CpxPacket, place: int, change: int
) -> None:
    frame = bytearray(encode_uart(packet))
    frame[place % len(frame)] ^= change
    parser = UartParser()
    found = [*parser.feed(bytes(frame)), *parser.idle()]
    # What is hidden inside the data may be a packet of its own, never this one or one like it.
    expected = in_a_row(bytes(frame))
    assert [item for item in found if isinstance(item, CpxPacket)] == expected
    assert all(len(item.data) < len(packet.data) for item in expected)


def test_wrong_checksums_are_counted() -> None:
    parser = UartParser()
    assert parser.feed(HELLO_UART[:-1] + b"\x00") == []
    assert (parser.checksum_errors, parser.discarded_bytes) == (1, len(HELLO_UART))


def test_too_much_data_is_refused() -> None:
    with pytest.raises(LinkError, match="98 bytes, not 99"):
        encode_uart(CpxPacket(CpxTarget.HOST, CpxTarget.GAP8, CpxFunction.APP, bytes(99)))
    with pytest.raises(LinkError, match="1020 bytes, not 1021"):
        encode_tcp(
            CpxPacket(CpxTarget.HOST, CpxTarget.GAP8, CpxFunction.APP, bytes(1021)),
            LengthConvention.BITCRAZE,
        )


@given(
    st.sampled_from(LengthConvention),
    st.lists(packets(1020), max_size=6),
    st.lists(st.integers(0, 10_000)),
)
def test_tcp_round_trip_in_any_pieces(
    convention: LengthConvention, sent: list[CpxPacket], places: list[int]
) -> None:
    parser = TcpParser(convention)
    stream = b"".join(encode_tcp(packet, convention) for packet in sent)
    assert [item for piece in cut(stream, places) for item in parser.feed(piece)] == sent


@pytest.mark.slow
@given(
    st.sampled_from(LengthConvention),
    st.lists(to_host(300), min_size=1, max_size=12),
    st.lists(st.integers(0, 10_000)),
)
def test_the_convention_is_never_taken_for_the_other_one(
    convention: LengthConvention, sent: list[CpxPacket], places: list[int]
) -> None:
    parser = TcpParser()
    stream = b"".join(encode_tcp(packet, convention) for packet in sent)
    found = [item for piece in cut(stream, places) for item in parser.feed(piece)]
    # Short streams may be readable both ways: then nothing is delivered yet.
    assert parser.convention in (convention, None)
    assert found == (sent if parser.convention else [])


@pytest.mark.parametrize("convention", LengthConvention)
@pytest.mark.parametrize(
    "first_pixels",
    [
        b"\x00\x01",
        b"\x0a\x05",  # like a header from the STM32 to the ESP32
        b"\x23\x3f",  # like one to the host of a function that nobody knows
    ],
)
def test_two_packets_of_an_image_stream_tell_the_convention(
    first_pixels: bytes, convention: LengthConvention
) -> None:
    header = struct.pack("<BHHBBI", 0xBC, 324, 244, 1, 0, 324 * 244)
    stream = [
        CpxPacket(CpxTarget.GAP8, CpxTarget.HOST, CpxFunction.APP, header),
        CpxPacket(CpxTarget.GAP8, CpxTarget.HOST, CpxFunction.APP, first_pixels * 500),
    ]
    parser = TcpParser()
    found = [item for packet in stream for item in parser.feed(encode_tcp(packet, convention))]
    assert parser.convention is convention
    assert found == stream


@pytest.mark.parametrize("convention", [None, *LengthConvention])
def test_what_is_no_cpx_ends_the_connection(convention: LengthConvention | None) -> None:
    with pytest.raises(LinkError, match="is no CPX"):
        TcpParser(convention).feed(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 9)


def test_a_stream_that_fits_both_conventions_is_not_kept_for_ever() -> None:
    # Packets of 4, 4 and 613 bytes by one reading, of 6 and 615 by the other.
    piece = (b"\x02\x00\x63\x02" * 2)[:6] + b"\x63\x02" * 3 + bytes(609)
    parser = TcpParser()
    for _ in range(105):
        assert parser.feed(piece) == []
    with pytest.raises(LinkError, match="name it"):
        parser.feed(piece)
