"""The combination slot: what is accepted when both networks gave an output for one frame."""

from __future__ import annotations

from enum import StrEnum

import numpy as np

from gearshift.runtime.decide.angles import AngleWrapper
from gearshift.runtime.decide.calibration import Calibration
from gearshift.runtime.errors import ConfigurationError
from gearshift.runtime.types import FloatArray, NetworkRole


class Combination(StrEnum):
    """What is accepted when both networks ran."""

    LARGE = "large"
    """Large's output."""
    FUSION = "fusion"
    """The mean weighted by inverse variance."""


class Fusion:
    """Weighs both outputs by the inverse variance of their errors on `val`.

    fused = large + share * (small - large), share = var_large / (var_small + var_large), in float32
    and in that order, angular components wrapped. This is the optimum for independent errors; those
    of two networks are correlated, so `standard_deviation` is a lower bound.
    Raises ConfigurationError when the calibration has no positive deviation for both networks.
    """

    def __init__(self, calibration: Calibration) -> None:
        deviation = calibration.standard_deviation
        small, large = deviation.get(NetworkRole.SMALL), deviation.get(NetworkRole.LARGE)
        n = len(calibration.components)
        if small is None or large is None or small.shape != (n,) or large.shape != (n,):
            raise ConfigurationError(
                "fusion needs the standard deviation of both networks; calibrate the ensemble"
            )
        if not ((small > 0).all() and (large > 0).all()):
            raise ConfigurationError("fusion needs standard deviations above zero")
        self._angles = AngleWrapper(calibration.angular)
        self.share: FloatArray = np.divide(large * large, small * small + large * large)
        self.standard_deviation: FloatArray = np.sqrt(self.share) * small

    def combine(self, small: FloatArray, large: FloatArray) -> FloatArray:
        """The fused output of (..., n) and (..., n)."""
        fused: FloatArray = large + self.share * self._angles.difference(small, large)
        self._angles.wrap_in_place(fused, np.empty_like(fused))
        return fused
