"""The policies that ship with Gearshift: signals after the paper, baselines, and `anchor`.

Each signal is written over arrays with leading axes, in float32; see `policy.SignalContext` for
what it reads and `selection` for what holds around it. `oracle` needs ground truth and lives in the
simulator. The paper: Motetti et al., arXiv 2401.15236.
"""

from __future__ import annotations

import numpy as np

from gearshift.runtime.decide.angles import WeightedDistance
from gearshift.runtime.decide.calibration import Calibration
from gearshift.runtime.decide.policy import (
    Action,
    Policy,
    PolicyOptions,
    Probe,
    Signal,
    SignalContext,
)
from gearshift.runtime.decide.portable import counter_uniform, softmax_margin
from gearshift.runtime.errors import ConfigurationError
from gearshift.runtime.types import FloatArray

SHORTEST_INTERVAL_S = np.float32(1e-6)
"""Two frames with one time stamp must not divide by zero."""
DEFAULT_ANCHOR_RATE = 1.0


def op_signal(calibration: Calibration, options: PolicyOptions) -> Signal:
    """Output-based partitioning: distance between small's output now and the last accepted one."""
    distance = WeightedDistance(calibration)

    def per_frame(context: SignalContext) -> FloatArray:
        return distance(context.probe, context.accepted)

    def per_second(context: SignalContext) -> FloatArray:
        return _rate(per_frame(context), context.age)

    return per_second if options.per_second else per_frame


def op_ahead_signal(calibration: Calibration, options: PolicyOptions) -> Signal:
    """Distance between the last two accepted outputs: chosen before any network runs."""
    distance = WeightedDistance(calibration)

    def per_frame(context: SignalContext) -> FloatArray:
        return distance(context.accepted, context.previous)

    def per_second(context: SignalContext) -> FloatArray:
        return _rate(per_frame(context), context.interval)

    return per_second if options.per_second else per_frame


def aux_sm_signal(_calibration: Calibration, _options: PolicyOptions) -> Signal:
    """1 - (p1 - p2), the score margin of the auxiliary head-localisation classifier."""

    def signal(context: SignalContext) -> FloatArray:
        value: FloatArray = np.subtract(np.float32(1), softmax_margin(context.probe))
        return value

    return signal


def aux_hlc_signal(calibration: Calibration, _options: PolicyOptions) -> Signal:
    """table[predicted head cell]: mean(err_small - err_large) in that cell on `val`.

    The prediction is the first of the largest scores. A cell whose entry is NaN counts as +inf.
    Raises ConfigurationError when the calibration has no table.
    """
    table = calibration.head_cell_gain
    if table.size == 0:
        raise ConfigurationError("policy aux-hlc needs a calibration with head_cell_gain")

    def signal(context: SignalContext) -> FloatArray:
        gain: FloatArray = table[context.probe.argmax(axis=-1)]
        return gain

    return signal


def random_signal(_calibration: Calibration, options: PolicyOptions) -> Signal:
    """A seeded uniform number in [0, 1) per frame: threshold p runs small on a share p of them."""
    seed = options.seed

    def signal(context: SignalContext) -> FloatArray:
        return counter_uniform(seed, context.index)

    return signal


def counter_signal(_calibration: Calibration, _options: PolicyOptions) -> Signal:
    """Frames since large last answered: threshold n - 1 runs large on every n-th frame."""

    def signal(context: SignalContext) -> FloatArray:
        return context.frames_since_large

    return signal


def anchor_signal(calibration: Calibration, _options: PolicyOptions) -> Signal:
    """How stale small's bias is: its movement since both networks last ran, plus time.

    weighted distance(small now, small when both ran) + `anchor.rate` [1/s] * seconds since large.
    """
    rates = calibration.parameters.get("anchor.rate", (DEFAULT_ANCHOR_RATE,))
    if len(rates) != 1 or not np.isfinite(rates[0]):
        raise ConfigurationError("parameter anchor.rate needs one finite value")
    rate_per_s = np.float32(rates[0])
    distance = WeightedDistance(calibration)

    def signal(context: SignalContext) -> FloatArray:
        moved = distance(context.probe, context.small_at_large)
        value: FloatArray = moved + rate_per_s * context.seconds_since_large
        return value

    return signal


def _rate(distance: FloatArray, seconds: FloatArray) -> FloatArray:
    rate: FloatArray = np.divide(distance, np.maximum(seconds, SHORTEST_INTERVAL_S))
    return rate


OP = Policy(
    name="op",
    summary="small's output moved away from the last accepted one (paper)",
    probe=Probe.SMALL,
    signal=op_signal,
    uses_history=True,
)
OP_AHEAD = Policy(
    name="op-ahead",
    summary="the last two accepted outputs differ; chosen before anything runs (paper, proactive)",
    signal=op_ahead_signal,
    uses_history=True,
)
AUX_SM = Policy(
    name="aux-sm",
    summary="the head localiser is unsure: 1 - (p1 - p2) (paper)",
    probe=Probe.AUX,
    signal=aux_sm_signal,
)
AUX_HLC = Policy(
    name="aux-hlc",
    summary="small is worse than large where the head is, by a table per head cell (paper)",
    probe=Probe.AUX,
    signal=aux_hlc_signal,
)
RANDOM = Policy(
    name="random",
    summary="seeded chance; threshold is the share of frames on small (baseline)",
    signal=random_signal,
)
EVERY = Policy(
    name="every",
    summary="large every n-th frame, threshold n - 1, small in between (baseline)",
    signal=counter_signal,
)
HOLD = Policy(
    name="hold",
    summary="large every n-th frame, threshold n - 1, its output held in between (baseline)",
    signal=counter_signal,
    when_easy=Action.HOLD,
)
ALWAYS_SMALL = Policy(name="always-small", summary="only the small network (baseline)")
ALWAYS_LARGE = Policy(
    name="always-large", summary="only the large network (baseline)", when_easy=Action.LARGE
)
ANCHOR = Policy(
    name="anchor",
    summary="large corrects when small's bias is stale, small carries in between (ours)",
    probe=Probe.SMALL,
    signal=anchor_signal,
    uses_history=True,
    filter_name="anchor",
)
