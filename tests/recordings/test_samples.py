"""Every format, written by its own library: what converts back, what it costs, what damage says."""

import fcntl
import json
import os
import pty
import shutil
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gearshift.runtime.errors import ConfigurationError, GearshiftError, RecordingError
from gearshift.runtime.memory import peak_memory
from gearshift.runtime.recordings.recording import RecordingReader
from gearshift.runtime.recordings.recording_writer import RecordingWriter
from gearshift.runtime.types import Frame, GroundTruth, HeadGrid
from gearshift.sim.commands import recordings_command as command
from gearshift.sim.convert.formats.reader_registry import find_reader
from gearshift.sim.convert.measuring import (
    GROWTH,
    ConversionFigures,
    conversions_text,
    convert_apart,
    distances,
    measure_conversions,
)
from gearshift.sim.convert.samples import PERIOD_NS, WRITERS, Sample, write_sample

from .conftest import Run

NEEDS = {
    "frontnet": "pandas",
    "ros1": "rosbags",
    "ros2-sqlite": "rosbags",
    "ros2-mcap": "rosbags",
    "nanocockpit": "cv2",
    "folder": "cv2",
    "hdf5": "h5py",
    "video": "cv2",
}
MAIN = "import sys; from gearshift.runtime.cli import main; sys.exit(main())"


def sample_of(name: str, folder: Path, sample: Sample) -> tuple[Path, list[str]]:
    """A sample, and the options that converting it takes."""
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    path = folder / f"in{WRITERS[name].suffix}"
    write_sample(name, path, sample)
    labels = str(path.with_name(path.name + ".csv"))
    return path, [option.format(labels=labels) for option in WRITERS[name].options]


def test_a_sample_that_takes_pandas_names_it(tmp_path: Path) -> None:
    without = "import sys; sys.modules['pandas'] = None; " + MAIN
    done = subprocess.run(
        [sys.executable, "-c", without, "recordings", "sample", "frontnet", str(tmp_path / "a")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == (
        "gearshift: writing a sample of frontnet needs pandas: pip install pandas\n"
    )


@pytest.mark.parametrize("name", WRITERS)
def test_every_sample_converts_to_what_it_holds(tmp_path: Path, run: Run, name: str) -> None:
    sample = Sample(70)
    path, options = sample_of(name, tmp_path, sample)
    assert WRITERS[name].reader == find_reader(path).NAME
    run("convert", path, tmp_path / "o.mcap", *options)
    entries = list(RecordingReader(tmp_path / "o.mcap"))
    assert len(entries) == sample.frames
    times = [entry.frame.capture_time_ns for entry in entries]
    start = times[0]
    for number, (entry, image) in enumerate(zip(entries, sample.images(), strict=True)):
        distance = np.abs(entry.frame.image.astype(int) - image).max()
        assert distance <= WRITERS[name].tolerance
        assert entry.truth is not None
        np.testing.assert_allclose(entry.truth.values, sample.pose(number), atol=1e-6)
        assert times[number] - start == number * PERIOD_NS


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_cut_short_is_named_and_leaves_nothing(
    tmp_path: Path, run: Run, name: str
) -> None:
    path, options = sample_of(name, tmp_path, Sample(40))
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    largest = max(files, key=lambda file: file.stat().st_size)
    whole = largest.read_bytes()
    for share in (0.01, 0.4, 0.8, 0.98):
        largest.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(GearshiftError) as caught:
            run("convert", path, tmp_path / "o.mcap", *options)
        assert path.name in str(caught.value) or largest.name in str(caught.value)
        assert "\n" not in str(caught.value)
        assert not list(tmp_path.glob("o.mcap*"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ros1", "ros2-mcap", "hdf5", "gearshift", "video"])
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_bytes_never_crash(
    tmp_path_factory: pytest.TempPathFactory, run: Run, name: str, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    path, options = sample_of(name, folder, Sample(3, 32, 24))
    file = max((p for p in [path, *path.rglob("*")] if p.is_file()), key=lambda p: p.stat().st_size)
    content = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    file.write_bytes(content)
    said = ""
    try:
        run("convert", path, folder / "o.mcap", *options)
    except GearshiftError as error:
        said = str(error)
    assert "\n" not in said
    assert (folder / "o.mcap").exists() == (not said)
    shutil.rmtree(folder)


class Shrinking(Sample):
    """Its second image is smaller than the others."""

    def images(self) -> Iterator[NDArray[np.uint8]]:
        for number, image in enumerate(Sample.images(self)):
            yield np.ascontiguousarray(image[:48, :80]) if number == 1 else image


@pytest.mark.parametrize("name", ["ros1", "ros2-sqlite", "nanocockpit", "gearshift"])
def test_an_image_of_another_size_is_named(tmp_path: Path, run: Run, name: str) -> None:
    path, options = sample_of(name, tmp_path, Shrinking(3))
    with pytest.raises(RecordingError, match=r"the image is 80x48, those before it 160x96"):
        run("convert", path, tmp_path / "o.mcap", *options)
    assert not list(tmp_path.glob("o.mcap*"))


def test_a_row_with_an_image_of_another_size_is_named(tmp_path: Path, run: Run) -> None:
    pandas = pytest.importorskip("pandas")
    rows = [
        {"x": i.ravel(), "y": np.zeros(4), "h": i.shape[0], "w": i.shape[1], "c": 1}
        for i in Shrinking(3).images()
    ]
    pandas.DataFrame(rows).to_pickle(tmp_path / "in.pickle")
    with pytest.raises(RecordingError, match=r"row 1: the image is 80x48, .* 160x96"):
        run("convert", tmp_path / "in.pickle", tmp_path / "o.mcap", "--rate", 1)
    assert not list(tmp_path.glob("o.mcap*"))


def test_one_conversion_in_a_process_of_its_own_is_measured() -> None:
    pytest.importorskip("h5py")
    (figures,), left_out = measure_conversions(["hdf5"], 4)
    assert left_out == []
    assert figures.frames == 4 * GROWTH
    assert (figures.pixel_error, figures.pose_error, figures.time_error_ns) == (0, 0, 0)
    assert figures.input_bytes > 160 * 96
    assert figures.frames_per_second > 0
    assert min(figures.peak_bytes) > 10_000_000
    heads, (row,) = conversions_text([figures])
    assert len(heads) == len(row)
    assert row[2:5] == ["equal"] * 3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ros1", "ros2-mcap"])
def test_memory_does_not_grow_with_the_input(tmp_path: Path, name: str) -> None:
    """28 MB more of input may not take as much as 10 MB more of memory."""
    peaks = []
    for frames in (200, 2000):
        folder = tmp_path / str(frames)
        path, options = sample_of(name, folder, Sample(frames))
        peaks.append(convert_apart(path, folder / "o.mcap", options)["peak_bytes"])
    if peaks[0] is None:
        pytest.skip("this system does not say how much memory a process took")
    assert peaks[1] - peaks[0] < 10e6


def test_a_terminal_shows_progress(tmp_path: Path) -> None:
    pytest.importorskip("tqdm")
    path, options = sample_of("hdf5", tmp_path, Sample(200))
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    arguments = ["recordings", "convert", str(path), str(tmp_path / "o.mcap"), *options]
    with subprocess.Popen(
        [sys.executable, "-c", MAIN, *arguments], stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                part = os.read(ours, 4096)
            except OSError:  # the last writer has closed its end
                break
            if not part:
                break
            shown += part
    os.close(ours)
    assert process.returncode == 0
    assert b"200/200" in shown
    assert b"frame/s" in shown


def test_convert_says_what_it_took(
    tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    path, _ = sample_of("gearshift", tmp_path, Sample(5))
    run("convert", path, tmp_path / "o.mcap", "--json")
    document = json.loads(capsys.readouterr().out)
    assert (document["format"], document["frames"], document["labelled"]) == ("gearshift", 5, 5)
    assert document["seconds"] > 0
    assert document["peak_bytes"] <= (peak_memory() or 0)


@pytest.mark.slow
def test_the_peak_of_memory_is_this_process() -> None:
    before = peak_memory()
    if before is None:
        pytest.skip("this system does not say how much memory a process took")
    block = np.ones(before + 50_000_000, dtype=np.uint8)
    assert peak_memory() >= block.nbytes  # type: ignore[operator]


@pytest.mark.slow
def test_the_commands(tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("sample", "gearshift", tmp_path / "a.mcap", "--frames", 3, "--size", "32x24") == 0
    assert "3 frames" in capsys.readouterr().out
    assert next(iter(RecordingReader(tmp_path / "a.mcap"))).frame.image.shape == (24, 32)
    assert run("formats", "gearshift", "--frames", 2, "--json") == 0
    (figures,) = json.loads(capsys.readouterr().out)["formats"]
    assert figures["frames"] == 2 * GROWTH
    assert run("formats", "gearshift", "--frames", 2, "--markdown") == 0
    assert "| gearshift | /camera/image, /truth | equal |" in capsys.readouterr().out
    for arguments, said in (
        (("sample", "tape", tmp_path / "x"), "unknown format 'tape'"),
        (("sample", "gearshift", tmp_path / "a.mcap"), "exists; give another name"),
        (
            ("sample", "gearshift", tmp_path / "x", "--size", "3"),
            "--size '3': write two whole numbers",
        ),
        (("sample", "gearshift", tmp_path / "x", "--frames", 0), "--frames is 0"),
        (("formats", "tape"), "unknown format 'tape'"),
        (("formats", "--frames", 0), "--frames is 0"),
    ):
        with pytest.raises(ConfigurationError, match=said):
            run(*arguments)
    assert command.EXTRA == "recordings"


def test_a_conversion_that_fails_says_why(tmp_path: Path) -> None:
    (tmp_path / "a.mcap").write_bytes(b"nothing")
    with pytest.raises(RecordingError, match=r"was not converted: .*a\.mcap"):
        convert_apart(tmp_path / "a.mcap", tmp_path / "o.mcap", [])


@pytest.mark.parametrize(("peaks", "growth"), [((50, 95), "10,000"), ((50, 49), "0")])
def test_memory_that_grows_with_frames_is_shown(peaks: tuple[int, int], growth: str) -> None:
    """4500 frames more took 45 MB more; less memory than before is no growth."""
    figures = ConversionFigures(
        name="made-up",
        read="",
        frames=5000,
        pixel_error=0,
        pose_error=0.0,
        time_error_ns=0,
        input_bytes=1.0,
        output_bytes=1.0,
        frames_per_second=1.0,
        peak_bytes=(peaks[0] * 10**6, peaks[1] * 10**6),
    )
    heads, (row,) = conversions_text([figures])
    assert dict(zip(heads, row, strict=True))["B more a frame"] == growth
    assert heads[-3:-1] == ["peak MB, 500 frames", "peak MB, 5000 frames"]


def test_what_a_conversion_lost_is_measured(tmp_path: Path) -> None:
    sample = Sample(4)
    path = tmp_path / "off.mcap"
    with RecordingWriter(path, camera=None) as writer:
        for number, image in enumerate(sample.images()):
            x, y, z, phi = sample.pose(number)
            pose = (x, y, z + 0.25 * (number == 2), phi)
            moment = sample.time_ns(number) - 7 * (number == 3)
            moved = image + 3 * (number == 1)
            frame = Frame(moved.astype(np.uint8), moment, number, "off")
            truth = GroundTruth(pose, True, None, HeadGrid().no_head)
            writer.write_frame(frame, truth)
    count, metres, nanoseconds = distances(path, sample)
    assert (count, nanoseconds) == (3, 7)
    assert metres == pytest.approx(0.25)
    for frames, said in ((5, "fewer than 5 frames"), (3, "more than 3 frames")):
        with pytest.raises(RecordingError, match=said):
            distances(path, Sample(frames))
