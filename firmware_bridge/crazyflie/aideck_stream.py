"""Images of Bitcraze's AI-deck streamer: a header packet, then packets of pixels or JPEG.

Source of the format: Bitcraze's wifi-img-streamer. There is neither a checksum nor a frame number,
and the radio drops packets when it cannot keep up. What gives a torn image away is that a header
comes too early, that bytes are left over, that packets have not the sizes of one image cut into
pieces, or that a JPEG does not begin and end as one. What nothing gives away is a gap that swallows
exactly one image's worth of packets, header included; JPEGs hardly ever have the same size.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

MAGIC: Final = 0xBC
_HEADER: Final = struct.Struct("<BHHBBI")
HEADER_BYTES: Final = _HEADER.size
_WITH_STATE: Final = HEADER_BYTES + 14
"""A later streamer appends a time stamp and the Crazyflie's state."""
MAX_SIDE: Final = 1024
_JPEG_START: Final = b"\xff\xd8\xff"
_JPEG_END: Final = b"\xff\xd9"
_FOOTER_BYTES: Final = 10
"""The end of a JPEG may come in a packet of its own, at most so large."""


class Encoding(IntEnum):
    """What the bytes of an image are."""

    RAW = 0
    """One byte per pixel: grey, or the colour filter's mosaic."""
    JPEG = 1


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What comes before an image. size: bytes of the image."""

    width: int
    height: int
    encoding: Encoding
    size: int


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """An image that arrived whole. number: of its header, counted from 0, torn ones included."""

    header: ImageHeader
    content: bytes
    begun_ns: int
    number: int


def pack_header(header: ImageHeader) -> bytes:
    """The 11 bytes before an image."""
    return _HEADER.pack(MAGIC, header.width, header.height, 1, header.encoding, header.size)


def unpack_header(data: bytes) -> ImageHeader | None:
    """The header in a packet; None when it holds none that makes sense."""
    if len(data) not in (HEADER_BYTES, _WITH_STATE) or data[0] != MAGIC:
        return None
    _, width, height, depth, encoding, size = _HEADER.unpack_from(data)
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE and depth == 1):
        return None
    if encoding == Encoding.RAW:
        fits = size == width * height
    else:
        # No encoder makes noise larger than this; it bounds what is kept of nonsense.
        fits = encoding == Encoding.JPEG and 4 < size <= 2 * width * height + 1024
    return ImageHeader(width, height, Encoding(encoding), size) if fits else None


class ImageAssembler:
    """The data of packets of function APP to whole images.

    torn: images of which a part never came, or did not belong. stray: packets without a header, as
    when joining in the middle.
    """

    def __init__(self) -> None:
        self.torn = 0
        self.stray = 0
        self._headers = 0
        self._header: ImageHeader | None = None
        self._content = bytearray()
        self._packet_bytes = 0
        self._begun_ns = 0

    @property
    def in_progress(self) -> bool:
        """Whether an image has begun and not ended."""
        return self._header is not None

    def feed(self, data: bytes, arrived_ns: int = 0) -> EncodedImage | None:
        """The image that the data of a packet complete."""
        if not data:
            return None  # sent after an image whose size is a multiple of the packet's
        header = unpack_header(data)
        if header is not None and (self._header is None or self._is_next(header)):
            self.abandon()
            self._header = header
            self._headers += 1
            self._content.clear()
            self._packet_bytes = 0
            self._begun_ns = arrived_ns
        elif self._header is None:
            self.stray += 1
        elif self._add(self._header, data):
            return self._finish(self._header)
        return None

    def abandon(self) -> None:
        """Give up the image in progress, if any: it counts as torn."""
        if self._header is not None:
            self.torn += 1
            self._header = None

    def _is_next(self, header: ImageHeader) -> bool:
        """Whether what looks like a header in the middle of an image is one: of the same camera."""
        now = self._header
        return now is not None and (now.width, now.height) == (header.width, header.height)

    def _add(self, header: ImageHeader, data: bytes) -> bool:
        """Append; whether the image is complete."""
        first = not self._content
        self._content += data
        complete = len(self._content) == header.size
        wrong = len(self._content) > header.size
        if header.encoding is Encoding.JPEG:
            # Within a JPEG these three bytes cannot occur: another one has begun.
            wrong = wrong or data.startswith(_JPEG_START) != first
            # The tables come first; what follows fills packets of one size, then a smaller one.
            grows = len(data) > self._packet_bytes > 0 and len(data) > _FOOTER_BYTES
            wrong = wrong or (grows and not first)
            self._packet_bytes = 0 if first else len(data)
        else:
            self._packet_bytes = self._packet_bytes or len(data)
            wrong = wrong or (len(data) != self._packet_bytes and not complete)
        if wrong:
            self.abandon()
        return complete and not wrong

    def _finish(self, header: ImageHeader) -> EncodedImage | None:
        content = bytes(self._content)
        if header.encoding is Encoding.JPEG and not content.rstrip(b"\0").endswith(_JPEG_END):
            self.abandon()
            return None
        self._header = None
        return EncodedImage(header, content, self._begun_ns, self._headers - 1)
