"""The messages of NanoCockpit's serial line between the Crazyflie (STM32) and the AI-deck (GAP8).

Source of the formats: NanoCockpit's firmware. Towards GAP8 every message is a tag, a payload and
the CRC-32 (zlib's) of both; towards STM32 it is a tag and a payload alone. Little-endian, 115 200
baud. Whatever stands between messages is skipped.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np

BAUD: Final = 115_200

STATE_TAG: Final = b"!STA"
ENTROPY_TAG: Final = b"!RNG"
TOF_TAG: Final = b"!TOF"
INFERENCE_TAG: Final = b"\x90\x19\x08\x31"
STAMPED_INFERENCE_TAG: Final = b"\x90\x19\x08\x32"

_STATE: Final = struct.Struct("<I9hI3h")
_ENTROPY: Final = struct.Struct("<I")
_TOF: Final = struct.Struct("<B3x64s")
_INFERENCE: Final = struct.Struct("<4f")
_STAMPED: Final = struct.Struct("<I4f")
_CRC: Final = struct.Struct("<I")
STATE_BYTES: Final = _STATE.size
TOF_BYTES: Final = _TOF.size
STAMPED_BYTES: Final = _STAMPED.size

_MAGNITUDE: Final = (1 << 9) - 1
_NEGATIVE: Final = 1 << 9
_SQRT_HALF: Final = np.sqrt(np.float32(0.5))

Vector: TypeAlias = tuple[int, int, int]
Quaternion: TypeAlias = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class StateMessage:
    """The Crazyflie's own estimate of its state.

    ticks: the STM32's clock, 1 kHz. position [mm], velocity [mm/s], acceleration [mm/s2]: x, y, z
    in the odometry frame. quaternion: compressed, see `attitude`. rates: roll, pitch, yaw [mrad/s].
    """

    ticks: int
    position: Vector
    velocity: Vector
    acceleration: Vector
    quaternion: int
    rates: Vector

    @property
    def attitude(self) -> Quaternion:
        """The quaternion as x, y, z, w."""
        return decompress_quaternion(self.quaternion)


@dataclass(frozen=True, slots=True)
class EntropyMessage:
    """Random bits from the STM32's generator."""

    entropy: int


@dataclass(frozen=True, slots=True)
class TofMessage:
    """A frame of the time-of-flight sensor.

    zones: how many are in use (16 or 64, 0 for none). data: 64 bytes, the unused ones meaningless.
    """

    zones: int
    data: bytes


@dataclass(frozen=True, slots=True)
class InferenceMessage:
    """What a network said: x, y, z [m], phi [rad] in the drone's yaw-levelled frame.

    ticks: the STM32's clock in the last state received before the image was taken, with which it
    finds the state that the pose is relative to; None for the message without it.
    """

    x: float
    y: float
    z: float
    phi: float
    ticks: int | None


Message: TypeAlias = StateMessage | EntropyMessage | TofMessage | InferenceMessage


def compress_quaternion(quaternion: Quaternion) -> int:
    """A unit quaternion x, y, z, w in 32 bits; raises ValueError when it is not one.

    Two bits tell the largest element, which is made positive; the other three follow in order, each
    a sign and 9 bits of magnitude in units of sqrt(1/2) / 511. Arithmetic in float32, as on board.
    """
    if not math.isclose(math.hypot(*quaternion), 1, abs_tol=1e-3):
        raise ValueError(f"{quaternion} is no unit quaternion")
    values = np.asarray(quaternion, np.float32)
    sizes = np.abs(values)
    largest = int(np.argmax(sizes))
    flip = bool(values[largest] < 0)
    packed = largest
    for index in range(4):
        if index != largest:
            scaled = np.float32(_MAGNITUDE) * (sizes[index] / _SQRT_HALF) + np.float32(0.5)
            sign = _NEGATIVE if bool(values[index] < 0) != flip else 0
            packed = packed << 10 | sign | min(int(scaled), _MAGNITUDE)
    return packed


def decompress_quaternion(packed: int) -> Quaternion:
    """32 bits as a unit quaternion x, y, z, w, its largest element positive.

    Bits that no quaternion is compressed to give the nearest unit quaternion, never a NaN.
    """
    largest = packed >> 30 & 3
    values = np.zeros(4, np.float32)
    for index in (3, 2, 1, 0):
        if index != largest:
            size = _SQRT_HALF * np.float32(packed & _MAGNITUDE) / np.float32(_MAGNITUDE)
            values[index] = -size if packed & _NEGATIVE else size
            packed >>= 10
    rest = np.float32(1) - np.sum(values * values, dtype=np.float32)
    values[largest] = np.sqrt(max(rest, np.float32(0)))
    if rest < 0:
        values /= np.sqrt(np.sum(values * values))
    x, y, z, w = values.tolist()
    return x, y, z, w


def pack_state(state: StateMessage) -> bytes:
    """The payload of a state, 32 bytes; raises struct.error when a number does not fit."""
    return _STATE.pack(
        state.ticks,
        *state.position,
        *state.velocity,
        *state.acceleration,
        state.quaternion,
        *state.rates,
    )


def unpack_state(payload: bytes) -> StateMessage:
    """The state in its 32 bytes."""
    ticks, px, py, pz, vx, vy, vz, ax, ay, az, quaternion, roll, pitch, yaw = _STATE.unpack(payload)
    return StateMessage(
        ticks, (px, py, pz), (vx, vy, vz), (ax, ay, az), quaternion, (roll, pitch, yaw)
    )


def pack_tof(tof: TofMessage) -> bytes:
    """The payload of a time-of-flight frame, 68 bytes."""
    return _TOF.pack(tof.zones, tof.data)


def unpack_tof(payload: bytes) -> TofMessage:
    """The time-of-flight frame in its 68 bytes."""
    return TofMessage(*_TOF.unpack(payload))


def pack_stamped(inference: InferenceMessage) -> bytes:
    """The payload of an inference with its ticks (0 where it has none), 20 bytes."""
    return _STAMPED.pack(inference.ticks or 0, inference.x, inference.y, inference.z, inference.phi)


def unpack_stamped(payload: bytes) -> InferenceMessage:
    """The inference in its 20 bytes."""
    ticks, x, y, z, phi = _STAMPED.unpack(payload)
    return InferenceMessage(x, y, z, phi, ticks)


def _unpack_entropy(payload: bytes) -> EntropyMessage:
    return EntropyMessage(*_ENTROPY.unpack(payload))


def _unpack_unstamped(payload: bytes) -> InferenceMessage:
    x, y, z, phi = _INFERENCE.unpack(payload)
    return InferenceMessage(x, y, z, phi, None)


def encode(message: Message) -> bytes:
    """A message as it goes over the line: tag, payload, and a CRC-32 towards GAP8.

    40 bytes for a state, 12 for entropy, 76 for a time-of-flight frame; 24 for an inference
    with ticks, 20 without.
    """
    match message:
        case InferenceMessage(ticks=None):
            pose = _INFERENCE.pack(message.x, message.y, message.z, message.phi)
            return INFERENCE_TAG + pose
        case InferenceMessage():
            return STAMPED_INFERENCE_TAG + pack_stamped(message)
        case StateMessage():
            content = STATE_TAG + pack_state(message)
        case EntropyMessage():
            content = ENTROPY_TAG + _ENTROPY.pack(message.entropy)
        case TofMessage():
            content = TOF_TAG + pack_tof(message)
    return content + _CRC.pack(zlib.crc32(content))


@dataclass(frozen=True, slots=True)
class _Kind:
    """How the payload behind a tag is read, and whether a CRC-32 follows it."""

    size: int
    unpack: Callable[[bytes], Message]
    checked: bool


TO_GAP8: Final[Mapping[bytes, _Kind]] = {
    STATE_TAG: _Kind(_STATE.size, unpack_state, True),
    ENTROPY_TAG: _Kind(_ENTROPY.size, _unpack_entropy, True),
    TOF_TAG: _Kind(_TOF.size, unpack_tof, True),
}
"""What the STM32 sends."""

TO_STM32: Final[Mapping[bytes, _Kind]] = {
    STAMPED_INFERENCE_TAG: _Kind(_STAMPED.size, unpack_stamped, False),
    INFERENCE_TAG: _Kind(_INFERENCE.size, _unpack_unstamped, False),
}
"""What GAP8, or whoever stands in for it, sends."""


class MessageParser:
    """Bytes of the line in one direction (`TO_GAP8` or `TO_STM32`) to messages.

    A message with a wrong CRC, or an inference that is not finite, is never delivered; the search
    goes on one byte later. Never holds more than one message.

    errors: tags whose message was refused. discarded_bytes: bytes of no delivered message.
    """

    def __init__(self, kinds: Mapping[bytes, _Kind]) -> None:
        self.errors = 0
        self.discarded_bytes = 0
        self._kinds = kinds
        self._buffer = bytearray()

    @property
    def pending(self) -> int:
        """Bytes of an unfinished message."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[Message]:
        """The messages that the bytes complete, in order."""
        self._buffer += data
        return self._scan()

    def idle(self) -> list[Message]:
        """The line fell silent: an unfinished message was none. What was hidden behind it."""
        found: list[Message] = []
        while self._buffer:
            self._discard(1)
            found += self._scan()
        return found

    def _scan(self) -> list[Message]:
        found: list[Message] = []
        buffer = self._buffer
        while buffer:
            tag = bytes(buffer[:4])
            kind = self._kinds.get(tag)
            if kind is None:
                if any(known.startswith(tag) for known in self._kinds):
                    break
                self._discard(1)
                continue
            end = 4 + kind.size
            if len(buffer) < end + _CRC.size * kind.checked:
                break
            content = bytes(buffer[:end])
            message = kind.unpack(content[4:])
            if kind.checked:
                good = bytes(buffer[end : end + 4]) == _CRC.pack(zlib.crc32(content))
                end += _CRC.size
            else:
                good = _finite(message)
            if not good:
                self.errors += 1
                self._discard(1)
                continue
            del buffer[:end]
            found.append(message)
        return found

    def _discard(self, count: int) -> None:
        self.discarded_bytes += count
        del self._buffer[:count]


def _finite(message: Message) -> bool:
    return isinstance(message, InferenceMessage) and all(
        map(math.isfinite, (message.x, message.y, message.z, message.phi))
    )
