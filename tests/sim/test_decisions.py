"""A decision is one byte: which networks ran, whether large answered, held or lost.

The gate's baselines hold their hashes, so their meaning must not move.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from gearshift.runtime.decide.calibration import Calibration
from gearshift.runtime.decide.policy import PolicyOptions
from gearshift.runtime.decide.policy_registry import find_policy
from gearshift.runtime.errors import ConfigurationError
from gearshift.runtime.scoring.counted_frames import angular_mask
from gearshift.runtime.types import NetworkRole
from gearshift.sim.traces.trace import Trace
from gearshift.sim.traces.trace_sweep import SweepResult, frame_grid, sweep_trace, threshold_grid

MEMBERS = {NetworkRole.SMALL: "F2", NetworkRole.LARGE: "M1.0", NetworkRole.AUX: "aux"}
SMALL, LARGE, AUX, ANSWERED_LARGE, HELD, LOST, NO_FRAME = 1, 2, 4, 8, 16, 32, 255
TraceFactory = Callable[..., Trace]


def swept(trace: Trace, policy: str, *thresholds: float, filter_name: str = "none") -> SweepResult:
    calibration = Calibration.from_components(trace.components)
    return sweep_trace(
        trace,
        MEMBERS,
        find_policy(policy),
        calibration,
        np.array(thresholds),
        filter_name=filter_name,
    )


def failing(trace: Trace, **frames: list[int]) -> Trace:
    outputs = {name: output.copy() for name, output in trace.outputs.items()}
    for role, where in frames.items():
        outputs[MEMBERS[NetworkRole(role)]][where] = np.nan
    return replace(trace, outputs=outputs)


def first_frames(trace: Trace, lengths: list[int]) -> Trace:
    keep = np.concatenate([b + np.arange(n) for b, n in zip(trace.starts, lengths, strict=False)])
    names = ("time_ns", "flight", "truth", "visible", "head_cell")
    return replace(
        trace,
        outputs={n: o[keep] for n, o in trace.outputs.items()},
        **{n: getattr(trace, n)[keep] for n in names},
    )


ANSWER = LARGE + ANSWERED_LARGE


@pytest.mark.parametrize(
    ("policy", "threshold", "fails", "codes"),
    [
        ("always-small", 0, {}, [SMALL] * 5),
        ("always-large", 0, {}, [ANSWER] * 5),
        ("op", -np.inf, {}, [SMALL + ANSWER] * 5),
        ("op", np.inf, {}, [SMALL + ANSWER] + [SMALL] * 4),
        ("aux-sm", -np.inf, {}, [AUX + ANSWER] * 5),
        ("aux-sm", np.inf, {}, [AUX + SMALL] * 5),
        ("every", 1, {}, [ANSWER, SMALL, ANSWER, SMALL, ANSWER]),
        ("hold", 2, {}, [ANSWER, HELD, HELD, ANSWER, HELD]),
        ("hold", 2, {"large": [3]}, [ANSWER, HELD, HELD, SMALL + LARGE, ANSWER]),
        (
            *("hold", 2, {"large": [3], "small": [3]}),
            [ANSWER, HELD, HELD, SMALL + LARGE + LOST, ANSWER],
        ),
        ("always-small", 0, {"small": [1]}, [SMALL, SMALL + ANSWER, SMALL, SMALL, SMALL]),
        ("aux-sm", np.inf, {"aux": [2]}, [AUX + SMALL] * 2 + [AUX + ANSWER] + [AUX + SMALL] * 2),
    ],
)
def test_what_a_byte_says(
    trace_factory: TraceFactory,
    policy: str,
    threshold: float,
    fails: dict[str, list[int]],
    codes: list[int],
) -> None:
    trace = failing(trace_factory(flights=1, frames=5, empty=False), **fails)
    result = swept(trace, policy, threshold)
    assert result.decisions.dtype == np.uint8
    assert result.decisions[:, 0, 0].tolist() == codes
    ran = np.bincount([code % 8 for code in codes], minlength=8)
    assert result.combinations[0, 0].tolist() == ran.tolist()
    assert result.large[0, 0] == sum(code & ANSWERED_LARGE > 0 for code in codes)
    assert result.lost[0, 0] == sum(code & LOST > 0 for code in codes)
    assert result.frames.tolist() == [5]
    for role, bit in zip(NetworkRole, (SMALL, LARGE, AUX), strict=True):
        assert result.runs(role)[0, 0] == sum(code & bit > 0 for code in codes)


def test_a_flight_that_has_ended_says_nothing(trace_factory: TraceFactory) -> None:
    trace = first_frames(trace_factory(flights=3, frames=4, empty=False), [4, 1, 2])
    result = swept(trace, "every", 0.0, np.inf)
    assert result.decisions.shape == result.signals.shape == (4, 3, 2)
    over = np.array([[False] * 3, [False, True, False], [False, True, True], [False, True, True]])
    assert ((result.decisions == NO_FRAME) == over[:, :, None]).all()
    assert (np.isnan(result.signals) == over[:, :, None]).all()
    assert result.frames.tolist() == [4, 1, 2]
    assert result.combinations.sum(axis=-1).tolist() == [[4, 4], [1, 1], [2, 2]]
    assert result.scored.tolist() == [[4, 4], [1, 1], [2, 2]]
    index, active = frame_grid(trace)
    assert index.tolist() == [[0, 4, 5], [1, 4, 6], [2, 4, 6], [3, 4, 6]]
    assert (active == ~over).all()
    # Each flight alone gives the same: none sees another's frames.
    together = swept(trace, "anchor", 0.7, filter_name="anchor")
    for flight, (begin, end) in enumerate(zip(trace.starts[:-1], trace.starts[1:], strict=True)):
        rows = slice(begin, end)
        alone = replace(
            trace,
            outputs={n: o[rows] for n, o in trace.outputs.items()},
            flights=trace.flights[flight : flight + 1],
            **{n: getattr(trace, n)[rows] for n in ("time_ns", "truth", "visible", "head_cell")},
            flight=np.zeros(end - begin, dtype=np.int32),
        )
        found = swept(alone, "anchor", 0.7, filter_name="anchor")
        assert found.error[0].tolist() == together.error[flight].tolist()
        steps = end - begin
        assert found.decisions[:, 0].tolist() == together.decisions[:steps, flight].tolist()


def test_the_first_flight_may_be_the_shortest(trace_factory: TraceFactory) -> None:
    trace = first_frames(trace_factory(flights=2, frames=3, empty=False), [1, 3])
    index, active = frame_grid(trace)
    assert index.tolist() == [[0, 1], [0, 2], [0, 3]]
    assert active.tolist() == [[True, True], [False, True], [False, True]]


def test_thresholds_are_kept_as_float32(trace_factory: TraceFactory) -> None:
    result = swept(trace_factory(flights=1, frames=2), "op", 0.1, 0.3)
    assert result.thresholds.dtype == np.float32
    assert result.thresholds.tolist() == np.array([0.1, 0.3], dtype=np.float32).tolist()


def test_errors_are_summed_over_the_frames_that_count(trace_factory: TraceFactory) -> None:
    trace = failing(trace_factory(flights=2, frames=6), small=[2, 9], large=[2])
    trace.truth[4, 3] = 1.8
    result = swept(trace, "always-small", 0.0)
    angular = angular_mask(trace.components)
    for flight in range(2):
        error, counted = np.zeros(4), 0
        for i in range(6 * flight, 6 * flight + 6):
            said = trace.outputs["M1.0" if i == 9 else "F2"][i].astype(np.float64)
            off = said - trace.truth[i]
            off[angular] = np.arctan2(np.sin(off[angular]), np.cos(off[angular]))
            if trace.visible[i] and abs(trace.truth[i, 3]) <= 1.75 and i != 2:
                error, counted = error + np.abs(off), counted + 1
        np.testing.assert_allclose(result.error[flight, 0], error, rtol=1e-5)
        assert result.scored[flight, 0] == counted
    assert result.scored.sum() < 10
    assert result.lost[:, 0].tolist() == [1, 0]


def test_a_cost_is_summed_over_what_ran(trace_factory: TraceFactory) -> None:
    result = swept(trace_factory(flights=1, frames=4, empty=False), "every", 1.0, np.inf)
    per_combination = np.array([0.5, 4.0, 20.0, np.nan, np.nan, np.nan, np.nan, np.nan])
    assert result.cost(per_combination).tolist() == [[48.0, 32.0]]


def test_without_frames_there_is_no_sweep(trace_factory: TraceFactory) -> None:
    trace = trace_factory(flights=1, frames=2)
    empty = first_frames(trace, [0])
    with pytest.raises(ConfigurationError, match=r"^the val trace has no frames$"):
        swept(empty, "op", 0.0)


def test_thresholds_are_those_that_matter(trace_factory: TraceFactory) -> None:
    trace = trace_factory(flights=2, frames=8, empty=False)
    calibration = Calibration.from_components(trace.components)
    grid = threshold_grid(trace, MEMBERS, find_policy("every"), calibration)
    assert grid.dtype == np.float32
    # Always, then every second to eighth frame, then never again.
    assert grid.tolist() == [-np.inf, 1, 2, 3, 4, 5, 6, 7, np.inf]
    # As many as were asked for are taken as they are.
    exactly = threshold_grid(trace, MEMBERS, find_policy("every"), calibration, count=7)
    assert exactly.tolist() == grid.tolist()
    constant = threshold_grid(trace, MEMBERS, find_policy("always-large"), calibration)
    assert constant.tolist() == [np.inf]
    many = threshold_grid(
        trace_factory(flights=8, frames=40), MEMBERS, find_policy("op"), calibration, count=9
    )
    assert 3 < len(many) <= 11
    assert many.dtype == np.float32
    assert many[0] == -np.inf
    assert many[-1] == np.inf
    assert (np.diff(many) > 0).all()


def test_thresholds_are_of_the_signal_with_its_options(trace_factory: TraceFactory) -> None:
    trace = trace_factory(flights=2, frames=8, empty=False)
    calibration = Calibration.from_components(trace.components)
    per_frame, per_second = (
        threshold_grid(
            trace,
            MEMBERS,
            find_policy("op-ahead"),
            calibration,
            options=PolicyOptions(per_second=per_second),
        )
        for per_second in (False, True)
    )
    np.testing.assert_allclose(per_second[1:-1], per_frame[1:-1] * 15, rtol=1e-3)
