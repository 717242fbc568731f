"""What of the Raspberry Pi camera can be tried without one: absence, plane and clock."""

from __future__ import annotations

import importlib.util
import sys
import time
from unittest import mock

import msgspec
import numpy as np
import pytest

from gearshift.runtime.errors import FrameError, SourceError
from gearshift.runtime.sources.picamera2 import luma_plane, monotonic_time
from gearshift.runtime.sources.source_conformance import is_missed_in_one_line
from gearshift.runtime.sources.source_registry import find_source


def test_without_picamera2_it_says_how_to_get_it() -> None:
    plugin = find_source("picamera2")
    source = plugin.make(plugin.options())
    with (
        mock.patch.dict(sys.modules, {"picamera2": None}),
        pytest.raises(SourceError, match=r"apt install python3-picamera2.*--system-site-packages"),
    ):
        source.open()
    if importlib.util.find_spec("picamera2") is None:
        is_missed_in_one_line(lambda: plugin.make(plugin.options()))


def test_options_are_checked() -> None:
    options = find_source("picamera2").options
    for wrong in ({"width": 641}, {"rate_hz": 0}, {"camera": -1}, {"hflip": True}):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(wrong, options)


def test_the_luma_of_padded_rows() -> None:
    planes = np.random.default_rng(0).integers(0, 256, (48 * 3 // 2, 128), dtype=np.uint8)
    image = luma_plane(planes, 100, 48, "picamera2:0")
    assert np.array_equal(image, planes[:48, :100])
    assert image.flags.c_contiguous
    assert not np.shares_memory(image, planes)
    with pytest.raises(FrameError, match="for 200x48 YUV420"):
        luma_plane(planes, 200, 48, "picamera2:0")


def test_the_sensors_clock_becomes_the_monotonic_one() -> None:
    before = time.monotonic_ns()
    boot = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    stamp = monotonic_time(boot - 20_000_000)
    after = time.monotonic_ns()
    # The two clocks are read one after the other, by which the result may be off.
    assert before - 20_000_000 - (after - before) <= stamp <= after - 20_000_000 + (after - before)
    assert monotonic_time(boot + 10**12) <= time.monotonic_ns()
    assert monotonic_time(None) >= after
