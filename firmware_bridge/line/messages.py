"""What the bridge protocol's frames say: payloads of commands, bodies of answers.

docs/protocol.md specifies them. Whatever a payload holds, reading it raises LinkError at worst.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gearshift.firmware_bridge.line.wire import ANSWER, Message
from gearshift.runtime.errors import LinkError
from gearshift.runtime.types import EstimateFlag, FloatArray, Reason

VERSION: Final = 1
WINDOW: Final = 16
TABLES_TARGET: Final = 255
MAX_PARTS: Final = 32

_PREFIX: Final = struct.Struct("<QIIQ")
_HELLO: Final = struct.Struct("<IBBBBIIHHIIIHH32s16s")
_STATUS: Final = struct.Struct("<BBBBfIIII")
_NETWORK: Final = struct.Struct("<BBHHHBBHI32s32s")
_OUTPUTS: Final = struct.Struct("<BBH")
_ESTIMATE: Final = struct.Struct("<IIQBBBBBBBBfff4I")
_PART: Final = struct.Struct("<IIBBBB")


class Type(IntEnum):
    """What a frame says."""

    HELLO = 1
    STATUS = 2
    NETWORK = 3
    WRITE = 4
    CONFIGURE = 5
    INFER = 6
    PROCESS = 7
    STREAM = 8
    COUNTERS = 9
    RESET = 10
    THRESHOLD = 11
    ECHO = 12
    ESTIMATE = 64


JOBS: Final = frozenset({Type.INFER, Type.PROCESS})
"""Commands that wait for others and are answered when they have run."""


class Status(IntEnum):
    """How a command went."""

    OK = 0
    UNKNOWN_COMMAND = 1
    BAD_PAYLOAD = 2
    WRONG_SESSION = 3
    STALE = 4
    BUSY = 5
    INCOMPLETE = 6
    NO_NETWORK = 7
    NETWORK_FAILED = 8
    NOT_CONFIGURED = 9
    REFUSED = 10
    OUT_OF_ORDER = 11
    NO_CAMERA = 12
    VERSION = 13


class CountKind(IntEnum):
    """What a board counts beside the time."""

    NONE = 0
    CYCLES = 1
    INSTRUCTIONS = 2


class Ability(IntFlag):
    """What a board can do beyond running networks."""

    CAMERA = 1
    LOOP = 2


COUNTERS: Final = (
    "good",
    "bad_crc",
    "bad_cobs",
    "too_long",
    "bad_length",
    "overrun",
    "wrong_session",
    "stale",
    "repeated",
    "pending",
    "carried_out",
    "answers",
    "events",
    "network_failed",
)
"""Names of a board's counters, in the order of its answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a board answered. time_us: its clock. compute_us: time in networks and policy. received:
    bytes it took off the line, modulo 2**32. count: cycles or instructions, 0 where none."""

    status: Status
    session: int
    time_us: int
    compute_us: int
    received: int
    count: int
    body: bytes


def parse_answer(message: Message) -> Answer:
    """Undo the prefix; raises LinkError when the payload cannot be one."""
    try:
        time_us, compute_us, received, count = _PREFIX.unpack_from(message.payload)
        status = Status(message.status)
    except (struct.error, ValueError) as error:
        raise LinkError(
            f"an answer of type {message.type - ANSWER} is damaged ({error})"
        ) from error
    body = message.payload[_PREFIX.size :]
    return Answer(status, message.session, time_us, compute_us, received, count, body)


@dataclass(frozen=True, slots=True)
class BoardInfo:
    """What a board says of itself in its answer to `hello`; see docs/protocol.md."""

    version: int
    count_kind: CountKind
    networks: int
    slots: int
    boot: int
    credit: int
    payload_limit: int
    window: int
    slot_bytes: int
    table_bytes: int
    abilities: Ability
    answer_limit: int
    build: str
    port: str


def hello_payload(nonce: int) -> bytes:
    """The command's payload."""
    return struct.pack("<IBBH", nonce, VERSION, VERSION, 0)


def parse_hello(body: bytes, nonce: int) -> BoardInfo:
    """Raises LinkError when the answer is damaged or one to another hello."""
    try:
        echoed, version, kind, *numbers, build, port = _HELLO.unpack_from(body)
        networks, slots, boot, credit, payload, window, slot, table, abilities, answer, _ = numbers
        count_kind = CountKind(kind)
    except (struct.error, ValueError) as error:
        raise LinkError(f"the board's hello is damaged ({error})") from error
    if echoed != nonce:
        raise LinkError("the board answered another hello than ours")
    return BoardInfo(
        version,
        count_kind,
        networks,
        slots,
        boot,
        credit,
        payload,
        window,
        slot,
        table,
        Ability(abilities),
        answer,
        _text(build),
        _text(port),
    )


@dataclass(frozen=True, slots=True)
class BoardStatus:
    """A board's answer to `status`. bundle_status: the firmware's reason for having no networks."""

    configured: bool
    streaming: bool
    policy: int
    queued: int
    threshold: float
    processed: int
    arena_bytes: int
    needed_bytes: int
    bundle_status: int


def parse_status(body: bytes) -> BoardStatus:
    """Raises LinkError."""
    try:
        state, policy, queued, _, threshold, processed, arena, needed, bundle = _STATUS.unpack_from(
            body
        )
    except struct.error as error:
        raise LinkError(f"the board's status is damaged ({error})") from error
    return BoardStatus(
        bool(state & 1),
        bool(state & 2),
        policy,
        queued,
        threshold,
        processed,
        arena,
        needed,
        bundle,
    )


@dataclass(frozen=True, slots=True, eq=False)
class BoardNetwork:
    """A network on a board. identity: sha256 of its image (`network_image.network_identity`).
    scale: float64 (k,), unit per int32 step. arena_bytes: memory that it needs to run."""

    number: int
    name: str
    identity: str
    width: int
    height: int
    grid: tuple[int, int] | None
    arena_bytes: int
    scale: NDArray[np.float64]


def parse_network(body: bytes) -> BoardNetwork:
    """Raises LinkError."""
    try:
        number, kind, outputs, width, height, columns, rows, _, arena, name, sha256 = (
            _NETWORK.unpack_from(body)
        )
        scale = np.frombuffer(body, "<f8", outputs, _NETWORK.size).astype(np.float64)
    except (struct.error, ValueError) as error:
        raise LinkError(f"the board's description of a network is damaged ({error})") from error
    grid = (columns, rows) if kind == 1 else None
    return BoardNetwork(number, _text(name), sha256.hex(), width, height, grid, arena, scale)


def parse_outputs(body: bytes) -> tuple[int, NDArray[np.int32]]:
    """(number of the network, its int32 outputs); raises LinkError."""
    try:
        number, _, length = _OUTPUTS.unpack_from(body)
        return number, np.frombuffer(body, "<i4", length, _OUTPUTS.size).astype(np.int32)
    except (struct.error, ValueError) as error:
        raise LinkError(f"the outputs of a network are damaged ({error})") from error


def parse_counters(body: bytes) -> dict[str, int]:
    """A board's counters by name; those that a later firmware appends are left out."""
    try:
        (length,) = struct.unpack_from("<I", body)
        values = np.frombuffer(body, "<u4", length, 4).tolist()
    except (struct.error, ValueError) as error:
        raise LinkError(f"the board's counters are damaged ({error})") from error
    return dict(zip(COUNTERS, values, strict=False))


@dataclass(frozen=True, slots=True, eq=False)
class BoardEstimate:
    """One turn of the adaptive loop on the board.

    index: frames of this flight before it. Roles are 0 small, 1 large, 2 aux. answered: None when
    held or lost. ran, valid: sets of roles, a bit each. times_ns: by role, then the total. outputs:
    float32 by role, only of networks that ran and said something.
    """

    frame: int
    index: int
    capture_time_ns: int
    answered: int | None
    ran: int
    valid: int
    reason: int
    flags: int
    signal: float
    threshold: float
    presence: float
    times_ns: tuple[int, int, int, int]
    values: FloatArray
    deviation: FloatArray
    outputs: dict[int, FloatArray]


_NOBODY: Final = 255
_ANSWERED: Final = (0, 1, _NOBODY)
_FLAGS: Final = sum(flag.value for flag in EstimateFlag)
_AUX: Final = 2


def parse_estimate(body: bytes) -> BoardEstimate:
    """Raises LinkError."""
    try:
        (
            frame, index, time_ns, answered, ran, valid, reason, flags, n, classes, _,
            signal, threshold, presence, *times,
        ) = _ESTIMATE.unpack_from(body)  # fmt: skip
        lengths = [n, n, *(classes if r == _AUX else n for r in range(3) if valid >> r & 1)]
        numbers = np.frombuffer(body, "<f4", sum(lengths), _ESTIMATE.size).astype(np.float32)
    except (struct.error, ValueError) as error:
        raise LinkError(f"an estimate is damaged ({error})") from error
    if answered not in _ANSWERED or reason >= len(Reason) or flags & ~_FLAGS:
        raise LinkError(
            f"an estimate has codes that this gearshift does not know (answered {answered}, "
            f"reason {reason}, flags {flags}); is the board's firmware newer?"
        )
    values, deviation, *outputs = np.split(numbers, np.cumsum(lengths)[:-1])
    roles = [r for r in range(3) if valid >> r & 1]
    return BoardEstimate(
        frame,
        index,
        time_ns,
        None if answered == _NOBODY else answered,
        ran,
        valid,
        reason,
        flags,
        signal,
        threshold,
        presence,
        (times[0], times[1], times[2], times[3]),
        values,
        deviation,
        dict(zip(roles, outputs, strict=True)),
    )


def write_payloads(image: int, target: int, content: bytes, limit: int) -> list[bytes]:
    """The payloads of `write` that bring `content` to a target, none longer than `limit`.

    Raises LinkError when the board's payloads are too short for it.
    """
    room = limit - _PART.size
    parts = -(-len(content) // room) if room > 0 else 0
    if not 1 <= parts <= MAX_PARTS:
        raise LinkError(f"{len(content)} bytes do not fit {MAX_PARTS} parts of {room} bytes")
    stride = -(-len(content) // parts)
    # Rounding the stride up may leave the last part without bytes.
    parts = -(-len(content) // stride)
    return [
        _PART.pack(image, len(content), target, part, parts, 0)
        + content[part * stride : (part + 1) * stride]
        for part in range(parts)
    ]


def infer_payload(image: int, slot: int, network: int) -> bytes:
    """The command's payload."""
    return struct.pack("<IBBH", image, slot, network, 0)


def process_payload(image: int, slot: int, frame: int, capture_time_ns: int) -> bytes:
    """The command's payload."""
    return struct.pack("<IBBHIQ", image, slot, 0, 0, frame, capture_time_ns)


def stream_payload(period_us: int, frames: int, *, on: bool) -> bytes:
    """The command's payload; frames 0: without end."""
    return struct.pack("<BBHII", on, 0, 0, period_us, frames)


def _text(field_: bytes) -> str:
    return field_.split(b"\0", 1)[0].decode("ascii", "replace")
