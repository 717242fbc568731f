"""Systems on traces: what is swept, at which cost, and with which resamples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gearshift.runtime.decide.calibration import Calibration
from gearshift.runtime.decide.policy import Policy, PolicyOptions
from gearshift.runtime.ensembles.profile import Profile, find_profile, read_profile
from gearshift.runtime.scoring.bootstrap import interval, ratio_of_sums
from gearshift.runtime.scoring.data_frame import data_frame
from gearshift.runtime.types import FloatArray, NetworkRole
from gearshift.sim.traces.run_cost import (
    CostEnd,
    check_profile,
    energy_per_combination,
    latency_per_combination,
)
from gearshift.sim.traces.trace import Trace
from gearshift.sim.traces.trace_sweep import Members, SweepResult, sweep_trace

if TYPE_CHECKING:
    from pandas import DataFrame

Array = NDArray[np.float64]


class Kind(StrEnum):
    """What a system is in the comparison."""

    PAPER = "paper"
    """One of the paper's six systems."""
    OURS = "ours"
    VARIANT = "variant"
    """Another reading of the paper."""
    YOURS = "yours"
    """A policy that the user brought."""
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

    weights: (B, F), row 0 the sample itself. All arrays below are (B, K) unless said otherwise: K
    thresholds, and B - 1 resamples behind the sample in row 0. result: the same per flight, and
    every single choice. hashes: sha256 of the networks' files by name.
    """

    system: System
    result: SweepResult
    weights: Array
    hashes: Mapping[str, str]

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

    def columns(self, profile: Profile | str | None = None) -> dict[str, NDArray[Any]]:
        """(K,) each, in order of the thresholds; names as in the tables of `gearshift compare`.

        threshold; error: mean absolute, summed over the components, and error_NAME of each, in its
        unit; share_large: of the frames; with resamples error_low and error_high, the 95 % interval
        of the sum. profile: a device, as it was read or by name ("gap8"), adds latency_ms and
        energy_mj per frame. Raises ConfigurationError for a device that is unknown, TraceError for
        one that lacks a network or had another file of its name.
        """
        names = [component.name for component in self.system.calibration.components]
        columns: dict[str, NDArray[Any]] = {"threshold": self.thresholds, "error": self.error[0]}
        if len(self.weights) > 1:
            spans = [interval(self.error[:, k]) for k in range(len(self.thresholds))]
            columns["error_low"] = np.array([span.low for span in spans])
            columns["error_high"] = np.array([span.high for span in spans])
        columns |= {f"error_{n}": self.component_error[0, :, i] for i, n in enumerate(names)}
        columns["share_large"] = self.share_large[0]
        if profile is not None:
            device = read_profile(find_profile(profile)) if isinstance(profile, str) else profile
            check_profile(device, self.hashes)
            columns["latency_ms"] = self.latency(device)[0]
            columns["energy_mj"] = self.energy(device)[0]
        return columns

    def to_pandas(self, profile: Profile | str | None = None) -> DataFrame:
        """`columns` as a DataFrame; raises MissingExtraError where pandas is missing."""
        return data_frame(self.columns(profile))

    def index_of(self, threshold: float) -> int:
        """Position of a threshold that was swept."""
        (found,) = np.nonzero(self.thresholds == np.float32(threshold))
        return int(found[0])

    def _per_frame(self, total: Array) -> Array:
        return ratio_of_sums(self.weights, total, self.result.frames.astype(float))


def evaluate(
    system: System,
    trace: Trace,
    thresholds: NDArray[np.floating],
    weights: Array,
    *,
    options: PolicyOptions | None = None,
) -> Evaluation:
    """Sweep a system over a trace at these thresholds (K,)."""
    result = sweep_trace(
        trace,
        system.members,
        system.policy,
        system.calibration,
        thresholds,
        filter_name=system.filter_name,
        options=options,
    )
    return Evaluation(
        system, result, weights, {name: entry.sha256 for name, entry in trace.networks.items()}
    )
