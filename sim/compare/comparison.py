"""The main job: the six adaptive systems against always-large, beside their controls.

Thresholds are chosen on `val` and everything is reported on the test splits; see `headline` for the
two ways of reading the paper's figures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gearshift.runtime.decide.policy import Policy
from gearshift.runtime.ensembles.ensemble_records import EnsembleRecord
from gearshift.runtime.ensembles.profile import Profile
from gearshift.runtime.scoring.bootstrap import Interval, interval, resample_weights
from gearshift.runtime.scoring.metrics import LatencySummary, Presence, presence, summarise_latency
from gearshift.runtime.types import FloatArray, NetworkRole
from gearshift.sim.compare.evaluation import Array, Evaluation, Kind, System, evaluate
from gearshift.sim.compare.headline import (
    Headline,
    Line,
    Point,
    choose,
    chosen_headline,
    error_at,
    gain_over,
    random_error,
    swept_headline,
)
from gearshift.sim.compare.systems import (
    SMOOTH,
    check_hashes,
    ensemble_systems,
    hold_systems,
    static_systems,
)
from gearshift.sim.traces.run_cost import CostEnd, check_profile, latency_per_combination
from gearshift.sim.traces.timing import Samples, compose
from gearshift.sim.traces.trace import Trace
from gearshift.sim.traces.trace_sweep import threshold_grid

GRID = 70


@dataclass(frozen=True, slots=True)
class Row:
    """One system at one threshold on one split.

    error: per component and "sum". gains: per cent by which its error is lower than a control's.
    Latency and energy per frame on the device of the profile (modelled or measured, as the profile
    says), and latency measured on this machine where the networks were timed.
    """

    system: str
    kind: Kind
    ensemble: str
    policy: str
    filter_name: str
    point: Point | None
    threshold: float
    error: Mapping[str, Interval]
    share_large: float
    device_ms: LatencySummary
    device_mj: float
    host_ms: LatencySummary | None
    gains: Mapping[str, Interval]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The headline figures of one system on one split against one reference."""

    system: str
    reference: str
    end: CostEnd
    headlines: tuple[Headline, ...]


@dataclass(frozen=True, slots=True)
class Halfway:
    """A system at the mean latency halfway between small's and large's, read from its curve.

    There the choice matters most. error: summed. gains: as of `Row`, at the same latency.
    """

    system: str
    kind: Kind
    latency_ms: float
    error: Interval
    gains: Mapping[str, Interval]


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """A system at its thresholds (K,): modelled latency (ms), summed error, share on large."""

    system: str
    kind: Kind
    ensemble: str
    thresholds: FloatArray
    latency_ms: NDArray[np.float64]
    error: NDArray[np.float64]
    share_large: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class SplitReport:
    """Everything about one test split."""

    split: str
    flights: int
    frames: int
    scored: int
    groups: int
    presence: Mapping[str, Presence]
    rows: tuple[Row, ...]
    comparisons: tuple[Comparison, ...]
    halfway: tuple[Halfway, ...]
    curves: tuple[Curve, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """A system with the thresholds to sweep, and where on them the points chosen on `val` are.

    against: by what it is held against, first of all always-large; empty for a single network.
    """

    system: System
    thresholds: FloatArray
    against: Mapping[str, Mapping[Point, int]] = field(default_factory=dict)

    @property
    def points(self) -> Mapping[Point, int]:
        """The points against always-large; empty for a single network."""
        return next(iter(self.against.values()), {})


def choose_on_val(
    records: Sequence[EnsembleRecord],
    val: Trace,
    profile: Profile,
    done: Callable[[str], None] = lambda _name: None,
    policies: Sequence[Policy] = (),
) -> list[Choice]:
    """Every system with its thresholds and its operating points on the `val` trace.

    policies: of the user's, beside those that every ensemble is run with.
    """
    check_hashes(records, val)
    check_profile(profile, {n: e.sha256 for n, e in val.networks.items()})
    weights = np.ones((1, len(val.flights)))
    once = np.array([np.inf], dtype=np.float32)
    choices = [Choice(system, once) for system in static_systems(records, val)]
    single: dict[str, tuple[float, float]] = {}
    for choice in choices:
        alone = evaluate(choice.system, val, once, weights)
        single[choice.system.name] = float(alone.latency(profile)[0, 0]), float(alone.error[0, 0])
    swept = [s for record in records for s in ensemble_systems(record, policies)]
    for system in [*hold_systems(records), *swept]:
        grid = threshold_grid(
            val,
            system.members,
            system.policy,
            system.calibration,
            count=GRID,
            filter_name=system.filter_name,
        )
        found = evaluate(system, val, grid, weights)
        latency, error = found.latency(profile)[0], found.error[0]
        against = {
            name: choose(latency, error, *single[name]) for name in _references(system, single)
        }
        choices.append(Choice(system, grid, against))
        done(system.name)
    return choices


def _references(system: System, single: Mapping[str, tuple[float, float]]) -> list[str]:
    """What a system is held against: large, large with a filter if it has one itself, and every
    single network whose cost lies between small's and large's."""
    small, large = (system.members[r] for r in (NetworkRole.SMALL, NetworkRole.LARGE))
    references = [large]
    if system.filter_name != "none":
        references.append(f"{large} + {SMOOTH}")
    between = [n for n, (ms, _) in single.items() if single[small][0] < ms < single[large][0]]
    return references + sorted(between, key=lambda name: single[name][0])


def compare_split(
    choices: Sequence[Choice],
    records: Sequence[EnsembleRecord],
    trace: Trace,
    profile: Profile,
    samples: Samples | None = None,
    *,
    resamples: int = 1000,
) -> SplitReport:
    """Evaluate every system on a test split, at the points chosen on `val` and along its curve."""
    check_hashes(records, trace)
    weights = resample_weights(trace.groups, resamples)
    evaluations: dict[str, Evaluation] = {}
    for choice in choices:
        name = choice.system.name
        evaluations[name] = evaluate(choice.system, trace, choice.thresholds, weights)
    lines = {
        (name, end): Line(found.latency(profile, end), found.error)
        for name, found in evaluations.items()
        for end in CostEnd
    }
    rows: list[Row] = []
    comparisons: list[Comparison] = []
    for choice in choices:
        system, found = choice.system, evaluations[choice.system.name]
        line = lines[system.name, CostEnd.NOMINAL]
        places: list[tuple[Point | None, int]] = list(choice.points.items()) or [(None, 0)]
        for point, index in places:
            gains = _gains(*line.at(index), system, lines) if choice.points else {}
            rows.append(_row(found, point, index, profile=profile, samples=samples, gains=gains))
        comparisons += [
            Comparison(
                system.name,
                reference,
                end,
                _headlines(choice, points, lines[system.name, end], lines[reference, end]),
            )
            for reference, points in choice.against.items()
            for end in CostEnd
        ]
    return SplitReport(
        split=trace.split,
        flights=len(trace.flights),
        frames=trace.frames,
        scored=int(next(iter(evaluations.values())).result.scored[:, 0].sum()),
        groups=int(trace.groups.max()) + 1,
        presence={
            name: presence(trace.outputs[name], trace.head_cell, entry.network.grid)
            for name, entry in trace.networks.items()
            if entry.network.grid is not None
        },
        rows=tuple(rows),
        comparisons=tuple(comparisons),
        halfway=tuple(
            _halfway(choice.system, lines)
            for choice in choices
            if choice.points and choice.system.ensemble
        ),
        curves=tuple(_curve(found, profile) for found in evaluations.values()),
    )


def _headlines(
    choice: Choice, points: Mapping[Point, int], line: Line, reference: Line
) -> tuple[Headline, ...]:
    chosen = [
        chosen_headline(point, line, index, float(choice.thresholds[index]), reference)
        for point, index in points.items()
    ]
    return (*chosen, *(swept_headline(point, line, reference) for point in Point))


def _gains(
    latency: Array, error: Array, system: System, lines: Mapping[tuple[str, CostEnd], Line]
) -> dict[str, Interval]:
    """How much lower an error (B,) is than that of the controls at the same mean latency (B,):
    chance, and large with its output held (and filtered, for a system that filters)."""
    names = [system.members[role] for role in (NetworkRole.SMALL, NetworkRole.LARGE)]
    if names[0] == names[1]:
        return {}
    small, large = (lines[name, CostEnd.NOMINAL] for name in names)
    suffix = "" if system.filter_name == "none" else f" + {SMOOTH}"
    held = lines[f"{names[1]} hold{suffix}", CostEnd.NOMINAL]
    return {
        "random": gain_over(error, random_error(latency, small, large)),
        "hold": gain_over(error, error_at(held, latency)),
    }


def _halfway(system: System, lines: Mapping[tuple[str, CostEnd], Line]) -> Halfway:
    small, large = (
        lines[system.members[role], CostEnd.NOMINAL].at(0)[0]
        for role in (NetworkRole.SMALL, NetworkRole.LARGE)
    )
    latency = (small + large) / 2
    error = error_at(lines[system.name, CostEnd.NOMINAL], latency)
    gains = _gains(latency, error, system, lines)
    return Halfway(system.name, system.kind, float(latency[0]), interval(error), gains)


def _row(
    found: Evaluation,
    point: Point | None,
    index: int,
    *,
    profile: Profile,
    samples: Samples | None,
    gains: Mapping[str, Interval],
) -> Row:
    system = found.system
    counts = found.result.combinations[:, index].sum(axis=0)
    names = [c.name for c in system.calibration.components]
    error = {name: interval(found.component_error[:, index, i]) for i, name in enumerate(names)} | {
        "sum": interval(found.error[:, index])
    }
    return Row(
        system=system.name,
        kind=system.kind,
        ensemble=system.ensemble,
        policy=system.policy.name,
        filter_name=system.filter_name,
        point=point,
        threshold=float(found.thresholds[index]),
        error=error,
        share_large=float(found.share_large[0, index])
        if len(found.thresholds) > 1
        else float("nan"),
        device_ms=summarise_latency(latency_per_combination(profile, found.members), counts),
        device_mj=float(found.energy(profile)[0, index]),
        host_ms=None if samples is None else compose(samples, system.members, counts),
        gains=gains,
    )


def _curve(found: Evaluation, profile: Profile) -> Curve:
    system = found.system
    return Curve(
        system=system.name,
        kind=system.kind,
        ensemble=system.ensemble,
        thresholds=found.thresholds,
        latency_ms=found.latency(profile)[0],
        error=found.error[0],
        share_large=found.share_large[0],
    )
