"""The bridge protocol's frames as bytes; docs/protocol.md specifies them.

Nothing here waits, retries or remembers: that is `channel`'s.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from gearshift.firmware_bridge.line import cobs

ANSWER: Final = 0x80
"""Added to a command's type in its answer."""
MAX_FRAME: Final = 1 << 16
"""Bytes between two delimiters; a line of garbage without a zero must not fill the memory."""

_HEADER: Final = struct.Struct("<BBHIH")
_CRC: Final = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Message:
    """A frame: type is a `Type`, plus `ANSWER` in an answer; status a `Status` there."""

    type: int
    sequence: int
    session: int
    payload: bytes
    status: int = 0


def to_line(message: Message) -> bytes:
    """The bytes of a frame, its delimiter behind it."""
    body = (
        _HEADER.pack(
            message.type,
            message.status,
            message.sequence,
            message.session,
            len(message.payload),
        )
        + message.payload
    )
    return cobs.encode(body + _CRC.pack(zlib.crc32(body))) + b"\0"


@dataclass(slots=True)
class ParserCounts:
    """What a parser met: whole frames, and those dropped for their COBS, CRC or length."""

    good: int = 0
    bad_cobs: int = 0
    bad_crc: int = 0
    bad_length: int = 0
    too_long: int = 0

    @property
    def dropped(self) -> int:
        """Frames that were no frames."""
        return self.bad_cobs + self.bad_crc + self.bad_length + self.too_long


@dataclass(slots=True)
class Parser:
    """Takes bytes off the line in any portions and gives whole, intact frames."""

    counts: ParserCounts = field(default_factory=ParserCounts)
    _rest: bytearray = field(default_factory=bytearray)
    _overlong: bool = False

    def feed(self, data: bytes) -> Iterator[Message]:
        """The frames that end in `data`."""
        self._rest += data
        if b"\0" not in data:
            self._limit()
            return
        *whole, rest = bytes(self._rest).split(b"\0")
        self._rest = bytearray(rest)
        for encoded in whole:
            if self._overlong or len(encoded) > MAX_FRAME:
                self._overlong = False
                self.counts.too_long += 1
            elif encoded:
                message = self._open(encoded)
                if message is not None:
                    yield message
        self._limit()

    def _limit(self) -> None:
        if len(self._rest) > MAX_FRAME:
            self._overlong = True
            self._rest.clear()

    def _open(self, encoded: bytes) -> Message | None:
        frame = cobs.decode(encoded)
        if frame is None:
            self.counts.bad_cobs += 1
            return None
        if len(frame) < _HEADER.size + _CRC.size:
            self.counts.bad_length += 1
            return None
        body = frame[: -_CRC.size]
        if _CRC.unpack_from(frame, len(body))[0] != zlib.crc32(body):
            self.counts.bad_crc += 1
            return None
        type_, status, sequence, session, length = _HEADER.unpack_from(body)
        payload = body[_HEADER.size :]
        if length != len(payload):
            self.counts.bad_length += 1
            return None
        self.counts.good += 1
        return Message(type_, sequence, session, payload, status)
