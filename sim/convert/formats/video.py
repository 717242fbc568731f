"""Video files that OpenCV can decode, with labels in a CSV file (`labels.py` has its columns)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from gearshift.runtime.errors import RecordingError
from gearshift.runtime.types import Camera
from gearshift.sim.convert.labels import NumberedLabels, Row
from gearshift.sim.convert.reader import ReaderOptions, SourceFrame

NAME: Final = "video"
SUFFIXES: Final = (".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v", ".mjpeg", ".mjpg")
_MOST_HZ: Final = 10_000


def recognises(path: Path) -> bool:
    """By suffix."""
    return path.is_file() and path.suffix.lower() in SUFFIXES


def open_source(path: Path, options: ReaderOptions) -> VideoSource:
    """Open it; labels are read from --labels, or from a CSV file of the same name beside it."""
    labels = options.labels
    if labels is None and path.with_suffix(".csv").is_file():
        labels = path.with_suffix(".csv")
    return VideoSource(path, labels)


class VideoSource:
    """Frames in order; times are those of the CSV file, else from the frame rate of the video."""

    camera: Camera | None = None

    def __init__(self, path: Path, labels: Path | None) -> None:
        import cv2

        self._path = path
        self._labels = labels
        self._capture: Any = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            raise RecordingError(f"{path} is no video that can be read, or is damaged")
        rate = float(self._capture.get(cv2.CAP_PROP_FPS))
        self._rate = rate if math.isfinite(rate) and 0 < rate <= _MOST_HZ else None
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.frames: int | None = int(count) if math.isfinite(count) and count > 0 else None
        self.notes: list[str] = []

    def __iter__(self) -> Iterator[SourceFrame]:
        labels = NumberedLabels(self._labels)
        number = 0
        try:
            while True:
                there, image = self._capture.read()
                if not there:
                    break
                here = labels.at(number)
                yield SourceFrame(
                    where=f"{self._path}, frame {number}",
                    image=np.asarray(image),
                    channels="bgr",
                    time_ns=self._time(number, here),
                    label=None if here is None else here.label,
                )
                number += 1
        finally:
            self._capture.release()
        if self.frames is not None and number < self.frames:
            raise RecordingError(
                f"{self._path} is damaged or cut short: {number} of {self.frames} frames"
            )
        labels.finish(number)

    def _time(self, number: int, row: Row | None) -> int | None:
        if row is not None and row.time_ns is not None:
            return row.time_ns
        return None if self._rate is None else round(number * 1e9 / self._rate)
