from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gearshift.runtime.decide.calibration import Calibration
from gearshift.runtime.decide.policies import ALWAYS_LARGE, ANCHOR, OP
from gearshift.runtime.decide.policy import Policy, PolicyOptions
from gearshift.runtime.decide.policy_registry import find_policy
from gearshift.runtime.ensembles.ensemble import Ensemble
from gearshift.runtime.errors import ConfigurationError, TraceError
from gearshift.runtime.scheduling.scheduler import Scheduler
from gearshift.runtime.scoring.counted_frames import absolute_error, angular_mask, scored_frames
from gearshift.runtime.types import EstimateFlag, FloatArray, Frame, Image, NetworkRole
from gearshift.sim.calibrate.fitting import calibrate, error_deviation, head_cell_gain
from gearshift.sim.traces.oracle import ORACLE, bind_oracle, true_gain
from gearshift.sim.traces.run_cost import combination
from gearshift.sim.traces.trace import Trace
from gearshift.sim.traces.trace_sweep import NO_FRAME, sweep_trace, threshold_grid

from .conftest import TraceFactory

MEMBERS = {NetworkRole.SMALL: "F2", NetworkRole.LARGE: "M1.0", NetworkRole.AUX: "aux"}
POLICIES = (
    "op",
    "op-ahead",
    "aux-sm",
    "aux-hlc",
    "random",
    "every",
    "hold",
    "always-small",
    "always-large",
    "anchor",
)


class TraceEngine:
    """Says what a network said on a frame of the trace; the image holds the frame's number."""

    def __init__(self, trace: Trace, name: str) -> None:
        self.network = replace(trace.networks[name].network, height=1, width=4)
        self.outputs = trace.outputs[name]

    def run(self, image: Image) -> FloatArray:
        output: FloatArray = self.outputs[int(image.view(np.uint32)[0, 0])]
        return output

    def close(self) -> None:
        pass


def fly(
    trace: Trace, policy: Policy, calibration: Calibration, threshold: float, filter_name: str
) -> Iterator[tuple[Any, ...]]:
    """The scheduler, frame by frame: (error, scored, combinations, large, lost) per flight."""
    engines = [TraceEngine(trace, MEMBERS[role]) for role in MEMBERS]
    ensemble = Ensemble("trace", engines[0], engines[1], engines[2], calibration)
    angular = angular_mask(trace.components)
    scored = scored_frames(trace.truth, trace.visible, angular)
    gain = true_gain(
        trace.components, trace.truth, trace.visible, trace.outputs["F2"], trace.outputs["M1.0"]
    )
    for begin, end in zip(trace.starts[:-1], trace.starts[1:], strict=True):
        signal = bind_oracle(gain[begin:end]) if policy is ORACLE else None
        scheduler = Scheduler(
            ensemble, policy, threshold, filter_name=filter_name, replay=True, signal=signal
        )
        error, counts = np.zeros(4), np.zeros(8, dtype=int)
        counted = large = lost = 0
        for i in range(begin, end):
            image = np.array([[i]], dtype=np.uint32).view(np.uint8)
            estimate = scheduler.process(Frame(image, int(trace.time_ns[i]), i, "trace"))
            counts[combination(estimate.networks)] += 1
            large += estimate.answered is NetworkRole.LARGE
            gone = EstimateFlag.LOST in estimate.flags
            lost += gone
            if scored[i] and not gone:
                values = np.array(estimate.values, dtype=np.float32)
                error += absolute_error(values, trace.truth[i], angular)
                counted += 1
        yield error, counted, counts, large, lost


@pytest.mark.parametrize("name", [*POLICIES, "oracle"])
@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    lengths=st.lists(st.integers(1, 14), min_size=1, max_size=4),
    level=st.floats(0, 1),
    filter_name=st.sampled_from(["none", "anchor", "smooth"]),
    failing=st.booleans(),
)
def test_a_sweep_counts_what_the_scheduler_does(
    trace_factory: TraceFactory,
    name: str,
    *,
    seed: int,
    lengths: list[int],
    level: float,
    filter_name: str,
    failing: bool,
) -> None:
    policy = ORACLE if name == "oracle" else find_policy(name)
    trace = cut_flights(trace_factory(seed=seed, flights=len(lengths), frames=14), lengths)
    calibration = replace(
        Calibration.from_components(trace.components),
        head_cell_gain=np.random.default_rng(seed).normal(0, 0.1, 49).astype(np.float32),
    )
    if failing:
        broken = np.random.default_rng(seed).random(trace.frames) < 0.2
        outputs = {n: o.copy() for n, o in trace.outputs.items()}
        outputs["M1.0"][broken] = np.nan
        outputs["F2"][np.roll(broken, 1)] = np.nan
        if name != "oracle":
            trace = replace(trace, outputs=outputs)
    grid = threshold_grid(trace, MEMBERS, policy, calibration, count=10)
    thresholds = np.unique(
        np.array([-np.inf, grid[int(level * (len(grid) - 1))], np.inf], np.float32)
    )
    result = sweep_trace(trace, MEMBERS, policy, calibration, thresholds, filter_name=filter_name)
    for k, threshold in enumerate(thresholds):
        flown = fly(trace, policy, calibration, float(threshold), filter_name)
        for f, (error, counted, counts, large, lost) in enumerate(flown):
            np.testing.assert_allclose(result.error[f, k], error, rtol=1e-6, atol=1e-6)
            assert result.scored[f, k] == counted
            assert result.combinations[f, k].tolist() == counts.tolist()
            assert result.large[f, k] == large
            assert result.lost[f, k] == lost
    assert result.frames.tolist() == lengths
    assert ((result.decisions != NO_FRAME).sum(axis=0) == result.frames[:, None]).all()


def cut_flights(trace: Trace, lengths: list[int]) -> Trace:
    """The first frames of every flight."""
    keep = np.concatenate(
        [np.arange(b, b + n) for b, n in zip(trace.starts[:-1], lengths, strict=True)]
    )
    return replace(
        trace,
        outputs={n: o[keep] for n, o in trace.outputs.items()},
        **{
            n: getattr(trace, n)[keep]
            for n in ("time_ns", "flight", "truth", "visible", "head_cell")
        },
    )


def test_thresholds_spread_the_runs_of_large(trace_factory: TraceFactory) -> None:
    trace = trace_factory(flights=20, frames=40)
    calibration = Calibration.from_components(trace.components)
    for policy in (OP, ANCHOR):
        grid = threshold_grid(trace, MEMBERS, policy, calibration, count=30)
        assert grid[0] == -np.inf
        assert grid[-1] == np.inf
        assert (np.diff(grid) > 0).all()
        result = sweep_trace(trace, MEMBERS, policy, calibration, grid)
        share = result.runs(NetworkRole.LARGE).sum(axis=0) / result.frames.sum()
        assert share[0] == 1
        assert np.abs(np.diff(share)).max() < 0.12
    assert len(threshold_grid(trace, MEMBERS, ALWAYS_LARGE, calibration)) == 1


def test_the_oracle_is_a_bound(trace_factory: TraceFactory) -> None:
    trace = trace_factory(flights=20, frames=40)
    calibration = Calibration.from_components(trace.components)
    result = sweep_trace(trace, MEMBERS, ORACLE, calibration, np.array([-np.inf, 0.0, np.inf]))
    large, best, small = result.error.sum(axis=(0, 2))
    assert best < min(small, large)
    assert ORACLE.signal is not None
    with pytest.raises(ConfigurationError, match="ground truth"):
        ORACLE.signal(calibration, PolicyOptions())


def test_a_missing_network_is_named(trace_factory: TraceFactory) -> None:
    trace = trace_factory()
    calibration = Calibration.from_components(trace.components)
    unknown = {NetworkRole.SMALL: "F9", NetworkRole.LARGE: "M1.0"}
    with pytest.raises(TraceError, match="'F9'"):
        sweep_trace(trace, unknown, OP, calibration, np.zeros(1))
    members = {NetworkRole.SMALL: "F2", NetworkRole.LARGE: "M1.0"}
    with pytest.raises(ConfigurationError, match="auxiliary"):
        sweep_trace(trace, members, find_policy("aux-sm"), calibration, np.zeros(1))


def test_deviations_are_those_of_the_errors(trace_factory: TraceFactory) -> None:
    trace = trace_factory(empty=False)
    trace = replace(trace, truth=np.zeros_like(trace.truth))
    outputs = {n: o.copy() for n, o in trace.outputs.items()}
    outputs["F2"][:] = [0.1, -0.2, 0.3, -0.4]
    trace = replace(trace, outputs=outputs)
    np.testing.assert_allclose(error_deviation(trace, "F2"), [0.1, 0.2, 0.3, 0.4], rtol=1e-5)


def test_head_cells_that_differ_are_told_apart_and_rare_ones_shrunk(
    trace_factory: TraceFactory,
) -> None:
    trace = trace_factory(flights=60, frames=20, empty=False)
    scores = trace.outputs["aux"].copy()
    rng = np.random.default_rng(0)
    cell = rng.integers(0, 4, len(scores))
    cell[:3] = 9
    scores[:] = 0
    scores[np.arange(len(scores)), cell] = 1
    truth = np.zeros_like(trace.truth)
    small = (0.1 * rng.standard_normal(truth.shape)).astype(np.float32)
    large = (0.1 * rng.standard_normal(truth.shape)).astype(np.float32)
    small[cell == 3] += 0.5
    small[cell == 9] += 5
    trace = replace(
        trace,
        truth=truth,
        outputs={"F1": small, "F2": small, "M1.0": large, "aux": scores},
    )
    table = head_cell_gain(trace, MEMBERS)
    assert table[3] > 1.4
    assert abs(table[:3]).max() < 0.2
    assert table[9] < 19
    assert table[40] == pytest.approx(table[41])


@pytest.mark.slow
def test_calibration_never_makes_the_filter_worse_than_none(trace_factory: TraceFactory) -> None:
    trace = trace_factory(flights=16, frames=24)
    calibration = calibrate(trace, MEMBERS)
    at = np.array([np.inf], dtype=np.float32)
    raw, smooth = (
        sweep_trace(trace, MEMBERS, ALWAYS_LARGE, calibration, at, filter_name=f).error.sum()
        for f in ("none", "smooth")
    )
    assert smooth <= raw * (1 + 1e-6)
    assert set(calibration.standard_deviation) == {NetworkRole.SMALL, NetworkRole.LARGE}
