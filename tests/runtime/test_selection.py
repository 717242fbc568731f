"""Selection: when a frame is hard, and the first reason that holds."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gearshift.runtime.decide.policies import ALWAYS_SMALL, OP, RANDOM
from gearshift.runtime.decide.policy import Policy, PolicyOptions, Probe, SignalContext
from gearshift.runtime.decide.selection import (
    REASON_CODE,
    REASONS,
    Choice,
    check_threshold,
    decide,
    decide_one,
)
from gearshift.runtime.errors import ConfigurationError
from gearshift.runtime.types import FloatArray, Reason

NAN, INF = math.nan, math.inf
GAP_S = 0.3
MAX_GAP = float(np.float32(GAP_S))
OPTIONS = PolicyOptions(max_gap_s=GAP_S)
POLICIES = {
    (probe, history): dataclasses.replace(OP, probe=probe, uses_history=history)
    for probe in (Probe.NONE, Probe.SMALL)
    for history in (False, True)
}


@dataclasses.dataclass(frozen=True)
class Lane:
    """What is known of one frame: a signal of `value`, the age of the history, what is missing."""

    value: float
    threshold: float = 0.5
    age: float = 0.1
    probe_failed: bool = False
    any_accepted: bool = True
    has_previous: bool = True


def context_of(lanes: list[Lane]) -> SignalContext:
    def rows(present: list[bool]) -> FloatArray:
        # One missing number makes a missing row.
        return np.array([[1.0, 2.0 if there else NAN] for there in present], dtype=np.float32)

    shape = (len(lanes),)
    return SignalContext(
        index=np.zeros(shape, dtype=np.int64),
        probe=rows([not lane.probe_failed for lane in lanes]),
        accepted=rows([lane.any_accepted for lane in lanes]),
        previous=rows([lane.has_previous for lane in lanes]),
        age=np.array([lane.age for lane in lanes], dtype=np.float32),
        interval=np.ones(shape, dtype=np.float32),
        small_at_large=rows([True for _ in lanes]),
        frames_since_large=np.ones(shape, dtype=np.float32),
        seconds_since_large=np.ones(shape, dtype=np.float32),
    )


def decided(policy: Policy, lanes: list[Lane]) -> Choice:
    values = np.array([lane.value for lane in lanes], dtype=np.float32)
    thresholds = np.array([lane.threshold for lane in lanes], dtype=np.float32)
    context = context_of(lanes)

    def signal(given: SignalContext) -> FloatArray:
        assert given is context
        return values

    return decide(policy, signal, context, thresholds, OPTIONS)


def decided_alone(policy: Policy, lane: Lane) -> tuple[bool, float, Reason]:
    context = context_of([lane])
    context.age = np.asarray(context.age[0])

    def signal(given: SignalContext) -> FloatArray:
        assert given is context
        return np.asarray(lane.value, dtype=np.float32)

    return decide_one(
        policy,
        signal,
        context,
        float(np.float32(lane.threshold)),
        max_gap=MAX_GAP,
        probe_failed=lane.probe_failed,
        any_accepted=lane.any_accepted,
        has_previous=lane.has_previous,
    )


@pytest.mark.parametrize(
    ("lane", "hard", "signal", "reason"),
    [
        (Lane(0.4), False, 0.4, Reason.EASY),
        (Lane(0.6), True, 0.6, Reason.HARD),
        (Lane(0.5), False, 0.5, Reason.EASY),
        (Lane(INF, INF), True, INF, Reason.HARD),
        (Lane(3e38, INF), False, 3e38, Reason.EASY),
        (Lane(-INF, -INF), True, -INF, Reason.HARD),
        (Lane(-1.0, -INF), True, -1.0, Reason.HARD),
        (Lane(-INF, 0.0), False, -INF, Reason.EASY),
        (Lane(NAN), True, INF, Reason.SIGNAL_NAN),
        (Lane(NAN, INF), True, INF, Reason.SIGNAL_NAN),
        (Lane(0.0, has_previous=False), False, 0.0, Reason.EASY),
        (Lane(NAN, has_previous=False), True, INF, Reason.FIRST_FRAME),
        (Lane(0.0, age=MAX_GAP), False, 0.0, Reason.EASY),
        (Lane(0.0, age=0.31), True, INF, Reason.GAP),
        (Lane(0.9, age=0.31), True, INF, Reason.GAP),
        (Lane(NAN, age=0.31, has_previous=False), True, INF, Reason.GAP),
        (Lane(0.0, any_accepted=False, age=INF), True, INF, Reason.FIRST_FRAME),
        (Lane(NAN, any_accepted=False, age=INF), True, INF, Reason.FIRST_FRAME),
        (Lane(0.0, probe_failed=True), True, INF, Reason.PROBE_FAILED),
        (Lane(NAN, probe_failed=True, age=9.0), True, INF, Reason.PROBE_FAILED),
        (Lane(0.0, probe_failed=True, any_accepted=False), True, INF, Reason.PROBE_FAILED),
    ],
)
def test_the_first_reason_that_holds_is_named(
    lane: Lane, hard: bool, signal: float, reason: Reason
) -> None:
    policy = POLICIES[Probe.SMALL, True]
    swept = decided(policy, [lane])
    assert (swept.hard.tolist(), swept.reason.tolist()) == ([hard], [REASON_CODE[reason]])
    assert swept.signal.tolist() == [float(np.float32(signal))]
    assert decided_alone(policy, lane) == (hard, float(np.float32(signal)), reason)


@pytest.mark.parametrize("history", [False, True])
def test_what_a_policy_does_not_use_does_not_count(history: bool) -> None:
    # Without a probe, rows of the probe mean nothing.
    lanes = [Lane(0.1, probe_failed=True)]
    assert decided(POLICIES[Probe.NONE, history], lanes).hard.tolist() == [False]
    # Without a history, neither does its age, nor whether there is one.
    for lane in (Lane(0.1, age=9), Lane(0.1, any_accepted=False), Lane(NAN, has_previous=False)):
        policy = POLICIES[Probe.SMALL, False]
        expected = Reason.EASY if lane.value == lane.value else Reason.SIGNAL_NAN
        assert decided(policy, [lane]).reason.tolist() == [REASON_CODE[expected]]
        assert decided_alone(policy, lane)[2] is expected


numbers = st.one_of(st.floats(-2, 2, width=32), st.sampled_from([NAN, INF, -INF, 0.5, 0.0, -0.0]))
lane_strategy = st.builds(
    Lane,
    value=numbers,
    threshold=st.one_of(st.floats(-2, 2, width=32), st.sampled_from([INF, -INF, 0.5])),
    age=st.sampled_from([0.0, 0.1, MAX_GAP, float(np.nextafter(np.float32(GAP_S), 1)), INF]),
    any_accepted=st.booleans(),
    has_previous=st.booleans(),
)


@given(st.lists(lane_strategy, min_size=1, max_size=6), st.booleans(), st.integers(0, 63))
@example([Lane(0.5), Lane(NAN, has_previous=False)], True, 1)
@example([Lane(NAN), Lane(0.5, has_previous=False)], True, 0)
def test_many_lanes_are_decided_as_one_by_one(
    lanes: list[Lane], history: bool, failed: int
) -> None:
    policy = POLICIES[Probe.SMALL, history]
    lanes = [
        dataclasses.replace(
            lane,
            probe_failed=bool(failed >> i & 1),
            # What was never accepted has no age.
            age=lane.age if lane.any_accepted else INF,
        )
        for i, lane in enumerate(lanes)
    ]
    swept = decided(policy, lanes)
    assert swept.hard.dtype == np.bool_
    assert swept.signal.dtype == np.float32
    assert swept.reason.dtype == np.uint8
    for i, lane in enumerate(lanes):
        hard, value, reason = decided_alone(policy, lane)
        assert bool(swept.hard[i]) is hard
        assert float(swept.signal[i]) == value
        assert REASONS[int(swept.reason[i])] is reason


def test_thresholds_broadcast_against_flights() -> None:
    context = context_of([Lane(0.0), Lane(0.0)])
    context.age = context.age[:, None]
    for name in ("probe", "accepted", "previous"):
        setattr(context, name, getattr(context, name)[:, None])
    values = np.array([[0.2], [0.6]], dtype=np.float32)
    thresholds = np.array([0.1, 0.5, 0.9], dtype=np.float32)
    choice = decide(OP, lambda _context: values, context, thresholds, OPTIONS)
    assert choice.hard.tolist() == [[True, False, False], [True, True, False]]
    assert choice.signal.shape == choice.reason.shape == (2, 3)


@pytest.mark.parametrize(
    ("policy", "bound"), [(ALWAYS_SMALL, True), (ALWAYS_SMALL, False), (RANDOM, False)]
)
def test_a_policy_without_a_signal_is_constant(policy: Policy, bound: bool) -> None:
    def signal(context: SignalContext) -> FloatArray:
        raise AssertionError("a constant policy was asked")

    thresholds = np.array([-INF, 0.0, INF], dtype=np.float32)
    context = context_of([Lane(0.0)] * 3)
    choice = decide(policy, signal if bound else None, context, thresholds, OPTIONS)
    assert choice.hard.tolist() == [False] * 3
    assert choice.hard.dtype == np.bool_
    assert np.isnan(choice.signal).all()
    assert choice.signal.dtype == np.float32
    assert choice.reason.tolist() == [REASON_CODE[Reason.CONSTANT]] * 3
    assert choice.reason.dtype == np.uint8


def test_thresholds_are_float32() -> None:
    assert check_threshold(0.1) == float(np.float32(0.1)) != 0.1
    # Beyond float32 there is only infinity, without a warning.
    assert check_threshold(1e300) == INF
    assert check_threshold(-1e300) == -INF
    assert check_threshold(-INF) == -INF
    with pytest.raises(ConfigurationError, match=r"^the threshold is not a number$"):
        check_threshold(NAN)


def test_a_signal_counts_as_float32() -> None:
    """Or 0.1 in double precision would exceed a threshold of 0.1, which is stored as float32."""
    value = np.array([0.1 + 1e-12])
    thresholds = np.array([0.1], dtype=np.float32)
    below = np.nextafter(thresholds, np.float32(0))
    context = context_of([Lane(0.0)])
    for threshold, hard in ((thresholds, False), (below, True)):
        choice = decide(OP, lambda _context: value, context, threshold, OPTIONS)
        assert choice.signal.dtype == np.float32
        assert choice.hard.tolist() == [hard]


def test_reasons_and_their_codes_are_each_other() -> None:
    assert len(REASONS) == len(set(REASONS)) == len(Reason)
    assert [REASONS[code] for code in REASON_CODE.values()] == list(REASON_CODE)
