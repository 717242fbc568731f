"""Reading an accuracy-latency curve: linear interpolation between neighbouring thresholds.

A curve is one point per threshold, in order of threshold; leading axes are resamples. It need not
be monotonic.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def lowest_where(goal: Array, limited: Array, limit: Array) -> Array:
    """The least `goal` on the curve (goal, limited) where `limited` does not exceed `limit`.

    goal, limited: (..., K); limit: (...). Linear between neighbours; NaN where the curve never
    keeps the limit. With latency as goal and error as the limited quantity this is the latency at
    equal error, the other way round the error at equal latency.
    """
    limit = limit[..., None]
    kept = limited <= limit
    at_points = np.where(kept, goal, np.inf)
    best = at_points.min(axis=-1)
    if goal.shape[-1] > 1:
        here, there = limited[..., :-1], limited[..., 1:]
        crosses = kept[..., :-1] != kept[..., 1:]
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.where(crosses, (limit - here) / (there - here), 0.0)
        between = goal[..., :-1] + share * (goal[..., 1:] - goal[..., :-1])
        best = np.minimum(best, np.where(crosses, between, np.inf).min(axis=-1))
    return np.where(np.isinf(best), np.nan, best)


def value_at(position: Array, value: Array, at: Array) -> Array:
    """Mean `value` of the curve where it passes `position` = at, by linear interpolation.

    position, value: (..., K); at: (...). NaN outside the curve. A curve that passes more than once
    gives the mean of its passages.
    """
    at = at[..., None]
    left, right = position[..., :-1], position[..., 1:]
    passes = (np.minimum(left, right) <= at) & (at <= np.maximum(left, right))
    width = right - left
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(width == 0, 0.5, (at - left) / width)
    between = value[..., :-1] + share * (value[..., 1:] - value[..., :-1])
    count = passes.sum(axis=-1)
    total = np.where(passes, between, 0.0).sum(axis=-1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
