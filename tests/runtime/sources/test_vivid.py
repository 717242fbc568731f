"""V4L2 against the kernel's own virtual camera: `modprobe vivid`, or `vivid_vm.py` without one."""

from __future__ import annotations

import fcntl
import struct
import threading
from pathlib import Path

import msgspec
import numpy as np
import pytest

from gearshift.runtime.cameras.camera_devices import video_devices
from gearshift.runtime.errors import SourceError
from gearshift.runtime.sources.source import Source
from gearshift.runtime.sources.source_conformance import SourceCheck, read_frames, source_checks
from gearshift.runtime.sources.source_registry import find_source

NODES = Path("/sys/class/video4linux")
CAPTURES = sorted(
    node.name
    for node in (NODES.iterdir() if NODES.is_dir() else ())
    if (node / "name").read_text().startswith("vivid-") and "vid-cap" in (node / "name").read_text()
)
pytestmark = pytest.mark.skipif(not CAPTURES, reason="no vivid camera here: modprobe vivid")

VIDIOC_S_CTRL = 0xC008561C
VIDIOC_QUERYCTRL = 0xC0445624
NEXT_CONTROL = 0x80000000
START_OF_EXPOSURE = 1


def device() -> str:
    return f"/dev/{CAPTURES[0]}"


def set_control(name: str, value: int) -> None:
    """A control of vivid's own, by its title: it simulates other drivers, and faults."""
    with open(device(), "rb+", buffering=0) as node:  # noqa: PTH123 -- a device node
        control = 0
        while True:
            question = struct.pack("I64x", control | NEXT_CONTROL)
            answer = fcntl.ioctl(node, VIDIOC_QUERYCTRL, question)
            control, title = struct.unpack_from("I4x32s", answer)
            if title.rstrip(b"\0").decode() == name:
                fcntl.ioctl(node, VIDIOC_S_CTRL, struct.pack("Ii", control, value))
                return


def make(**options: object) -> Source:
    pytest.importorskip("cv2")
    plugin = find_source("v4l2")
    wanted = {"device": device(), "width": 640, "height": 360, **options}
    return plugin.make(msgspec.convert(wanted, plugin.options))


@pytest.mark.parametrize("form", [None, "YUYV", "GREY"])
@pytest.mark.parametrize("check", source_checks(), ids=lambda check: check.__name__)
def test_conforms(check: SourceCheck, form: str | None) -> None:
    check(lambda: make(format=form))


@pytest.mark.parametrize("form", ["YUYV", "GREY"])
def test_times_are_the_drivers(form: str) -> None:
    """The driver stamps in whole microseconds; the moment of arrival is in nanoseconds."""
    set_control("Timestamp Source", START_OF_EXPOSURE)
    source = make(format=form)
    source.open()
    frames = read_frames(source, 8)
    source.close()
    set_control("Timestamp Source", 0)
    assert all(frame.capture_time_ns % 1000 == 0 for frame in frames)
    assert all(frame.image.shape == (360, 640) for frame in frames)
    assert source.rate_hz is not None


def test_both_formats_show_the_same_luma() -> None:
    """vivid draws colour bars, brightest first, in YUYV's luma as in grey."""
    for form in ("YUYV", "GREY"):
        source = make(format=form)
        source.open()
        image = read_frames(source, 2)[-1].image
        source.close()
        bars = np.array_split(image[300:340].astype(float).mean(axis=0), 8)
        levels = np.array([bar[20:-20].mean() for bar in bars])
        assert np.all(np.diff(levels) < -5)
        assert np.ptp(levels) > 150


def test_what_the_camera_has_not_is_said() -> None:
    with pytest.raises(SourceError, match="has no format MJPG"):
        make(format="MJPG").open()
    with pytest.raises(SourceError, match=r"gives \d+x\d+ instead of 100x100"):
        make(width=100, height=100).open()
    with pytest.raises(SourceError, match="has no control 'zoom'"):
        make(controls={"zoom": 2}).open()
    source = make(controls={"brightness": 100})
    source.open()
    source.close()


def test_a_second_reader_is_refused() -> None:
    source = make()
    source.open()
    read_frames(source, 1)
    with pytest.raises(SourceError, match="another program has it"):
        make().open()
    source.close()


def test_an_unplugged_camera_fails_and_comes_back() -> None:
    """vivid can pull its own plug; it is back once everybody has closed it."""
    source = make()
    source.open()
    read_frames(source, 2)
    set_control("Disconnect", 1)
    with pytest.raises(SourceError, match="gives no more frames"):
        read_frames(source, 10_000)
    source.close()
    assert not any(thread.name.startswith("grab") for thread in threading.enumerate())
    source.open()
    assert len(read_frames(source, 2)) == 2
    source.close()


def test_it_is_listed() -> None:
    listed = {entry.node: entry for entry in video_devices()}
    entry = listed[device()]
    assert entry.problem is None
    assert "vivid" in entry.title
    modes = {(mode.format, mode.width, mode.height): mode.rates for mode in entry.modes}
    assert 30.0 in modes["YUYV", 640, 360]
    assert ("GREY", 640, 360) in modes
    # Nodes that are no cameras (metadata, outputs) are left out.
    assert not any("vid-out" in other.title for other in listed.values())
