"""How a flight fares, in numbers at one moment and in a line of text."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path

from gearshift.runtime.flight.pipeline import Flight
from gearshift.runtime.sinks.sink import FlightState

THERMAL = Path("/sys/class/thermal/thermal_zone0/temp")


@dataclass(frozen=True, slots=True)
class Status:
    """One moment. rate_hz and large_share hold for the time since the last one.

    age_ms: of the last estimate when it was published. network: what answered it. celsius: of the
    processor. Numbers that are not known are NaN. dropped: frames and reports since take-off that
    reached nobody. problems: sources and sinks that do not work at the moment.
    """

    state: FlightState
    rate_hz: float
    age_ms: float
    network: str
    large_share: float
    signal: float
    threshold: float
    celsius: float
    dropped: int
    problems: tuple[str, ...]

    def line(self) -> str:
        """For a person to read, in less than 100 characters where nothing is wrong.

        What is wrong stands in front: a narrow terminal cuts the end off.
        """
        parts = [
            f"{self.state:8}",
            *self.problems,
            f"{_or_dash(self.rate_hz, '5.1f')} Hz",
            f"age {_or_dash(self.age_ms, '5.1f')} ms",
            f"{self.network:5}",
            f"large {_or_dash(100 * self.large_share, '3.0f')}%",
            f"signal {_or_dash(self.signal, '.3g')} / {_or_dash(self.threshold, '.3g')}",
            f"dropped {self.dropped}",
        ]
        if not math.isnan(self.celsius):
            parts.append(f"{self.celsius:.0f} C")
        return "  ".join(parts)


class StatusReader:
    """Reads the status of a flight again and again."""

    def __init__(self, flight: Flight) -> None:
        self._flight = flight
        self._time_s = time.monotonic()
        self._estimates = self._large = 0

    def read(self) -> Status:
        """The status now."""
        flight = self._flight
        now_s, counts = time.monotonic(), flight.counts
        estimates = counts.estimates - self._estimates
        large = counts.large - self._large
        seconds = now_s - self._time_s
        self._time_s, self._estimates, self._large = now_s, counts.estimates, counts.large
        report = flight.last
        estimate = report.estimate if report is not None else None
        age_ns = report.age_ns if report is not None else None
        return Status(
            state=flight.state,
            rate_hz=estimates / seconds if seconds > 0 else math.nan,
            age_ms=math.nan if age_ns is None else age_ns / 1e6,
            network="-" if estimate is None or estimate.answered is None else estimate.answered,
            large_share=large / estimates if estimates else math.nan,
            signal=math.nan if estimate is None else estimate.signal,
            threshold=flight.threshold,
            celsius=processor_celsius(),
            dropped=dropped_frames(flight) + sum(b.counts.dropped for b in flight.outboxes),
            problems=problems(flight),
        )


def dropped_frames(flight: Flight) -> int:
    """Frames that came, or should have come, and were not processed."""
    captured = flight.capture.counts
    lost = captured.missed + captured.replaced + captured.repeated + captured.garbage
    return lost + flight.counts.too_old


def problems(flight: Flight) -> tuple[str, ...]:
    """What does not work at the moment."""
    found = ["NO FRAMES"] if flight.capture.away else []
    found += [f"{box.name} FAILED" for box in flight.outboxes if box.problem]
    return tuple(found)


def processor_celsius() -> float:
    """Temperature of the processor; NaN where the kernel does not say."""
    try:
        return int(THERMAL.read_text()) / 1000
    except (OSError, ValueError):
        return math.nan


def _or_dash(value: float, form: str) -> str:
    """A number, or as wide as that a dash where it is not known."""
    return "-".rjust(len(format(0.0, form))) if math.isnan(value) else format(value, form)
