"""A flight from Python: the same file and the same parts as `gearshift run`, without its process.

What `gearshift run` does to its own process (signals, systemd, garbage collection, memory arenas,
metrics) is left to the caller's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from gearshift.runtime.errors import ConfigurationError
from gearshift.runtime.flight.outbox import NamedSink
from gearshift.runtime.launch.configuration import read_flight_config
from gearshift.runtime.launch.setup import ReadyFlight, build_flight
from gearshift.runtime.sinks.sink import Sink


def load_flight(
    path: Path | str,
    overrides: Sequence[str] = (),
    *,
    sinks: Mapping[str, Sink] | None = None,
) -> ReadyFlight:
    """A flight of a `flight.toml`, its networks loaded and its source open, ready for take-off.

        with load_flight("flight.toml", sinks={"mine": MySink()}) as flight:
            while not flight.wait(0.05):           # seconds; True when the source has ended
                report = flight.last               # the latest `Report`, None before the first
                if report is not None and report.state == "tracking":
                    steer(report.estimate.pose)

    overrides: as of `gearshift run --set`, such as "policy.threshold=0.4". sinks: more of them by
    name, beside those of the file; each gets a thread of its own and every report, and must open
    for the flight to begin. Capture and inference have threads of their own as well: `flight.last`
    never waits. `gearshift config example` prints a file with every key.

    Raises ConfigurationError with the line of the file where one is to blame, SourceError when the
    source cannot be opened, MissingExtraError for what is not installed; the `with` raises
    SinkError when a sink does not open, and at its end SourceError when the source failed.
    """
    config = read_flight_config(Path(path), overrides)
    given = sinks or {}
    for choice in config.sinks:
        if choice.name in given:
            raise ConfigurationError(f"{path} has a sink {choice.name!r} itself; name yours apart")
    return build_flight(config, more_sinks=[NamedSink(*entry) for entry in given.items()])
