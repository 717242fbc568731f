"""Operating points, the paper's three headline figures, and the controls beside them.

Every figure compares a system with a reference (always-large, or the same filter on it) over the
same resampled flights. Two ways: *chosen*, the threshold is picked on `val` and reported on a test
split; *swept*, the paper's way, the curve is read on the test split itself with linear
interpolation, which flatters it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gearshift.runtime.scoring.bootstrap import Interval, interval
from gearshift.sim.compare.curve import lowest_where, value_at

Array = NDArray[np.float64]


class Point(StrEnum):
    """An operating point, named by what it promises against always-large on `val`."""

    EQUAL_ERROR = "equal-error"
    """The lowest latency whose error does not exceed always-large's."""
    EQUAL_LATENCY = "equal-latency"
    """The lowest error whose latency does not exceed always-large's."""
    BEST_ERROR = "best-error"
    """The lowest error at any latency."""


PAPER: Final[Mapping[Point, float]] = {
    Point.EQUAL_ERROR: 28.0,
    Point.EQUAL_LATENCY: 3.0,
    Point.BEST_ERROR: 6.0,
}
"""Per cent, arXiv 2401.15236: latency cut, error cut, error cut."""


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """Latency (ms) and error of one system at its thresholds, both (B, K); row 0 is the sample."""

    latency: Array
    error: Array

    def at(self, index: int) -> tuple[Array, Array]:
        """(latency, error), each (B,), at one threshold."""
        return self.latency[:, index], self.error[:, index]


@dataclass(frozen=True, slots=True)
class Headline:
    """Cuts against the reference in per cent; negative is worse.

    swept: read from the test split's own curve, else at the threshold chosen on `val`.
    """

    point: Point
    swept: bool
    threshold: float | None
    latency_cut: Interval
    error_cut: Interval


def choose(
    latency: Array, error: Array, limit_latency: float, limit_error: float
) -> dict[Point, int]:
    """The index of each operating point on a curve of `val`: latency, error (K,).

    Where no threshold keeps the promise, the one that comes closest: the most accurate for equal
    error, the fastest for equal latency. Of equals the fastest.
    """
    fastest_first = np.lexsort((error, latency))
    most_accurate = int(fastest_first[np.argmin(error[fastest_first])])
    accurate = error[fastest_first] <= limit_error
    quick = latency[fastest_first] <= limit_latency
    within = fastest_first[quick]
    return {
        Point.EQUAL_ERROR: int(fastest_first[np.argmax(accurate)])
        if accurate.any()
        else most_accurate,
        Point.EQUAL_LATENCY: int(within[np.argmin(error[within])])
        if quick.any()
        else int(fastest_first[0]),
        Point.BEST_ERROR: most_accurate,
    }


def chosen_headline(
    point: Point, line: Line, index: int, threshold: float, reference: Line
) -> Headline:
    """What the threshold that was chosen on `val` gives on this split."""
    latency, error = line.at(index)
    base_latency, base_error = reference.at(0)
    return Headline(
        point=point,
        swept=False,
        threshold=threshold,
        latency_cut=interval(cut(latency, base_latency)),
        error_cut=interval(cut(error, base_error)),
    )


def swept_headline(point: Point, line: Line, reference: Line) -> Headline:
    """What this split's own curve gives, linear between neighbouring thresholds."""
    base_latency, base_error = reference.at(0)
    if point is Point.EQUAL_ERROR:
        latency = lowest_where(line.latency, line.error, base_error)
        error = np.where(np.isnan(latency), np.nan, base_error)
    elif point is Point.EQUAL_LATENCY:
        error = lowest_where(line.error, line.latency, base_latency)
        latency = np.where(np.isnan(error), np.nan, base_latency)
    else:
        best = line.error.argmin(axis=-1)[:, None]
        error = np.take_along_axis(line.error, best, axis=-1)[:, 0]
        latency = np.take_along_axis(line.latency, best, axis=-1)[:, 0]
    return Headline(
        point=point,
        swept=True,
        threshold=None,
        latency_cut=interval(cut(latency, base_latency)),
        error_cut=interval(cut(error, base_error)),
    )


def cut(value: Array, base: Array) -> Array:
    """How much less than base, in per cent of it."""
    percent: Array = 100 * (1 - value / base)
    return percent


def random_error(latency: Array, small: Line, large: Line) -> Array:
    """Expected error (B,) of choosing at random so often that the mean latency is `latency` (B,).

    Without a probe: between always-small and always-large on a line; always-large where the latency
    is higher than its own, always-small where it is lower than its own.
    """
    small_latency, small_error = small.at(0)
    large_latency, large_error = large.at(0)
    share = np.clip((latency - small_latency) / (large_latency - small_latency), 0, 1)
    expected: Array = small_error + share * (large_error - small_error)
    return expected


def error_at(line: Line, latency: Array) -> Array:
    """Error (B,) of a system at a mean latency (B,), read from its curve; at its ends outside."""
    ends = line.latency.min(axis=-1), line.latency.max(axis=-1)
    return value_at(line.latency, line.error, np.clip(latency, *ends))


def gain_over(error: Array, control_error: Array) -> Interval:
    """How much lower than a control's, in per cent of the control's error; paired resamples."""
    return interval(cut(error, control_error))
