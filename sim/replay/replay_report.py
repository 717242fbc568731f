"""What a replay gave, in figures: a summary, a JSON document and one CSV line per frame."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gearshift.runtime.scoring.bootstrap import Interval, interval, ratio_of_sums, resample_weights
from gearshift.runtime.scoring.metrics import (
    LatencySummary,
    Presence,
    presence_of,
    summarise_latency,
)
from gearshift.runtime.types import Component, EstimateFlag, NetworkRole
from gearshift.sim.compare.comparison_tables import TextTable
from gearshift.sim.replay.replaying import ReplayedFlight, component_errors, network_shares

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class ReplaySummary:
    """Figures over all replayed recordings.

    error: mean absolute error per component and "sum", empty without ground truth; its interval is
    that of the value alone where there are fewer than two groups of flights. shares: share of the
    processed frames on which a network ran. answered_large, held, lost, degraded: likewise.
    """

    recordings: int
    frames: int
    processed: int
    scored: int
    error: Mapping[str, Interval]
    latency: LatencySummary
    age: LatencySummary
    shares: Mapping[NetworkRole, float]
    answered_large: float
    held: float
    lost: float
    degraded: float
    presence: Presence


def summarise(
    flights: Sequence[ReplayedFlight], components: tuple[Component, ...], resamples: int = 1000
) -> ReplaySummary:
    """The figures of some replayed flights."""
    estimates = [e for flight in flights for e in flight.estimates]
    count = max(len(estimates), 1)

    def share(flag: EstimateFlag) -> float:
        return sum(flag in e.flags for e in estimates) / count

    return ReplaySummary(
        recordings=len(flights),
        frames=sum(f.frames for f in flights),
        processed=len(estimates),
        scored=sum(int(f.scored.sum()) for f in flights),
        error=_errors(flights, components, resamples),
        latency=summarise_latency(np.concatenate([f.latency_ms for f in flights])),
        age=summarise_latency(np.concatenate([f.age_ms for f in flights])),
        shares=network_shares(flights),
        answered_large=sum(e.answered is NetworkRole.LARGE for e in estimates) / count,
        held=share(EstimateFlag.HELD),
        lost=share(EstimateFlag.LOST),
        degraded=share(EstimateFlag.DEGRADED),
        presence=_presence(flights),
    )


def _presence(flights: Sequence[ReplayedFlight]) -> Presence:
    """Of the estimates that carry a probability of presence, how often half of it was wrong."""
    pairs = [
        (estimate.presence > 0.5, seen == 1)
        for flight in flights
        for estimate, seen in zip(flight.estimates, flight.seen, strict=True)
        if estimate.presence is not None and seen >= 0
    ]
    said, true = np.array(pairs, dtype=np.bool_).reshape(-1, 2).T
    return presence_of(said, true)


def _errors(
    flights: Sequence[ReplayedFlight], components: tuple[Component, ...], resamples: int
) -> dict[str, Interval]:
    scored = np.array([f.scored.sum() for f in flights], dtype=np.float64)
    if not scored.sum():
        return {}
    total = np.array([component_errors(f, components).sum(axis=0) for f in flights], np.float64)
    groups = _groups(flights)
    weights = resample_weights(groups, resamples if groups.max() > 0 else 0)
    mean = ratio_of_sums(weights, total, scored)
    errors = {c.name: interval(mean[:, i]) for i, c in enumerate(components)}
    return errors | {"sum": interval(mean.sum(axis=-1))}


def _groups(flights: Sequence[ReplayedFlight]) -> NDArray[np.int64]:
    names = [(f.room, f.person) if f.room or f.person else (f.recording, "") for f in flights]
    order = sorted(set(names))
    return np.array([order.index(name) for name in names], dtype=np.int64)


def replay_table(
    title: str, summary: ReplaySummary, components: tuple[Component, ...], source: str
) -> TextTable:
    """The summary for the terminal; source says where the latencies are from."""
    rows: list[tuple[str, ...]] = []
    units = {c.name: c.unit for c in components}
    for name, figure in summary.error.items():
        span = "" if np.isnan(figure.low) else f"{figure.low:.3f}-{figure.high:.3f}"
        rows.append((f"MAE {name}", f"{figure.value:.3f}", units.get(name, ""), span))
    spreads = {"latency": summary.latency}
    if summary.age != summary.latency:
        spreads["age at output"] = summary.age
    for label, spread in spreads.items():
        detail = (
            f"p50 {spread.p50_ms:.3f}, p90 {spread.p90_ms:.3f}, p99 {spread.p99_ms:.3f}, "
            f"max {spread.max_ms:.3f}"
        )
        rows.append((f"{label}, mean", f"{spread.mean_ms:.3f}", "ms", detail))
    rows += [
        (f"frames on {role}", f"{100 * share:.1f}", "%", "")
        for role, share in summary.shares.items()
    ]
    rows.append(("answered by large", f"{100 * summary.answered_large:.1f}", "%", ""))
    for label, share in (
        ("held", summary.held),
        ("lost", summary.lost),
        ("degraded", summary.degraded),
    ):
        if share:
            rows.append((label, f"{100 * share:.1f}", "%", ""))
    seen = summary.presence
    if seen.frames_with + seen.frames_without:
        said = f"false absent {seen.false_absent:.1%}, false present {seen.false_present:.1%}"
        rows.append(("presence", str(seen.frames_with + seen.frames_without), "frames", said))
    missed = summary.frames - summary.processed
    frames = f"{summary.scored} scored" + (f", {missed} missed" if missed else "")
    rows.append(("frames", f"{summary.frames}", "", frames))
    notes = [f"latency: {source}"]
    if not summary.error:
        notes.append("no ground truth in these recordings: latency only, no errors")
    return TextTable(title, ("", "", "unit", "95 % / spread"), tuple(rows), tuple(notes))


def replay_document(
    settings: Mapping[str, Any],
    summary: ReplaySummary,
    flights: Sequence[ReplayedFlight],
    components: tuple[Component, ...],
    source: str,
) -> dict[str, Any]:
    """The summary, and every recording's own, for JSON."""
    return {
        "schema_version": SCHEMA_VERSION,
        **settings,
        "components": [asdict(c) for c in components],
        "latency_source": source,
        "ground_truth": bool(summary.error),
        "summary": asdict(summary),
        "recordings": {
            f.recording: asdict(summarise([f], components, resamples=0)) for f in flights
        },
    }


def replay_columns(
    flights: Sequence[ReplayedFlight], components: tuple[Component, ...]
) -> dict[str, NDArray[Any]]:
    """One row per processed frame; the truth is that of the moment the estimate is scored at."""
    made = [e for flight in flights for e in flight.estimates]
    values, truth = (
        np.concatenate([getattr(flight, field) for flight in flights])
        for field in ("values", "truth")
    )
    names = [c.name for c in components]
    return {
        "recording": np.array([f.recording for f in flights for _ in f.estimates], dtype=np.str_),
        "sequence": np.array([e.sequence for e in made], dtype=np.int64),
        "capture_time_ns": np.array([e.capture_time_ns for e in made], dtype=np.int64),
        "publish_time_ns": np.array([e.publish_time_ns for e in made], dtype=np.int64),
        "latency_ms": np.concatenate([flight.latency_ms for flight in flights]),
        **{name: values[:, i] for i, name in enumerate(names)},
        **{f"true_{name}": truth[:, i] for i, name in enumerate(names)},
        "scored": np.concatenate([flight.scored for flight in flights]),
        "answered": np.array([e.answered or "" for e in made], dtype=np.str_),
        "networks": np.array(["+".join(e.networks) for e in made], dtype=np.str_),
        "signal": np.array([e.signal for e in made], dtype=np.float64),
        "threshold": np.array([e.threshold for e in made], dtype=np.float64),
        "reason": np.array([e.reason for e in made], dtype=np.str_),
    }


def replay_csv(flights: Sequence[ReplayedFlight], components: tuple[Component, ...]) -> str:
    """The same as text, a line per frame."""
    columns = replay_columns(flights, components)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    written = [_written(name, column) for name, column in columns.items()]
    writer.writerows(zip(*written, strict=True))
    return text.getvalue()


def _written(name: str, column: NDArray[Any]) -> list[Any]:
    """Digits as far as they mean something: float32 outputs 6, what choices hang on 9."""
    if column.dtype == np.float32:
        return [f"{value:.6g}" for value in column.tolist()]
    if name == "latency_ms":
        return [f"{value:.6f}" for value in column.tolist()]
    if column.dtype == np.float64:
        return [f"{value:.9g}" for value in column.tolist()]
    values: list[Any] = (column.astype(np.int64) if column.dtype == np.bool_ else column).tolist()
    return values
