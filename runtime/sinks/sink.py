"""Where estimates go: what a flight reports, what every sink offers, how one is found by name.

Every sink is written to by a thread of its own, so that a slow one delays nobody. Plug-ins name a
`SinkPlugin` in the entry-point group `gearshift.sinks`; every sink passes
`sink_conformance.sink_checks`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

import msgspec

from gearshift.runtime.scheduling.description import FlightDescription
from gearshift.runtime.types import Camera, Component, Estimate, FloatArray, Frame, NetworkRole


class FlightState(StrEnum):
    """What a consumer may assume about the person being followed."""

    WAITING = "waiting"
    """No estimate has been made yet."""
    TRACKING = "tracking"
    """The estimate of this report is fresh and somebody is in view as far as is known."""
    ABSENT = "absent"
    """Estimates are made, but nobody is in view."""
    LOST = "lost"
    """There has been no valid estimate for `max_estimate_age`; nothing old may be used."""


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """One thing that happened in a flight: an estimate, or a change of state without one.

    time_ns: monotonic time of publication. frame: what the networks saw (after `geometry`), None
    with estimate None when only the state changed. outputs: copies of what each network said.
    """

    time_ns: int
    state: FlightState
    frame: Frame | None = None
    estimate: Estimate | None = None
    outputs: Mapping[NetworkRole, FloatArray] = field(default_factory=dict)

    @property
    def age_ns(self) -> int | None:
        """From capture to publication; None without a frame."""
        return None if self.frame is None else self.time_ns - self.frame.capture_time_ns


@dataclass(frozen=True, slots=True)
class FlightInfo:
    """What a sink may want to know before the first report.

    camera: the one the networks see. start_unix_ns and start_monotonic_ns: one moment on both
    clocks. flight: what the decisions hang on, so that a recording can be decided again (None:
    unknown). attributes: free strings about the flight (configuration, source).
    """

    components: tuple[Component, ...]
    camera: Camera | None
    start_unix_ns: int
    start_monotonic_ns: int
    flight: FlightDescription | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)


class Sink(Protocol):
    """Takes reports in order of publication. Used by one thread."""

    def open(self, info: FlightInfo, /) -> None:
        """Get ready; raises SinkError when the target cannot be reached. May be repeated after
        close."""

    def write(self, report: Report) -> None:
        """Pass one report on; may block. Raises SinkError when the target failed: the sink is
        closed and opened again later, the report is lost and counted. Raises SinkStoppedError when
        opening again would not help."""

    def close(self) -> None:
        """Finish what was written; closing twice does nothing."""


@dataclass(frozen=True, slots=True)
class SinkPlugin:
    """What stands behind the name of a sink.

    options: the keys of its table in `flight.toml`, a frozen msgspec.Struct that forbids unknown
    fields. make: from those to a sink that is not yet open; raises ConfigurationError. patience_s:
    how long a report may wait, so that several are written together and the processor is woken less
    often; 0 where every report counts at once.
    """

    summary: str
    options: type[msgspec.Struct]
    make: Callable[[Any], Sink]
    patience_s: float = 0.0
