"""Folders of images, with labels and times in a CSV file (`labels.py` has its columns)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Final

from gearshift.runtime.errors import RecordingError
from gearshift.runtime.files.image_files import image_names, read_image
from gearshift.runtime.types import Camera
from gearshift.sim.convert.labels import read_labels
from gearshift.sim.convert.reader import ReaderOptions, SourceFrame

NAME: Final = "folder"
USUAL_LABELS: Final = ("labels.csv", "poses.csv")


def recognises(path: Path) -> bool:
    """A folder with an image in it."""
    return path.is_dir() and bool(image_names(path))


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
        self._names = image_names(path)
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
