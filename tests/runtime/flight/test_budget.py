"""The controller holds its budget for any signal, stays bounded, and repeats itself exactly."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gearshift.runtime.errors import ConfigurationError
from gearshift.runtime.flight.budget import STEP, Budget, ThresholdController
from gearshift.runtime.types import (
    POSE_COMPONENTS,
    Estimate,
    NetworkRole,
    Reason,
    StageTimes,
)

SMALL_MS, LARGE_MS = 0.2, 0.7


def estimate(signal: float, threshold: float) -> Estimate:
    """A frame of the policy `op`: small ran, and large where the signal is above the threshold."""
    hard = bool(signal > threshold or math.isnan(signal))
    both = (NetworkRole.SMALL, NetworkRole.LARGE)
    return Estimate(
        sequence=0,
        capture_time_ns=0,
        publish_time_ns=0,
        components=POSE_COMPONENTS,
        values=(0.0,) * 4,
        standard_deviation=(0.0,) * 4,
        presence=None,
        answered=both[hard],
        networks=both[: 1 + hard],
        signal=signal,
        threshold=threshold,
        reason=Reason.HARD if hard else Reason.EASY,
        times=StageTimes(small=int(SMALL_MS * 1e6), large=int(LARGE_MS * 1e6) if hard else 0),
    )


def fly(controller: ThresholdController, signals: list[float]) -> list[Estimate]:
    estimates = []
    for signal in signals:
        frame = estimate(signal, controller.threshold)
        estimates.append(frame)
        controller.update(frame)
    return estimates


def share(estimates: list[Estimate]) -> float:
    return float(np.mean([NetworkRole.LARGE in e.networks for e in estimates]))


DISTRIBUTIONS: dict[str, Callable[[np.random.Generator, int], Any]] = {
    "normal": lambda g, n: g.normal(0, 1, n),
    "heavy tails": lambda g, n: g.standard_cauchy(n).clip(-1e4, 1e4),
    "exponential": lambda g, n: g.exponential(3, n),
    "two values": lambda g, n: g.integers(0, 2, n) * 5.0,
    "constant": lambda g, n: np.full(n, 2.5),
    "zero": lambda g, n: np.zeros(n),
    "correlated": lambda g, n: np.convolve(g.normal(0, 1, n + 29), np.ones(30) / 30, "valid"),
    "periodic": lambda g, n: np.sin(np.arange(n) / 20),
    "with infinities": lambda g, n: np.where(g.random(n) < 0.05, np.inf, g.normal(0, 1, n)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", DISTRIBUTIONS)
@settings(max_examples=12)
@given(
    target=st.floats(0.1, 0.9),
    seed=st.integers(0, 10**6),
    scale=st.sampled_from([1e-3, 1.0, 1e3]),
)
def test_the_share_is_held_for_any_stationary_signal(
    name: str, target: float, seed: int, scale: float
) -> None:
    n = 6000
    signals = (DISTRIBUTIONS[name](np.random.default_rng(seed), n) * scale).tolist()
    controller = ThresholdController(Budget(large_share=target))
    settled = fly(controller, signals)[n // 3 :]
    assert share(settled) == pytest.approx(target, abs=0.05)


@settings(max_examples=50)
@given(
    target=st.floats(0.0, 1.0),
    signals=st.lists(
        st.one_of(st.floats(-100, 100), st.sampled_from([math.inf, math.nan])), max_size=400
    ),
    start=st.one_of(st.none(), st.floats(-1e6, 1e6), st.just(-math.inf)),
)
def test_the_threshold_stays_within_a_step_of_the_signal(
    target: float, signals: list[float], start: float | None
) -> None:
    controller = ThresholdController(Budget(large_share=target), start)
    seen: list[float] = []
    for signal in signals:
        controller.update(estimate(signal, controller.threshold))
        if math.isfinite(signal):
            seen.append(signal)
        if seen:
            step = controller.step_size
            assert min(seen) - step <= controller.threshold <= max(seen) + step
        assert math.isfinite(controller.threshold)


@settings(max_examples=50)
@given(
    target=st.floats(0.05, 0.95),
    signals=st.lists(st.floats(-10, 10), min_size=1, max_size=300),
)
def test_the_errors_telescope(target: float, signals: list[float]) -> None:
    """The published bound, for a fixed step and a threshold that is not clipped."""
    controller = ThresholdController(Budget(large_share=target), 0.0)
    controller.update(estimate(-20.0, 0.0))
    controller.update(estimate(20.0, 0.0))
    threshold = controller.threshold
    errors = moved = 0.0
    for signal in signals:
        error = (signal > threshold) - target
        step = controller.step_size
        controller.threshold = threshold
        controller.step(error)
        moved += (controller.threshold - threshold) / step
        errors += error
        threshold = controller.threshold
    assert moved == pytest.approx(errors, abs=1e-6 * len(signals))


@given(st.lists(st.floats(-5, 5), max_size=200), st.floats(0, 1))
def test_it_is_deterministic(signals: list[float], target: float) -> None:
    runs = [
        [e.threshold for e in fly(ThresholdController(Budget(large_share=target)), signals)]
        for _ in range(2)
    ]
    assert runs[0] == runs[1]


@pytest.mark.slow
@pytest.mark.parametrize("budget_ms", [0.3, 0.5, 0.8])
def test_the_mean_latency_is_held(budget_ms: float) -> None:
    signals = np.random.default_rng(1).normal(0, 1, 6000).tolist()
    controller = ThresholdController(Budget(mean_latency_ms=budget_ms))
    settled = fly(controller, signals)[2000:]
    mean = np.mean([(e.times.small + e.times.large) / 1e6 for e in settled])
    assert mean == pytest.approx(budget_ms, abs=0.03)


@pytest.mark.parametrize(("budget_ms", "expected"), [(0.1, 0.0), (5.0, 1.0)])
def test_a_budget_out_of_reach_takes_the_nearest_extreme(budget_ms: float, expected: float) -> None:
    signals = np.random.default_rng(1).normal(0, 1, 4000).tolist()
    settled = fly(ThresholdController(Budget(mean_latency_ms=budget_ms)), signals)[2000:]
    # Beyond everything that was seen, only a new extreme is on the other side.
    assert share(settled) == pytest.approx(expected, abs=0.01)


def test_it_follows_a_change() -> None:
    generator = np.random.default_rng(2)
    signals = [*generator.normal(0, 1, 3000), *generator.normal(8, 2, 3000)]
    estimates = fly(ThresholdController(Budget(large_share=0.3)), signals)
    assert share(estimates[4000:]) == pytest.approx(0.3, abs=0.05)
    assert STEP < 1


@pytest.mark.parametrize(
    "bad",
    [
        {},
        {"large_share": 0.5, "mean_latency_ms": 1.0},
        {"large_share": 1.5},
        {"large_share": math.nan},
        {"mean_latency_ms": 0.0},
        {"mean_latency_ms": math.inf},
    ],
)
def test_budgets_that_make_no_sense(bad: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match="budget"):
        Budget(**bad)
