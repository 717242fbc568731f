"""How good and how dear: errors of estimates, presence, and the spread of latencies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gearshift.runtime.types import FloatArray, HeadGrid


@dataclass(frozen=True, slots=True)
class Presence:
    """Whether the auxiliary network saw that somebody was, or was not, in view.

    false_present: share of frames without a head in view on which it said a cell. false_absent:
    share of frames with one on which it said 'no head'. NaN where there are no such frames.
    """

    frames_without: int
    frames_with: int
    false_present: float
    false_absent: float


def presence(aux: FloatArray, head_cell: NDArray[np.int16], grid: HeadGrid) -> Presence:
    """Score the head localiser's (N, classes) output against the true cells (N,), -1 unknown."""
    known = head_cell >= 0
    said = aux[known].argmax(axis=-1) != grid.no_head
    return presence_of(said, head_cell[known] != grid.no_head)


def presence_of(said: NDArray[np.bool_], present: NDArray[np.bool_]) -> Presence:
    """Score what was said against what was there, both (m,)."""
    there, absent = int(present.sum()), int((~present).sum())
    return Presence(
        frames_without=absent,
        frames_with=there,
        false_present=float((said & ~present).sum() / absent) if absent else float("nan"),
        false_absent=float((~said & present).sum() / there) if there else float("nan"),
    )


@dataclass(frozen=True, slots=True)
class LatencySummary:
    """Spread of the time from a frame to its estimate, in milliseconds."""

    mean_ms: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float


def summarise_latency(
    latency_ms: NDArray[np.float64], counts: NDArray[np.int64] | None = None
) -> LatencySummary:
    """Mean, percentiles (the smallest value that is not exceeded by so many) and maximum.

    latency_ms: (m,) values, each of which occurred counts[i] times (once without counts). All NaN
    when nothing was measured.
    """
    if counts is None:
        counts = np.ones(len(latency_ms), dtype=np.int64)
    latency_ms, counts = latency_ms[counts > 0], counts[counts > 0]
    if not len(latency_ms):
        nan = float("nan")
        return LatencySummary(nan, nan, nan, nan, nan)
    order = np.argsort(latency_ms)
    ordered, cumulative = latency_ms[order], np.cumsum(counts[order])
    total = int(cumulative[-1])
    p50, p90, p99 = (
        float(ordered[np.searchsorted(cumulative, np.ceil(q * total))]) for q in (0.5, 0.9, 0.99)
    )
    return LatencySummary(
        mean_ms=float((latency_ms * counts).sum() / total),
        p50_ms=p50,
        p90_ms=p90,
        p99_ms=p99,
        max_ms=float(ordered[-1]),
    )
