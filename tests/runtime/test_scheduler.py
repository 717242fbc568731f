from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Callable

import numpy as np
import pytest

from gearshift.runtime.decide import policies
from gearshift.runtime.decide.combination import Combination
from gearshift.runtime.decide.policy import Action, Policy, PolicyOptions
from gearshift.runtime.decide.policy_registry import find_policy
from gearshift.runtime.ensembles.ensemble import Ensemble
from gearshift.runtime.errors import ConfigurationError, FrameError
from gearshift.runtime.scheduling.deadline import DeadlineMonitor
from gearshift.runtime.scheduling.policy_conformance import fly
from gearshift.runtime.scheduling.scheduler import Scheduler
from gearshift.runtime.scheduling.scripted import FRAME_NS, Script, scripted_calibration
from gearshift.runtime.types import EstimateFlag, FloatArray, Frame, Image, NetworkRole, Reason

SMALL, LARGE, AUX = NetworkRole.SMALL, NetworkRole.LARGE, NetworkRole.AUX


def test_an_easy_frame_reuses_the_probe() -> None:
    script = Script.random(10)
    estimates = fly(Scheduler(script.ensemble(), policies.OP, math.inf), script)
    first, second = estimates[:2]
    assert first.reason is Reason.FIRST_FRAME
    assert first.networks == (SMALL, LARGE)
    assert first.values == tuple(script.large[0].tolist())
    assert second.reason is Reason.EASY
    assert second.networks == (SMALL,)
    assert second.values == tuple(script.small[1].tolist())
    assert second.flags is EstimateFlag.NONE
    assert second.standard_deviation == pytest.approx((0.2,) * 4)
    assert first.standard_deviation == pytest.approx((0.1,) * 4)
    assert second.presence is None


def test_presence_comes_from_the_auxiliary_network() -> None:
    """One less the probability of 'no head': 16 / (48 + 16), then nearly 1, then nearly 0."""
    script = Script.random(3)
    script.aux[:] = 0
    script.aux[:, -1] = (math.log(16), 20, -20)
    estimates = fly(Scheduler(script.ensemble(), policies.AUX_SM, 0.5), script)
    presence = [estimate.presence for estimate in estimates]
    assert presence == pytest.approx([0.75, 0.0, 1.0], abs=1e-6)
    assert AUX in estimates[0].networks


def test_the_outputs_of_a_frame_are_there_for_the_recorder() -> None:
    script = Script.random(3)
    scheduler = Scheduler(script.ensemble(), policies.AUX_SM, -math.inf)
    assert scheduler.outputs == {}
    fly(scheduler, script)
    outputs = scheduler.outputs
    assert set(outputs) == {AUX, LARGE}
    np.testing.assert_array_equal(outputs[LARGE], script.large[2])
    np.testing.assert_array_equal(outputs[AUX], script.aux[2])


@pytest.mark.parametrize(
    ("policy", "failing", "reason", "answered", "ran"),
    [
        (policies.ALWAYS_SMALL, {SMALL}, Reason.SMALL_FAILED, LARGE, (SMALL, LARGE)),
        (policies.ALWAYS_LARGE, {LARGE}, Reason.LARGE_FAILED, SMALL, (SMALL, LARGE)),
        (policies.ALWAYS_LARGE, {LARGE, SMALL}, Reason.BOTH_FAILED, None, (SMALL, LARGE)),
        (policies.OP, {SMALL}, Reason.PROBE_FAILED, LARGE, (SMALL, LARGE)),
        (policies.OP, {LARGE}, Reason.LARGE_FAILED, SMALL, (SMALL, LARGE)),
        (policies.AUX_SM, {AUX}, Reason.PROBE_FAILED, LARGE, (LARGE, AUX)),
        (policies.AUX_SM, {AUX, LARGE}, Reason.LARGE_FAILED, SMALL, (SMALL, LARGE, AUX)),
    ],
)
def test_the_other_network_answers(
    policy: Policy,
    failing: set[NetworkRole],
    reason: Reason,
    answered: NetworkRole | None,
    ran: tuple[NetworkRole, ...],
) -> None:
    script = Script.random(5)
    bad = frozenset([0])
    ensemble = script.ensemble(dict.fromkeys(failing, bad))
    estimates = fly(Scheduler(ensemble, policy, 100.0), script)
    for index in bad:
        estimate = estimates[index]
        assert (estimate.reason, estimate.answered) == (reason, answered)
        assert estimate.networks == ran
        assert EstimateFlag.DEGRADED in estimate.flags
        assert (EstimateFlag.LOST in estimate.flags) is (answered is None)
        assert bool(np.isnan(estimate.values).any()) is (answered is None)
    for index in (1, 3, 4):
        assert estimates[index].flags is EstimateFlag.NONE


def test_an_engine_that_raises_anything_does_not_stop_the_flight(
    caplog: pytest.LogCaptureFixture,
) -> None:
    script = Script.random(6)
    ensemble = script.ensemble()

    class Broken:
        network = ensemble.large.network

        def run(self, image: Image) -> FloatArray:
            raise RuntimeError("bus error")

        def close(self) -> None: ...

    with caplog.at_level(logging.WARNING):
        broken = dataclasses.replace(ensemble, large=Broken())
        estimates = fly(Scheduler(broken, policies.ALWAYS_LARGE), script)
    assert {e.answered for e in estimates} == {SMALL}
    # One line for the change, not one per frame.
    assert [r.getMessage() for r in caplog.records] == ["large network large failed: bus error"]


def test_a_wrong_frame_changes_nothing() -> None:
    script = Script.random(5)
    scheduler, other = (Scheduler(script.ensemble(), policies.OP, 0.5) for _ in range(2))
    frames = script.frames()
    for frame in frames[:3]:
        scheduler.process(frame)
        other.process(frame)
    wrong = dataclasses.replace(frames[3], image=np.zeros((4, 4), dtype=np.uint8))
    with pytest.raises(FrameError, match="frame is 4x4 uint8"):
        scheduler.process(wrong)
    for frame in frames[3:]:
        a, b = scheduler.process(frame), other.process(frame)
        assert (a.values, a.signal, a.reason) == (b.values, b.signal, b.reason)


def test_hold_repeats_and_says_so() -> None:
    script = Script.random(4)
    estimates = fly(Scheduler(script.ensemble(), policies.HOLD, 2.0), script)
    held = estimates[1]
    assert held.flags is EstimateFlag.HELD
    assert held.reason is Reason.HELD
    assert held.answered is None
    assert held.networks == ()
    assert held.values == estimates[0].values
    assert estimates[3].answered is LARGE


def test_nothing_is_held_before_there_is_something() -> None:
    script = Script.random(3)
    ensemble = script.ensemble(dict.fromkeys((SMALL, LARGE), frozenset([0])))
    estimates = fly(Scheduler(ensemble, policies.HOLD, 5.0), script)
    assert EstimateFlag.LOST in estimates[0].flags
    assert estimates[1].answered is LARGE
    assert EstimateFlag.HELD in estimates[2].flags


def test_fusion_weighs_by_inverse_variance_and_wraps() -> None:
    script = Script.random(2)
    script.small[0] = [1.0, 1.0, 1.0, 3.1]
    script.large[0] = [2.0, 2.0, 2.0, -3.1]
    scheduler = Scheduler(script.ensemble(), policies.OP, 0.0, combination=Combination.FUSION)
    fused = scheduler.process(script.frames()[0])
    assert fused.values[:3] == pytest.approx((1.8,) * 3)
    assert fused.values[3] == pytest.approx(-3.1 - 0.2 * (2 * math.pi - 6.2), abs=1e-5)
    assert fused.standard_deviation == pytest.approx((0.2 * math.sqrt(0.2),) * 4)
    bare = dataclasses.replace(scripted_calibration(), standard_deviation={})
    with pytest.raises(ConfigurationError, match="fusion needs the standard deviation"):
        Scheduler(
            script.ensemble(calibration=bare), policies.OP, 0.0, combination=Combination.FUSION
        )


class SteppedClock:
    """Advances by what each engine costs."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now


def timed(script: Script, clock: SteppedClock, cost: Callable[[NetworkRole, int], int]) -> Ensemble:
    ensemble = script.ensemble()
    for role in NetworkRole:
        engine = ensemble.engine(role)
        assert engine is not None
        run = engine.run

        def slow(
            image: Image,
            run: Callable[[Image], FloatArray] = run,
            role: NetworkRole = role,
        ) -> FloatArray:
            clock.now += cost(role, int(image[0, 0]))
            return run(image)

        engine.run = slow  # type: ignore[method-assign]
    return ensemble


def test_large_is_skipped_when_it_would_miss_the_deadline_and_tried_again_later() -> None:
    script, clock = Script.random(200), SteppedClock()

    def cost(role: NetworkRole, index: int) -> int:
        return 1000 if role is SMALL else 30_000 if index < 3 else 6000

    ensemble = timed(script, clock, cost)
    deadline = DeadlineMonitor(10_000)
    scheduler = Scheduler(ensemble, policies.OP, -math.inf, deadline=deadline, clock=clock)
    estimates = fly(scheduler, script)
    assert EstimateFlag.LATE in estimates[0].flags
    assert estimates[0].times.large == 30_000
    assert estimates[0].times.total == 31_000
    skipped = estimates[1]
    assert skipped.reason is Reason.DEADLINE
    assert skipped.answered is SMALL
    assert skipped.flags is EstimateFlag.DEGRADED
    assert skipped.times.large == 0
    # One slow run does not lock large out: what is expected of it fades.
    assert estimates[-1].answered is LARGE
    assert all(EstimateFlag.LATE not in e.flags for e in estimates[1:])


def test_large_runs_late_when_small_failed_too() -> None:
    script, clock = Script.random(3).with_nan(SMALL, [1]), SteppedClock()
    ensemble = timed(script, clock, lambda role, index: 50_000 if role is LARGE else 10)
    deadline = DeadlineMonitor(10_000)
    scheduler = Scheduler(ensemble, policies.EVERY, 0.0, deadline=deadline, clock=clock)
    estimates = fly(scheduler, script)
    assert estimates[1].answered is LARGE
    assert estimates[1].flags == EstimateFlag.DEGRADED | EstimateFlag.LATE


def test_the_threshold_moves_in_flight_and_is_float32() -> None:
    script = Script.random(10)
    scheduler = Scheduler(script.ensemble(), policies.RANDOM, 1.0)
    frames = script.frames()
    assert scheduler.process(frames[0]).answered is SMALL
    scheduler.set_threshold(-math.inf)
    assert scheduler.process(frames[1]).answered is LARGE
    scheduler.set_threshold(0.1)
    assert scheduler.threshold == float(np.float32(0.1))
    with pytest.raises(ConfigurationError, match="not a number"):
        scheduler.set_threshold(math.nan)
    assert scheduler.threshold == float(np.float32(0.1))


def test_what_does_not_fit_together_is_refused() -> None:
    script = Script.random(2)
    ensemble = script.ensemble()
    cheat = Policy("cheat", "reads truth", signal=policies.random_signal, replay_only=True)
    for policy, threshold, message in (
        (policies.OP, None, "op needs a threshold"),
        (policies.OP, math.nan, "not a number"),
        (cheat, 0.0, "works in replay only"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            Scheduler(ensemble, policy, threshold)
    with pytest.raises(ConfigurationError, match="has none"):
        Scheduler(dataclasses.replace(ensemble, aux=None), policies.AUX_SM, 0.0)
    with pytest.raises(ConfigurationError, match="unknown filter 'kalman'"):
        Scheduler(ensemble, policies.OP, 0.0, filter_name="kalman")
    Scheduler(ensemble, cheat, 0.0, replay=True)


def test_replay_publishes_at_capture_time_plus_processing_time() -> None:
    script, clock = Script.random(2), SteppedClock()
    ensemble = timed(script, clock, lambda role, index: 700)
    scheduler = Scheduler(ensemble, policies.ALWAYS_SMALL, replay=True, clock=clock)
    estimate = scheduler.process(script.frames()[1])
    assert estimate.publish_time_ns == estimate.capture_time_ns + 700


def test_a_policy_may_hold_when_it_is_easy() -> None:
    script = Script.random(10)
    lazy = dataclasses.replace(policies.OP, name="lazy", when_easy=Action.HOLD)
    estimates = fly(Scheduler(script.ensemble(), lazy, math.inf), script)
    assert estimates[0].answered is LARGE
    assert estimates[1].networks == (SMALL,)
    assert EstimateFlag.HELD in estimates[1].flags


def test_a_gap_is_longer_than_max_gap_to_the_float() -> None:
    script = Script.random(3)
    options = PolicyOptions(max_gap_s=0.1)
    frames = script.frames()
    for gap_ns, reason in ((100_000_000, Reason.EASY), (100_000_100, Reason.GAP)):
        scheduler = Scheduler(script.ensemble(), find_policy("op"), math.inf, options)
        scheduler.process(frames[0])
        late = dataclasses.replace(frames[1], capture_time_ns=frames[0].capture_time_ns + gap_ns)
        assert scheduler.process(late).reason is reason


def test_two_frames_with_one_time_stamp_are_no_trouble() -> None:
    script = Script.random(4)
    frame = script.frames()[0]
    for policy in (policies.OP, policies.ANCHOR, policies.OP_AHEAD):
        scheduler = Scheduler(script.ensemble(), policy, 1.0, PolicyOptions(per_second=True))
        for index in range(4):
            repeated = Frame(script.frames()[index].image, frame.capture_time_ns, index, "script")
            assert np.isfinite(scheduler.process(repeated).values).all()
    assert FRAME_NS > 0


@pytest.mark.parametrize("policy", [policies.ANCHOR, policies.OP_AHEAD], ids=lambda p: p.name)
def test_a_history_may_never_grow_old(policy: Policy) -> None:
    """An infinite max_gap_s: no gap ends a history, and the first frame still starts one."""
    script = Script.random(4)
    options = PolicyOptions(max_gap_s=math.inf)
    scheduler = Scheduler(script.ensemble(), policy, math.inf, options)
    late = script.with_times(script.times + np.arange(4) * 10**12)
    estimates = fly(scheduler, late)
    assert all(np.isfinite(estimate.values).all() for estimate in estimates)
    assert estimates[0].reason is Reason.FIRST_FRAME
    assert {estimate.reason for estimate in estimates[2:]} == {Reason.EASY}


def test_an_estimate_says_what_every_network_took_and_how_often_each_ran() -> None:
    script, clock = Script.random(3), SteppedClock()
    took = {SMALL: 10, LARGE: 200, AUX: 3000}
    ensemble = timed(script, clock, lambda role, index: took[role])
    scheduler = Scheduler(ensemble, policies.AUX_SM, -math.inf, clock=clock)
    for _ in range(2):  # a new flight counts from 0
        estimates = fly(scheduler, script)
        assert [e.index for e in estimates] == [0, 1, 2]
        for estimate in estimates:
            times = estimate.times
            assert (times.aux, times.small, times.large, times.total) == (3000, 0, 200, 3200)
            assert 0 <= estimate.signal <= 1
        scheduler.reset()
    again = Script.random(5)
    probed = again.ensemble()
    fly(Scheduler(probed, policies.OP, math.inf), again)
    assert probed.small.runs == [0, 1, 2, 3, 4]  # type: ignore[attr-defined]


def test_without_calibration_no_deviation_is_known() -> None:
    script = Script.random(2)
    bare = dataclasses.replace(scripted_calibration(), standard_deviation={})
    for policy in (policies.ALWAYS_SMALL, policies.ALWAYS_LARGE):
        estimates = fly(Scheduler(script.ensemble(calibration=bare), policy), script)
        assert np.isnan([e.standard_deviation for e in estimates]).tolist() == [[True] * 4] * 2


def test_a_network_that_fails_and_recovers_is_told_of_twice(
    caplog: pytest.LogCaptureFixture,
) -> None:
    script = Script.random(6).with_nan(LARGE, [1, 2, 4])
    with caplog.at_level(logging.WARNING):
        fly(Scheduler(script.ensemble(), policies.ALWAYS_LARGE), script)
    failed = "large network large failed: its output is not valid"
    assert [r.getMessage() for r in caplog.records] == [
        *(failed, "large network large works again"),
        *(failed, "large network large works again"),
    ]
