"""Crazyflie packets (CPX): the header and the framing over a serial line.

Source of the formats: Bitcraze's CPX and the firmware of AI-deck and Crazyflie. A frame on the
line is 0xFF, length, header, data and the XOR of every byte before it; nothing is escaped, so a
parser that has lost its place tries every 0xFF. FF 00 is a clear-to-send: a receiver sends one
after each packet, a sender has one packet in flight.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum
from functools import reduce
from operator import xor
from typing import Final

from gearshift.runtime.errors import LinkError

CPX_VERSION: Final = 0
HEADER_BYTES: Final = 2
UART_START: Final = 0xFF
UART_MAX_LENGTH: Final = 100
"""Header and data of one frame on a serial line."""
UART_MAX_DATA: Final = UART_MAX_LENGTH - HEADER_BYTES
CLEAR_TO_SEND: Final = bytes((UART_START, 0))
_LAST: Final = 0x40
_RESERVED: Final = 0x80


class CpxTarget(IntEnum):
    """Who sends or receives a packet."""

    STM32 = 1
    ESP32 = 2
    HOST = 3
    GAP8 = 4


class CpxFunction(IntEnum):
    """What a packet is about; other numbers are delivered as they are."""

    SYSTEM = 0x01
    CONSOLE = 0x02
    CRTP = 0x03
    WIFI_CTRL = 0x04
    APP = 0x05
    STREAMER = 0x06
    """Of NanoCockpit."""
    TEST = 0x0E
    BOOTLOADER = 0x0F


@dataclass(frozen=True, slots=True)
class CpxPacket:
    """One packet. function: 0 to 63, a `CpxFunction` where known. last: it ends a message."""

    source: CpxTarget
    destination: CpxTarget
    function: int
    data: bytes = b""
    last: bool = True


class UartSignal(Enum):
    """What a serial line says apart from packets."""

    CLEAR_TO_SEND = "clear to send"


def pack_header(packet: CpxPacket) -> bytes:
    """The two bytes before the data; raises LinkError when the function is not 0 to 63."""
    if not 0 <= packet.function <= 0x3F:
        raise LinkError(f"CPX function {packet.function} is not 0 to 63")
    first = packet.destination | packet.source << 3 | (_LAST if packet.last else 0)
    return bytes((first, packet.function | CPX_VERSION << 6))


def unpack(content: bytes) -> CpxPacket | None:
    """Header and data as a packet; None for another version or a target that does not exist."""
    if len(content) < HEADER_BYTES:
        return None
    first, second = content[0], content[1]
    if first & _RESERVED or second >> 6 != CPX_VERSION:
        return None
    destination, source = first & 7, first >> 3 & 7
    if not (CpxTarget.STM32 <= destination <= CpxTarget.GAP8):
        return None
    if not (CpxTarget.STM32 <= source <= CpxTarget.GAP8):
        return None
    return CpxPacket(
        source=CpxTarget(source),
        destination=CpxTarget(destination),
        function=second & 0x3F,
        data=bytes(content[HEADER_BYTES:]),
        last=bool(first & _LAST),
    )


def encode_uart(packet: CpxPacket) -> bytes:
    """The packet as a frame for a serial line; raises LinkError above 98 bytes of data."""
    if len(packet.data) > UART_MAX_DATA:
        raise LinkError(
            f"a CPX packet on a serial line holds {UART_MAX_DATA} bytes, not {len(packet.data)}"
        )
    content = pack_header(packet) + packet.data
    frame = bytes((UART_START, len(content))) + content
    return frame + bytes((reduce(xor, frame),))


class UartParser:
    """Bytes of a serial line to packets and clear-to-sends, whatever comes between them.

    A packet is delivered only when its checksum is right and its header makes sense; after anything
    else the search goes on one byte later, so that a frame behind a false start is found. A false
    start may claim more bytes than will come while the sender waits for a clear-to-send: call
    `idle` when the line falls silent. Never holds more than one frame.

    checksum_errors: candidates for a frame whose checksum was wrong. discarded_bytes: all bytes
    that belonged to no delivered packet or clear-to-send.
    """

    def __init__(self) -> None:
        self.checksum_errors = 0
        self.discarded_bytes = 0
        self._buffer = bytearray()

    @property
    def pending(self) -> int:
        """Bytes of an unfinished frame."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[CpxPacket | UartSignal]:
        """What the bytes complete, in order."""
        self._buffer += data
        return self._scan()

    def idle(self) -> list[CpxPacket | UartSignal]:
        """Nothing came for a while: an unfinished frame was none. What was hidden behind it."""
        found: list[CpxPacket | UartSignal] = []
        while self._buffer:
            self._discard(1)
            found += self._scan()
        return found

    def _scan(self) -> list[CpxPacket | UartSignal]:
        found: list[CpxPacket | UartSignal] = []
        buffer = self._buffer
        while True:
            start = buffer.find(UART_START)
            self._discard(len(buffer) if start < 0 else start)
            if len(buffer) < 2:
                return found
            length = buffer[1]
            if length == 0:
                del buffer[:2]
                found.append(UartSignal.CLEAR_TO_SEND)
                continue
            if not HEADER_BYTES <= length <= UART_MAX_LENGTH:
                self._discard(1)
                continue
            end = 2 + length
            if len(buffer) <= end:
                return found
            if reduce(xor, buffer[:end]) != buffer[end]:
                self.checksum_errors += 1
                self._discard(1)
                continue
            packet = unpack(bytes(buffer[2:end]))
            if packet is None:
                self._discard(1)
                continue
            del buffer[: end + 1]
            found.append(packet)

    def _discard(self, count: int) -> None:
        self.discarded_bytes += count
        del self._buffer[:count]
