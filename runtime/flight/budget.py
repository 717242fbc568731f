"""Holding a budget by moving the one threshold online.

After every frame the threshold takes a small step: up when the frame cost more than the budget,
down when less. With e_t = cost_t - budget and a fixed step s this is

    threshold += s * e_t

which is stochastic quantile tracking (Robbins and Monro 1951): for the share of frames on large it
settles at the (1 - share) quantile of the signal. More is true, and holds for any signal whatever,
correlated or adversarial: the errors telescope, so that over T frames

    |mean cost - budget| <= (distance that the threshold moved) / (s T)

(Gibbs and Candes 2021, arXiv 2106.00170, proposition 4.1), and the threshold never leaves the range
of the signal by more than a step. The step is a share of the signal's own spread, so that the
controller needs no tuning per policy. It is deterministic: no clock, no random number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from gearshift.runtime.errors import ConfigurationError
from gearshift.runtime.types import Estimate, NetworkRole

STEP = 0.05
"""Step per unit of error, in spreads of the signal: settles within about 100 frames."""
MEMORY = 1 / 64
"""Share of a new frame in running means."""
FLOOR = 0.01
"""Smallest spread, as a share of the largest signal: a constant signal has none of its own."""
TINY = 1e-6


@dataclass(frozen=True, slots=True)
class Budget:
    """What to hold: the share of frames on large, or the mean time of the networks in ms.

    Raises ConfigurationError unless exactly one is given, the share within 0..1, the time above 0.
    """

    large_share: float | None = None
    mean_latency_ms: float | None = None

    def __post_init__(self) -> None:
        if (self.large_share is None) == (self.mean_latency_ms is None):
            raise ConfigurationError("a budget is either large_share or mean_latency_ms")
        if self.large_share is not None and not 0 <= self.large_share <= 1:
            raise ConfigurationError(f"budget: large_share {self.large_share} must be within 0..1")
        if self.mean_latency_ms is not None and not (
            self.mean_latency_ms > 0 and math.isfinite(self.mean_latency_ms)
        ):
            raise ConfigurationError(
                f"budget: mean_latency_ms {self.mean_latency_ms} must be above 0"
            )


class ThresholdController:
    """Moves a threshold after every frame.

    threshold: where to start; None starts at the first finite signal.
    """

    def __init__(self, budget: Budget, threshold: float | None = None) -> None:
        self._budget = budget
        self._started = threshold is not None and math.isfinite(threshold)
        self.threshold = threshold if self._started and threshold is not None else 0.0
        self._mean = 0.0
        self._spread = 0.0
        self._low = math.inf
        self._high = -math.inf
        self._large_ms = 0.0

    def update(self, estimate: Estimate) -> float:
        """Take in a processed frame and return the threshold for the next one."""
        signal = estimate.signal
        if math.isfinite(signal):
            self._learn(signal)
        if self._low <= self._high:
            self.step(self._error(estimate))
        return self.threshold

    def step(self, error: float) -> None:
        """Move by an error in -1..1, within a step of the signals seen so far."""
        step = self.step_size
        moved = self.threshold + step * error
        self.threshold = min(max(moved, self._low - step), self._high + step)

    @property
    def step_size(self) -> float:
        """What an error of 1 moves the threshold by."""
        largest = max(abs(self._low), abs(self._high)) if self._low <= self._high else 0.0
        return STEP * max(self._spread, FLOOR * largest, TINY)

    def _learn(self, signal: float) -> None:
        if self._low > self._high:
            self._mean = signal
        if not self._started:
            self.threshold, self._started = signal, True
        self._low, self._high = min(self._low, signal), max(self._high, signal)
        self._spread += MEMORY * (abs(signal - self._mean) - self._spread)
        self._mean += MEMORY * (signal - self._mean)

    def _error(self, estimate: Estimate) -> float:
        """Cost less budget, in -1..1."""
        budget = self._budget
        ran_large = NetworkRole.LARGE in estimate.networks
        if budget.large_share is not None:
            return ran_large - budget.large_share
        times = estimate.times
        if ran_large:
            large_ms = times.large / 1e6
            before = self._large_ms or large_ms
            self._large_ms = before + MEMORY * (large_ms - before)
        spent_ms = (times.aux + times.small + times.large) / 1e6
        assert budget.mean_latency_ms is not None
        error = (spent_ms - budget.mean_latency_ms) / (self._large_ms or budget.mean_latency_ms)
        return min(max(error, -1.0), 1.0)
