"""The flight recorder: what was synced is readable after a kill, a power cut and a full disk."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from foxglove_schemas_protobuf.CameraCalibration_pb2 import CameraCalibration
from foxglove_schemas_protobuf.PoseInFrame_pb2 import PoseInFrame
from foxglove_schemas_protobuf.RawImage_pb2 import RawImage
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from mcap.reader import make_reader
from mcap_protobuf.schema import build_file_descriptor_set

from gearshift.runtime.errors import RecordingError, SinkError, SinkStoppedError
from gearshift.runtime.recordings.recording import RecordingReader
from gearshift.runtime.sinks import sink_conformance
from gearshift.runtime.sinks.recorder import Recorder, RecorderOptions
from gearshift.runtime.sinks.sink import FlightInfo, FlightState, Report
from gearshift.runtime.types import POSE_COMPONENTS, Frame

FRAME_NS = 33_333_333
INFO = FlightInfo(POSE_COMPONENTS, None, 1_700_000_000_000_000_000, 0)

WRITER = """
import sys
import numpy as np
from gearshift.runtime.sinks.sink import FlightInfo, FlightState, Report
from gearshift.runtime.sinks.recorder import Recorder, RecorderOptions
from gearshift.runtime.types import POSE_COMPONENTS, Frame

recorder = Recorder(RecorderOptions(folder=sys.argv[1]))
recorder.open(FlightInfo(POSE_COMPONENTS, None, 1_700_000_000_000_000_000, 0))
generator = np.random.default_rng(0)
image = generator.integers(0, 256, (96, 160), dtype=np.uint8)
for index in range(100_000):
    time_ns = index * 33_333_333
    frame = Frame(np.roll(image, index), time_ns, index, "test")
    recorder.write(Report(time_ns, FlightState.TRACKING, frame))
    print(index, flush=True)
"""


def report(index: int, image: np.ndarray | None = None) -> Report:
    if image is None:
        image = np.random.default_rng(index).integers(0, 256, (96, 160), dtype=np.uint8)
    time_ns = index * FRAME_NS
    return Report(time_ns, FlightState.TRACKING, Frame(image, time_ns, index, "test"))


def recovered(path: Path) -> list[int]:
    return [entry.frame.sequence for entry in RecordingReader(path, allow_truncated=True)]


@contextmanager
def writing(folder: Path, frames: int) -> Iterator[subprocess.Popen[str]]:
    """A process that records without end, once it has written so many frames."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if int(line) >= frames:
                break
        yield process
    finally:
        process.kill()
        process.stdout.close()
        process.wait()


@contextmanager
def mounted(*arguments: str, at: Path) -> Iterator[Path]:
    at.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a file system needs root")
    done = subprocess.run(["mount", *arguments, str(at)], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"no mount here: {done.stderr.decode().strip()}")
    try:
        yield at
    finally:
        subprocess.run(["umount", "--lazy", str(at)], check=True)


def test_all_but_the_last_second_outlives_a_kill(tmp_path: Path) -> None:
    with writing(tmp_path, 200) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
    (path,) = tmp_path.iterdir()
    frames = recovered(path)
    assert frames == list(range(len(frames)))
    assert len(frames) >= 200 - 30
    with pytest.raises(RecordingError, match="--truncated"):
        list(RecordingReader(path))


def test_all_but_the_last_second_outlives_a_power_cut(tmp_path: Path) -> None:
    """The disk as it is at one moment in mid-flight, mounted on its own afterwards."""
    disk, cut = tmp_path / "disk.img", tmp_path / "cut.img"
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("no mkfs.ext4")
    with disk.open("wb") as file:
        file.truncate(32 << 20)
    subprocess.run(["mkfs.ext4", "-q", str(disk)], check=True)
    with (
        mounted("-o", "loop", str(disk), at=tmp_path / "flying") as folder,
        writing(folder, 300) as process,
    ):
        process.send_signal(signal.SIGSTOP)
        shutil.copyfile(disk, cut)
    with mounted("-o", "loop", str(cut), at=tmp_path / "landed") as folder:
        (path,) = folder.glob("*.mcap")
        frames = recovered(path)
    assert frames == list(range(len(frames)))
    assert len(frames) >= 300 - 30


def test_a_full_disk_stops_the_recording_and_loses_nothing_synced(tmp_path: Path) -> None:
    with mounted("-t", "tmpfs", "-o", "size=1m", "tmpfs", at=tmp_path / "small") as folder:
        recorder = Recorder(RecorderOptions(folder=str(folder)))
        recorder.open(INFO)
        written = 0

        def fill() -> None:
            nonlocal written
            for written in range(1000):
                recorder.write(report(written))

        with pytest.raises(SinkStoppedError, match="No space left on device; recording stopped"):
            fill()
        recorder.close()
        (path,) = folder.iterdir()
        frames = recovered(path)
        assert frames == list(range(len(frames)))
        assert len(frames) >= written - 30


@pytest.mark.parametrize("part", [0.2, 0.4, 0.6, 0.8, 0.97])
def test_a_file_cut_anywhere_is_read_up_to_there(
    tmp_path: Path, part: float, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = Recorder(RecorderOptions(folder=str(tmp_path)))
    recorder.open(INFO)
    for index in range(90):
        recorder.write(report(index))
    path = recorder.path
    assert path is not None
    recorder.close()
    cut = tmp_path / "cut.mcap"
    content = path.read_bytes()
    cut.write_bytes(content[: int(len(content) * part)])
    frames = recovered(cut)
    assert frames == list(range(len(frames)))
    assert len(frames) >= 90 * part - 32
    assert "truncated" in caplog.text


def test_frames_that_stopped_coming_are_synced(tmp_path: Path) -> None:
    recorder = Recorder(RecorderOptions(folder=str(tmp_path)))
    recorder.open(INFO)
    for index in range(4):
        recorder.write(report(index))
    recorder.write(Report(4 * FRAME_NS, FlightState.LOST))
    assert recorder.path is not None
    assert recovered(recorder.path) == [0, 1, 2, 3]
    recorder.close()


def test_parts_begin_at_the_given_size_and_nothing_is_overwritten(tmp_path: Path) -> None:
    options = RecorderOptions(folder=str(tmp_path), split_mb=0.3)
    for _ in range(2):
        recorder = Recorder(options)
        recorder.open(INFO)
        for index in range(60):
            recorder.write(report(index))
        recorder.close()
    names = sorted(path.name for path in tmp_path.iterdir())
    first = [name for name in names if "Z-part" in name]
    second = [name for name in names if "Z-2-part" in name]
    assert len(first) == len(second) >= 2
    assert len(first) + len(second) == len(names)
    frames = [i for name in first for i in recovered(tmp_path / name)]
    assert frames == list(range(60))


def test_a_finished_part_stays_whole_when_the_next_one_cannot_be_opened(tmp_path: Path) -> None:
    recorder = Recorder(RecorderOptions(folder=str(tmp_path), split_mb=0.3))
    recorder.open(INFO)
    first = recorder.path
    assert first is not None
    following = first.with_name(first.name.replace("part0", "part1"))
    following.mkdir()
    written = 0

    def fill() -> None:
        nonlocal written
        for written in range(1000):
            recorder.write(report(written))

    with pytest.raises(SinkStoppedError, match=f"{following.name}.*recording stopped"):
        fill()
    recorder.close()
    # Read as a whole file: a truncated one is refused.
    assert [e.frame.sequence for e in RecordingReader(first)] == list(range(written + 1))
    with pytest.raises(SinkError, match="closed"):
        recorder.write(report(0))


class Syncs:
    """What was put on the disk, in order, by path."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.paths: list[Path] = []
        self.fails_on: Path | None = None
        self._fsync = os.fsync
        monkeypatch.setattr(os, "fsync", self)

    def __call__(self, descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        self.paths.append(path)
        if path == self.fails_on:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self._fsync(descriptor)


def test_the_name_of_every_part_is_put_on_the_disk_before_its_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the folder a power cut leaves frames that no name leads to."""
    syncs = Syncs(monkeypatch)
    recorder = Recorder(RecorderOptions(folder=str(tmp_path), split_mb=0.3))
    recorder.open(INFO)
    assert syncs.paths == [tmp_path, recorder.path]
    for index in range(60):
        recorder.write(report(index))
    recorder.close()
    parts = sorted(tmp_path.iterdir())
    assert len(parts) > 1
    for part in parts:
        assert syncs.paths[syncs.paths.index(part) - 1] == tmp_path


def test_a_folder_that_cannot_be_synced_is_named_and_may_be_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncs = Syncs(monkeypatch)
    syncs.fails_on = tmp_path
    recorder = Recorder(RecorderOptions(folder=str(tmp_path)))
    with pytest.raises(SinkError, match="Input/output error"):
        recorder.open(INFO)
    assert list(tmp_path.iterdir()) == []
    syncs.fails_on = None
    recorder.open(INFO)
    recorder.write(report(0))
    recorder.close()
    (path,) = tmp_path.iterdir()
    assert [entry.frame.sequence for entry in RecordingReader(path)] == [0]


def test_opened_again_it_goes_on_with_the_next_part(tmp_path: Path) -> None:
    recorder = Recorder(RecorderOptions(folder=str(tmp_path)))
    for index in range(2):
        recorder.open(INFO)
        recorder.write(report(index))
        recorder.close()
        recorder.close()
    assert [recovered(path) for path in sorted(tmp_path.iterdir())] == [[0], [1]]


@pytest.mark.parametrize("spoil", [lambda f: f.write_text("a file"), None])
def test_a_folder_that_cannot_be_written_is_named(
    tmp_path: Path, spoil: Callable[[Path], object] | None
) -> None:
    folder = tmp_path / "file"
    if spoil is None:
        folder = Path("/proc/no-such-folder")
    else:
        spoil(folder)
    with pytest.raises(SinkError, match=str(folder)):
        Recorder(RecorderOptions(folder=str(folder))).open(INFO)


def test_foxglove_finds_its_own_schemas_in_a_flight(tmp_path: Path) -> None:
    """Names and message descriptors, compared with Foxglove's package, by mcap's own reader."""
    recorder = Recorder(RecorderOptions(folder=str(tmp_path)))
    recorder.open(sink_conformance.INFO)
    for index in range(3):
        recorder.write(sink_conformance.report(index))
    path = recorder.path
    recorder.close()
    assert path is not None
    with path.open("rb") as stream:
        summary = make_reader(stream).get_summary()
    assert summary is not None
    topics = {
        channel.topic: summary.schemas[channel.schema_id] for channel in summary.channels.values()
    }
    for topic, message in (
        ("/camera/image", RawImage),
        ("/camera/calibration", CameraCalibration),
        ("/estimate/pose", PoseInFrame),
    ):
        assert topics[topic].name == message.DESCRIPTOR.full_name
        expected = build_file_descriptor_set(message)
        found = FileDescriptorSet.FromString(topics[topic].data)
        assert {file.name for file in found.file} == {file.name for file in expected.file}
        assert found == expected
    assert topics["/decision"].name == "gearshift.Decision"
