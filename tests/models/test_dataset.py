"""The cache of decoded flights."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from gearshift.models.evaluating.dataset import NOMINAL_CAMERA, load_dataset
from gearshift.runtime.errors import RecordingError
from gearshift.runtime.recordings.recording import RecordingReader
from gearshift.runtime.recordings.recording_writer import RecordingWriter
from gearshift.runtime.scoring.counted_frames import ANGLE_LIMIT
from gearshift.runtime.types import Camera, Frame, GroundTruth

from .conftest import WriteFlights


def test_arrays_are_what_the_recordings_say(flights: Path) -> None:
    data = load_dataset(flights / "val")
    assert data.images.shape == (32, 96, 160)
    frames = [
        recorded
        for path in sorted((flights / "val").glob("*.mcap"))
        for recorded in RecordingReader(path)
    ]
    for row, recorded in enumerate(frames):
        assert recorded.truth is not None
        assert np.array_equal(data.images[row], recorded.frame.image)
        assert np.allclose(data.values[row], recorded.truth.values, equal_nan=True)
        assert data.visible[row] == recorded.truth.visible
        assert data.cell[row] == recorded.truth.head_cell
    assert data.camera is not None
    assert [c.name for c in data.components] == ["x", "y", "z", "phi"]


def test_a_growing_folder_extends_its_cache(tmp_path: Path, write_flights: WriteFlights) -> None:
    folder = tmp_path / "train"
    write_flights(folder, flights=2, frames=4)
    first = load_dataset(folder)
    stamp = (tmp_path / "train.cache" / "images.u8").stat().st_ino
    write_flights(folder, flights=2, frames=4, first=2)
    grown = load_dataset(folder)
    assert len(grown) == 2 * len(first)
    assert (tmp_path / "train.cache" / "images.u8").stat().st_ino == stamp
    assert np.array_equal(grown.images[: len(first)], first.images)
    assert grown.identity != first.identity
    again = load_dataset(folder)
    assert again.identity == grown.identity
    assert len(load_dataset(folder, limit=3)) == 12


def test_a_changed_recording_is_decoded_again(tmp_path: Path, write_flights: WriteFlights) -> None:
    folder = tmp_path / "train"
    write_flights(folder, flights=2, frames=4)
    load_dataset(folder)
    write_flights(folder, flights=1, frames=6)
    data = load_dataset(folder)
    assert len(data) == 10


def test_a_place_for_the_cache_that_cannot_be_written_is_named(
    tmp_path: Path, write_flights: WriteFlights
) -> None:
    folder = tmp_path / "train"
    write_flights(folder, flights=1, frames=2)
    (tmp_path / "train.cache").write_text("a file where the cache would be")
    with pytest.raises(RecordingError, match=r"cannot decode .*train into .*train\.cache: "):
        load_dataset(folder)


def test_groups_are_pairs_of_room_and_person(flights: Path) -> None:
    data = load_dataset(flights / "train")
    assert len(np.unique(data.groups)) == 6


def test_scored_frames_have_a_head_and_a_heading_in_range(flights: Path) -> None:
    data = load_dataset(flights / "train")
    assert 0 < data.scored.sum() < len(data)
    assert data.visible[data.scored].all()
    assert (np.abs(data.values[data.scored, 3]) <= ANGLE_LIMIT).all()


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="holds no recordings"):
        load_dataset(tmp_path)


def test_a_flight_without_truth_is_an_error(tmp_path: Path) -> None:
    camera = Camera("c", 160, 96, 125.0, 125.0, 79.5, 47.5)
    with RecordingWriter(tmp_path / "a.mcap", camera=camera) as writer:
        writer.write_frame(Frame(np.zeros((96, 160), np.uint8), 1, 0, "a", camera))
    with pytest.raises(RecordingError, match="without ground truth"):
        load_dataset(tmp_path)


def test_flights_of_another_camera_are_an_error(
    tmp_path: Path, write_flights: WriteFlights
) -> None:
    folder = tmp_path / "train"
    write_flights(folder, flights=1, frames=2)
    other = Camera("other", 160, 96, 99.0, 99.0, 79.5, 47.5)
    reader = RecordingReader(folder / "flight000.mcap")
    with RecordingWriter(folder / "flight999.mcap", camera=other) as writer:
        for recorded in reader:
            writer.write_frame(recorded.frame, recorded.truth)
    with pytest.raises(RecordingError, match="differ from the others"):
        load_dataset(folder)


UNIT = Camera("board", 160, 96, 90.0, 90.0, 82.0, 45.0, (-0.1, 0.0, 0.0, 0.0, 0.0))
NOMINAL = replace(UNIT, name="kind", fx=91.9, fy=91.9, cx=79.5, cy=47.5)


def write_unit(path: Path, unit: Camera | None, nominal: str) -> None:
    path.parent.mkdir(exist_ok=True)
    truth = GroundTruth((2.0, 0.0, 0.0, 0.0), True, (80.0, 48.0), 28)
    with RecordingWriter(path, camera=unit, attributes={NOMINAL_CAMERA: nominal}) as writer:
        writer.write_frame(Frame(np.zeros((96, 160), np.uint8), 1, 0, path.name, unit), truth)


def test_units_of_one_camera_are_one_set_of_that_camera(tmp_path: Path) -> None:
    text = json.dumps(asdict(NOMINAL))
    write_unit(tmp_path / "train" / "a.mcap", UNIT, text)
    write_unit(tmp_path / "train" / "b.mcap", replace(UNIT, cx=77.0), text)
    assert load_dataset(tmp_path / "train").camera == NOMINAL


@pytest.mark.parametrize(
    ("unit", "nominal", "message"),
    [
        (UNIT, "{", "is no camera"),
        (UNIT, json.dumps({**asdict(NOMINAL), "fx": -1.0}), "is no camera"),
        (replace(UNIT, fx=120.0), json.dumps(asdict(NOMINAL)), "is no unit of"),
        (replace(UNIT, cx=99.0), json.dumps(asdict(NOMINAL)), "is no unit of"),
        (replace(UNIT, distortion=()), json.dumps(asdict(NOMINAL)), "is no unit of"),
        (None, json.dumps(asdict(NOMINAL)), "is no unit of"),
    ],
)
def test_a_camera_that_is_no_unit_of_what_is_named_is_refused(
    tmp_path: Path, unit: Camera | None, nominal: str, message: str
) -> None:
    write_unit(tmp_path / "train" / "a.mcap", unit, nominal)
    with pytest.raises(RecordingError, match=message):
        load_dataset(tmp_path / "train")
