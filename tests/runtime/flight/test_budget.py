"""The controller holds its budget for any signal, stays bounded, and repeats itself exactly."""

from __future__ import annotations

import dataclasses
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


def estimate(signal: float, threshold: float, aux_ms: float = 0.0) -> Estimate:
    """A frame of the policy `op`: small ran, and large where the signal is above the threshold.

    aux_ms: what the auxiliary network took, where it was asked before them.
    """
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
        times=StageTimes(
            aux=int(aux_ms * 1e6),
            small=int(SMALL_MS * 1e6),
            large=int(LARGE_MS * 1e6) if hard else 0,
        ),
    )


def fly(
    controller: ThresholdController, signals: list[float], aux_ms: float = 0.0
) -> list[Estimate]:
    estimates = []
    for signal in signals:
        frame = estimate(signal, controller.threshold, aux_ms)
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


def by_the_formula(
    budget: Budget, start: float | None, frames: list[Estimate]
) -> tuple[list[float], list[float]]:
    """Thresholds and steps after every frame, written down from the module's text.

    The running means take a 64th of what is new; the step is a 20th of the spread, of a hundredth
    of the largest signal or of a millionth, whichever is largest.
    """
    threshold = start if start is not None and math.isfinite(start) else None
    signals: list[float] = []
    mean = spread = 0.0
    large_ms: float | None = None
    thresholds, steps = [], []
    for frame in frames:
        if math.isfinite(frame.signal):
            if not signals:
                mean = frame.signal
            if threshold is None:
                threshold = frame.signal
            signals.append(frame.signal)
            spread = spread * 63 / 64 + abs(frame.signal - mean) / 64
            mean = mean * 63 / 64 + frame.signal / 64
        step = 0.05 * 1e-6
        if signals:
            step = 0.05 * max(spread, 0.01 * max(map(abs, signals)), 1e-6)
            assert threshold is not None
            ran_large = NetworkRole.LARGE in frame.networks
            if budget.large_share is not None:
                error = ran_large - budget.large_share
            else:
                assert budget.mean_latency_ms is not None
                aux, small, large = (
                    t / 1e6 for t in (frame.times.aux, frame.times.small, frame.times.large)
                )
                if ran_large:
                    large_ms = large if large_ms is None else large_ms * 63 / 64 + large / 64
                unit = budget.mean_latency_ms if large_ms is None else large_ms
                error = (aux + small + large - budget.mean_latency_ms) / unit
                error = max(-1.0, min(1.0, error))
            threshold += step * error
            threshold = max(min(signals) - step, min(max(signals) + step, threshold))
        thresholds.append(0.0 if threshold is None else threshold)
        steps.append(step)
    return thresholds, steps


def timed(signal: float, hard: bool, times: list[int]) -> Estimate:
    frame = estimate(signal, -math.inf if hard else math.inf)
    aux, small, large = times
    ran_large = NetworkRole.LARGE in frame.networks
    return dataclasses.replace(frame, times=StageTimes(aux, small, large if ran_large else 0))


FRAMES = st.lists(
    st.builds(
        timed,
        st.one_of(st.floats(-100, 100), st.sampled_from([math.inf, math.nan, 0.0, 3.0])),
        st.booleans(),
        st.lists(st.integers(1, 3_000_000), min_size=3, max_size=3),
    ),
    min_size=1,
    max_size=12,
)


@given(
    budget=st.one_of(
        st.builds(Budget, large_share=st.floats(0, 1)),
        st.builds(Budget, mean_latency_ms=st.floats(0.01, 5)),
    ),
    start=st.sampled_from([None, 0.0, 1.0, -50.0, math.inf, -math.inf, math.nan]),
    frames=FRAMES,
)
def test_every_step_is_the_formula(
    budget: Budget, start: float | None, frames: list[Estimate]
) -> None:
    controller = ThresholdController(budget, start)
    finite = start is not None and math.isfinite(start)
    assert controller.threshold == (start if finite else 0.0)
    expected, steps = by_the_formula(budget, start, frames)
    for frame, threshold, step in zip(frames, expected, steps, strict=True):
        assert controller.update(frame) == controller.threshold
        assert controller.threshold == pytest.approx(threshold, rel=1e-9, abs=1e-12)
        assert controller.step_size == pytest.approx(step, rel=1e-9)


def test_the_first_frame_by_hand() -> None:
    """A constant signal has no spread: a step is 0.05 * 0.01 * 8, and large ran once too often."""
    controller = ThresholdController(Budget(large_share=0.25))
    assert controller.update(estimate(8.0, 0.0)) == pytest.approx(8 + 0.004 * 0.75)
    assert controller.update(estimate(8.0, 9.0)) == pytest.approx(8 + 0.004 * 0.5)


def test_budgets_at_their_limits_make_sense() -> None:
    for share_ in (0.0, 1.0):
        assert Budget(large_share=share_).large_share == share_
    assert Budget(mean_latency_ms=1e-9).mean_latency_ms == 1e-9


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


def test_every_network_counts_against_the_mean_latency() -> None:
    """0.3 ms of aux and 0.2 ms of small leave large 0.35 ms of 0.85: every second frame."""
    signals = np.random.default_rng(1).normal(0, 1, 6000).tolist()
    controller = ThresholdController(Budget(mean_latency_ms=0.85))
    settled = fly(controller, signals, aux_ms=0.3)[2000:]
    assert share(settled) == pytest.approx(0.5, abs=0.04)


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
        {"mean_latency_ms": math.nan},
        {"mean_latency_ms": -1.0},
        {"large_share": -0.1},
    ],
)
def test_budgets_that_make_no_sense(bad: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match=r"^(a budget is either |budget: )"):
        Budget(**bad)
