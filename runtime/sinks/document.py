"""A report as one JSON document: what JSON lines and UDP carry."""

from __future__ import annotations

import math

import msgspec

from gearshift.runtime.sinks.sink import FlightState, Report
from gearshift.runtime.types import Estimate

SCHEMA_VERSION = 1
NS_PER_MS = 1e6


class ReportDocument(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One line; fields that do not apply are left out.

    valid: somebody is in view and the values are fresh; nothing else may be acted upon. time_ns and
    capture_time_ns are monotonic nanoseconds, age_ms lies between them. values and
    standard_deviation: by component name, in its unit, null where unknown. signal and threshold:
    "inf" and "-inf" stand for what JSON lacks. times_ms: per network that ran, and in all.
    """

    schema_version: int
    time_ns: int
    state: str
    valid: bool
    sequence: int | None = None
    capture_time_ns: int | None = None
    age_ms: float | None = None
    values: dict[str, float | None] | None = None
    standard_deviation: dict[str, float | None] | None = None
    presence: float | None = None
    answered: str | None = None
    networks: tuple[str, ...] = ()
    signal: float | str | None = None
    threshold: float | str | None = None
    reason: str | None = None
    flags: tuple[str, ...] = ()
    times_ms: dict[str, float] | None = None


class ReportEncoder:
    """Encodes reports as UTF-8 JSON; one for every thread."""

    def __init__(self) -> None:
        self._encoder = msgspec.json.Encoder()

    def encode(self, report: Report) -> bytes:
        """The document of a report, without a line end."""
        return self._encoder.encode(report_document(report))


def report_document(report: Report) -> ReportDocument:
    """The document of a report."""
    estimate, age_ns = report.estimate, report.age_ns
    valid = report.state is FlightState.TRACKING
    if estimate is None:
        return ReportDocument(
            schema_version=SCHEMA_VERSION,
            time_ns=report.time_ns,
            state=str(report.state),
            # A change of state alone says nothing that could be acted upon.
            valid=False,
        )
    names = [component.name for component in estimate.components]
    return ReportDocument(
        schema_version=SCHEMA_VERSION,
        time_ns=report.time_ns,
        state=str(report.state),
        valid=valid and all(map(math.isfinite, estimate.values)),
        sequence=estimate.sequence,
        capture_time_ns=estimate.capture_time_ns,
        age_ms=None if age_ns is None else round(age_ns / NS_PER_MS, 3),
        values=dict(zip(names, map(_number, estimate.values), strict=True)),
        standard_deviation=dict(zip(names, map(_number, estimate.standard_deviation), strict=True)),
        presence=estimate.presence,
        answered=estimate.answered,
        networks=estimate.networks,
        signal=_or_text(estimate.signal),
        threshold=_or_text(estimate.threshold),
        reason=estimate.reason,
        flags=tuple(str(flag.name).lower() for flag in estimate.flags),
        times_ms=_times(estimate),
    )


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _or_text(value: float) -> float | str | None:
    if math.isfinite(value):
        return value
    return None if math.isnan(value) else str(value)


def _times(estimate: Estimate) -> dict[str, float]:
    times = estimate.times
    named = (("aux", times.aux), ("small", times.small), ("large", times.large))
    found = {name: time_ns / NS_PER_MS for name, time_ns in named if time_ns}
    return {**found, "total": times.total / NS_PER_MS}
