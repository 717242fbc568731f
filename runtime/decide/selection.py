"""The selection slot: is the signal above the threshold, and why.

A frame is hard when signal > threshold, when the signal is +inf, and always at a threshold of -inf.
The signal counts as +inf when the probe failed, when a history-based policy has no accepted output
or only one older than `max_gap_s`, and when it is NaN; the reason names the first of these that
holds. `decide` applies the rules to arrays, `decide_one` to one flight; a property test holds them
equal.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gearshift.runtime.decide.history import BoolArray
from gearshift.runtime.decide.policy import Policy, PolicyOptions, Probe, Signal, SignalContext
from gearshift.runtime.errors import ConfigurationError
from gearshift.runtime.types import FloatArray, Reason

REASONS = tuple(Reason)
"""A reason code is an index into this tuple."""
REASON_CODE = {reason: code for code, reason in enumerate(REASONS)}

CodeArray = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """What selection decided: all (...). hard: shift up. signal: float32, +inf where it has to be,
    NaN for a policy without one. reason: uint8 codes into REASONS.
    """

    hard: BoolArray
    signal: FloatArray
    reason: CodeArray


def check_threshold(threshold: float) -> float:
    """The threshold rounded to float32, +-inf allowed; raises ConfigurationError when it is NaN."""
    if math.isnan(threshold):
        raise ConfigurationError("the threshold is not a number")
    with np.errstate(over="ignore"):
        return float(np.float32(threshold))


def decide(
    policy: Policy,
    signal: Signal | None,
    context: SignalContext,
    threshold: FloatArray,
    options: PolicyOptions,
) -> Choice:
    """Apply the rules to every lane; `signal` is the policy's, bound to a calibration.

    threshold: float32, broadcastable to the leading axes of the context. NaN rows of
    `context.probe` mark a probe that failed.
    """
    shape = np.broadcast_shapes(context.age.shape, np.shape(threshold))
    if policy.signal is None or signal is None:
        code = np.full(shape, REASON_CODE[Reason.CONSTANT], dtype=np.uint8)
        return Choice(
            np.zeros(shape, dtype=np.bool_), np.full(shape, np.nan, dtype=np.float32), code
        )
    value = np.broadcast_to(np.asarray(signal(context), dtype=np.float32), shape)
    unknown = np.isnan(value)
    reason = np.where(unknown, REASON_CODE[Reason.SIGNAL_NAN], REASON_CODE[Reason.HARD])
    infinite = unknown
    if policy.uses_history:
        none = np.isnan(context.accepted).any(axis=-1)
        no_pair = np.isnan(context.previous).any(axis=-1)
        gap = context.age > np.float32(options.max_gap_s)
        reason = np.where(unknown & no_pair, REASON_CODE[Reason.FIRST_FRAME], reason)
        reason = np.where(gap, REASON_CODE[Reason.GAP], reason)
        reason = np.where(none, REASON_CODE[Reason.FIRST_FRAME], reason)
        infinite = infinite | gap | none
    if policy.probe is not Probe.NONE:
        failed = np.isnan(context.probe).any(axis=-1)
        reason = np.where(failed, REASON_CODE[Reason.PROBE_FAILED], reason)
        infinite = infinite | failed
    value = np.where(infinite, np.float32(np.inf), value)
    hard = (value > threshold) | np.isposinf(value) | np.isneginf(threshold)
    reason = np.where(hard, reason, REASON_CODE[Reason.EASY])
    return Choice(hard, value, np.broadcast_to(reason, shape).astype(np.uint8))


def decide_one(
    policy: Policy,
    signal: Signal,
    context: SignalContext,
    threshold: float,
    *,
    max_gap: float,
    probe_failed: bool,
    any_accepted: bool,
    has_previous: bool,
) -> tuple[bool, float, Reason]:
    """(hard, signal, reason) of one flight's frame.

    threshold and max_gap are float32 values held in Python floats.
    """
    if probe_failed:
        return True, math.inf, Reason.PROBE_FAILED
    if policy.uses_history:
        if not any_accepted:
            return True, math.inf, Reason.FIRST_FRAME
        if float(context.age) > max_gap:
            return True, math.inf, Reason.GAP
    value = float(signal(context))
    if value != value:  # noqa: PLR0124 -- NaN
        missing = policy.uses_history and not has_previous
        return True, math.inf, Reason.FIRST_FRAME if missing else Reason.SIGNAL_NAN
    if value > threshold or value == math.inf or threshold == -math.inf:
        return True, value, Reason.HARD
    return False, value, Reason.EASY
