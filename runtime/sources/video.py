"""A video file as a source: anything that OpenCV's FFmpeg decodes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gearshift.runtime.errors import RecordingError
from gearshift.runtime.files.opencv import load_opencv, to_grey
from gearshift.runtime.sources.playback import Moment, Playback, PlaybackOptions
from gearshift.runtime.sources.source import SourcePlugin
from gearshift.runtime.types import Camera


class VideoOptions(PlaybackOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Keys of a flight's [source] of kind "video"."""


class _Video:
    """Frames at the times that the container gives them; phones record at no even rate."""

    camera: Camera | None = None

    def __init__(self, path: Path) -> None:
        self._cv2 = load_opencv()
        self._path = path
        capture = self._capture()
        rate = float(capture.get(self._cv2.CAP_PROP_FPS))
        capture.release()
        self.rate_hz: float | None = rate if math.isfinite(rate) and 0 < rate <= 1000 else None

    def frames(self) -> Iterator[Moment]:
        capture = self._capture()
        try:
            last_ms, number = -math.inf, 0
            while True:
                there, image = capture.read()
                if not there:
                    return
                stamp = float(capture.get(self._cv2.CAP_PROP_POS_MSEC))
                if not (math.isfinite(stamp) and stamp > last_ms):
                    stamp = last_ms + 1000 / (self.rate_hz or 30) if number else 0.0
                last_ms = stamp
                grey = to_grey(image, f"{self._path}, frame {number}")
                yield Moment(grey, round(stamp * 1e6), number)
                number += 1
        finally:
            capture.release()

    def _capture(self) -> Any:
        if not self._path.is_file():
            raise RecordingError(f"there is no video {self._path}")
        capture = self._cv2.VideoCapture(str(self._path), self._cv2.CAP_FFMPEG)
        if not capture.isOpened():
            raise RecordingError(f"{self._path} is no video that can be read, or is damaged")
        return capture


def make_source(options: VideoOptions) -> Playback:
    """The video as a source that is not yet open."""
    return Playback(options, _Video)


PLUGIN = SourcePlugin("a video file that OpenCV can decode", VideoOptions, make_source)
