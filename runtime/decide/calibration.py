"""What an ensemble has learnt on `val`: weights, tables, deviations and gains for its signals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gearshift.runtime.types import Component, FloatArray, NetworkRole

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """Tables of one ensemble, float32.

    weights: (n,) 1 / scale of each component. angular: (n,) bool. head_cell_gain: (classes,)
    mean(err_small - err_large) per predicted head cell, empty without an auxiliary network.
    standard_deviation: (n,) per role, of the network's error. parameters: named numbers of single
    policies and filters, each documented where it is read.
    """

    components: tuple[Component, ...]
    weights: FloatArray
    angular: NDArray[np.bool_]
    head_cell_gain: FloatArray
    standard_deviation: Mapping[NetworkRole, FloatArray]
    parameters: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    @property
    def any_angular(self) -> bool:
        """Whether any component is an angle."""
        return bool(self.angular.any())

    @classmethod
    def from_components(cls, components: tuple[Component, ...]) -> Calibration:
        """The calibration of an ensemble about which only its outputs are known."""
        return cls(
            components=components,
            weights=np.array([1.0 / c.scale for c in components], dtype=np.float32),
            angular=np.array([c.angular for c in components]),
            head_cell_gain=np.zeros(0, dtype=np.float32),
            standard_deviation={},
        )
