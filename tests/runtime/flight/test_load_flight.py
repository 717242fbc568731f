"""A flight from Python: a file, sinks of one's own, and a loop beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import gearshift
from gearshift.runtime.errors import ConfigurationError, SinkError, SourceError
from gearshift.runtime.recordings.recording_writer import RecordingWriter
from gearshift.runtime.sinks.sink import FlightInfo, Report
from gearshift.runtime.types import Frame

FRAMES = 60
"""Of noise, which fill several chunks of a recording."""


class Kept:
    """Keeps what it is told."""

    def __init__(self, *, opens: bool = True) -> None:
        self.opens = opens
        self.info: FlightInfo | None = None
        self.reports: list[Report] = []
        self.closed = 0

    def open(self, info: FlightInfo, /) -> None:
        if not self.opens:
            raise SinkError("nobody is at home")
        self.info = info

    def write(self, report: Report) -> None:
        self.reports.append(report)

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "flight.mcap"
    noise = np.random.default_rng(0).integers(0, 256, (FRAMES, 96, 160), dtype=np.uint8)
    with RecordingWriter(path, camera=None) as writer:
        for number, image in enumerate(noise):
            writer.write_frame(Frame(image, (1 + number) * 33_333_333, number))
    return path


@pytest.fixture
def configuration(tmp_path: Path, recording: Path) -> Path:
    path = tmp_path / "flight.toml"
    path.write_text(
        "schema_version = 1\n"
        f"[source]\nkind = 'recording'\npath = '{recording}'\npace = 'none'\n"
        "[policy]\nname = 'op'\nthreshold = 0.5\n"
        f"[[sinks]]\nkind = 'jsonl'\npath = '{tmp_path / 'estimates.jsonl'}'\n"
    )
    return path


def test_a_sink_of_ones_own_gets_every_report(configuration: Path, tmp_path: Path) -> None:
    mine = Kept()
    with gearshift.load_flight(configuration, sinks={"mine": mine}) as flight:
        assert flight.wait(60)
    assert [r.estimate.sequence for r in mine.reports if r.estimate] == list(range(FRAMES))
    assert mine.info is not None
    assert [component.name for component in mine.info.components] == ["x", "y", "z", "phi"]
    assert mine.closed
    assert flight.last is mine.reports[-1]
    assert len((tmp_path / "estimates.jsonl").read_text().splitlines()) == FRAMES


def test_a_file_is_overridden_as_on_the_command_line(configuration: Path) -> None:
    with gearshift.load_flight(configuration, ["policy.name=always-small"]) as flight:
        assert flight.wait(60)
    assert flight.counts.large == 0
    with pytest.raises(ConfigurationError, match=r"always-smal.*did you mean"):
        gearshift.load_flight(configuration, ["policy.name=always-smal"])


def test_a_sink_that_does_not_open_keeps_the_flight_on_the_ground(configuration: Path) -> None:
    kept = Kept()
    ready = gearshift.load_flight(configuration, sinks={"kept": kept, "mine": Kept(opens=False)})
    with pytest.raises(SinkError, match="nobody is at home"), ready:
        pytest.fail("it took off")
    assert kept.closed
    assert kept.reports == []


def test_two_sinks_of_one_name(configuration: Path) -> None:
    with pytest.raises(ConfigurationError, match="has a sink 'jsonl' itself"):
        gearshift.load_flight(configuration, sinks={"jsonl": Kept()})


def test_a_source_that_fails_in_flight_is_told_at_the_end(
    configuration: Path, recording: Path
) -> None:
    content = recording.read_bytes()
    half = recording.with_name("half.mcap")
    half.write_bytes(content)
    ready = gearshift.load_flight(configuration, [f"source.path={half}"])
    half.write_bytes(content[: len(content) // 2])
    with pytest.raises(SourceError, match=r"half\.mcap"), ready as flight:
        assert flight.wait(60)


def test_what_goes_wrong_in_the_block_is_what_is_raised(configuration: Path) -> None:
    mine = Kept()
    ready = gearshift.load_flight(configuration, sinks={"mine": mine})
    with pytest.raises(ZeroDivisionError), ready:
        _ = 1 / 0
    assert mine.closed
