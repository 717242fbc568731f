"""The one idea: a policy is a difficulty signal and a threshold.

A policy names a probe (what runs first) and a signal (a number computed from the probe's output,
the history of accepted outputs and a calibration; larger means harder). signal > threshold shifts
up to `large`. A signal is written once, over arrays whose leading axes broadcast: none in flight,
(flights, thresholds) in a sweep.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gearshift.runtime.decide.calibration import Calibration
from gearshift.runtime.errors import ConfigurationError
from gearshift.runtime.types import FloatArray

Signal = Callable[["SignalContext"], FloatArray]
"""Maps what is known of a frame to its difficulty, float32 (...,). NaN counts as +inf."""


class Probe(StrEnum):
    """The network that is run first to learn how hard a frame is."""

    NONE = "none"
    SMALL = "small"
    AUX = "aux"


class Action(StrEnum):
    """What answers a frame."""

    SMALL = "small"
    LARGE = "large"
    HOLD = "hold"


@dataclass(slots=True)
class SignalContext:
    """What a signal may read. float32 throughout; leading axes `...` broadcast against each other.

    index: frames since the last reset, 0 for the first; an int in flight, int64 (...) in a sweep.
    probe: (..., k) output of the probe (k = 0 without one). accepted, previous: (..., n) the last
    accepted output and the one before; NaN until there is one. age: (...) seconds from the last
    accepted frame to this one, +inf before the first. interval: (...) seconds between the last two
    accepted frames. small_at_large: (..., n) small's output when both networks last ran on one
    frame, NaN before. frames_since_large and seconds_since_large: (...) since large last answered,
    counting this frame; +inf before. previous and interval are NaN and +inf again after a gap
    longer than max_gap_s: a gap ends the history. An accepted output is what the combination slot
    gave, before any filter over time.
    """

    index: int | NDArray[np.int64]
    probe: FloatArray
    accepted: FloatArray
    previous: FloatArray
    age: FloatArray
    interval: FloatArray
    small_at_large: FloatArray
    frames_since_large: FloatArray
    seconds_since_large: FloatArray


@dataclass(frozen=True, slots=True)
class PolicyOptions:
    """Settings every signal may use.

    max_gap_s: a history-based signal is +inf when the last accepted output is older. per_second:
    divide distances by the time between the two outputs instead of counting them per frame.
    seed: of the `random` baseline. Raises ConfigurationError for a max_gap_s below 0 or NaN.
    """

    max_gap_s: float = 0.5
    per_second: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.max_gap_s >= 0:
            raise ConfigurationError(f"max_gap_s is {self.max_gap_s}, it must be 0 seconds or more")


class SignalFactory(Protocol):
    """Binds a signal to the tables of one ensemble, once, before flight."""

    def __call__(self, calibration: Calibration, options: PolicyOptions, /) -> Signal:
        """The signal; raises ConfigurationError when the calibration lacks what it needs."""


@dataclass(frozen=True, slots=True)
class Policy:
    """One row of the policy table.

    when_easy: what answers when the signal does not exceed the threshold. signal None makes the
    choice constant (`when_easy` always). uses_history: the signal compares with accepted outputs
    and is +inf on the first frame and after a gap. portable: specified down to float32 and
    operation order, so that the firmware makes the same choices. replay_only: reads ground truth;
    refused onboard. filter_name: what is in the filter slot unless something else is chosen.
    """

    name: str
    summary: str
    probe: Probe = Probe.NONE
    signal: SignalFactory | None = None
    when_easy: Action = Action.SMALL
    uses_history: bool = False
    portable: bool = True
    replay_only: bool = False
    filter_name: str = "none"


def wrap_angle(angle: FloatArray) -> FloatArray:
    """Wrap radians to [-pi, pi) in float32: a - 2 pi floor((a + pi) / 2 pi)."""
    two_pi = np.float32(2 * math.pi)
    turns: FloatArray = np.floor((angle + np.float32(math.pi)) / two_pi)
    wrapped: FloatArray = angle - turns * two_pi
    return wrapped


def weighted_distance(a: FloatArray, b: FloatArray, calibration: Calibration) -> FloatArray:
    """Weighted L1 distance over the last axis, angular components wrapped, float32 (...,).

    a, b: (..., n) float32, in the units of the calibration's components; each difference counts
    calibration.weights[i] times, which is 1 / standard deviation where the ensemble was calibrated.
    Summed in the order of the components: `add.accumulate` is sequential by definition, which
    `add.reduce` is not.
    """
    difference = a - b
    if calibration.any_angular:
        difference = np.where(calibration.angular, wrap_angle(difference), difference)
    terms = np.abs(difference) * calibration.weights
    total: FloatArray = np.add.accumulate(terms, axis=-1)[..., -1]
    return total
