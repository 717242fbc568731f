"""Systems on traces: what is swept, at which cost, and with which resamples."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from gearshift.runtime.decide.calibration import Calibration
from gearshift.runtime.decide.policy import Policy
from gearshift.runtime.ensembles.profile import Profile
from gearshift.runtime.scoring.bootstrap import ratio_of_sums
from gearshift.runtime.types import FloatArray, NetworkRole
from gearshift.sim.traces.run_cost import CostEnd, energy_per_combination, latency_per_combination
from gearshift.sim.traces.trace import Trace
from gearshift.sim.traces.trace_sweep import Members, SweepResult, sweep

Array = NDArray[np.float64]


class Kind(StrEnum):
    """What a system is in the comparison."""

    PAPER = "paper"
    """One of the paper's six systems."""
    OURS = "ours"
    VARIANT = "variant"
    """Another reading of the paper."""
    BASELINE = "baseline"
    CONTROL = "control"
    """What a policy must beat before it may claim anything."""
    BOUND = "bound"


@dataclass(frozen=True, slots=True, eq=False)
class System:
    """An ensemble, a policy and a filter."""

    name: str
    kind: Kind
    ensemble: str
    members: Members
    policy: Policy
    calibration: Calibration
    filter_name: str = "none"


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A system swept over a trace, with resamples over its flights.

    weights: (B, F), row 0 the sample itself. All arrays below are (B, K) unless said otherwise.
    """

    system: System
    result: SweepResult
    weights: Array

    @property
    def thresholds(self) -> FloatArray:
        """(K,)"""
        return self.result.thresholds

    @cached_property
    def component_error(self) -> Array:
        """(B, K, n) mean absolute error of each component, in its unit."""
        return ratio_of_sums(self.weights, self.result.error, self.result.scored.astype(float))

    @cached_property
    def error(self) -> Array:
        """Mean absolute error, summed over the components."""
        summed: Array = self.component_error.sum(axis=-1)
        return summed

    @cached_property
    def share_large(self) -> Array:
        """Share of frames on which large ran."""
        return self._per_frame(self.result.runs(NetworkRole.LARGE).astype(float))

    def latency(self, profile: Profile, end: CostEnd = CostEnd.NOMINAL) -> Array:
        """Mean latency per frame, milliseconds."""
        per_combination = latency_per_combination(profile, self.members, end)
        return self._per_frame(self.result.cost(per_combination))

    def energy(self, profile: Profile) -> Array:
        """Mean energy per frame, millijoules; NaN where unknown."""
        return self._per_frame(self.result.cost(energy_per_combination(profile, self.members)))

    @property
    def members(self) -> Members:
        """Those networks of the ensemble that ran at all."""
        return {
            role: name for role, name in self.system.members.items() if self.result.runs(role).any()
        }

    def index_of(self, threshold: float) -> int:
        """Position of a threshold that was swept."""
        (found,) = np.nonzero(self.thresholds == np.float32(threshold))
        return int(found[0])

    def _per_frame(self, total: Array) -> Array:
        return ratio_of_sums(self.weights, total, self.result.frames.astype(float))


def evaluate(
    system: System, trace: Trace, thresholds: NDArray[np.floating], weights: Array
) -> Evaluation:
    """Sweep a system over a trace at these thresholds (K,)."""
    result = sweep(
        trace,
        system.members,
        system.policy,
        system.calibration,
        thresholds,
        filter_name=system.filter_name,
    )
    return Evaluation(system, result, weights)
