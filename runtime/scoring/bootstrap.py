"""Intervals by resampling flights, grouped by what makes them alike (the same room and person).

Every statistic of ours is a function of sums over flights, so one matrix of weights, made once,
serves all of them and keeps comparisons paired.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and the interval that holds 95 % of its resampled values."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of zero."""
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


def resample_weights(groups: NDArray[np.int64], resamples: int = 1000, seed: int = 0) -> Array:
    """How often each flight counts in each resample: (1 + resamples, flights).

    groups: (flights,) group numbers. As many groups as there are get drawn with replacement, and a
    drawn group brings all its flights. The first row is the sample itself: all ones.
    """
    count = int(groups.max()) + 1 if len(groups) else 0
    generator = np.random.default_rng(seed)
    draws = generator.multinomial(count, np.full(count, 1 / max(count, 1)), size=resamples)
    resampled = draws.astype(np.float64)[:, groups]
    return np.concatenate([np.ones((1, len(groups))), resampled])


def interval(values: Array) -> Interval:
    """The first value, and the 2.5 % and 97.5 % quantiles of the others, NaN left out."""
    resampled = values[1:][~np.isnan(values[1:])]
    if not len(resampled):
        return Interval(float(values[0]), float("nan"), float("nan"))
    low, high = np.quantile(resampled, (0.025, 0.975))
    return Interval(float(values[0]), float(low), float(high))


def ratio_of_sums(weights: Array, numerator: Array, denominator: Array) -> Array:
    """Resampled numerator / denominator: (resamples, ...) from per-flight sums (flights, ...).

    NaN where a resample has nothing to divide by.
    """
    top = np.tensordot(weights, numerator, axes=(1, 0))
    bottom = np.tensordot(weights, denominator, axes=(1, 0))
    bottom = bottom.reshape(bottom.shape + (1,) * (top.ndim - bottom.ndim))
    with np.errstate(divide="ignore", invalid="ignore"):
        quotient: Array = top / bottom
    return np.where(bottom > 0, quotient, np.nan)
