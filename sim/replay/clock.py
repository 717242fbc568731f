"""Two clocks for replay: every frame is processed, or only those for which there is time.

On the real clock (streaming, after 'Towards Streaming Perception', arXiv 2005.10420) frames arrive
when they were captured, a busy scheduler misses frames, the latest frame wins, and an estimate is
scored against the truth at the moment it comes out. A slow network then pays for its staleness.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from gearshift.runtime.decide.policy import wrap_angle
from gearshift.runtime.types import FloatArray


class Clock(StrEnum):
    """How time passes in a replay."""

    FRAME = "frame"
    REAL = "real"


@dataclass(frozen=True, slots=True)
class Slot:
    """One processed frame of a real-clock replay: which, and when its estimate came out."""

    frame: int
    published_ns: int


def stream(arrival_ns: NDArray[np.int64], process: Callable[[int], int]) -> Iterator[Slot]:
    """Process the frames for which there is time.

    arrival_ns: (N,) increasing. process: runs a frame and returns the nanoseconds it took. When it
    is done, the latest frame that has arrived meanwhile and was not processed is next; frames
    between are missed. With none waiting, the next to arrive.
    """
    index, count = 0, len(arrival_ns)
    free_ns = int(arrival_ns[0]) if count else 0
    while index < count:
        start_ns = max(free_ns, int(arrival_ns[index]))
        free_ns = start_ns + process(index)
        yield Slot(index, free_ns)
        latest = int(np.searchsorted(arrival_ns, free_ns, side="right")) - 1
        index = max(latest, index + 1)


def truth_at(
    time_ns: NDArray[np.int64],
    truth: FloatArray,
    visible: NDArray[np.bool_],
    angular: NDArray[np.bool_],
    at_ns: NDArray[np.int64],
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """The truth at any moment: (m, n) float32 and (m,) whether the head was in view.

    Linear between the neighbouring frames of one flight, angles the short way round. NaN and not in
    view outside the flight; in view only where it is in both neighbours.
    """
    right = np.minimum(np.searchsorted(time_ns, at_ns), len(time_ns) - 1)
    exact = time_ns[right] == at_ns
    left = np.where(exact, right, np.maximum(right - 1, 0))
    inside = (at_ns >= time_ns[0]) & (at_ns <= time_ns[-1])
    span = np.maximum(time_ns[right] - time_ns[left], 1)
    share = ((at_ns - time_ns[left]) / span).astype(np.float32)[:, None]
    step = truth[right] - truth[left]
    if angular.any():
        step = np.where(angular, wrap_angle(step), step)
    values = truth[left] + share * step
    if angular.any():
        values = np.where(angular, wrap_angle(values), values)
    seen = inside & visible[left] & visible[right]
    return np.where(inside[:, None], values, np.float32("nan")).astype(np.float32), seen
