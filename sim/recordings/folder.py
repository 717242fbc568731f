"""Folders of images, with labels and times in a CSV file (`labels.py` has its columns)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gearshift.runtime.errors import RecordingError
from gearshift.runtime.types import Camera
from gearshift.sim.recordings.labels import read_labels
from gearshift.sim.recordings.source import ReaderOptions, SourceFrame

NAME: Final = "folder"
SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".pgm", ".ppm", ".bmp", ".tif", ".tiff")
_ENDS: Final = {b"\x89PNG": b"IEND", b"\xff\xd8": b"\xff\xd9"}
_TAIL: Final = 4096
USUAL_LABELS: Final = ("labels.csv", "poses.csv")


def recognises(path: Path) -> bool:
    """A folder with an image in it."""
    return path.is_dir() and any(p.suffix.lower() in SUFFIXES for p in path.iterdir())


def open_source(path: Path, options: ReaderOptions) -> FolderSource:
    """Open the folder; labels.csv or poses.csv in it are taken unless --labels says otherwise."""
    if not path.is_dir():
        raise RecordingError(f"{path} is no folder")
    labels = options.labels
    if labels is None:
        labels = next((path / n for n in USUAL_LABELS if (path / n).is_file()), None)
    return FolderSource(path, labels, options.channels or "bgr")


class FolderSource:
    """Images in the order of the CSV file, or of their names where there is none."""

    camera: Camera | None = None

    def __init__(self, path: Path, labels: Path | None, channels: str) -> None:
        self._path = path
        self._labels = labels
        self._channels = channels
        self._names = sorted(p.name for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
        self.frames: int | None = len(self._names) if labels is None else None
        self.notes: list[str] = []

    def __iter__(self) -> Iterator[SourceFrame]:
        if self._labels is None:
            for name in self._names:
                where = str(self._path / name)
                image = read_image(self._path / name, where)
                yield SourceFrame(where, image, self._channels, None, None)
            return
        listed = 0
        for row in read_labels(self._labels, "file"):
            if row.file is None:
                raise RecordingError(f"{row.where}: file is empty")
            image = read_image(inside(self._path, row.file, row.where), row.where)
            listed += 1
            yield SourceFrame(row.where, image, self._channels, row.time_ns, row.label)
        if listed < len(self._names):
            self.notes.append(
                f"{self._labels} lists {listed} images, {self._path} holds {len(self._names)}: "
                "those without a row were left out"
            )


def inside(folder: Path, name: str, where: str) -> Path:
    """The file of that name in the folder; raises RecordingError when it lies outside of it."""
    for pure in (PurePosixPath(name), PureWindowsPath(name)):
        if pure.is_absolute() or pure.drive or ".." in pure.parts:
            raise RecordingError(f"{where}: {name[:80]!r} lies outside of {folder}")
    return folder / name


def read_image(path: Path, where: str) -> NDArray[Any]:
    """An image file as it is: (h, w), (h, w, 3) or (h, w, 4) in OpenCV's order, 8 or 16 bits.

    Raises RecordingError.
    """
    try:
        data = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise RecordingError(f"{where}: cannot read {path}: {error.strerror}") from error
    return decode_image(data, f"{where}: {path.name}" if where != str(path) else where)


def decode_image(data: NDArray[np.uint8], where: str) -> NDArray[Any]:
    """A compressed image of any kind that OpenCV knows; raises RecordingError."""
    import cv2

    tail = data[-_TAIL:].tobytes().rstrip(b"\x00")
    for head, end in _ENDS.items():
        # Some versions of OpenCV decode half an image without a word.
        if data[: len(head)].tobytes() == head and end not in tail:
            raise RecordingError(f"{where} is cut short")
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # our message says it
    try:
        # Unchanged, so that 16 bits are not cut to 8 and grey is not made of grey.
        image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    except cv2.error as error:
        raise RecordingError(f"{where} is no image that can be read ({error.err})") from error
    if image is None:
        raise RecordingError(f"{where} is no image, or damaged")
    decoded: NDArray[Any] = image
    return decoded
