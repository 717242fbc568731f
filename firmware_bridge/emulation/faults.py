"""What a bad serial line does to frames, at a chosen rate and from a seed, for soak tests."""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

HISTORY = 512
"""Frames that may come again."""
LONGEST_GARBAGE = 2000
LATE_AFTER = 64
"""Frames by which a late one may be overtaken."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes that go on after a pause."""

    data: bytes
    pause_s: float = 0.0


@dataclass(slots=True)
class FaultyLine:
    """One direction of a line. rate: share of frames to which something happens.

    counts: how often what happened. Pieces come out in the order in which they are to be sent.
    """

    rate: float
    random: random.Random
    counts: Counter[str] = field(default_factory=Counter)
    frames: int = 0
    _rest: bytearray = field(default_factory=bytearray)
    _past: deque[bytes] = field(default_factory=lambda: deque(maxlen=HISTORY))
    _late: list[tuple[int, bytes]] = field(default_factory=list)

    def pass_on(self, data: bytes) -> Iterable[Piece]:
        """What becomes of bytes; a frame is held until its delimiter has come."""
        self._rest += data
        *whole, rest = bytes(self._rest).split(b"\0")
        self._rest = bytearray(rest)
        for encoded in whole:
            yield from self._frame(encoded + b"\0")
        # Without faults nothing waits, so that a clean line adds no delay of its own.
        if self.rate == 0 and self._rest:
            yield Piece(bytes(self._rest))
            self._rest.clear()

    def _frame(self, frame: bytes) -> Iterable[Piece]:
        if len(frame) == 1:
            yield Piece(frame)
            return
        self.frames += 1
        due = [late for when, late in self._late if when <= self.frames]
        self._late = [(when, late) for when, late in self._late if when > self.frames]
        yield from (Piece(late) for late in due)
        if self.random.random() < self.rate:
            name = self.random.choice(KINDS)
            self.counts[name] += 1
            yield from getattr(self, f"_{name}")(frame)
        else:
            yield Piece(frame)
        self._past.append(frame)

    def _drop_frame(self, _frame: bytes) -> Iterable[Piece]:
        return ()

    def _drop_bytes(self, frame: bytes) -> Iterable[Piece]:
        start = self.random.randrange(len(frame))
        yield Piece(frame[:start] + frame[start + self.random.randint(1, 16) :])

    def _duplicate_frame(self, frame: bytes) -> Iterable[Piece]:
        yield Piece(frame + frame)

    def _duplicate_bytes(self, frame: bytes) -> Iterable[Piece]:
        start = self.random.randrange(len(frame))
        end = start + self.random.randint(1, 16)
        yield Piece(frame[:end] + frame[start:])

    def _flip(self, frame: bytes) -> Iterable[Piece]:
        """Bits flip, some of them so that a frame ends in the middle or two become one."""
        damaged = bytearray(frame)
        for _ in range(self.random.randint(1, 4)):
            damaged[self.random.randrange(len(damaged))] ^= 1 << self.random.randrange(8)
        yield Piece(bytes(damaged))

    def _split(self, frame: bytes) -> Iterable[Piece]:
        at = self.random.randrange(len(frame))
        yield Piece(frame[:at])
        yield Piece(frame[at:], self.random.uniform(0.001, 0.02))

    def _delay(self, frame: bytes) -> Iterable[Piece]:
        yield Piece(frame, self.random.uniform(0.01, 0.1))

    def _late_frame(self, frame: bytes) -> Iterable[Piece]:
        self._late.append((self.frames + self.random.randint(1, LATE_AFTER), frame))
        return ()

    def _truncate(self, frame: bytes) -> Iterable[Piece]:
        yield Piece(frame[: self.random.randrange(len(frame))])

    def _replay(self, frame: bytes) -> Iterable[Piece]:
        yield Piece(frame)
        if self._past:
            yield Piece(self.random.choice(self._past))

    def _garbage(self, frame: bytes) -> Iterable[Piece]:
        yield Piece(self.random.randbytes(self.random.randint(1, LONGEST_GARBAGE)) + frame)

    def _cut_in_two(self, frame: bytes) -> Iterable[Piece]:
        at = self.random.randrange(len(frame))
        yield Piece(frame[:at] + b"\0" + frame[at:])


KINDS = (
    "drop_frame",
    "drop_bytes",
    "duplicate_frame",
    "duplicate_bytes",
    "flip",
    "split",
    "delay",
    "late_frame",
    "truncate",
    "replay",
    "garbage",
    "cut_in_two",
)
"""Everything that can happen to a frame."""
