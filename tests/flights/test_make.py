"""Making flights: the same in every process, resumable, and nothing half-written."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("cv2", reason="synthetic flights need the extra 'sim'")
pytest.importorskip("embreex", reason="synthetic flights need the extra 'sim'")
pytest.importorskip("moderngl", reason="synthetic flights need the extra 'sim'")

from gearshift.models.evaluating.dataset import load_dataset
from gearshift.runtime.cli import main
from gearshift.runtime.errors import ConfigurationError, MissingExtraError
from gearshift.runtime.recordings.recording import RecordingReader
from gearshift.runtime.recordings.recording_writer import RecordingWriter
from gearshift.runtime.types import POSE_COMPONENTS
from gearshift.sim.flights.drawing.himax import CAMERA
from gearshift.sim.flights.drawing.rendering import RenderingError
from gearshift.sim.flights.flight import FlightMaker, FlightPlan
from gearshift.sim.flights.make import InterruptedFlightError, is_made, make_flight, make_flights
from gearshift.sim.flights.people.makehuman import data_folder

pytestmark = pytest.mark.slow


try:
    data_folder()
    FlightMaker().close()
except (MissingExtraError, RenderingError) as error:
    pytest.skip(str(error), allow_module_level=True)

PLANS = [FlightPlan("known", index, 3, 15) for index in (8001, 8002)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("flights")


@pytest.fixture(scope="module")
def made(folder: Path) -> list[Path]:
    """Two flights made by other processes."""
    done = list(make_flights(PLANS, folder, folder / ".rooms", 2))
    assert sorted(d.path.name for d in done) == [p.file_name for p in PLANS]
    return [folder / p.file_name for p in PLANS]


def test_a_flight_is_the_same_in_every_process(made: list[Path], tmp_path: Path) -> None:
    maker = FlightMaker(tmp_path)  # bakes the room itself
    for path, plan in zip(made, PLANS, strict=True):
        recorded = list(RecordingReader(path))
        for record, item in zip(recorded, maker.frames(plan), strict=True):
            np.testing.assert_array_equal(record.frame.image, item.frame.image)
            assert record.truth is not None
            np.testing.assert_array_equal(record.truth.values, item.truth.values)
            assert record.truth.head_cell == item.truth.head_cell
            assert record.frame.capture_time_ns == item.frame.capture_time_ns
    maker.close()


def test_a_recording_says_what_it_is(made: list[Path]) -> None:
    header = RecordingReader(made[0]).header
    plan = PLANS[0]
    assert header.attributes["split"] == "known"
    assert header.attributes["room"] == plan.room_name
    assert header.attributes["person"] == plan.person_name
    assert header.camera is not None
    assert header.camera.width == 160
    records = list(RecordingReader(made[0]))
    times = [r.frame.capture_time_ns for r in records]
    assert np.diff(times) == pytest.approx(1e9 / 15, abs=2)
    assert [r.frame.sequence for r in records] == [0, 1, 2]


def test_finished_flights_are_kept(made: list[Path], folder: Path) -> None:
    before = [path.stat().st_mtime_ns for path in made]
    assert list(make_flights(PLANS, folder, folder / ".rooms", 2)) == []
    assert [path.stat().st_mtime_ns for path in made] == before


def test_flights_of_other_options_are_not_taken_for_these(made: list[Path], folder: Path) -> None:
    longer = FlightPlan("known", PLANS[0].index, 9, 15)
    with pytest.raises(ConfigurationError, match="frames 3, not 9"):
        is_made(longer, folder)


def test_flights_of_another_generator_are_refused(made: list[Path], tmp_path: Path) -> None:
    old = tmp_path / PLANS[0].file_name
    attributes = {**RecordingReader(made[0]).header.attributes, "generator": "gearshift flights 1"}
    with RecordingWriter(old, camera=CAMERA, components=POSE_COMPONENTS, attributes=attributes):
        pass
    with pytest.raises(ConfigurationError, match="made by gearshift flights 1, and"):
        is_made(PLANS[0], tmp_path)


def test_training_flights_say_which_board_flew(folder: Path, tmp_path: Path) -> None:
    """Several boards in one folder are one data set, of the nominal camera."""
    plans = [FlightPlan("train", index, 2, 15) for index in (8001, 8002)]
    maker = FlightMaker(folder / ".rooms")
    train = tmp_path / "train"
    train.mkdir()
    for plan in plans:
        make_flight(maker, plan, train / plan.file_name)
    maker.close()
    for plan in plans:
        reader = RecordingReader(train / plan.file_name)
        assert reader.header.camera == plan.board.camera != CAMERA
        assert {record.frame.camera for record in reader} == {plan.board.camera}
        mounting = [reader.header.attributes[f"mounting_{n}"] for n in ("roll", "pitch", "yaw")]
        expected = (plan.board.roll, plan.board.pitch, plan.board.yaw)
        assert [float(m) for m in mounting] == pytest.approx(expected, abs=1e-6)
        assert is_made(plan, train)
    data = load_dataset(train)
    assert data.camera == CAMERA
    assert len(data) == 4


def test_an_interrupted_flight_leaves_nothing(made: list[Path], folder: Path) -> None:
    stop = multiprocessing.get_context("spawn").Event()
    stop.set()
    maker = FlightMaker(folder / ".rooms")
    target = folder / "given-up.mcap"
    with pytest.raises(InterruptedFlightError):
        make_flight(maker, PLANS[0], target, stop)
    maker.close()
    assert not list(folder.glob("given-up*"))


def test_the_commands_work(made: list[Path], folder: Path, tmp_path: Path) -> None:
    options = ["--split", "known", "--first", "8001", "--flights", "2", "--frames", "3"]
    assert main(["flights", "make", *options, "--rate", "15", "--out", str(folder)]) == 0
    sheet = tmp_path / "sheet.png"
    assert (
        main(["flights", "sheet", str(folder), "-o", str(sheet), "--count", "4", "--labels"]) == 0
    )
    assert sheet.stat().st_size > 10_000


def test_wrong_options_are_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad_rate = ["flights", "make", "--split", "val", "--rate", "7", "--out", str(tmp_path)]
    assert main(bad_rate) == 1
    assert "does not divide 30" in capsys.readouterr().err
    assert main(["flights", "sheet", str(tmp_path), "-o", str(tmp_path / "s.png")]) == 1
    assert "no recordings" in capsys.readouterr().err
