"""The gate: decisions, errors and modelled latency of every operating point, against a baseline.

Everything it compares is computed from stored traces and is the same on every machine.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import numpy as np

from gearshift.runtime.ensembles.ensemble_records import EnsembleRecord
from gearshift.runtime.ensembles.profile import Profile
from gearshift.runtime.errors import TraceError
from gearshift.sim.compare.evaluation import Evaluation, Kind, System, evaluate
from gearshift.sim.compare.report import write_json
from gearshift.sim.compare.systems import check_hashes, ensemble_systems, static_systems
from gearshift.sim.traces.run_cost import check_profile
from gearshift.sim.traces.trace import Trace

SCHEMA_VERSION: Final = 1
GATED: Final = (Kind.PAPER, Kind.OURS, Kind.VARIANT)


@dataclass(frozen=True, slots=True)
class Case:
    """One system at one operating point on one trace.

    decisions: sha256 over which networks ran and which answered, frame by frame. error: mean
    absolute error per component and "sum". latency_ms: mean, from the device profile.
    """

    threshold: float | str
    decisions: str
    error: Mapping[str, float]
    latency_ms: float
    share_large: float


@dataclass(frozen=True, slots=True)
class Baseline:
    """What a gate compares with: cases by "split/system point"."""

    device: str
    cases: Mapping[str, Case]


class Verdict(StrEnum):
    """What became of one case."""

    SAME = "same"
    CHANGED = "changed"
    """Other decisions or figures, within tolerance or better."""
    WORSE = "worse"
    MISSING = "missing"
    NEW = "new"


@dataclass(frozen=True, slots=True)
class Change:
    """One case, then and now."""

    name: str
    verdict: Verdict
    old: Case | None
    new: Case | None


def baseline_path() -> Path:
    """The baseline that ships with the package."""
    return Path(str(files("gearshift.sim"))) / "data" / "baseline.json"


def compute(
    records: Sequence[EnsembleRecord], traces: Sequence[Trace], profile: Profile
) -> Baseline:
    """Every stored operating point of every ensemble, and every single network, on every trace."""
    cases: dict[str, Case] = {}
    for trace in traces:
        check_hashes(records, trace)
        check_profile(profile, {n: e.sha256 for n, e in trace.networks.items()})
        weights = np.ones((1, len(trace.flights)))
        for system, points in _systems(records, trace):
            thresholds = np.array(sorted(set(points.values())), dtype=np.float32)
            found = evaluate(system, trace, thresholds, weights)
            for point, threshold in points.items():
                name = " ".join(filter(None, (f"{trace.split}/{system.name}", point)))
                cases[name] = _case(found, found.index_of(threshold), profile)
    return Baseline(profile.device, cases)


def _systems(
    records: Sequence[EnsembleRecord], trace: Trace
) -> Iterator[tuple[System, dict[str, float]]]:
    for system in static_systems(records, trace):
        yield system, {"": float("inf")}
    for record in records:
        for system in ensemble_systems(record):
            points = record.thresholds.get(system.policy.name, {})
            if system.kind in GATED and points:
                yield system, dict(points)


def _case(found: Evaluation, index: int, profile: Profile) -> Case:
    names = [c.name for c in found.system.calibration.components]
    mean = found.component_error[0, index].tolist()
    threshold = float(found.thresholds[index])
    decisions = np.ascontiguousarray(found.result.decisions[:, :, index])
    return Case(
        threshold=threshold if np.isfinite(threshold) else str(threshold),
        decisions=hashlib.sha256(decisions.tobytes()).hexdigest(),
        error={**dict(zip(names, mean, strict=True)), "sum": float(sum(mean))},
        latency_ms=float(found.latency(profile)[0, index]),
        share_large=float(found.share_large[0, index]),
    )


def write_baseline(path: Path, baseline: Baseline) -> None:
    """Write a baseline as JSON; raises ConfigurationError when it cannot be written."""
    write_json(path, {"schema_version": SCHEMA_VERSION, **asdict(baseline)})


def read_baseline(path: Path) -> Baseline:
    """Read a baseline; raises TraceError when it is missing, of another version or damaged."""
    try:
        document: dict[str, Any] = json.loads(path.read_text())
        version = document["schema_version"]
        if version != SCHEMA_VERSION:
            raise TraceError(
                f"{path}: baseline schema version {version}, this gearshift reads "
                f"{SCHEMA_VERSION}; write it anew with 'gearshift gate --write'"
            )
        cases = {name: Case(**case) for name, case in document["cases"].items()}
        for case in cases.values():
            float(case.error["sum"])
            float(case.latency_ms)
        return Baseline(document["device"], cases)
    except FileNotFoundError as error:
        raise TraceError(
            f"there is no baseline {path}; 'gearshift gate --write' makes one"
        ) from error
    except OSError as error:
        raise TraceError(f"{path}: {error.strerror}") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise TraceError(f"{path}: not a baseline ({type(error).__name__}: {error})") from error


def judge(old: Baseline, new: Baseline, tolerance_percent: float) -> list[Change]:
    """Every case of either; worse is an error or latency above the old by more than tolerated, and
    a component that only one of the two has.

    Raises TraceError when the two are of different devices.
    """
    if old.device != new.device:
        raise TraceError(f"the baseline is of {old.device}, this is of {new.device}")
    changes = []
    for name in sorted(old.cases.keys() | new.cases.keys()):
        before, after = old.cases.get(name), new.cases.get(name)
        changes.append(Change(name, _verdict(before, after, tolerance_percent), before, after))
    return changes


def _verdict(before: Case | None, after: Case | None, tolerance_percent: float) -> Verdict:
    if before is None or after is None:
        return Verdict.NEW if before is None else Verdict.MISSING
    names = before.error.keys() | after.error.keys()
    pairs = [(before.error.get(name, np.nan), after.error.get(name, np.nan)) for name in names]
    pairs.append((before.latency_ms, after.latency_ms))
    allowed = 1 + tolerance_percent / 100
    # Six digits are stored; and a comparison that is not true, as with NaN, is no excuse.
    if any(not new <= old * allowed + 1e-5 * max(abs(old), 1.0) for old, new in pairs):
        return Verdict.WORSE
    moved = any(abs(new - old) > 1e-5 * max(abs(old), 1e-3) for old, new in pairs)
    return Verdict.CHANGED if moved or before.decisions != after.decisions else Verdict.SAME


def markdown(changes: Sequence[Change], tolerance_percent: float) -> str:
    """The changes as markdown, unchanged cases only counted."""
    shown = [c for c in changes if c.verdict is not Verdict.SAME]
    same = len(changes) - len(shown)
    worse = sum(c.verdict in (Verdict.WORSE, Verdict.MISSING) for c in shown)
    lines = [
        f"**gearshift gate**: {len(changes)} cases, {same} unchanged, {len(shown) - worse} changed "
        f"within {tolerance_percent:g} %, {worse} worse"
    ]
    if shown:
        lines += [
            "",
            "| case | verdict | decisions | summed MAE | modelled ms | large % |",
            "|---|---|---|---:|---:|---:|",
        ]
    for change in shown:
        old, new = change.old, change.new
        if old is None or new is None:
            lines.append(f"| {change.name} | {change.verdict} | | | | |")
            continue
        decided = "same" if old.decisions == new.decisions else "other"
        lines.append(
            f"| {change.name} | {change.verdict} | {decided} "
            f"| {old.error['sum']:.4f} -> {new.error['sum']:.4f} "
            f"| {old.latency_ms:.3f} -> {new.latency_ms:.3f} "
            f"| {100 * old.share_large:.1f} -> {100 * new.share_large:.1f} |"
        )
    return "\n".join(lines)
