"""USB and V4L2 cameras, and network cameras, through OpenCV: always the newest frame.

A thread takes every frame off the driver as it comes and keeps the newest, so that what is read is
never what waited in a queue. Frames are decoded by the reader, so only those that are used.
"""

from __future__ import annotations

import logging
import math
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from gearshift.runtime.errors import ConfigurationError, FrameError, RecordingError, SourceError
from gearshift.runtime.files.image_files import decode_image
from gearshift.runtime.files.opencv import load_opencv, to_grey
from gearshift.runtime.plugins import advice
from gearshift.runtime.sources.source import SourcePlugin
from gearshift.runtime.types import Camera, Frame, Image

logger = logging.getLogger(__name__)

_BUFFERS: Final = 2
"""The fewest with which a driver need not wait for us; whatever waits in more of them is old."""
_OLDEST_STAMP_S: Final = 5.0
_OPEN_TIMEOUT_MS: Final = 5000
_READ_TIMEOUT_MS: Final = 3000
_JOIN_S: Final = 1.0
_NETWORK = re.compile(r"(?i)(https?|rtsps?|rtp|udp|tcp|srt)://")
_CREDENTIALS = re.compile(r"(?<=:)//[^/?#]*@")
CONTROLS: Final = (
    "auto_exposure",
    "auto_wb",
    "autofocus",
    "backlight",
    "brightness",
    "contrast",
    "exposure",
    "focus",
    "gain",
    "gamma",
    "saturation",
    "sharpness",
    "wb_temperature",
    "zoom",
)
"""Settings of the driver that OpenCV passes on."""


class V4l2Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Keys of a flight's [source] of kind "v4l2".

    device: "/dev/video0", a name under /dev/v4l/by-id that survives replugging, or the URL of a
    network camera (http://, rtsp://). width, height, rate_hz: what to ask the camera for; it is an
    error when it gives another size. format: how frames come over the wire: "MJPG" leaves room for
    the rate on USB, "YUYV" and "GREY" cost no decoding; the driver's own when not given.
    controls: settings of the driver by OpenCV's names, such as `exposure = 80`.
    """

    device: str
    width: Annotated[int, msgspec.Meta(ge=16, le=8192)] | None = None
    height: Annotated[int, msgspec.Meta(ge=16, le=8192)] | None = None
    rate_hz: Annotated[float, msgspec.Meta(gt=0, le=1000)] | None = None
    format: Literal["MJPG", "YUYV", "GREY"] | None = None
    controls: Mapping[str, float] = {}


@dataclass(frozen=True, slots=True, eq=False)
class _Raw:
    """What the driver gave: not yet grey."""

    pixels: NDArray[np.uint8]
    time_ns: int
    sequence: int


class V4l2Source:
    """A camera that OpenCV can open, as a `Source`.

    Capture times are the driver's where it stamps with the monotonic clock (UVC cameras do), else
    the moment at which the frame was taken off the driver. Luma is taken as it comes: MJPEG's in
    full range, YUYV's mostly in 16..235.
    """

    live = True
    camera: Camera | None = None

    def __init__(self, options: V4l2Options) -> None:
        self._options = options
        self._network = _NETWORK.match(options.device) is not None
        self._name = shown_device(options.device)
        self._grabber: _Grabber | None = None
        self._rate_hz: float | None = None

    @property
    def rate_hz(self) -> float | None:
        """What the driver says, or what was asked for."""
        return self._rate_hz

    def open(self) -> None:
        """Open the device and wait for nothing; raises SourceError and MissingExtraError."""
        self.close()
        cv2 = load_opencv()
        device = self._options.device
        if self._network:
            capture = cv2.VideoCapture(
                device,
                cv2.CAP_FFMPEG,
                [
                    cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
                    _OPEN_TIMEOUT_MS,
                    cv2.CAP_PROP_READ_TIMEOUT_MSEC,
                    _READ_TIMEOUT_MS,
                ],
            )
        else:
            capture = cv2.VideoCapture(device, cv2.CAP_V4L2)
        if not capture.isOpened():
            capture.release()
            raise SourceError(f"cannot open the camera {self._name}: {self._reason()}")
        try:
            if not self._network:
                self._configure(cv2, capture)
        except SourceError:
            capture.release()
            raise
        # Of a network stream FFmpeg makes a rate up where the stream names none.
        rate = 0.0 if self._network else float(capture.get(cv2.CAP_PROP_FPS))
        known = math.isfinite(rate) and 0 < rate <= 1000
        self._rate_hz = rate if known else self._options.rate_hz
        self._grabber = _Grabber(cv2, capture, self._name, stamped=not self._network)

    def read(self, timeout_s: float) -> Frame | None:
        """The newest frame that was not read yet, see `Source.read`."""
        if self._grabber is None:
            raise SourceError(f"the camera {self._name} is not open")
        raw = self._grabber.take(timeout_s)
        if raw is None:
            return None
        return Frame(self.decode(raw.pixels, raw.sequence), raw.time_ns, raw.sequence, self._name)

    def close(self) -> None:
        """Give the device back, at the latest when it gives up on its next frame."""
        grabber, self._grabber = self._grabber, None
        if grabber is not None:
            grabber.stop()

    def _configure(self, cv2: Any, capture: Any) -> None:
        options = self._options
        if options.format is not None:
            wanted = cv2.VideoWriter_fourcc(*options.format)
            capture.set(cv2.CAP_PROP_FOURCC, wanted)
            if int(capture.get(cv2.CAP_PROP_FOURCC)) != wanted:
                raise SourceError(
                    f"the camera {options.device} has no format {options.format}; "
                    "`gearshift camera list` shows those it has"
                )
        if options.width is not None or options.height is not None:
            width = options.width or int(capture.get(cv2.CAP_PROP_FRAME_WIDTH))
            height = options.height or int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
            capture.set(cv2.CAP_PROP_FRAME_WIDTH, width)
            capture.set(cv2.CAP_PROP_FRAME_HEIGHT, height)
            given = tuple(
                int(capture.get(key))
                for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
            )
            if given != (width, height):
                raise SourceError(
                    f"the camera {options.device} gives {given[0]}x{given[1]} instead of "
                    f"{width}x{height}; `gearshift camera list` shows the sizes it has"
                )
        if options.rate_hz is not None:
            capture.set(cv2.CAP_PROP_FPS, options.rate_hz)
        capture.set(cv2.CAP_PROP_BUFFERSIZE, _BUFFERS)
        if int(capture.get(cv2.CAP_PROP_FOURCC)) in _planar_luma(cv2):
            # Undecoded: only the luma is wanted, and only of frames that are used.
            capture.set(cv2.CAP_PROP_CONVERT_RGB, 0)
        for name, value in options.controls.items():
            if not capture.set(getattr(cv2, f"CAP_PROP_{name.upper()}"), value):
                raise SourceError(f"the camera {options.device} has no control {name!r}")

    def decode(self, pixels: NDArray[np.uint8], sequence: int) -> Image:
        """Grey (height, width) of what the driver gave: a row of JPEG bytes, YUYV, grey or BGR.

        Raises FrameError for what cannot be decoded, such as a JPEG torn on the bus.
        """
        where = f"{self._name}, frame {sequence}"
        if pixels.ndim == 2 and pixels.shape[0] == 1:
            try:
                return np.asarray(decode_image(pixels[0], where, luma=True), dtype=np.uint8)
            except RecordingError as error:
                raise FrameError(str(error)) from error
        return to_grey(pixels, where)

    def _reason(self) -> str:
        device = self._options.device
        if self._network:
            return "nothing answers there, or it sends no video"
        try:
            with open(device, "rb"):  # noqa: PTH123 -- a device node
                return "it is no camera, or another program has it"
        except PermissionError:
            return "permission denied; add yourself to the group video"
        except OSError as error:
            return f"{error.strerror}; `gearshift camera list` shows what is connected"


def shown_device(device: str) -> str:
    """The device as it may stand in logs and recordings: a URL without user and password."""
    return _CREDENTIALS.sub("//", device, count=1)


class _Grabber:
    """The thread that takes frames off the driver. Owns the capture and releases it."""

    def __init__(self, cv2: Any, capture: Any, device: str, *, stamped: bool) -> None:
        self._cv2 = cv2
        self._capture = capture
        self._device = device
        self._stamped = stamped
        self._changed = threading.Condition()
        self._newest: _Raw | None = None
        self._failed = False
        self._stopping = False
        self._last_ns = 0
        self._thread = threading.Thread(target=self._run, name=f"grab {device}", daemon=True)
        self._thread.start()

    def take(self, timeout_s: float) -> _Raw | None:
        """The newest frame, once; raises SourceError after the last one of a device that failed."""
        with self._changed:
            if self._newest is None and not self._failed and timeout_s > 0:
                self._changed.wait_for(lambda: self._newest or self._failed, timeout_s)
            raw, self._newest = self._newest, None
            if raw is None and self._failed:
                raise SourceError(
                    f"the camera {self._device} gives no more frames; is it still connected?"
                )
            return raw

    def stop(self) -> None:
        """End the thread; a driver that hangs keeps it, and the device, until it gives up."""
        with self._changed:
            self._stopping = True
        self._thread.join(_JOIN_S)

    def _run(self) -> None:
        sequence = 0
        try:
            while not self._stopping:
                if not self._capture.grab():
                    return
                arrived_ns = time.monotonic_ns()
                there, pixels = self._capture.retrieve()
                if not there or pixels is None:
                    return
                time_ns = self._stamp(arrived_ns)
                with self._changed:
                    self._newest = _Raw(pixels, time_ns, sequence)
                    self._changed.notify_all()
                sequence += 1
        except self._cv2.error as error:
            logger.warning("%s: %s", self._device, error.err)
        finally:
            self._capture.release()
            with self._changed:
                self._failed = True
                self._changed.notify_all()

    def _stamp(self, arrived_ns: int) -> int:
        time_ns = arrived_ns
        if self._stamped:
            driver_ns = round(float(self._capture.get(self._cv2.CAP_PROP_POS_MSEC)) * 1e6)
            if 0 <= arrived_ns - driver_ns < _OLDEST_STAMP_S * 1e9:
                time_ns = driver_ns
        # Should a driver stamp two frames alike: times grow, and the flight compares the pictures.
        self._last_ns = time_ns = max(time_ns, self._last_ns + 1)
        return time_ns


def _planar_luma(cv2: Any) -> frozenset[int]:
    return frozenset(cv2.VideoWriter_fourcc(*name) for name in ("MJPG", "YUYV", "GREY"))


def make_source(options: V4l2Options) -> V4l2Source:
    """The camera as a source that is not yet open; raises ConfigurationError."""
    for name in options.controls:
        if name not in CONTROLS:
            raise ConfigurationError(f"unknown camera control {name!r}; {advice(name, CONTROLS)}")
    if not (_NETWORK.match(options.device) or options.device.startswith("/")):
        raise ConfigurationError(
            f"device {options.device!r} is neither a path such as /dev/video0 nor a URL; "
            "`gearshift camera list` shows what is connected"
        )
    if _NETWORK.match(options.device) and (
        options.format or options.width or options.height or options.controls
    ):
        raise ConfigurationError(
            f"format, size and controls of {shown_device(options.device)} are set at the camera, "
            "not here"
        )
    return V4l2Source(options)


PLUGIN = SourcePlugin("a USB, V4L2 or network camera, through OpenCV", V4l2Options, make_source)
