"""What every policy has to pass, ours and plugged-in ones alike.

for check in policy_checks_for(my_policy):
    check(my_policy)              # raises AssertionError, saying what is wrong
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from gearshift.runtime.decide.combination import Combination
from gearshift.runtime.decide.policy import Policy, PolicyOptions, Signal, SignalContext
from gearshift.runtime.decide.selection import REASONS
from gearshift.runtime.decide.sweep import Sweep
from gearshift.runtime.errors import ConfigurationError
from gearshift.runtime.scheduling.scheduler import Scheduler
from gearshift.runtime.scheduling.scripted import FRAME_NS, Script, scripted_calibration
from gearshift.runtime.types import Estimate, EstimateFlag, FloatArray, NetworkRole, Reason

PolicyCheck = Callable[[Policy], None]


def fly(scheduler: Scheduler, script: Script) -> list[Estimate]:
    """The estimates of every frame of a script."""
    return [scheduler.process(frame) for frame in script.frames()]


def _scheduler(policy: Policy, script: Script, threshold: float = 0.0) -> Scheduler:
    return Scheduler(script.ensemble(), policy, threshold, clock=lambda: 0)


def _same(a: Sequence[Estimate], b: Sequence[Estimate]) -> bool:
    return repr(a) == repr(b)


def _require(condition: object, policy: Policy, message: str) -> None:
    if not condition:
        raise AssertionError(f"policy {policy.name}: {message}")


def is_deterministic(policy: Policy) -> None:
    """Two schedulers make the same choices from the same frames."""
    script = Script.random()
    first, second = fly(_scheduler(policy, script), script), fly(_scheduler(policy, script), script)
    _require(_same(first, second), policy, "the same flight gave different estimates")


def resets(policy: Policy) -> None:
    """After a reset nothing of the last flight is left."""
    scheduler = _scheduler(policy, script := Script.random())
    first = fly(scheduler, script)
    scheduler.reset()
    _require(_same(first, fly(scheduler, script)), policy, "a reset leaves something behind")


def answers_first_frame(policy: Policy) -> None:
    """The first frame is answered; by large, where the signal needs a history."""
    for threshold in (-np.inf, 0.0, np.inf):
        estimate = fly(_scheduler(policy, script := Script.random(1), threshold), script)[0]
        _require(estimate.answered is not None, policy, "no answer to the first frame")
        if policy.uses_history:
            _require(estimate.reason is Reason.FIRST_FRAME, policy, "the first frame had a history")
            _require(estimate.answered is NetworkRole.LARGE, policy, "it chose small blindly")


def starts_anew_after_a_gap(policy: Policy) -> None:
    """A frame later than max_gap after the last accepted one is treated as hard."""
    script = Script.random(20)
    gap_ns = round(PolicyOptions().max_gap_s * 1e9) + FRAME_NS
    times = script.times + np.where(np.arange(20) >= 10, gap_ns, 0)
    estimates = fly(_scheduler(policy, script := script.with_times(times), np.inf), script)
    if policy.uses_history:
        _require(estimates[10].reason is Reason.GAP, policy, "a gap went unnoticed")
        _require(estimates[10].answered is NetworkRole.LARGE, policy, "small answered after a gap")
    _require(estimates[11].reason is not Reason.GAP, policy, "the gap lasts longer than one frame")


def survives_missed_frames(policy: Policy) -> None:
    """Missing a few frames is no gap, or a busy scheduler would lock itself into large."""
    script = Script.random(30)
    script = script.with_times(1_000_000_000 + (script.times - script.times[0]) * 4)
    for estimate in fly(_scheduler(policy, script, np.inf), script):
        _require(estimate.reason is not Reason.GAP, policy, "a missed frame counted as a gap")


def survives_failed_networks(policy: Policy) -> None:
    """NaN outputs and raising engines never reach the estimate, nor does an old value."""
    bad = frozenset(range(5, 25, 3))
    for role in NetworkRole:
        plain = Script.random(30)
        nan = plain.with_nan(role, sorted(bad))
        for script, failing in ((nan, None), (plain, {role: bad})):
            scheduler = Scheduler(script.ensemble(failing), policy, 0.2, clock=lambda: 0)
            for frame, estimate in zip(script.frames(), fly(scheduler, script), strict=True):
                lost = EstimateFlag.LOST in estimate.flags
                finite = bool(np.isfinite(estimate.values).all())
                _require(finite is not lost, policy, f"{role} failed and its NaN was published")
                used = role in estimate.networks and frame.sequence in bad
                degraded = EstimateFlag.DEGRADED in estimate.flags
                _require(degraded is used, policy, f"{role} failed without a flag")
                if used:
                    _require(estimate.answered is not role, policy, "a failed network answered")
    script = Script.random(3)
    every = frozenset(range(3))
    failing = dict.fromkeys(NetworkRole, every)
    for estimate in fly(Scheduler(script.ensemble(failing), policy, 0.2), script):
        _require(EstimateFlag.LOST in estimate.flags, policy, "an answer without any network")
        _require(np.isnan(estimate.values).all(), policy, "a lost estimate has values")


def obeys_threshold_laws(policy: Policy) -> None:
    """-inf is always large; +inf is never large unless the signal is +inf."""
    script = Script.random()
    if policy.signal is None:
        return
    for estimate in fly(_scheduler(policy, script, -np.inf), script):
        _require(estimate.answered is NetworkRole.LARGE, policy, "-inf did not shift up")
    for estimate in fly(_scheduler(policy, script, np.inf), script):
        shifted = estimate.answered is NetworkRole.LARGE
        _require(shifted is (estimate.signal == np.inf), policy, "+inf and the signal disagree")


def is_refused_onboard_if_it_cheats(policy: Policy) -> None:
    """A policy that reads ground truth only works in replay, and a signal is offered none."""
    offered = {field.name for field in dataclasses.fields(SignalContext)}
    _require(not {"truth", "ground_truth"} & offered, policy, "signals are offered ground truth")
    if policy.replay_only:
        try:
            Scheduler(Script.random(1).ensemble(), policy, 0.0)
        except ConfigurationError:
            return
        raise AssertionError(f"policy {policy.name}: it reads ground truth and was let fly")


def is_float32_and_pure(policy: Policy) -> None:
    """The signal is float32 of the leading shape and leaves what it reads alone."""
    if policy.signal is None:
        return
    script = Script.random()

    def watched(context: SignalContext) -> FloatArray:
        before = repr(context)
        value = signal(context)
        _require(value.dtype == np.float32, policy, f"its signal is {value.dtype}")
        _require(np.ndim(value) == 0, policy, f"its signal has shape {np.shape(value)} in flight")
        _require(repr(context) == before, policy, "its signal writes to what it should read")
        return value

    signal: Signal = policy.signal(scripted_calibration(), PolicyOptions())
    fly(Scheduler(script.ensemble(), policy, 0.5, signal=watched), script)


def is_the_same_swept(policy: Policy) -> None:
    """One flight at a time or many flights and thresholds at once: the same to the last bit."""
    flights = [Script.random(40, seed=seed) for seed in range(3)]
    flights[1] = flights[1].with_nan(NetworkRole.SMALL, [7, 8]).with_nan(NetworkRole.LARGE, [8, 20])
    flights[2] = flights[2].with_nan(NetworkRole.AUX, [5])
    late = flights[2].times + np.where(np.arange(40) >= 25, 700_000_000, 0)
    flights[2] = flights[2].with_times(late)
    thresholds = np.array([-np.inf, 0.0, 0.1, 0.3, 0.7, 1.0, 2.0, np.inf], dtype=np.float32)
    for options in (PolicyOptions(), PolicyOptions(per_second=True, seed=7)):
        assert_swept_equals_flown(policy, flights, thresholds, options)


def assert_swept_equals_flown(  # noqa: PLR0917 -- all that both take
    policy: Policy,
    flights: Sequence[Script],
    thresholds: FloatArray,
    options: PolicyOptions,
    filter_name: str | None = None,
    combination: Combination = Combination.LARGE,
) -> None:
    """Raise AssertionError unless `Sweep` and `Scheduler` agree bit for bit.

    The flights are of equal length.
    """
    shape = (len(flights), len(thresholds))
    sweep = Sweep(
        policy,
        scripted_calibration(),
        thresholds,
        shape,
        options,
        filter_name=filter_name,
        combination=combination,
    )

    def flown_at(script: Script, threshold: float) -> list[Estimate]:
        scheduler = Scheduler(
            script.ensemble(),
            policy,
            threshold,
            options,
            filter_name=filter_name,
            combination=combination,
        )
        return fly(scheduler, script)

    flown = [[flown_at(script, t) for t in thresholds.tolist()] for script in flights]
    for i in range(len(flights[0].times)):
        step = sweep.step(
            np.array([[f.times[i]] for f in flights], dtype=np.int64),
            np.stack([f.small[i] for f in flights])[:, None],
            np.stack([f.large[i] for f in flights])[:, None],
            np.stack([f.aux[i] for f in flights])[:, None],
        )
        for lane in np.ndindex(shape):
            estimate = flown[lane[0]][lane[1]][i]
            ran = {
                NetworkRole.SMALL: bool(step.ran_small[lane]),
                NetworkRole.LARGE: bool(step.ran_large[lane]),
                NetworkRole.AUX: bool(step.ran_aux[lane]),
            }
            swept = (
                REASONS[step.reason[lane]],
                tuple(role for role in NetworkRole if ran[role]),
                bool(step.degraded[lane]),
                bool(step.answered_large[lane]),
                bool(step.fresh[lane]),
                bool(step.held[lane]),
                repr(float(step.signal[lane])),
                step.values[lane].tobytes() if not step.lost[lane] else None,
            )
            lost = EstimateFlag.LOST in estimate.flags
            single = (
                estimate.reason,
                estimate.networks,
                EstimateFlag.DEGRADED in estimate.flags,
                estimate.answered is NetworkRole.LARGE,
                estimate.answered is not None,
                EstimateFlag.HELD in estimate.flags,
                repr(estimate.signal),
                np.array(estimate.values, dtype=np.float32).tobytes() if not lost else None,
            )
            _require(swept == single, policy, f"frame {i}, lane {lane}: {swept} is not {single}")


def policy_checks() -> tuple[PolicyCheck, ...]:
    """Every check a registered policy passes; one that reads ground truth only the last."""
    return (
        is_deterministic,
        resets,
        answers_first_frame,
        starts_anew_after_a_gap,
        survives_missed_frames,
        survives_failed_networks,
        obeys_threshold_laws,
        is_float32_and_pure,
        is_the_same_swept,
        is_refused_onboard_if_it_cheats,
    )


def policy_checks_for(policy: Policy) -> tuple[PolicyCheck, ...]:
    """The checks that apply to a policy: one that reads ground truth cannot fly the scripts."""
    return (is_refused_onboard_if_it_cheats,) if policy.replay_only else policy_checks()
