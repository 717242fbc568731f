"""Many flights and thresholds at once give, bit for bit, what one flight at a time gives."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gearshift.runtime.decide.combination import Combination
from gearshift.runtime.decide.policies import OP, RANDOM
from gearshift.runtime.decide.policy import Action, PolicyOptions, SignalContext
from gearshift.runtime.decide.policy_registry import BUILT_IN, find_policy
from gearshift.runtime.decide.selection import REASONS
from gearshift.runtime.decide.sweep import Sweep
from gearshift.runtime.errors import ConfigurationError
from gearshift.runtime.scheduling.policy_conformance import assert_swept_equals_flown, fly
from gearshift.runtime.scheduling.scheduler import Scheduler
from gearshift.runtime.scheduling.scripted import FRAME_NS, GRID, Script, scripted_calibration
from gearshift.runtime.types import FloatArray, NetworkRole, Reason

FRAMES = 12
values = st.one_of(
    st.floats(-4, 4, width=32),
    st.floats(-(2.0**56), 2.0**56, width=32),
    st.sampled_from([np.nan, np.inf, -np.inf, -0.0, 2.0**127, -(2.0**57)]),
)


def outputs(k: int) -> st.SearchStrategy[FloatArray]:
    return hnp.arrays(np.float32, (FRAMES, k), elements=values, fill=st.floats(-1, 1, width=32))


@st.composite
def scripts(draw: st.DrawFn) -> Script:
    gaps = st.sampled_from([0, 1, FRAME_NS, 2 * FRAME_NS, 499_999_999, 500_000_001, 10**10])
    steps = draw(st.lists(gaps, min_size=FRAMES, max_size=FRAMES))
    return Script(
        np.cumsum(np.array(steps, dtype=np.int64)),
        draw(outputs(4)),
        draw(outputs(4)),
        draw(outputs(GRID.classes)),
    )


@pytest.mark.slow
@settings(max_examples=100)
@given(
    st.sampled_from(sorted(BUILT_IN)),
    st.lists(scripts(), min_size=1, max_size=2),
    st.lists(st.floats(-1, 5, width=32), min_size=1, max_size=2),
    st.builds(PolicyOptions, per_second=st.booleans(), seed=st.integers(0, 9)),
    st.tuples(
        st.sampled_from([None, "none", "anchor", "smooth"]), st.sampled_from(list(Combination))
    ),
)
def test_swept_equals_flown(
    name: str,
    flights: list[Script],
    thresholds: list[float],
    options: PolicyOptions,
    slots: tuple[str | None, Combination],
) -> None:
    grid = np.array([-np.inf, *thresholds, np.inf], dtype=np.float32)
    assert_swept_equals_flown(find_policy(name), flights, grid, options, *slots)


@settings(max_examples=30)
@given(
    st.sampled_from(["op", "op-ahead", "anchor", "every", "random", "hold"]),
    st.lists(st.lists(st.booleans(), min_size=FRAMES, max_size=FRAMES), min_size=2, max_size=3),
)
def test_lanes_that_miss_frames_are_flights_that_missed_them(
    name: str, seen: list[list[bool]]
) -> None:
    script, policy = Script.random(FRAMES), find_policy(name)
    active = np.array(seen)
    sweep = Sweep(policy, scripted_calibration(), np.array([0.5], dtype=np.float32), (len(seen),))
    steps = [
        sweep.step(
            int(script.times[i]), script.small[i], script.large[i], script.aux[i], active[:, i]
        )
        for i in range(FRAMES)
    ]
    frames = script.frames()
    for lane, mask in enumerate(seen):
        scheduler = Scheduler(script.ensemble(), policy, 0.5)
        for i in np.flatnonzero(mask):
            estimate = scheduler.process(frames[i])
            assert estimate.values == tuple(steps[i].values[lane].tolist())


def test_a_sweep_without_leading_axes_is_one_flight() -> None:
    script = Script.random(20)
    sweep = Sweep(OP, scripted_calibration(), np.array([0.4], dtype=np.float32).reshape(()), ())
    for i, estimate in enumerate(fly(Scheduler(script.ensemble(), OP, 0.4), script)):
        step = sweep.step(int(script.times[i]), script.small[i], script.large[i])
        assert estimate.values == tuple(step.values.tolist())
    sweep.reset()
    assert bool(sweep.step(0, script.small[0], script.large[0]).answered_large)


def test_what_cannot_be_swept_is_refused() -> None:
    calibration = scripted_calibration()
    with pytest.raises(ConfigurationError, match="not a number"):
        Sweep(OP, calibration, np.array([0.1, np.nan], dtype=np.float32), (2,))
    sweep = Sweep(find_policy("aux-sm"), calibration, np.array([0.1], dtype=np.float32), (1,))
    script = Script.random(1)
    with pytest.raises(ConfigurationError, match="needs the auxiliary network"):
        sweep.step(0, script.small[0], script.large[0])


@pytest.mark.parametrize(
    ("row", "valid"),
    [
        ((3e17, -3e17, 2e17, 1.9e17), True),
        ((3e17, -3e17, 2e17, 2.1e17), False),
        ((9.9e17, 0, 0, 0), True),
        # Exactly the limit.
        ((float(np.float32(1e18)), 1e18 - float(np.float32(1e18)), 0, 0), False),
        ((0, 0, 0, -1.1e18), False),
        ((np.inf, -np.inf, 0, 0), False),
        ((0, 0, np.nan, 0), False),
    ],
)
def test_an_output_is_valid_below_the_limit_of_its_sum(row: tuple[float, ...], valid: bool) -> None:
    """From 1e18 on, its network counts as failed; the firmware holds the same limit."""
    large, small = np.array(row, dtype=np.float32), np.ones(4, dtype=np.float32)
    always = np.array([-np.inf], dtype=np.float32)
    step = Sweep(OP, scripted_calibration(), always, (1,)).step(0, small, large)
    assert step.answered_large.tolist() == [valid]
    assert step.degraded.tolist() == [not valid]
    assert np.isfinite(step.values).all()


def test_a_policy_that_holds_at_random_is_swept_as_flown() -> None:
    """It may be easy before there is anything to hold."""
    lazy = dataclasses.replace(RANDOM, name="lazy", when_easy=Action.HOLD)
    thresholds = np.array([0.2, 0.8, 1.0], dtype=np.float32)
    flights = [Script.random(FRAMES, seed=seed) for seed in range(3)]
    flights[1] = flights[1].with_nan(NetworkRole.LARGE, [0, 1]).with_nan(NetworkRole.SMALL, [0])
    assert_swept_equals_flown(lazy, flights, thresholds, PolicyOptions())
    step = Sweep(lazy, scripted_calibration(), thresholds[2:], (1,)).step(
        0, flights[0].small[0], flights[0].large[0]
    )
    assert REASONS[int(step.reason[0])] is Reason.FIRST_FRAME
    assert step.answered_large.all()


def test_a_policy_without_a_probe_is_shown_no_output() -> None:
    script = Script.random(3)

    def signal(context: SignalContext) -> FloatArray:
        assert context.probe.size == 0
        return np.zeros(1, dtype=np.float32)

    sweep = Sweep(
        RANDOM, scripted_calibration(), np.array([0.5], dtype=np.float32), (1,), signal=signal
    )
    for i in range(3):
        step = sweep.step(int(script.times[i]), script.small[i], script.large[i])
        assert step.fresh.all()
        assert not step.answered_large.any()
