"""Raspberry Pi cameras through the system's picamera2: its luma plane and the sensor's time stamp.

picamera2 and libcamera come with Raspberry Pi OS (`apt install python3-picamera2`), not from PyPI:
a virtual environment sees them when it was made with `--system-site-packages`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
import numpy as np

from gearshift.runtime.errors import FrameError, SourceError
from gearshift.runtime.sources.source import SourcePlugin
from gearshift.runtime.types import Camera, Frame, Image

_ADVICE = (
    "apt install python3-picamera2, and make the virtual environment with --system-site-packages"
)


class Picamera2Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Keys of a flight's [source] of kind "picamera2".

    camera: number of the camera, as `rpicam-hello --list-cameras` counts. width, height: of the
    image, scaled by the camera's own processor; even numbers. rate_hz: frames per second.
    controls: libcamera's, such as `ExposureTime = 8000` (microseconds) or `AnalogueGain = 2.0`.
    """

    camera: Annotated[int, msgspec.Meta(ge=0, le=15)] = 0
    width: Annotated[int, msgspec.Meta(ge=64, le=4608, multiple_of=2)] = 640
    height: Annotated[int, msgspec.Meta(ge=64, le=2592, multiple_of=2)] = 480
    rate_hz: Annotated[float, msgspec.Meta(gt=0, le=240)] = 30.0
    controls: Mapping[str, float | int | bool] = {}


class Picamera2Source:
    """One camera on the ribbon cable, as a `Source`.

    Capture times are the sensor's (when the first row was read out), so a frame that waited
    somewhere shows its age. Two frames are kept at most; a reader that is late gets a later one.
    """

    live = True
    camera: Camera | None = None

    def __init__(self, options: Picamera2Options) -> None:
        self._options = options
        self._name = f"picamera2:{options.camera}"
        self._device: Any = None
        self._job: Any = None
        self._done = threading.Event()
        self._sequence = 0
        self._last_ns = 0

    @property
    def rate_hz(self) -> float | None:
        """What was asked for."""
        return self._options.rate_hz

    def open(self) -> None:
        """Start the camera; raises SourceError, also when picamera2 is not there."""
        self.close()
        options = self._options
        try:
            from picamera2 import Picamera2
        except ImportError as error:
            raise SourceError(f"{self._name}: no picamera2 here ({error}); {_ADVICE}") from error
        frame_us = round(1e6 / options.rate_hz)
        try:
            if options.camera >= len(Picamera2.global_camera_info()):
                raise SourceError(
                    f"{self._name}: no such camera; `rpicam-hello --list-cameras` shows them"
                )
            device = Picamera2(options.camera)
        except (RuntimeError, IndexError, OSError) as error:
            raise SourceError(f"{self._name}: {_line(error)}") from error
        try:
            device.configure(
                device.create_video_configuration(
                    main={"size": (options.width, options.height), "format": "YUV420"},
                    controls={"FrameDurationLimits": (frame_us, frame_us), **options.controls},
                    buffer_count=4,
                    queue=False,
                )
            )
            given = tuple(device.camera_configuration()["main"]["size"])
            if given != (options.width, options.height):
                raise SourceError(
                    f"{self._name}: gives {given[0]}x{given[1]} instead of "
                    f"{options.width}x{options.height}; ask for that size"
                )
            device.start()
        except SourceError:
            device.close()
            raise
        except Exception as error:
            # Besides RuntimeError it raises what libcamera's bindings do.
            device.close()
            raise SourceError(f"{self._name}: {_line(error)}") from error
        self._device, self._sequence = device, 0

    def read(self, timeout_s: float) -> Frame | None:
        """The next frame that the camera completes, see `Source.read`."""
        if self._device is None:
            raise SourceError(f"{self._name} is not open")
        try:
            if self._job is None:
                self._done.clear()
                self._job = self._device.capture_request(
                    signal_function=lambda _job: self._done.set()
                )
            if not self._done.wait(max(timeout_s, 0.0)):
                return None
            job, self._job = self._job, None
            request = self._device.wait(job)
            try:
                planes = request.make_array("main")
                metadata = request.get_metadata()
            finally:
                request.release()
        except RuntimeError as error:
            raise SourceError(f"{self._name}: {_line(error)}") from error
        self._sequence += 1
        image = luma_plane(planes, self._options.width, self._options.height, self._name)
        time_ns = monotonic_time(metadata.get("SensorTimestamp"))
        self._last_ns = time_ns = max(time_ns, self._last_ns + 1)
        return Frame(image, time_ns, self._sequence, self._name)

    def close(self) -> None:
        """Stop the camera and give it back."""
        device, self._device, self._job = self._device, None, None
        if device is not None:
            device.close()


def luma_plane(planes: Any, width: int, height: int, where: str) -> Image:
    """The luma (height, width) of a YUV420 array (height * 3 / 2, stride), copied.

    Rows may be padded to the stride. Raises FrameError for an array that is too small.
    """
    if planes.ndim != 2 or planes.shape[0] < height or planes.shape[1] < width:
        raise FrameError(f"{where}: an array of shape {planes.shape} for {width}x{height} YUV420")
    return np.array(planes[:height, :width], dtype=np.uint8, order="C")


def monotonic_time(sensor_ns: int | None) -> int:
    """libcamera's SensorTimestamp [ns of the boot clock] on the monotonic clock.

    The boot clock also counts while a machine sleeps. None, which no camera of today gives: now.
    """
    now_ns = time.monotonic_ns()
    if sensor_ns is None:
        return now_ns
    asleep_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - now_ns
    return min(sensor_ns - asleep_ns, now_ns)


def _line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0]


def make_source(options: Picamera2Options) -> Picamera2Source:
    """The camera as a source that is not yet open."""
    return Picamera2Source(options)


PLUGIN = SourcePlugin(
    "a Raspberry Pi camera, through the system's picamera2", Picamera2Options, make_source
)
