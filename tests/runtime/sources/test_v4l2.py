"""The OpenCV camera against a network camera on loopback; V4L2 itself is tried in test_vivid.py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from gearshift.runtime.errors import ConfigurationError, FrameError, SourceError
from gearshift.runtime.sources.source_conformance import (
    SourceCheck,
    is_missed_in_one_line,
    read_frames,
    source_checks,
)
from gearshift.runtime.sources.source_registry import find_source
from gearshift.runtime.sources.v4l2 import V4l2Source

from ...waiting import wait_until
from .mjpeg_server import Behaviour, mjpeg_camera

cv2 = pytest.importorskip("cv2")


def jpeg(index: int) -> bytes:
    """A picture whose brightness counts frames, modulo 10; sharp edges would ring in JPEG."""
    image = np.full((48, 64), 20 + 20 * (index % 10), np.uint8)
    done, content = cv2.imencode(".jpg", image)
    assert done
    return bytes(content)


def make(device: str, **options: object) -> V4l2Source:
    plugin = find_source("v4l2")
    source = plugin.make(msgspec.convert({"device": device, **options}, plugin.options))
    assert isinstance(source, V4l2Source)
    return source


@pytest.fixture
def behaviour() -> Behaviour:
    return Behaviour(jpeg)


@pytest.fixture
def url(behaviour: Behaviour) -> Iterator[str]:
    with mjpeg_camera(behaviour) as (address, _):
        yield address


@pytest.mark.parametrize("check", source_checks(), ids=lambda check: check.__name__)
def test_conforms(check: SourceCheck, url: str) -> None:
    check(lambda: make(url))


def test_a_missing_camera_is_one_line(tmp_path: Path) -> None:
    is_missed_in_one_line(lambda: make("/dev/v4l/by-id/usb-nothing"))
    is_missed_in_one_line(lambda: make("http://127.0.0.1:9/stream.mjpg"))
    (tmp_path / "file").write_bytes(b"no camera")
    with pytest.raises(SourceError, match="it is no camera, or another program has it"):
        make(str(tmp_path / "file")).open()
    with pytest.raises(SourceError, match="No such file"):
        make("/dev/video-nothing").open()


def test_the_newest_frame_wins(url: str, behaviour: Behaviour) -> None:
    source = make(url)
    source.open()
    try:
        (first,) = read_frames(source, 1)
        already = behaviour.sent
        wait_until(lambda: behaviour.sent >= already + 30)
        (second,) = read_frames(source, 1)
    finally:
        source.close()
    # What waited was let go; the number says how much.
    assert second.sequence > first.sequence + 10


def test_a_frozen_camera_gives_nothing_and_then_goes_on(url: str, behaviour: Behaviour) -> None:
    source = make(url)
    source.open()
    try:
        read_frames(source, 3)
        behaviour.frozen.set()
        quiet = 0
        while quiet < 5:
            quiet = quiet + 1 if source.read(0.05) is None else 0
        behaviour.frozen.clear()
        assert len(read_frames(source, 3)) == 3
    finally:
        source.close()


def test_a_camera_that_goes_away_fails_and_comes_back(url: str, behaviour: Behaviour) -> None:
    source = make(url)
    source.open()
    read_frames(source, 2)
    behaviour.hang_up.set()
    with pytest.raises(SourceError, match="gives no more frames") as caught:
        read_frames(source, 10_000)
    assert "\n" not in str(caught.value)
    with pytest.raises(SourceError):
        source.read(0.0)
    source.close()
    behaviour.hang_up.clear()
    source.open()
    assert len(read_frames(source, 2)) == 2
    source.close()


def test_undecoded_frames() -> None:
    """What V4L2 hands over with conversion off: JPEG bytes, packed YUYV, plain grey."""
    source = make("/dev/video0")
    content = np.frombuffer(jpeg(3), np.uint8)[None]
    assert abs(int(source.decode(content, 1).mean()) - 80) <= 1
    for torn in (40, content.shape[1] - 30):
        with pytest.raises(FrameError, match="frame 7 is cut short"):
            source.decode(content[:, :torn], 7)
    padded = np.concatenate([content, np.zeros((1, 512), np.uint8)], axis=1)
    assert np.array_equal(source.decode(padded, 1), source.decode(content, 1))
    with pytest.raises(FrameError, match="frame 8 is no image"):
        source.decode(np.zeros((1, 900), np.uint8), 8)
    yuyv = np.random.default_rng(0).integers(0, 256, (48, 64, 2), dtype=np.uint8)
    assert np.array_equal(source.decode(yuyv, 1), yuyv[..., 0])
    assert source.decode(yuyv, 1).flags.c_contiguous


def test_passwords_stay_out_of_logs_and_recordings(url: str) -> None:
    source = make(url.replace("//", "//pilot:secret@"))
    source.open()
    try:
        (frame,) = read_frames(source, 1)
    finally:
        source.close()
    assert frame.source == url
    with pytest.raises(SourceError) as caught:
        make("rtsp://pilot:secret@127.0.0.1:9/x").open()
    assert "camera rtsp://127.0.0.1:9/x:" in str(caught.value)


def test_wrong_options_are_named() -> None:
    with pytest.raises(ConfigurationError, match="control 'exposre'; did you mean 'exposure'"):
        make("/dev/video0", controls={"exposre": 3})
    with pytest.raises(ConfigurationError, match="neither a path such as /dev/video0 nor a URL"):
        make("video0")
    with pytest.raises(ConfigurationError, match="are set at the camera"):
        make("http://127.0.0.1/x", width=640)
    with pytest.raises(msgspec.ValidationError, match="format"):
        make("/dev/video0", format="H264")
