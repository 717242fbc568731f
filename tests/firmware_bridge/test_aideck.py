"""The AI-deck source against a deck on a real socket that freezes, tears, drops and vanishes."""

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearshift.firmware_bridge.crazyflie.aideck import AideckOptions, AideckSource
from gearshift.firmware_bridge.crazyflie.aideck_clock import StampClock
from gearshift.firmware_bridge.crazyflie.aideck_stream import (
    Encoding,
    ImageAssembler,
    ImageHeader,
    pack_header,
    unpack_header,
)
from gearshift.firmware_bridge.crazyflie.cpx import CpxFunction, CpxPacket, CpxTarget
from gearshift.firmware_bridge.crazyflie.cpx_tcp import LengthConvention, encode_tcp
from gearshift.firmware_bridge.crazyflie.nanocockpit_streamer import (
    StreamedBuffer,
    StreamedImage,
    pack_image,
    packets_of,
)
from gearshift.firmware_bridge.crazyflie.nanocockpit_uart import (
    InferenceMessage,
    StateMessage,
    TofMessage,
)
from gearshift.runtime.errors import ConfigurationError, SourceError
from gearshift.runtime.sources.source_conformance import (
    SourceCheck,
    is_missed_in_one_line,
    read_frames,
    source_checks,
)
from gearshift.runtime.sources.source_registry import find_source
from gearshift.runtime.types import Image

from ..waiting import PATIENCE_S, wait_until

WIDTH, HEIGHT = 64, 50
Send = Callable[[CpxPacket], None]
Script = Callable[[Send], None]


def picture(number: int) -> Image:
    """Smooth, so that JPEG keeps it, and different for every number."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    waves: Image = (128 + 60 * np.sin(x / 9 + number) + 50 * np.cos(y / 7 - number)).astype(
        np.uint8
    )
    return waves


def to_host(function: CpxFunction, data: bytes) -> CpxPacket:
    return CpxPacket(CpxTarget.GAP8, CpxTarget.HOST, function, data)


def raw_packets(image: Image, chunk: int = 900) -> list[CpxPacket]:
    height, width = image.shape
    header = struct.pack("<BHHBBI", 0xBC, width, height, 1, 0, image.size)
    content = image.tobytes()
    parts = [content[at : at + chunk] for at in range(0, len(content), chunk)]
    return [to_host(CpxFunction.APP, part) for part in (header, *parts)]


def jpeg_packets(image: Image, chunk: int = 300) -> list[CpxPacket]:
    """As the deck sends it: tables, entropy-coded data and footer in packets of their own."""
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed (extra 'camera')")
    content = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    tables = content.index(b"\xff\xda")
    header = struct.pack("<BHHBBI", 0xBC, image.shape[1], image.shape[0], 1, 1, len(content))
    data = content[tables:-2]
    parts = [data[at : at + chunk] for at in range(0, len(data), chunk)]
    return [
        to_host(CpxFunction.APP, part) for part in (header, content[:tables], *parts, content[-2:])
    ]


def nanocockpit_packets(image: Image, frame_id: int, stamp_us: int) -> list[CpxPacket]:
    nothing = (0, 0, 0)
    streamed = StreamedImage(
        image=image,
        frame_id=frame_id % 256,
        frame_time_us=stamp_us % 2**32,
        state_time_us=0,
        state=StateMessage(1, nothing, nothing, nothing, 0xC0000000, nothing),
        tof_time_us=0,
        tof=TofMessage(0, bytes(64)),
        reply_frame_time_us=0,
        reply_received_us=0,
        inference=InferenceMessage(0, 0, 0, 0, ticks=0),
    )
    buffer = StreamedBuffer(1, pack_image(streamed))
    return list(
        packets_of(buffer, source=CpxTarget.GAP8, destination=CpxTarget.HOST, max_data=1000)
    )


class Deck:
    """Accepts connections one after the other and plays its script on each."""

    def __init__(self, convention: LengthConvention, *scripts: Script) -> None:
        self._convention = convention
        self._scripts = scripts
        self._stopping = threading.Event()
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.settimeout(0.02)
        self.url = f"tcp://127.0.0.1:{self._server.getsockname()[1]}"
        self.connections = 0
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self._stopping.is_set():
            try:
                connection, _ = self._server.accept()
            except TimeoutError:
                continue
            script = self._scripts[min(self.connections, len(self._scripts) - 1)]
            self.connections += 1
            with connection, suppress(ConnectionError, BrokenPipeError, TimeoutError):
                connection.settimeout(0.5)

                def send(packet: CpxPacket, connection: socket.socket = connection) -> None:
                    if self._stopping.is_set():
                        raise ConnectionAbortedError
                    connection.sendall(encode_tcp(packet, self._convention))

                script(send)

    def wait(self, seconds: float) -> None:
        """For scripts: pass the time unless the deck is switched off."""
        if self._stopping.wait(seconds):
            raise ConnectionAbortedError

    def close(self) -> None:
        self._stopping.set()
        self._thread.join()
        self._server.close()


StartDeck = Callable[..., Deck]


@pytest.fixture
def start_deck() -> Iterator[StartDeck]:
    decks: list[Deck] = []

    def start(convention: LengthConvention, *scripts: Script) -> Deck:
        decks.append(Deck(convention, *scripts))
        return decks[-1]

    yield start
    for deck in decks:
        deck.close()


def for_ever(send: Send) -> None:
    """Keeps the connection open until the deck is switched off: a freeze."""
    while True:
        time.sleep(0.01)
        # Nothing for the host: the link must read it, the source must not care.
        send(CpxPacket(CpxTarget.GAP8, CpxTarget.STM32, CpxFunction.CONSOLE, b""))


def streaming(make: Callable[[int], list[CpxPacket]]) -> Script:
    def script(send: Send) -> None:
        number = 0
        while True:
            for packet in make(number):
                send(packet)
            send(to_host(CpxFunction.CONSOLE, b"capture=1ms\n"))
            number += 1
            time.sleep(0.005)

    return script


def sending(*packets: CpxPacket) -> Script:
    def script(send: Send) -> None:
        for packet in packets:
            send(packet)
        for_ever(send)

    return script


KINDS: dict[str, tuple[LengthConvention, Callable[[int], list[CpxPacket]]]] = {
    "raw": (LengthConvention.BITCRAZE, lambda n: raw_packets(picture(n))),
    "jpeg": (LengthConvention.BITCRAZE, lambda n: jpeg_packets(picture(n))),
    "nanocockpit": (
        LengthConvention.NANOCOCKPIT,
        lambda n: nanocockpit_packets(picture(n), n, time.monotonic_ns() // 1000),
    ),
}


@pytest.mark.parametrize("check", source_checks(), ids=lambda check: check.__name__)
@pytest.mark.parametrize("kind", KINDS)
def test_conformance(kind: str, check: SourceCheck, start_deck: StartDeck) -> None:
    convention, make = KINDS[kind]
    deck = start_deck(convention, streaming(make))
    check(lambda: AideckSource(AideckOptions(url=deck.url)))


def test_a_deck_that_is_not_there_is_missed_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"tcp://127.0.0.1:{server.getsockname()[1]}"
    is_missed_in_one_line(lambda: AideckSource(AideckOptions(url=url)))


def test_it_is_found_by_name_and_its_options_are_checked() -> None:
    plugin = find_source("aideck")
    options = msgspec.convert({"url": "tcp://deck", "convention": "bitcraze"}, plugin.options)
    assert isinstance(plugin.make(options), AideckSource)
    with pytest.raises(msgspec.ValidationError, match="convention"):
        msgspec.convert({"convention": "both"}, plugin.options)
    with pytest.raises(ConfigurationError, match="is not tcp://HOST"):
        plugin.make(AideckOptions(url="tcp://"))


@pytest.mark.parametrize("convention", ["auto", "right"])
@pytest.mark.parametrize("kind", KINDS)
def test_pixels_arrive_as_they_were_sent(kind: str, convention: str, start_deck: StartDeck) -> None:
    length, make = KINDS[kind]
    deck = start_deck(length, sending(*make(3)[:-2], to_host(CpxFunction.APP, b""), *make(3)[-2:]))
    chosen = length.value if convention == "right" else "auto"
    options = msgspec.convert({"url": deck.url, "convention": chosen}, AideckOptions)
    source = AideckSource(options)
    source.open()
    try:
        (frame,) = read_frames(source, 1)
    finally:
        source.close()
    assert frame.source == "aideck"
    difference = np.abs(frame.image.astype(int) - picture(3))
    assert difference.mean() < 1.5 if kind == "jpeg" else difference.max() == 0


def test_the_mosaic_of_a_colour_camera_becomes_grey(start_deck: StartDeck) -> None:
    pytest.importorskip("cv2", reason="OpenCV is not installed (extra 'camera')")
    red, green, blue = 200, 100, 50
    mosaic = np.tile(np.array([[red, green], [green, blue]], np.uint8), (HEIGHT // 2, WIDTH // 2))
    deck = start_deck(LengthConvention.BITCRAZE, sending(*raw_packets(mosaic)))
    source = AideckSource(AideckOptions(url=deck.url, sensor="bayer"))
    source.open()
    try:
        (frame,) = read_frames(source, 1)
    finally:
        source.close()
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    assert np.abs(frame.image[2:-2, 2:-2].astype(float) - luma).max() <= 1


def test_a_frozen_stream_times_out_and_comes_back_when_opened_again(start_deck: StartDeck) -> None:
    frozen = sending(*raw_packets(picture(0)), *raw_packets(picture(1))[:3])
    deck = start_deck(LengthConvention.BITCRAZE, frozen, streaming(KINDS["raw"][1]))
    source = AideckSource(AideckOptions(url=deck.url))
    source.open()
    assert len(read_frames(source, 1)) == 1
    assert source.read(0.1) is None
    source.close()
    source.open()
    try:
        assert len(read_frames(source, 3)) == 3
        assert deck.connections == 2
    finally:
        source.close()


def test_a_connection_that_ends_inside_an_image_is_an_error(start_deck: StartDeck) -> None:
    def script(send: Send) -> None:
        for packet in [*raw_packets(picture(0)), *raw_packets(picture(1))[:2]]:
            send(packet)

    deck = start_deck(LengthConvention.BITCRAZE, script)
    source = AideckSource(AideckOptions(url=deck.url))
    source.open()
    try:
        assert len(read_frames(source, 1)) == 1
        with pytest.raises(SourceError, match="closed the connection"):
            source.read(PATIENCE_S)
    finally:
        source.close()


def test_something_else_on_that_port_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        source = AideckSource(AideckOptions(url=url))
        source.open()
        connection, _ = server.accept()
        with connection:
            connection.sendall(b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n")
            with pytest.raises(SourceError, match="no CPX"):
                source.read(PATIENCE_S)
        source.close()


def test_torn_images_are_dropped_and_counted(start_deck: StartDeck) -> None:
    lossy: list[CpxPacket] = []
    for number in range(12):
        packets = raw_packets(picture(number))
        if number % 3 == 1:
            del packets[2]
        lossy += packets
    deck = start_deck(LengthConvention.BITCRAZE, sending(*lossy))
    source = AideckSource(AideckOptions(url=deck.url))
    source.open()
    try:
        wait_until(lambda: source.statistics.images == 8)
        frame = source.read(PATIENCE_S)
        assert frame is not None
        statistics = source.statistics
    finally:
        source.close()
    assert (statistics.torn, statistics.replaced) == (4, 7)
    assert frame.sequence == 11
    assert np.array_equal(frame.image, picture(11)), "not the newest"


def test_what_cannot_be_decoded_is_dropped_and_counted(start_deck: StartDeck) -> None:
    pytest.importorskip("cv2", reason="OpenCV is not installed (extra 'camera')")
    content = b"\xff\xd8\xff" + b"nothing of the kind" * 9 + b"\xff\xd9"
    header = struct.pack("<BHHBBI", 0xBC, WIDTH, HEIGHT, 1, 1, len(content))
    bad = [to_host(CpxFunction.APP, part) for part in (header, content)]
    go_on = threading.Event()

    def script(send: Send) -> None:
        for packet in bad:
            send(packet)
        go_on.wait(PATIENCE_S)
        for packet in jpeg_packets(picture(1)):
            send(packet)
        for_ever(send)

    deck = start_deck(LengthConvention.BITCRAZE, script)
    source = AideckSource(AideckOptions(url=deck.url, convention="bitcraze"))
    source.open()
    try:
        assert source.read(0.3) is None
        go_on.set()
        (frame,) = read_frames(source, 1)
        assert frame.sequence == 1
        assert source.statistics.refused == 1
    finally:
        source.close()


def test_sequence_numbers_and_times_come_from_the_deck(start_deck: StartDeck) -> None:
    """Ids go on over 255, one image never arrives, and the radio delays one by 60 ms."""
    sent = [(254, 0), (255, 20), (1, 60), (2, 80)]
    arrived = threading.Semaphore(0)

    def script(send: Send) -> None:
        start = time.monotonic()
        for frame_id, at_ms in sent:
            late_ms = 60 if frame_id == 255 else 0
            time.sleep(max(0.0, start + (at_ms + late_ms) / 1000 - time.monotonic()))
            stamp_us = 2**32 - 30_000 + at_ms * 1000
            for packet in nanocockpit_packets(picture(frame_id), frame_id, stamp_us):
                send(packet)
            arrived.acquire(timeout=PATIENCE_S)
        for_ever(send)

    deck = start_deck(LengthConvention.NANOCOCKPIT, script)
    source = AideckSource(AideckOptions(url=deck.url, convention="nanocockpit"))
    source.open()
    frames = []
    try:
        for _ in sent:
            frames += read_frames(source, 1)
            arrived.release()
    finally:
        source.close()
    assert [frame.sequence - frames[0].sequence for frame in frames] == [0, 1, 3, 4]
    first = frames[0].capture_time_ns
    # The stamps say 20 ms, whatever the arrival; joined to the host's clock within drift and the
    # first image's own delay on a busy machine, which later ones can only shorten.
    assert frames[1].capture_time_ns - first <= 20_100_000


# --- the assembler on its own ---


def feed(assembler: ImageAssembler, packets: list[CpxPacket]) -> list[bytes]:
    found = (assembler.feed(packet.data) for packet in packets)
    return [image.content for image in found if image is not None]


def flat(number: int) -> Image:
    return np.full((HEIGHT, WIDTH), number, np.uint8)


@given(st.sets(st.integers(0, 4), min_size=1), st.integers(0, 2))
def test_losing_packets_of_one_raw_image_loses_that_image_only(lost: set[int], which: int) -> None:
    images = [raw_packets(flat(number)) for number in (1, 2, 3)]
    assert len(images[which]) == 5
    images[which] = [p for index, p in enumerate(images[which]) if index not in lost]
    assembler = ImageAssembler()
    found = feed(assembler, [packet for packets in images for packet in packets])
    whole = [flat(n).tobytes() for n in (1, 2, 3) if n - 1 != which]
    # Losing the end of an image that a whole one follows is noticed at the next header; losing the
    # beginning of the next one as well would cost both.
    assert found == whole
    assert assembler.torn + assembler.stray > 0 or which == 2 or len(lost) == 5


@given(st.integers(1, 4), st.integers(0, 3))
def test_the_end_of_one_image_and_the_beginning_of_the_next_are_not_joined(
    kept: int, gone: int
) -> None:
    first, second, third = (raw_packets(flat(number)) for number in (1, 2, 3))
    assembler = ImageAssembler()
    # A gap that swallows exactly one image's worth cannot be told from none.
    if gone == kept - 1:
        gone += 1
    found = feed(assembler, first[:kept] + second[1 + gone :] + third)
    assert found == [flat(3).tobytes()]


def test_a_hole_in_one_image_is_not_filled_from_the_next() -> None:
    """The sizes would add up: one packet of the first lost, all but one of the second."""
    first, second, third = (raw_packets(flat(number)) for number in (1, 2, 3))
    assembler = ImageAssembler()
    assert feed(assembler, first[:2] + first[3:] + second[2:3] + third) == [flat(3).tobytes()]
    assert assembler.torn == 1


def jpeg_of(number: int, *sizes: int) -> list[CpxPacket]:
    """Packets of the given sizes that begin and end like a JPEG."""
    content = b"\xff\xd8\xff" + bytes([number]) * (sum(sizes) - 5) + b"\xff\xd9"
    header = pack_header(ImageHeader(WIDTH, HEIGHT, Encoding.JPEG, len(content)))
    parts, at = [header], 0
    for size in sizes:
        parts.append(content[at : at + size])
        at += size
    return [to_host(CpxFunction.APP, part) for part in parts]


@pytest.mark.parametrize(
    ("first", "kept_of_first", "second", "kept_of_second"),
    [
        # tables and remainder of one, full packets and footer of the other
        ((300, 200, 200, 200, 50, 2), (0, 1, 5), (300, 200, 200, 200, 80, 2), (2, 3, 4, 6)),
        # beginning of one, tables and end of the other
        ((150, 200, 200, 200, 50, 2), (0, 1, 2, 3), (150, 200, 200, 200, 100, 2), (1, 5, 6)),
        # no beginning at all: the end of the second makes up for the first one's tables
        ((100, 100, 100, 100, 100, 2), (0, 2, 3, 4, 5), (100, 100, 2), (2, 3)),
    ],
)
def test_jpegs_whose_parts_would_add_up_are_not_joined(
    first: tuple[int, ...],
    kept_of_first: tuple[int, ...],
    second: tuple[int, ...],
    kept_of_second: tuple[int, ...],
) -> None:
    one, other = jpeg_of(1, *first), jpeg_of(2, *second)
    kept = [one[index] for index in kept_of_first] + [other[index] for index in kept_of_second]
    assert sum(len(packet.data) for packet in kept[1:]) == sum(first)
    assert feed(ImageAssembler(), kept) == []
    assert len(feed(ImageAssembler(), one + other)) == 2


def test_a_jpeg_without_its_end_is_torn() -> None:
    packets = jpeg_of(1, 300, 200, 2)
    packets[-1] = to_host(CpxFunction.APP, b"\x01\x01")
    assembler = ImageAssembler()
    assert feed(assembler, packets) == []
    assert assembler.torn == 1


@given(st.data())
def test_jpegs_with_lost_packets_are_never_delivered(data: st.DataObject) -> None:
    images = [jpeg_packets(picture(number), chunk=200) for number in range(3)]
    contents = [b"".join(p.data for p in packets[1:]) for packets in images]
    # No two images end in the same place of a packet: a mixture has nobody's size.
    assert len({len(packets[-2].data) for packets in images}) == 3
    packets = [packet for image in images for packet in image]
    lost = data.draw(st.sets(st.integers(0, len(packets) - 1)))
    assembler = ImageAssembler()
    found = feed(assembler, [p for index, p in enumerate(packets) if index not in lost])
    assert set(found) <= set(contents)


def test_bytes_of_a_header() -> None:
    header = ImageHeader(324, 244, Encoding.RAW, 324 * 244)
    content = b"\xbc\x44\x01\xf4\x00\x01\x00\xd0\x34\x01\x00"
    assert pack_header(header) == content
    assert unpack_header(content) == header
    assert unpack_header(content + bytes(14)) == header


@pytest.mark.parametrize(
    "wrong",
    [
        replace(ImageHeader(324, 244, Encoding.RAW, 324 * 244), size=1),
        ImageHeader(0, 244, Encoding.RAW, 0),
        ImageHeader(2000, 2000, Encoding.RAW, 4_000_000),
        ImageHeader(324, 244, Encoding.JPEG, 4_000_000),
        ImageHeader(324, 244, Encoding.JPEG, 2),
    ],
)
def test_a_header_that_makes_no_sense_is_none(wrong: ImageHeader) -> None:
    assert unpack_header(pack_header(wrong)) is None


@given(st.lists(st.binary(max_size=30), max_size=20))
def test_nonsense_raises_nothing(packets: list[bytes]) -> None:
    assembler = ImageAssembler()
    for data in packets:
        assembler.feed(data)
    found = feed(assembler, raw_packets(picture(1)) + raw_packets(picture(2)))
    assert picture(2).tobytes() in found


# --- the clocks ---

MS = 1_000_000


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 80), min_size=2, max_size=60))
def test_times_are_the_decks_own_whatever_the_radio_delays(start: int, delays: list[int]) -> None:
    clock = StampClock()
    captured = [index * 33 * MS for index in range(len(delays))]
    arrivals = [c + d * MS for c, d in zip(captured, delays, strict=True)]
    best = None
    for capture, arrival in zip(captured, arrivals, strict=True):
        found = clock.time_ns((start + capture // 1000) % 2**32, arrival)
        assert found <= arrival
        delay = arrival - capture
        best = delay if best is None else min(best, delay)
        # Late by the smallest delay so far, which drift lets grow by 0.2 ms a second.
        assert best - 1 <= found - capture <= best + capture * 2e-4 + 1


def test_what_a_stall_held_up_is_known_to_be_old() -> None:
    clock = StampClock()
    for index in range(10):
        clock.time_ns(index * 33_000, index * 33 * MS)
    # 3 s of silence; then what had been under way comes at once.
    for index in range(10, 15):
        found = clock.time_ns(index * 33_000, 3_330 * MS)
        assert abs(found - index * 33 * MS) < MS
    fresh = clock.time_ns(3_340_000, 3_340 * MS)
    assert abs(fresh - 3_340 * MS) < 2 * MS


@pytest.mark.parametrize("after_us", [0, 500_000, 9_000_000])
def test_a_deck_that_was_reset_is_believed_again(after_us: int) -> None:
    clock = StampClock()
    for index in range(100):
        clock.time_ns(5_000_000 + index * 33_000, index * 33 * MS)
    found = [
        (clock.time_ns(after_us + index * 33_000, (20_000 + index * 33) * MS), index)
        for index in range(200)
    ]
    last, index = found[-1]
    assert abs(last - (20_000 + index * 33) * MS) < 10 * MS
