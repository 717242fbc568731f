"""Timing contenders fairly: they take turns over the same frames, in an order that rotates.

A change of the clock rate or a busy neighbour then meets all of them alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from gearshift.runtime.types import Frame

BLOCK = 20
"""Frames of one turn."""
DISTINCT_FRAMES = 64
FRAME_NS = 33_333_333


def noise_frames(height: int, width: int) -> list[Frame]:
    """Noise at 30 Hz; the first two pixels number the frames for a scripted network."""
    images = np.random.default_rng(1).integers(
        0, 256, (DISTINCT_FRAMES, height, width), dtype=np.uint8
    )
    images[:, 0, 0], images[:, 0, 1] = np.arange(DISTINCT_FRAMES), 0
    return [Frame(image, i * FRAME_NS, i, "noise") for i, image in enumerate(images)]


def take_turns(
    contenders: Sequence[Callable[[Sequence[Frame]], None]], pool: Sequence[Frame], turns: int
) -> list[list[float]]:
    """Microseconds per frame of every contender in every turn; the order rotates."""
    times: list[list[float]] = [[] for _ in contenders]
    for turn in range(-2, turns):
        start = turn * BLOCK % (len(pool) - BLOCK)
        block = pool[start : start + BLOCK]
        for which in rotation(len(contenders), turn):
            before = time.perf_counter_ns()
            contenders[which](block)
            elapsed = time.perf_counter_ns() - before
            # The turns before 0 warm up.
            if turn >= 0:
                times[which].append(elapsed / 1e3 / len(block))
    return times


def rotation(count: int, turn: int) -> list[int]:
    """The order of contenders in one turn."""
    return [(place + turn) % count for place in range(count)]
