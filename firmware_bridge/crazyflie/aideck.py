"""The AI-deck as a source: images over CPX, by Bitcraze's streamer or NanoCockpit's.

Which of the two streams, and what the length field means, is found out from what comes. The newest
whole image wins; torn ones are dropped and counted.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from typing import Final, Literal

import msgspec
import numpy as np

from gearshift.firmware_bridge.crazyflie.aideck_clock import StampClock
from gearshift.firmware_bridge.crazyflie.aideck_stream import EncodedImage, Encoding, ImageAssembler
from gearshift.firmware_bridge.crazyflie.cpx import CpxFunction, CpxPacket, CpxTarget
from gearshift.firmware_bridge.crazyflie.cpx_link import UART_BAUD, CpxLink, LinkStatistics
from gearshift.firmware_bridge.crazyflie.cpx_tcp import LengthConvention
from gearshift.firmware_bridge.crazyflie.nanocockpit_streamer import (
    BufferAssembler,
    BufferType,
    StreamedBuffer,
    StreamedImage,
    unpack_image,
)
from gearshift.runtime.errors import FrameError, LinkError, MissingExtraError, SourceError
from gearshift.runtime.files.opencv import load_opencv, to_grey
from gearshift.runtime.sources.source import SourcePlugin
from gearshift.runtime.types import Camera, Frame, Image

_log = logging.getLogger(__name__)

SOURCE_NAME: Final = "aideck"
_FRAME_IDS: Final = 256


class AideckOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Keys of a flight's [source] of kind "aideck".

    url: `tcp://HOST[:PORT]`, or a serial device. convention: what the length field of CPX over TCP
    counts; "auto" finds out. sensor: "bayer" for the AI-deck with a colour camera, whose raw images
    are the colour filter's mosaic. baud: of a serial line.
    """

    url: str = "tcp://192.168.4.1:5000"
    convention: Literal["auto", "bitcraze", "nanocockpit"] = "auto"
    sensor: Literal["grey", "bayer"] = "grey"
    baud: int = UART_BAUD


@dataclass(frozen=True, slots=True)
class AideckStatistics:
    """What came since the source was opened.

    images: whole ones. torn: images of which a part was lost. refused: whole ones that could not be
    decoded. replaced: whole ones that a newer one overtook before they were read.
    """

    images: int
    torn: int
    refused: int
    replaced: int
    link: LinkStatistics


class AideckSource:
    """Frames of an AI-deck; see `gearshift.runtime.sources.source.Source`.

    Capture times are the deck's own stamps brought to the host's clock where it sends any
    (NanoCockpit), else the arrival of the image's first packet. Sequence numbers skip what was lost
    on the way.
    """

    camera: Camera | None = None
    live = True
    rate_hz: float | None = None

    def __init__(self, options: AideckOptions) -> None:
        convention = options.convention
        self._options = options
        self._link = CpxLink(
            options.url,
            baud=options.baud,
            convention=None if convention == "auto" else LengthConvention(convention),
            deliver=self._take,
            reconnect=False,
        )
        self._arrived = threading.Condition()
        self._waiting: EncodedImage | StreamedBuffer | None = None
        self._sequence = self._last_number = -1
        self._last_ns = 0
        self._reset()

    def open(self) -> None:
        """See `Source.open`."""
        self._reset()
        try:
            self._link.open()
        except LinkError as error:
            raise SourceError(str(error)) from error

    def close(self) -> None:
        """See `Source.close`."""
        self._link.close()
        self._waiting = None

    @property
    def statistics(self) -> AideckStatistics:
        """What came since the source was opened."""
        with self._arrived:
            return AideckStatistics(
                images=self._images,
                torn=self._bitcraze.torn + self._nanocockpit.torn + self._nanocockpit.corrupt,
                refused=self._refused,
                replaced=self._replaced,
                link=self._link.statistics,
            )

    def read(self, timeout_s: float) -> Frame | None:
        """See `Source.read`."""
        deadline = time.monotonic() + timeout_s
        while True:
            encoded = self._wait(deadline)
            if encoded is None:
                return None
            try:
                return self._decode(encoded)
            except (FrameError, ValueError) as error:
                if self._refused == 0:
                    _log.warning("%s: image dropped: %s", self._options.url, error)
                self._refused += 1
            except MissingExtraError as error:
                raise SourceError(str(error)) from error

    def _wait(self, deadline: float) -> EncodedImage | StreamedBuffer | None:
        with self._arrived:
            while self._waiting is None:
                try:
                    self._link.check()
                except LinkError as error:
                    raise SourceError(str(error)) from error
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                # The link wakes nobody here when it fails, so look again from time to time.
                self._arrived.wait(min(left, 0.05))
            encoded, self._waiting = self._waiting, None
            return encoded

    def _take(self, packet: CpxPacket, arrived_ns: int) -> None:
        """Called by the link's thread with every packet."""
        if packet.destination is not CpxTarget.HOST:
            return
        with self._arrived:
            whole: EncodedImage | StreamedBuffer | None = None
            if packet.function == CpxFunction.APP:
                whole = self._bitcraze.feed(packet.data, arrived_ns)
            elif packet.function == CpxFunction.STREAMER:
                whole = self._nanocockpit.feed(packet, arrived_ns)
                if whole is not None and whole.type != BufferType.IMAGE:
                    whole = None
            if whole is None:
                return
            self._images += 1
            self._replaced += self._waiting is not None
            self._waiting = whole
            self._arrived.notify_all()

    def _decode(self, encoded: EncodedImage | StreamedBuffer) -> Frame:
        if isinstance(encoded, StreamedBuffer):
            streamed = unpack_image(encoded.content)
            image = streamed.image.copy()
            capture_ns = self._clock.time_ns(streamed.frame_time_us, encoded.begun_ns)
            self._sequence += self._passed(streamed)
        else:
            image = self._grey(encoded)
            capture_ns = encoded.begun_ns
            self._sequence += encoded.number - self._last_number
            self._last_number = encoded.number
        # A better join of the clocks may move them back, but frames stay in order.
        self._last_ns = max(capture_ns, self._last_ns + 1)
        return Frame(image, self._last_ns, self._sequence, SOURCE_NAME, self.camera)

    def _passed(self, streamed: StreamedImage) -> int:
        """By how many frames the deck's counter, of 8 bits, has gone on."""
        last, self._last_number = self._last_number, streamed.frame_id
        return 1 if last < 0 else (streamed.frame_id - last - 1) % _FRAME_IDS + 1

    def _grey(self, encoded: EncodedImage) -> Image:
        header = encoded.header
        shape = (header.height, header.width)
        pixels = np.frombuffer(encoded.content, np.uint8)
        if header.encoding is Encoding.JPEG:
            cv2 = load_opencv()
            image = cv2.imdecode(pixels, cv2.IMREAD_GRAYSCALE)
            if image is None or image.shape != shape:
                raise FrameError(f"{len(pixels)} bytes are no JPEG of {shape[1]}x{shape[0]}")
            return to_grey(image, SOURCE_NAME)
        if self._options.sensor == "bayer":
            cv2 = load_opencv()
            return np.asarray(cv2.cvtColor(pixels.reshape(shape), cv2.COLOR_BayerBG2GRAY))
        return pixels.reshape(shape).copy()

    def _reset(self) -> None:
        self._bitcraze = ImageAssembler()
        self._nanocockpit = BufferAssembler()
        self._clock = StampClock()
        self._waiting = None
        self._last_number = -1
        self._images = self._refused = self._replaced = 0


def make_source(options: AideckOptions) -> AideckSource:
    """The deck as a source that is not yet open; raises ConfigurationError for a wrong URL."""
    return AideckSource(options)


PLUGIN = SourcePlugin("the camera of a Crazyflie AI-deck over CPX", AideckOptions, make_source)
