"""HDF5 files: a dataset of images, and perhaps of poses and of times."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np

from gearshift.runtime.errors import ConfigurationError, GearshiftError, RecordingError
from gearshift.runtime.files.csv_rows import listed
from gearshift.runtime.types import Camera
from gearshift.sim.convert.reader import Label, ReaderOptions, SourceFrame, starts_with

NAME: Final = "hdf5"
USUAL: Final = {
    "--images": ("images", "image", "frames", "x"),
    "--poses": ("poses", "pose", "labels", "y"),
    "--times": ("time_ns", "times", "timestamps", "time_s"),
}
_LATEST_S: Final = 9e9


def recognises(path: Path) -> bool:
    """By the magic bytes."""
    return path.is_file() and starts_with(path, b"\x89HDF\r\n\x1a\n")


def open_source(path: Path, options: ReaderOptions) -> Hdf5Source:
    """Open the file and find its datasets; raises RecordingError and ConfigurationError."""
    return Hdf5Source(path, options)


class Hdf5Source:
    """Rows of the datasets, one at a time.

    Whole times are nanoseconds, real ones seconds.
    """

    camera: Camera | None = None

    def __init__(self, path: Path, options: ReaderOptions) -> None:
        import h5py

        self._path = path
        self._channels = options.channels or "rgb"
        with _damage(f"{path} is no HDF5 file, or damaged"):
            self._file: Any = h5py.File(path, "r")
        try:
            with _damage(f"{path} is damaged"):
                self._find_all(options)
        except BaseException:
            self._file.close()
            raise
        self.frames: int | None = len(self._images)
        self.notes: list[str] = []

    def __iter__(self) -> Iterator[SourceFrame]:
        with self._file:
            for row in range(len(self._images)):
                where = f"{self._path}, row {row}"
                with _damage(f"{where}: damaged"):
                    image = np.asarray(self._images[row])
                    pose = None if self._poses is None else self._poses[row]
                    stamp = None if self._times is None else self._times[row]
                yield SourceFrame(
                    where, image, self._channels, _time(stamp, where), _label(pose, where)
                )

    def _find_all(self, options: ReaderOptions) -> None:
        images = self._find("--images", options.images)
        if images is None:
            raise ConfigurationError(
                f"{self._path} has no dataset {' or '.join(USUAL['--images'])}: give --images; "
                f"it has {listed(self._file)}"
            )
        self._images = self._check(images, options.memory)
        self._poses = self._aligned("--poses", options.poses, (4,), options.memory)
        self._times = self._aligned("--times", options.times, (), options.memory)

    def _find(self, option: str, name: str | None) -> Any:
        import h5py

        names = USUAL[option] if name is None else (name,)
        for candidate in names:
            found: Any = self._file
            for part in candidate.strip("/").split("/"):
                link = found.get(part, getlink=True) if isinstance(found, h5py.Group) else None
                if link is None:
                    found = None
                    break
                # A link may lead to any other file of this machine: never followed.
                if not isinstance(link, h5py.HardLink):
                    raise RecordingError(f"{self._path}: {candidate} is a link, not a dataset")
                found = found[part]
            if isinstance(found, h5py.Dataset):
                return found
        if name is not None:
            raise ConfigurationError(
                f"{self._path} has no dataset {name}; it has {listed(self._file)}"
            )
        return None

    def _check(self, dataset: Any, memory: int) -> Any:
        if dataset.external or dataset.is_virtual:
            raise RecordingError(f"{self._path}: {dataset.name} lies in another file")
        if dataset.ndim == 0 or dataset.dtype.kind not in "uifb":
            raise RecordingError(f"{self._path}: {dataset.name} is no list of numbers")
        chunk = dataset.chunks or (1, *dataset.shape[1:])
        if math.prod(chunk) * dataset.dtype.itemsize > memory:
            raise ConfigurationError(
                f"{self._path}: {dataset.name} is stored in pieces above {memory / 1e9:g} GB; "
                "give more with --memory"
            )
        return dataset

    def _aligned(self, option: str, name: str | None, row: tuple[int, ...], memory: int) -> Any:
        dataset = self._find(option, name)
        if dataset is None:
            return None
        if dataset.shape != (len(self._images), *row):
            raise RecordingError(
                f"{self._path}: {dataset.name} has shape {dataset.shape}, expected "
                f"{(len(self._images), *row)} beside the images"
            )
        return self._check(dataset, memory)


@contextmanager
def _damage(what: str) -> Iterator[None]:
    """Turn what h5py raises over a damaged file, errors of many types, into RecordingError."""
    try:
        yield
    except (GearshiftError, ModuleNotFoundError):
        raise
    except Exception as error:
        said = " ".join(str(error).split())[:160] or type(error).__name__
        raise RecordingError(f"{what} ({said})") from error


def _time(stamp: Any, where: str) -> int | None:
    if stamp is None:
        return None
    if isinstance(stamp, np.integer):
        return int(stamp)
    if not 0 <= float(stamp) < _LATEST_S:
        raise RecordingError(f"{where}: {float(stamp):g} s is no time")
    return round(float(stamp) * 1e9)


def _label(pose: Any, where: str) -> Label | None:
    if pose is None:
        return None
    if not (np.isfinite(pose).all() or np.isnan(pose).all()):
        raise RecordingError(f"{where}: {pose.tolist()} is no pose")
    x, y, z, phi = (float(value) for value in pose)
    return Label((x, y, z, phi))
