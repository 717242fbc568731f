"""Recorded sources: the conformance suite, and pace, loop, start and rate."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearshift.runtime.errors import ConfigurationError, FrameError, SourceError
from gearshift.runtime.recordings.recording_writer import RecordingWriter
from gearshift.runtime.sources.playback import Clip, Moment, Playback, PlaybackOptions
from gearshift.runtime.sources.source import Source, SourceEnded
from gearshift.runtime.sources.source_conformance import (
    SourceCheck,
    is_missed_in_one_line,
    read_frames,
    source_checks,
)
from gearshift.runtime.sources.source_registry import find_source
from gearshift.runtime.types import Frame

from .conftest import CAMERA, FRAMES, PERIOD_NS, index_of, picture

KINDS = ("recording", "video", "images")


def make(kind: str, path: Path, **options: object) -> Source:
    plugin = find_source(kind)
    return plugin.make(msgspec.convert({"path": str(path), **options}, plugin.options))


def every_frame(kind: str, path: Path, **options: object) -> list[Frame]:
    source = make(kind, path, pace="none", **options)
    source.open()
    frames = read_frames(source, 100)
    source.close()
    return frames


@pytest.fixture(params=KINDS)
def clip(request: pytest.FixtureRequest) -> tuple[str, Path]:
    return request.param, request.getfixturevalue(request.param)


@pytest.mark.parametrize("pace", ["recorded", "none"])
@pytest.mark.parametrize("check", source_checks(), ids=lambda check: check.__name__)
def test_conforms(check: SourceCheck, pace: str, clip: tuple[str, Path]) -> None:
    kind, path = clip
    check(lambda: make(kind, path, pace=pace))
    check(lambda: make(kind, path, pace=pace, loop=True))


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_file_is_one_line(kind: str, tmp_path: Path) -> None:
    is_missed_in_one_line(lambda: make(kind, tmp_path / "nothing"))


def test_unpaced_gives_every_frame_with_its_recorded_interval(clip: tuple[str, Path]) -> None:
    kind, path = clip
    source = make(kind, path, pace="none", **({"rate_hz": 100} if kind == "images" else {}))
    assert not source.live
    source.open()
    assert source.camera == (CAMERA if kind == "recording" else None)
    frames = read_frames(source, 100)
    assert [index_of(frame.image) for frame in frames] == list(range(FRAMES))
    expected = np.arange(FRAMES) * PERIOD_NS
    if kind == "recording":
        expected[4] += 3_000_000
        assert [frame.sequence for frame in frames] == list(range(7, 7 + FRAMES))
    since = np.array([frame.capture_time_ns - frames[0].capture_time_ns for frame in frames])
    assert np.abs(since - expected).max() < 1000
    with pytest.raises(SourceEnded):
        source.read(0.0)
    source.close()


def test_paced_frames_come_no_earlier_than_recorded(recording: Path) -> None:
    source = make("recording", recording)
    assert source.live
    source.open()
    for _ in range(FRAMES):
        frame = None
        while frame is None:
            try:
                frame = source.read(0.005)
            except SourceEnded:
                return
        assert frame.capture_time_ns <= time.monotonic_ns()


def test_a_late_reader_misses_frames_and_gets_the_newest(recording: Path) -> None:
    source = make("recording", recording)
    source.open()
    first = source.read(1.0)
    assert first is not None
    time.sleep(0.06)
    second = source.read(1.0)
    assert second is not None
    missed = second.sequence - first.sequence - 1
    assert missed >= 3
    assert index_of(second.image) == second.sequence - 7


def test_a_late_reader_is_not_given_frames_before_their_time(tmp_path: Path) -> None:
    """After a pause in the recording the next frame is still to come, however late one is."""
    path = tmp_path / "paused.mcap"
    stamps = [0, 10, 20, 30, 40, 50, 60, 60_000, 60_010]
    with RecordingWriter(path, camera=CAMERA) as writer:
        for i, stamp in enumerate(stamps):
            writer.write_frame(Frame(picture(i), 10**9 + stamp * 10**6, i, "test", CAMERA))
    source = make("recording", path)
    source.open()
    assert source.read(1.0) is not None
    time.sleep(0.12)
    late = source.read(1.0)
    assert late is not None
    assert late.sequence == 6
    for _ in range(3):
        assert source.read(0.01) is None
    source.close()


def test_start_loop_and_rate(clip: tuple[str, Path]) -> None:
    kind, path = clip
    rate = {"rate_hz": 50} if kind == "images" else {}
    start_s = 0.118 if kind == "images" else 0.068
    frames = every_frame(kind, path, start_s=start_s, **rate)
    assert [index_of(frame.image) for frame in frames] == list(range(6 if rate else 7, FRAMES))
    source = make(kind, path, pace="none", loop=True, start_s=0.1, rate_hz=100)
    source.open()
    frames = read_frames(source, 7)
    source.close()
    assert [index_of(frame.image) for frame in frames] == [10, 11, 10, 11, 10, 11, 10]
    assert set(np.diff([frame.capture_time_ns for frame in frames])) == {10_000_000}
    assert source.rate_hz == 100


def test_a_start_beyond_the_end_is_said_at_once(clip: tuple[str, Path]) -> None:
    source = make(*clip, start_s=60.0)
    with pytest.raises(SourceError, match=r"no frame at or after start_s = 60"):
        source.open()


def test_times_of_a_csv_file(images: Path, tmp_path: Path) -> None:
    times = tmp_path / "times.csv"
    times.write_text("file,time_s\n003.png,4\n002.png,4.5\n001.png,6\n")
    frames = every_frame("images", images, times=str(times))
    assert [index_of(frame.image) for frame in frames] == [3, 2, 1]
    since = [frame.capture_time_ns - frames[0].capture_time_ns for frame in frames]
    assert since == [0, 500_000_000, 2_000_000_000]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("file,time_s\n000.png,\n", "line 2: neither time_ns nor time_s"),
        ("file,time_s\n../secret.png,1\n", "line 2: there is no image '../secret.png'"),
        ("name,time_s\n000.png,1\n", "no column file"),
        ("file,time_s\n000.png,soon\n", "time_s is 'soon', not a number"),
    ],
)
def test_a_wrong_csv_file_is_one_line(
    images: Path, tmp_path: Path, text: str, problem: str
) -> None:
    times = tmp_path / "times.csv"
    times.write_text(text)
    with pytest.raises(SourceError, match=problem) as caught:
        make("images", images, times=str(times)).open()
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigurationError, match="either times or rate_hz"):
        make("images", images, times=str(times), rate_hz=10)


def test_bad_images_are_named(images: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    cv2.imwrite(str(images / "004.png"), np.zeros((24, 32), np.uint16))
    content = (images / "006.png").read_bytes()
    (images / "006.png").write_bytes(content[: len(content) // 2])
    source = make("images", images, pace="none")
    source.open()
    good, problems = [], []
    with suppress(SourceEnded):
        while True:
            try:
                frame = source.read(0.0)
            except FrameError as error:
                problems.append(str(error))
            else:
                assert frame is not None
                good.append(frame.sequence)
    assert good == [0, 1, 2, 3, 5, *range(7, FRAMES)]
    assert "004.png: an image of shape (24, 32), uint16, expected 8 bits" in problems[0]
    assert "006.png is cut short" in problems[1]


def test_a_recording_that_was_cut_off(recording: Path) -> None:
    content = recording.read_bytes()
    recording.write_bytes(content[: len(content) - 200])
    with pytest.raises(SourceError, match="truncated or damaged"):
        every_frame("recording", recording)
    assert every_frame("recording", recording, truncated=True)


def test_no_video(tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    path = tmp_path / "noise.mp4"
    path.write_bytes(bytes(range(256)) * 8)
    with pytest.raises(SourceError, match="no video that can be read"):
        make("video", path).open()


def test_unknown_options_are_refused() -> None:
    for kind in KINDS:
        with pytest.raises(msgspec.ValidationError, match="speed"):
            msgspec.convert({"path": "x", "speed": 2}, find_source(kind).options)


class Scripted:
    """A clip of given times and numbers."""

    camera = None
    rate_hz = 100.0

    def __init__(self, times: list[int | None], numbers: list[int]) -> None:
        self._moments = [
            Moment(picture(0), when, number) for when, number in zip(times, numbers, strict=True)
        ]

    def frames(self):  # type: ignore[no-untyped-def]
        yield from self._moments


@given(
    st.lists(st.tuples(st.integers(0, 10**10), st.integers(0, 1000)), min_size=1, max_size=20),
    st.booleans(),
    st.sampled_from([None, 30.0]),
)
def test_times_and_numbers_always_grow(
    moments: list[tuple[int, int]], loop: bool, rate_hz: float | None
) -> None:
    """Whatever is recorded: clocks that jump, frames that repeat."""
    clip: Clip = Scripted([when for when, _ in moments], [number for _, number in moments])
    options = PlaybackOptions(path="x", pace="none", loop=loop, rate_hz=rate_hz)
    source = Playback(options, lambda path: clip)
    source.open()
    frames = read_frames(source, 50)
    assert np.all(np.diff([frame.capture_time_ns for frame in frames]) > 0)
    assert np.all(np.diff([frame.sequence for frame in frames]) > 0)
    assert len(frames) == 50 if loop else 1 <= len(frames) <= len(moments)
