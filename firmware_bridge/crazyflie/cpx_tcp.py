"""CPX over TCP, whose length field means two things.

Bitcraze's firmware counts header and data, NanoCockpit's the data alone; nothing in the stream says
which. Read under the wrong one, the second packet already begins in the middle of something, so a
few packets tell them apart.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from gearshift.firmware_bridge.crazyflie.cpx import (
    HEADER_BYTES,
    CpxFunction,
    CpxPacket,
    CpxTarget,
    pack_header,
    unpack,
)
from gearshift.runtime.errors import LinkError

_LENGTH: Final = struct.Struct("<H")
_FUNCTIONS: Final = frozenset(CpxFunction)
UNDECIDED_BYTES: Final = 65_536
"""How much of a stream may be read without knowing what its lengths mean."""


class LengthConvention(StrEnum):
    """What the length field of CPX over TCP counts."""

    BITCRAZE = "bitcraze"
    """Header and data."""
    NANOCOCKPIT = "nanocockpit"
    """The data alone."""

    @property
    def max_data(self) -> int:
        """Bytes of data that one packet may hold."""
        return 1020 if self is LengthConvention.BITCRAZE else 4088

    def data_length(self, length: int) -> int:
        """Bytes of data behind a length field; negative or above `max_data`: it is none."""
        return length - HEADER_BYTES if self is LengthConvention.BITCRAZE else length


# A MTU of 1022 is counted with or without the header, depending on the firmware's version.
_LENIENCY: Final = HEADER_BYTES


def encode_tcp(packet: CpxPacket, convention: LengthConvention) -> bytes:
    """The packet as bytes for the stream; raises LinkError when it holds too much data."""
    count = len(packet.data)
    if count > convention.max_data:
        raise LinkError(
            f"a CPX packet over TCP ({convention}) holds {convention.max_data} bytes, not {count}"
        )
    length = count + HEADER_BYTES if convention is LengthConvention.BITCRAZE else count
    return _LENGTH.pack(length) + pack_header(packet) + packet.data


@dataclass(slots=True)
class _Reading:
    """One convention's reading of the bytes: where it is, what it found, whether it makes sense."""

    convention: LengthConvention
    position: int = 0
    packets: list[CpxPacket] = field(default_factory=list)
    sane: bool = True


class TcpParser:
    """Bytes of a TCP stream to packets.

    convention: None to find out. Until that is known (two packets are mostly enough) nothing is
    delivered and the bytes are kept, at most 64 KiB.
    """

    def __init__(self, convention: LengthConvention | None = None) -> None:
        self.convention = convention
        self._buffer = bytearray()
        conventions = LengthConvention if convention is None else (convention,)
        self._readings = [_Reading(each) for each in conventions]

    def feed(self, data: bytes) -> list[CpxPacket]:
        """The packets that the bytes complete, in order.

        Raises LinkError when they are no CPX: a stream has no garbage to skip, so the connection is
        of no more use.
        """
        self._buffer += data
        for reading in self._readings:
            self._read_on(reading)
        if self.convention is None:
            self._decide()
        if self.convention is None:
            return []
        reading = self._readings[0]
        if not reading.sane:
            wrong = bytes(self._buffer[reading.position : reading.position + 8])
            raise LinkError(
                f"the TCP stream is no CPX of the {self.convention} convention at "
                f"{wrong.hex(' ')}; the other length convention, or another port?"
            )
        del self._buffer[: reading.position]
        self._readings = [_Reading(self.convention)]
        return reading.packets

    def _decide(self) -> None:
        sane = [reading for reading in self._readings if reading.sane]
        if not sane:
            raise LinkError(
                "the TCP stream is no CPX of either length convention, beginning with "
                f"{bytes(self._buffer[:8]).hex(' ')}"
            )
        if len(sane) == 1 and sane[0].packets:
            self.convention = sane[0].convention
            self._readings = sane
        elif len(self._buffer) > UNDECIDED_BYTES:
            raise LinkError("cannot tell the length convention of the CPX stream: name it")

    def _read_on(self, reading: _Reading) -> None:
        buffer = self._buffer
        while reading.sane and len(buffer) - reading.position >= _LENGTH.size + HEADER_BYTES:
            (length,) = _LENGTH.unpack_from(buffer, reading.position)
            count = reading.convention.data_length(length)
            begin = reading.position + _LENGTH.size
            header = unpack(bytes(buffer[begin : begin + HEADER_BYTES]))
            fits = 0 <= count <= reading.convention.max_data + _LENIENCY
            # While the convention is not known, only what a deck sends to a host counts as sane.
            if not fits or header is None or (self.convention is None and not _to_host(header)):
                reading.sane = False
                return
            end = begin + HEADER_BYTES + count
            if len(buffer) < end:
                return
            reading.packets.append(replace(header, data=bytes(buffer[begin + HEADER_BYTES : end])))
            reading.position = end


def _to_host(packet: CpxPacket) -> bool:
    return packet.destination is CpxTarget.HOST and packet.function in _FUNCTIONS
