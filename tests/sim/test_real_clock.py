"""Replays are scored against the truth of the right moment, and no figure leaves anything out."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gearshift.runtime.recordings.recording import RecordingReader
from gearshift.sim.replay.clock import truth_at
from gearshift.sim.replay.replaying import ReplayedFlight, component_errors

NAMES = ("x", "y", "z", "phi")
SLOW = 8


@pytest.fixture(scope="module")
def slow(world: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A device on which small takes half a frame's time, and large two and a half."""
    profile = json.loads((world.zoo / "profile-gap8.json").read_text())
    for entry in profile["networks"].values():
        entry["mean_ms"] *= SLOW
    path = tmp_path_factory.mktemp("profile") / "slow.json"
    path.write_text(json.dumps(profile))
    return path


def replay(
    world: Any, folder: Path, *arguments: str
) -> tuple[dict[str, Any], list[dict[str, str]]]:
    report, frames = folder / "r.json", folder / "r.csv"
    where = [str(world.flights / "known"), "--ensemble", "D2", "--zoo", str(world.zoo)]
    assert world.run("replay", *where, "--json", str(report), "--csv", str(frames), *arguments) == 0
    with frames.open() as stream:
        return json.loads(report.read_text()), list(csv.DictReader(stream))


def recorded(world: Any, name: str) -> tuple[np.ndarray, np.ndarray]:
    """(N,) capture times in ns and (N, 4) truth, NaN where nobody is in view."""
    entries = list(RecordingReader(world.flights / "known" / name))
    truth = [e.truth.values for e in entries if e.truth is not None]
    return np.array([e.frame.capture_time_ns for e in entries]), np.array(truth)


def mean_errors(rows: list[dict[str, str]]) -> list[float]:
    """Of every component over the scored rows, and their sum."""
    counted = [row for row in rows if row["scored"] == "1"]
    off = [[abs(float(r[n]) - float(r[f"true_{n}"])) for n in NAMES] for r in counted]
    mean = np.mean(off, axis=0)
    return [*mean, mean.sum()]


def test_the_real_clock_scores_against_the_truth_at_output(
    world: Any, slow: Path, tmp_path: Path
) -> None:
    options = ["--policy", "always-large", "--clock", "real", "--profile", str(slow)]
    report, rows = replay(world, tmp_path, *options)
    flights = defaultdict(list)
    for row in rows:
        flights[row["recording"]].append(row)
    assert len(flights) == 6
    scored = 0
    for name, lines in flights.items():
        times, truth = recorded(world, name)
        free = 0
        for row in lines:
            captured, published = int(row["capture_time_ns"]), int(row["publish_time_ns"])
            # Large takes 20 ms, slowed down, from when the frame is there and the device is free.
            assert published == max(captured, free) + 20_000_000 * SLOW
            free = published
            said = np.array([float(row[f"true_{n}"]) for n in NAMES])
            if published > times[-1]:
                assert np.isnan(said).all()
                assert row["scored"] == "0"
                continue
            then = [np.interp(published, times, truth[:, i]) for i in range(4)]
            np.testing.assert_allclose(said, then, rtol=1e-4, atol=1e-4)
            assert row["scored"] == ("0" if np.isnan(then).any() else "1")
            scored += row["scored"] == "1"
    assert report["summary"]["scored"] == scored > 20
    found = report["summary"]["error"]
    assert list(found) == [*NAMES, "sum"]
    assert [found[n]["value"] for n in found] == pytest.approx(mean_errors(rows), rel=1e-3)


def test_the_frame_clock_scores_against_the_truth_at_capture(world: Any, tmp_path: Path) -> None:
    report, rows = replay(world, tmp_path, "--policy", "op", "--threshold", "0.5")
    for row in rows:
        times, truth = recorded(world, row["recording"])
        (index,) = np.flatnonzero(times == int(row["capture_time_ns"]))
        said = [float(row[f"true_{n}"]) for n in NAMES]
        np.testing.assert_allclose(said, truth[index], rtol=1e-4, atol=1e-4)
        assert row["scored"] == str(int(not np.isnan(said).any()))
    found = report["summary"]["error"]
    assert [found[n]["value"] for n in (*NAMES, "sum")] == pytest.approx(
        mean_errors(rows), rel=1e-3
    )


def test_latencies_ages_and_shares_are_means_over_every_frame(
    world: Any, slow: Path, tmp_path: Path
) -> None:
    options = ["--policy", "every", "--threshold", "3", "--clock", "real", "--profile", str(slow)]
    report, rows = replay(world, tmp_path, *options)
    summary = report["summary"]
    latency = np.array([float(row["latency_ms"]) for row in rows])
    large = np.array(["large" in row["networks"].split("+") for row in rows])
    np.testing.assert_allclose(latency, SLOW * np.where(large, 20.0, 4.0))
    assert summary["latency"]["mean_ms"] == pytest.approx(latency.mean())
    # A mean that is not the median, or one could stand for the other.
    assert abs(latency.mean() - np.median(latency)) > 10
    age = [(int(r["publish_time_ns"]) - int(r["capture_time_ns"])) / 1e6 for r in rows]
    assert summary["age"]["mean_ms"] == pytest.approx(np.mean(age))
    assert np.mean(age) > latency.mean() + 1
    assert summary["shares"] == pytest.approx(
        {"small": 1 - large.mean(), "large": large.mean(), "aux": 0}
    )
    assert 0.2 < large.mean() < 0.4
    answered = np.mean([row["answered"] == "large" for row in rows])
    assert summary["answered_large"] == pytest.approx(answered)
    assert summary["recordings"] == len(report["recordings"]) == 6
    assert summary["frames"] == 6 * 20
    assert summary["processed"] == len(rows)
    for figure in ("frames", "processed", "scored"):
        parts = sum(each[figure] for each in report["recordings"].values())
        assert summary[figure] == parts
    for name, each in report["recordings"].items():
        own = mean_errors([row for row in rows if row["recording"] == name])
        found = [each["error"][n]["value"] for n in (*NAMES, "sum")]
        assert found == pytest.approx(own, rel=1e-3)


def test_errors_are_of_the_scored_frames_alone() -> None:
    from gearshift.runtime.types import POSE_COMPONENTS

    nothing = np.zeros(3)
    flight = ReplayedFlight(
        recording="a",
        room="",
        person="",
        frames=5,
        estimates=(),
        values=np.array([[1, 0, 0, 3.0], [9, 9, 9, 9], [1, 2, 3, 0]], dtype=np.float32),
        truth=np.array([[2, 0, 0, -3.0], [0, 0, 0, 0], [1, 1, 1, 0]], dtype=np.float32),
        scored=np.array([True, False, True]),
        latency_ms=nothing,
        age_ms=nothing,
        seen=nothing.astype(np.int8),
    )
    errors = component_errors(flight, POSE_COMPONENTS)
    expected = np.array([[1, 0, 0, 2 * np.pi - 6], [0, 1, 2, 0]])
    np.testing.assert_allclose(errors, expected, atol=1e-5)
    assert flight.missed == 5


def test_the_moment_of_the_truth_matters_in_these_flights(world: Any) -> None:
    times, truth = recorded(world, "1.mcap")
    values = truth.astype(np.float32)
    angular = np.array([False, False, False, True])
    later, _ = truth_at(
        times, values, np.ones(len(times), np.bool_), angular, times[:-3] + 160_000_000
    )
    assert np.abs(later - values[:-3]).mean() > 0.05
