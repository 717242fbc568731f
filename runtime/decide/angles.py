"""Differences and distances of outputs in which some components are angles."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from gearshift.runtime.decide.calibration import Calibration
from gearshift.runtime.types import FloatArray

# In float32, angles below this have made 0 turns; closer to pi, rounding decides.
_SURELY_WRAPPED = 3.0


class AngleWrapper:
    """Wraps the angular components of (..., n) float32 arrays to [-pi, pi), leaves the others.

    Equal to `np.where(angular, wrap_angle(x), x)` for finite x, bit for bit, in fewer operations: a
    component that is no angle is divided by +inf and so has made 0 turns.
    """

    def __init__(self, angular: NDArray[np.bool_]) -> None:
        self._indices = tuple(int(i) for i in np.flatnonzero(angular))
        two_pi = np.float32(2 * math.pi)
        self._half_turn = np.full(angular.shape, math.pi, dtype=np.float32)
        self._divisor = np.where(angular, two_pi, np.float32(np.inf)).astype(np.float32)
        self._period = np.where(angular, two_pi, np.float32(0)).astype(np.float32)

    def wrap_in_place(self, values: FloatArray, scratch: FloatArray) -> None:
        """Wrap `values` (..., n); `scratch` has their shape and is overwritten."""
        if values.ndim == 1:
            # In flight nothing has to be wrapped on most frames, and looking is cheaper.
            for i in self._indices:
                if not -_SURELY_WRAPPED < values.item(i) < _SURELY_WRAPPED:
                    break
            else:
                return
        np.add(values, self._half_turn, out=scratch)
        np.divide(scratch, self._divisor, out=scratch)
        np.floor(scratch, out=scratch)
        np.multiply(scratch, self._period, out=scratch)
        np.subtract(values, scratch, out=values)

    def difference(self, a: FloatArray, b: FloatArray) -> FloatArray:
        """A new array a - b, wrapped, (..., n) float32."""
        values = np.asarray(a - b, dtype=np.float32)
        self.wrap_in_place(values, np.empty_like(values))
        return values


class WeightedDistance:
    """`policy.weighted_distance`, bit for bit, bound to one calibration and twice as fast."""

    def __init__(self, calibration: Calibration) -> None:
        self._angles = AngleWrapper(calibration.angular)
        self._weights = calibration.weights

    def __call__(self, a: FloatArray, b: FloatArray) -> FloatArray:
        """Weighted L1 distance over the last axis, float32 (...,)."""
        terms: FloatArray = np.subtract(a, b)
        scratch = np.empty_like(terms)
        self._angles.wrap_in_place(terms, scratch)
        np.abs(terms, out=terms)
        np.multiply(terms, self._weights, out=terms)
        total: FloatArray = np.add.accumulate(terms, axis=-1, out=scratch)[..., -1]
        return total
