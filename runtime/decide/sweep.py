"""The scheduler's choices over arrays: many flights and thresholds at once, from stored outputs.

`Sweep.step` does for every lane what `Scheduler.process` does for one frame, deadline excepted, to
the last bit: a property test holds them equal. It runs no network; it is told what each would say.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gearshift.runtime.decide.calibration import Calibration
from gearshift.runtime.decide.combination import Combination, Fusion
from gearshift.runtime.decide.filters import make_filter
from gearshift.runtime.decide.history import NO_VALUES, BoolArray, History, TimeArray
from gearshift.runtime.decide.policy import Action, Policy, PolicyOptions, Probe, Signal
from gearshift.runtime.decide.portable import OUTPUT_LIMIT
from gearshift.runtime.decide.selection import REASON_CODE, CodeArray, decide
from gearshift.runtime.errors import ConfigurationError
from gearshift.runtime.types import FloatArray, Reason


@dataclass(frozen=True, slots=True, eq=False)
class SweepStep:
    """What happened on one frame, per lane (...).

    values: (..., n) published, NaN where lost. accepted: (..., n) before the filter, valid where
    `fresh`. fresh: a network answered; of the other lanes `held` repeat an output and `lost` have
    none. answered_large, ran_small, ran_large, ran_aux: bool. degraded: a network that ran failed.
    signal: float32. reason: uint8 codes into `selection.REASONS`.
    """

    values: FloatArray
    accepted: FloatArray
    fresh: BoolArray
    held: BoolArray
    lost: BoolArray
    answered_large: BoolArray
    ran_small: BoolArray
    ran_large: BoolArray
    ran_aux: BoolArray
    degraded: BoolArray
    signal: FloatArray
    reason: CodeArray


class Sweep:
    """One policy over lanes of shape `leading_shape`, e.g. (flights, thresholds).

    thresholds: float32, broadcastable to the lanes, no NaN. signal: replaces the policy's own, for
    one that reads ground truth. filter_name: one of `filters.FILTERS`, default the policy's. Raises
    ConfigurationError.
    """

    def __init__(
        self,
        policy: Policy,
        calibration: Calibration,
        thresholds: NDArray[np.floating],
        leading_shape: tuple[int, ...],
        options: PolicyOptions | None = None,
        *,
        combination: Combination = Combination.LARGE,
        filter_name: str | None = None,
        signal: Signal | None = None,
    ) -> None:
        if np.isnan(thresholds).any():
            raise ConfigurationError("a threshold is not a number")
        self._options = options or PolicyOptions()
        self._policy = policy
        self._thresholds: FloatArray = np.broadcast_to(thresholds, leading_shape).astype(np.float32)
        if signal is None and policy.signal is not None:
            signal = policy.signal(calibration, self._options)
        self._signal = signal
        self._shape = leading_shape
        self._fusion = Fusion(calibration) if combination is Combination.FUSION else None
        chosen = filter_name or policy.filter_name
        self._filter = make_filter(chosen, leading_shape, calibration, self._options.max_gap_s)
        self._published: FloatArray = np.empty(0, dtype=np.float32)
        self.history = History(leading_shape, len(calibration.components), self._options)
        self.reset()

    def reset(self) -> None:
        """Start new flights."""
        self.history.reset()
        if self._filter is not None:
            self._filter.reset()
        self._published = np.full((*self._shape, self.history.n), np.nan, dtype=np.float32)

    def step(
        self,
        time_ns: TimeArray | int,
        small: FloatArray,
        large: FloatArray,
        aux: FloatArray = NO_VALUES,
        active: BoolArray | None = None,
    ) -> SweepStep:
        """Process one frame on every lane.

        time_ns: capture times, int64, broadcastable to (...). small, large: (..., n) and aux: (...,
        classes) outputs, float32, broadcastable; a row that is not valid
        (`portable.OUTPUT_LIMIT`) is a failed network.
        active: lanes that see this frame (default all); the others keep their state, and what the
        step says of them means nothing.
        """
        shape, policy, history = self._shape, self._policy, self.history
        small, small_ok = _checked(small)
        large, large_ok = _checked(large)
        if policy.probe is Probe.AUX:
            if aux.shape[-1] == 0:
                raise ConfigurationError(f"policy {policy.name} needs the auxiliary network")
            probe, _ = _checked(aux)
        else:
            probe = small if policy.probe is Probe.SMALL else NO_VALUES
        context = history.context(time_ns, probe)
        choice = decide(policy, self._signal, context, self._thresholds, self._options)
        want_large = choice.hard | (policy.when_easy is Action.LARGE)
        want_hold = np.zeros(shape, dtype=np.bool_)
        reason = choice.reason
        if policy.when_easy is Action.HOLD:
            want_hold = ~want_large & history.any_accepted
            nothing_to_hold = ~want_large & ~want_hold
            want_large = want_large | nothing_to_hold
            reason = np.where(nothing_to_hold, REASON_CODE[Reason.FIRST_FRAME], reason)
            reason = np.where(want_hold, REASON_CODE[Reason.HELD], reason)
        want_small = ~want_large & ~want_hold

        ran_small = want_small | (want_large & ~large_ok)
        if policy.probe is Probe.SMALL:
            ran_small = np.ones(shape, dtype=np.bool_)
        ran_large = want_large | (want_small & ~small_ok)
        large_gave, small_gave = ran_large & large_ok, ran_small & small_ok
        both = large_gave & small_gave
        fresh = ~want_hold & (large_gave | small_gave)
        lost = ~want_hold & ~fresh
        reason = np.where(want_large & ~large_ok, REASON_CODE[Reason.LARGE_FAILED], reason)
        reason = np.where(want_small & ~small_ok, REASON_CODE[Reason.SMALL_FAILED], reason)
        reason = np.where(lost, REASON_CODE[Reason.BOTH_FAILED], reason)
        ran_aux = np.full(shape, policy.probe is Probe.AUX)
        degraded = (ran_small & ~small_ok) | (ran_large & ~large_ok)
        if policy.probe is Probe.AUX:
            degraded = degraded | np.isnan(probe).any(axis=-1)

        accepted = np.where(large_gave[..., None], large, small)
        if self._fusion is not None:
            accepted = np.where(both[..., None], self._fusion.combine(small, large), accepted)
        history.update(
            time_ns,
            values=accepted,
            accepted=fresh,
            answered_large=large_gave & fresh,
            small=small,
            both_ran=both,
            active=active,
        )
        values = accepted
        if self._filter is not None:
            said = fresh if active is None else fresh & active
            values = self._filter.update(
                time_ns,
                accepted,
                small,
                large,
                small_ran=small_gave & said,
                large_ran=large_gave & said,
            )
        values = np.where(want_hold[..., None], self._published, values)
        values = np.where(lost[..., None], np.float32(np.nan), values)
        keep = fresh if active is None else fresh & active
        self._published = np.where(keep[..., None], values, self._published)
        return SweepStep(
            values=values,
            accepted=accepted,
            fresh=fresh,
            held=want_hold,
            lost=lost,
            answered_large=large_gave & fresh,
            ran_small=ran_small,
            ran_large=ran_large,
            ran_aux=ran_aux,
            degraded=degraded,
            signal=choice.signal,
            reason=reason.astype(np.uint8),
        )


def _checked(output: FloatArray) -> tuple[FloatArray, BoolArray]:
    """The output with every row that is not valid made NaN throughout, and which rows are."""
    magnitude = np.abs(output, dtype=np.float64)
    valid = np.asarray(np.add.accumulate(magnitude, axis=-1)[..., -1] < OUTPUT_LIMIT)
    clean: FloatArray = np.where(valid[..., None], output, np.float32(np.nan))
    return clean, valid
