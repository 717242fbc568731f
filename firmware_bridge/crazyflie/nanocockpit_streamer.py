"""NanoCockpit's streamer: buffers over CPX function 6, images with what the drone knew, replies.

Source of the formats: NanoCockpit's firmware and client. A buffer is one BEGIN packet (type, size,
CRC-32 or 0 for none, first bytes) and DATA packets; GAP8 pads the last one to a multiple of 4. The
deck drops packets when its radio cannot keep up, so a buffer may lack its middle: it is then torn
and never delivered.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

import numpy as np

from gearshift.firmware_bridge.crazyflie.cpx import CpxFunction, CpxPacket, CpxTarget
from gearshift.firmware_bridge.crazyflie.nanocockpit_uart import (
    STAMPED_BYTES,
    STATE_BYTES,
    TOF_BYTES,
    InferenceMessage,
    StateMessage,
    TofMessage,
    pack_stamped,
    pack_state,
    pack_tof,
    unpack_stamped,
    unpack_state,
    unpack_tof,
)
from gearshift.runtime.types import Image, Pose

METADATA_VERSION: Final = 10
MAX_BUFFER: Final = 1 << 18
"""More than an image of 324 x 324 pixels and all that comes with it."""
_BEGIN_COMMAND: Final = 0x10
_DATA_COMMAND: Final = 0x11
_BEGIN: Final = struct.Struct("<BBII2x")
_DATA: Final = struct.Struct("<B3x")
_HEAD: Final = struct.Struct("<BHHBBBII")
_REPLY: Final = struct.Struct("<IB")
_UINT32: Final = struct.Struct("<I")
_STAMPS: Final = struct.Struct("<II")
METADATA_BYTES: Final = (
    _HEAD.size + STATE_BYTES + _UINT32.size + TOF_BYTES + _STAMPS.size + STAMPED_BYTES
)
_PADDING: Final = 3


class BufferType(IntEnum):
    """What a buffer holds; other types are delivered with their number."""

    IMAGE = 0x01
    INFERENCE = 0xF0


@dataclass(frozen=True, slots=True)
class StreamedBuffer:
    """A buffer that arrived whole. begun_ns: when its first packet came, as told to `feed`."""

    type: int
    content: bytes
    begun_ns: int = field(default=0, compare=False)


class BufferAssembler:
    """Packets of the streamer to whole buffers.

    torn: buffers of which a part never came, or did not belong. corrupt: buffers with a wrong
    CRC-32. malformed: packets that are none of the streamer's.
    """

    def __init__(self) -> None:
        self.torn = 0
        self.corrupt = 0
        self.malformed = 0
        self._type = 0
        self._size = 0
        self._checksum = 0
        self._packet_bytes = 0
        self._begun_ns = 0
        self._content: bytearray | None = None

    @property
    def in_progress(self) -> bool:
        """Whether a buffer has begun and not ended."""
        return self._content is not None

    def feed(self, packet: CpxPacket, arrived_ns: int = 0) -> StreamedBuffer | None:
        """The buffer that the packet completes."""
        data = packet.data
        if len(data) >= _BEGIN.size and data[0] == _BEGIN_COMMAND:
            self._begin(data)
            self._begun_ns = arrived_ns
        elif len(data) >= _DATA.size and data[0] == _DATA_COMMAND:
            self._add(data[_DATA.size :], len(data))
        else:
            self.malformed += 1
            self.abandon()
        return self._finish()

    def abandon(self) -> None:
        """Give up the buffer in progress, if any: it counts as torn."""
        if self._content is not None:
            self.torn += 1
            self._content = None

    def _begin(self, data: bytes) -> None:
        self.abandon()
        _, self._type, self._size, self._checksum = _BEGIN.unpack_from(data)
        if not 0 < self._size <= MAX_BUFFER:
            self.malformed += 1
            return
        self._packet_bytes = len(data)
        self._content = bytearray()
        self._add(data[_BEGIN.size :], len(data))

    def _add(self, part: bytes, packet_bytes: int) -> None:
        if self._content is None:
            return  # the rest of a buffer that was given up, or joined in the middle
        left = self._size - len(self._content)
        if len(part) > left + _PADDING:
            self.abandon()
            return
        self._content += part[:left]
        # Without a CRC only the sizes tell that the end of one buffer and the beginning of the next
        # were lost: all packets but the last are as long as the first.
        unfinished = len(self._content) < self._size
        if unfinished and self._checksum == 0 and packet_bytes != self._packet_bytes:
            self.abandon()

    def _finish(self) -> StreamedBuffer | None:
        if self._content is None or len(self._content) < self._size:
            return None
        content, self._content = bytes(self._content), None
        # A CRC that comes out as 0 is sent as all ones, as 0 means none.
        if self._checksum and self._checksum != (zlib.crc32(content) or 0xFFFFFFFF):
            self.corrupt += 1
            return None
        return StreamedBuffer(self._type, content, self._begun_ns)


def packets_of(
    buffer: StreamedBuffer,
    *,
    source: CpxTarget,
    destination: CpxTarget,
    max_data: int,
    checksum: bool = True,
) -> Iterator[CpxPacket]:
    """The packets, each with at most max_data bytes, that carry a buffer; 0 < its size."""
    crc = (zlib.crc32(buffer.content) or 0xFFFFFFFF) if checksum else 0
    head = _BEGIN.pack(_BEGIN_COMMAND, buffer.type, len(buffer.content), crc)
    at = 0
    while at < len(buffer.content):
        part = buffer.content[at : at + max_data - len(head)]
        at += len(part)
        yield CpxPacket(source, destination, CpxFunction.STREAMER, head + part)
        head = _DATA.pack(_DATA_COMMAND)


@dataclass(frozen=True, slots=True, eq=False)
class StreamedImage:
    """An image of NanoCockpit's streamer.

    image: (height, width) uint8 grey. frame_id: the camera's counter, 8 bits. Times are GAP8's, in
    microseconds and 32 bits: end of the frame, arrival of the state and of the time-of-flight
    frame; reply: the frame that was answered last from off board, and when its answer came.
    inference: what GAP8's own network said last.
    """

    image: Image
    frame_id: int
    frame_time_us: int
    state_time_us: int
    state: StateMessage
    tof_time_us: int
    tof: TofMessage
    reply_frame_time_us: int
    reply_received_us: int
    inference: InferenceMessage


def unpack_image(content: bytes) -> StreamedImage:
    """The image in a buffer of type IMAGE.

    Raises ValueError when it is of another version, no 8-bit grey image, or of the wrong size.
    """
    if len(content) < METADATA_BYTES:
        raise ValueError(f"{len(content)} bytes hold no image metadata of {METADATA_BYTES}")
    version, width, height, depth, kind, frame_id, frame_us, state_us = _HEAD.unpack_from(content)
    if version != METADATA_VERSION:
        raise ValueError(f"image metadata of version {version}, not {METADATA_VERSION}")
    if (depth, kind) != (1, 0):
        raise ValueError(f"pixels of {depth} bytes and format {kind} are no 8-bit grey")
    pixels = np.frombuffer(content, np.uint8, offset=METADATA_BYTES)
    if not width * height == pixels.size > 0:
        raise ValueError(f"{pixels.size} pixels are no image of {width}x{height}")
    at = _HEAD.size
    state = unpack_state(content[at : at + STATE_BYTES])
    at += STATE_BYTES
    (tof_us,) = _UINT32.unpack_from(content, at)
    at += _UINT32.size
    tof = unpack_tof(content[at : at + TOF_BYTES])
    at += TOF_BYTES
    reply_frame_us, reply_received_us = _STAMPS.unpack_from(content, at)
    at += _STAMPS.size
    return StreamedImage(
        image=pixels.reshape(height, width),
        frame_id=frame_id,
        frame_time_us=frame_us,
        state_time_us=state_us,
        state=state,
        tof_time_us=tof_us,
        tof=tof,
        reply_frame_time_us=reply_frame_us,
        reply_received_us=reply_received_us,
        inference=unpack_stamped(content[at : at + STAMPED_BYTES]),
    )


def pack_image(image: StreamedImage) -> bytes:
    """The content of a buffer of type IMAGE."""
    height, width = image.image.shape
    return b"".join(
        (
            _HEAD.pack(
                METADATA_VERSION,
                width,
                height,
                1,
                0,
                image.frame_id,
                image.frame_time_us,
                image.state_time_us,
            ),
            pack_state(image.state),
            _UINT32.pack(image.tof_time_us),
            pack_tof(image.tof),
            _STAMPS.pack(image.reply_frame_time_us, image.reply_received_us),
            pack_stamped(image.inference),
            image.image.tobytes(),
        )
    )


def pack_reply(image: StreamedImage, pose: Pose | None) -> bytes:
    """The content of a buffer of type INFERENCE, 25 bytes: the answer to an image from off board.

    pose: what was seen, stamped with the state that came with the image; None: nothing, with which
    GAP8 still measures the round trip.
    """
    if pose is None:
        answer = InferenceMessage(0.0, 0.0, 0.0, 0.0, ticks=0)
    else:
        answer = InferenceMessage(pose.x, pose.y, pose.z, pose.phi, ticks=image.state.ticks)
    return _REPLY.pack(image.frame_time_us, image.frame_id) + pack_stamped(answer)


def unpack_reply(content: bytes) -> tuple[int, int, InferenceMessage]:
    """Frame time [us], frame id and inference of a reply; raises ValueError for another size."""
    if len(content) != _REPLY.size + STAMPED_BYTES:
        raise ValueError(f"a reply has {_REPLY.size + STAMPED_BYTES} bytes, not {len(content)}")
    frame_us, frame_id = _REPLY.unpack_from(content)
    return frame_us, frame_id, unpack_stamped(content[_REPLY.size :])
