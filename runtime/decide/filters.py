"""The filter slot: what is published follows the outputs over time instead of repeating them.

`anchor` treats the two networks as two sensors of one state, small with a slowly drifting bias:
large corrects and small carries in between. Per component, in float32 and in this order; of an
angular component e, value, bias and the bracket after gamma are wrapped to [-pi, pi):

    k        = updates since large last ran, counting this one; dt = seconds since the last update
    predict    value = value + velocity * dt                       when any beta is not 0
    measure    m = accepted output           when large ran (alpha_large, beta_large)
               m = small - bias              when only small ran (alpha_small, beta_small)
    correct    e = m - value;  value = value + alpha * e;  velocity = velocity + (beta / dt') * e
    rebias     bias = bias + gamma * (small - large - bias)        when both ran

dt' = max(dt, 1 ms). The first time both run after a reset, gamma counts as 1. Without a state, or
when the last update is older than `max_gap_s`, value = accepted output, velocity = 0, bias = 0
(small - large when both ran). A frame that brought no new output (held, lost) leaves the state as
it is.

Gains come from `Calibration.parameters` as `anchor.alpha_large`, `anchor.alpha_small`,
`anchor.beta_large`, `anchor.beta_small` and `anchor.gamma`: one number, n numbers, or a table of
rows of n numbers, of which row min(k, rows) - 1 applies.

Without bias (`smooth`, gains `smooth.alpha_large`, ...) this is an exponential filter, with beta >
0 a constant-velocity one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gearshift.runtime.decide.angles import AngleWrapper
from gearshift.runtime.decide.calibration import Calibration
from gearshift.runtime.decide.history import NANOSECOND, BoolArray, TimeArray
from gearshift.runtime.errors import ConfigurationError
from gearshift.runtime.types import FloatArray

MINIMUM_STEP_S = np.float32(1e-3)
_MINIMUM_STEP = float(MINIMUM_STEP_S)
DEFAULT_GAINS = {
    "alpha_large": 0.7,
    "alpha_small": 0.3,
    "beta_large": 0.0,
    "beta_small": 0.0,
    "gamma": 0.4,
}
FILTERS = ("none", "anchor", "smooth")
"""What `make_filter` and `make_flight_filter` know."""


@dataclass(frozen=True, slots=True, eq=False)
class Gains:
    """Gain tables, float32 (rows, n); row min(k, rows) - 1 applies k updates after large last
    ran."""

    alpha_large: FloatArray
    alpha_small: FloatArray
    beta_large: FloatArray
    beta_small: FloatArray
    gamma: FloatArray

    @classmethod
    def from_calibration(cls, calibration: Calibration, prefix: str) -> Gains:
        """Read `<prefix>.<gain>`, DEFAULT_GAINS where it is missing; raises ConfigurationError."""
        n = len(calibration.components)
        tables: dict[str, FloatArray] = {}
        for gain, default in DEFAULT_GAINS.items():
            name = f"{prefix}.{gain}"
            table = np.array(calibration.parameters.get(name, (default,)), dtype=np.float32)
            if table.size == 1:
                table = np.repeat(table, n)
            if table.size == 0 or table.size % n or not np.isfinite(table).all():
                raise ConfigurationError(
                    f"parameter {name} has {table.size} values; "
                    f"it needs 1 or rows of {n}, all finite"
                )
            tables[gain] = table.reshape(-1, n)
        return cls(**tables)

    @property
    def any_beta(self) -> bool:
        """Whether there is a velocity at all; without a beta it stays 0 and is not computed."""
        return bool(self.beta_large.any() or self.beta_small.any())


class Filter(Protocol):
    """Filters any number of flights at once."""

    def reset(self) -> None:
        """Forget everything."""

    def update(
        self,
        time_ns: TimeArray | int,
        accepted: FloatArray,
        small: FloatArray,
        large: FloatArray,
        *,
        small_ran: BoolArray,
        large_ran: BoolArray,
    ) -> FloatArray:
        """Take in one frame and return what to publish, (..., n); NaN before the first output.

        accepted: (..., n) output of the combination. small, large: (..., n), read where small_ran
        and large_ran (...): the network gave a valid output. Neither ran: nothing new.
        """


class FlightFilter(Protocol):
    """Filters one flight without allocating."""

    def reset(self) -> None:
        """Forget everything."""

    def update(
        self,
        time_ns: int,
        accepted: FloatArray,
        small: FloatArray,
        large: FloatArray,
        *,
        small_ran: bool,
        large_ran: bool,
    ) -> FloatArray:
        """As `Filter.update` for one flight of which a network ran; valid until the next update."""


class AnchorFilter:
    """The filter of this module's docstring over flights of shape `leading_shape`."""

    def __init__(
        self,
        leading_shape: tuple[int, ...],
        calibration: Calibration,
        gains: Gains,
        max_gap_s: float,
        *,
        use_bias: bool = True,
    ) -> None:
        self._leading_shape = leading_shape
        self._n = len(calibration.components)
        self._gains = gains
        self._angles = AngleWrapper(calibration.angular)
        self._max_gap = np.float32(max_gap_s)
        self._use_bias = use_bias
        self._moves = gains.any_beta
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        shape, vector = self._leading_shape, (*self._leading_shape, self._n)
        self._value: FloatArray = np.full(vector, np.nan, dtype=np.float32)
        self._velocity: FloatArray = np.zeros(vector, dtype=np.float32)
        self._bias: FloatArray = np.zeros(vector, dtype=np.float32)
        self._bias_known: BoolArray = np.zeros(shape, dtype=np.bool_)
        self._started: BoolArray = np.zeros(shape, dtype=np.bool_)
        self._time: TimeArray = np.zeros(shape, dtype=np.int64)
        self._since_large: NDArray[np.int64] = np.zeros(shape, dtype=np.int64)

    def update(
        self,
        time_ns: TimeArray | int,
        accepted: FloatArray,
        small: FloatArray,
        large: FloatArray,
        *,
        small_ran: BoolArray,
        large_ran: BoolArray,
    ) -> FloatArray:
        """See `Filter.update`."""
        gains, wrap = self._gains, self._wrapped
        updated = small_ran | large_ran
        now = np.broadcast_to(np.asarray(time_ns, dtype=np.int64), self._leading_shape)
        step: FloatArray = np.subtract(now, self._time).astype(np.float32) * NANOSECOND
        fresh = ~self._started | (step > self._max_gap)
        dt: FloatArray = np.where(fresh, np.float32(0), step)[..., None]
        bias: FloatArray = np.where(fresh[..., None], np.float32(0), self._bias)
        bias_known = self._bias_known & ~fresh
        k = self._since_large + 1

        only_small = (small_ran & ~large_ran)[..., None]
        measured: FloatArray = np.where(only_small, small - bias, accepted)
        alpha: FloatArray = np.where(
            only_small, _row(gains.alpha_small, k), _row(gains.alpha_large, k)
        )
        beta: FloatArray = np.where(
            only_small, _row(gains.beta_small, k), _row(gains.beta_large, k)
        )
        # As for one flight: adding a velocity of 0 would turn -0 into 0.
        predicted = self._value + self._velocity * dt if self._moves else self._value
        innovation: FloatArray = wrap(measured - predicted)
        value = wrap(predicted + alpha * innovation)
        rate: FloatArray = np.divide(beta, np.maximum(dt, MINIMUM_STEP_S))
        velocity: FloatArray = self._velocity + rate * innovation
        value = np.where(fresh[..., None], wrap(accepted.copy()), value)
        velocity = np.where(fresh[..., None], np.float32(0), velocity)
        if self._use_bias:
            both = small_ran & large_ran
            gamma: FloatArray = np.where(bias_known[..., None], _row(gains.gamma, k), np.float32(1))
            rebiased = wrap(bias + gamma * wrap(small - large - bias))
            bias = np.where(both[..., None], rebiased, bias)
            bias_known = bias_known | both

        changed = updated[..., None]
        self._value = np.where(changed, value, self._value)
        self._velocity = np.where(changed, velocity, self._velocity)
        self._bias = np.where(changed, bias, self._bias)
        self._bias_known = np.where(updated, bias_known, self._bias_known)
        self._started = self._started | updated
        self._time = np.where(updated, now, self._time)
        self._since_large = np.where(
            updated, np.where(large_ran, 0, self._since_large + 1), self._since_large
        )
        return self._value

    def _wrapped(self, values: FloatArray) -> FloatArray:
        self._angles.wrap_in_place(values, np.empty_like(values))
        return values


def _row(table: FloatArray, k: NDArray[np.int64]) -> FloatArray:
    rows: FloatArray = table[np.minimum(k, len(table)) - 1]
    return rows


class FlightAnchorFilter:
    """The filter of this module's docstring for one flight, without allocating."""

    def __init__(
        self, calibration: Calibration, gains: Gains, max_gap_s: float, *, use_bias: bool = True
    ) -> None:
        n = len(calibration.components)
        self._gains = gains
        self._angles = AngleWrapper(calibration.angular)
        self._max_gap = float(np.float32(max_gap_s))
        self._use_bias = use_bias
        self._moves = gains.any_beta
        self._step = np.empty((), dtype=np.float32)
        self._value = np.empty(n, dtype=np.float32)
        self._velocity = np.empty(n, dtype=np.float32)
        self._bias = np.empty(n, dtype=np.float32)
        self._innovation = np.empty(n, dtype=np.float32)
        self._term = np.empty(n, dtype=np.float32)
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._value.fill(np.nan)
        self._velocity.fill(0)
        self._bias.fill(0)
        self._bias_known = False
        self._time: int | None = None
        self._since_large = 0

    def update(
        self,
        time_ns: int,
        accepted: FloatArray,
        small: FloatArray,
        large: FloatArray,
        *,
        small_ran: bool,
        large_ran: bool,
    ) -> FloatArray:
        """See `FlightFilter.update`."""
        value, innovation, term = self._value, self._innovation, self._term
        wrap, gains = self._angles.wrap_in_place, self._gains
        k = self._since_large
        step = math.inf
        if self._time is not None:
            step = float(np.float32(time_ns - self._time) * NANOSECOND)
        if self._time is None or step > self._max_gap:
            self._bias.fill(0)
            self._bias_known = False
            self._velocity.fill(0)
            value[:] = accepted
            wrap(value, term)
        else:
            if large_ran:
                alpha, beta = gains.alpha_large, gains.beta_large
                measured = accepted
            else:
                alpha, beta = gains.alpha_small, gains.beta_small
                measured = innovation
                np.subtract(small, self._bias, out=measured)
            if self._moves:
                self._step[()] = step
                np.multiply(self._velocity, self._step, out=term)
                np.add(value, term, out=value)
            np.subtract(measured, value, out=innovation)
            wrap(innovation, term)
            np.multiply(alpha[min(k, len(alpha) - 1)], innovation, out=term)
            np.add(value, term, out=value)
            wrap(value, term)
            if self._moves:
                self._step[()] = max(step, _MINIMUM_STEP)
                np.divide(beta[min(k, len(beta) - 1)], self._step, out=term)
                np.multiply(term, innovation, out=term)
                np.add(self._velocity, term, out=self._velocity)
        if self._use_bias and small_ran and large_ran:
            self._rebias(small, large, gains.gamma[min(k, len(gains.gamma) - 1)])
        self._time = time_ns
        self._since_large = 0 if large_ran else k + 1
        return value

    def _rebias(self, small: FloatArray, large: FloatArray, gamma: FloatArray) -> None:
        offset, term, bias = self._innovation, self._term, self._bias
        np.subtract(small, large, out=offset)
        np.subtract(offset, bias, out=offset)
        self._angles.wrap_in_place(offset, term)
        if self._bias_known:
            np.multiply(gamma, offset, out=offset)
        np.add(bias, offset, out=bias)
        self._angles.wrap_in_place(bias, term)
        self._bias_known = True


def make_filter(
    name: str, leading_shape: tuple[int, ...], calibration: Calibration, max_gap_s: float
) -> Filter | None:
    """The filter called `name` (one of FILTERS) for many flights; raises ConfigurationError."""
    if _check_name(name) == "none":
        return None
    gains = Gains.from_calibration(calibration, name)
    return AnchorFilter(leading_shape, calibration, gains, max_gap_s, use_bias=name == "anchor")


def make_flight_filter(
    name: str, calibration: Calibration, max_gap_s: float
) -> FlightFilter | None:
    """The filter called `name` (one of FILTERS) for one flight; raises ConfigurationError."""
    if _check_name(name) == "none":
        return None
    gains = Gains.from_calibration(calibration, name)
    return FlightAnchorFilter(calibration, gains, max_gap_s, use_bias=name == "anchor")


def _check_name(name: str) -> str:
    if name not in FILTERS:
        raise ConfigurationError(f"unknown filter {name!r}; there are {', '.join(FILTERS)}")
    return name
