"""PULP-Frontnet's data sets: pickled pandas data frames.

Columns: x the flattened image, y = [x, y, z, phi] in metres and radians, h, w, c its size. Source:
PULP-Frontnet's `PyTorch/Frontnet/DataProcessor.py`, which stacks x and reshapes it to (h, w, c).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gearshift.runtime.errors import ConfigurationError, RecordingError
from gearshift.runtime.files.csv_rows import listed
from gearshift.runtime.types import Camera
from gearshift.sim.convert.pickles.pandas_pickle import Columns, read_frame
from gearshift.sim.convert.pickles.pickle_parts import RefusedPickleError
from gearshift.sim.convert.pickles.pickled_arrays import Array
from gearshift.sim.convert.reader import Label, ReaderOptions, SourceFrame, starts_with

NAME: Final = "frontnet"
_COMPRESSED: Final = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"PK\x03\x04", b"\x28\xb5\x2f\xfd")
_SIDE: Final = 1 << 15
_MOST_VALUES: Final = 1 << 26


def recognises(path: Path) -> bool:
    """By suffix: pickles of protocol 0 have no magic bytes."""
    return path.is_file() and any(s in (".pickle", ".pkl", ".pickl") for s in path.suffixes[-2:])


def open_source(path: Path, options: ReaderOptions) -> FrontnetSource:
    """Read the frame's structure; the pixels stay in the file."""
    if starts_with(path, *_COMPRESSED):
        raise ConfigurationError(f"{path} is compressed: unpack it first (unzip, gunzip, xz -d)")
    return FrontnetSource(path, options)


class FrontnetSource:
    """The rows of one data frame."""

    camera: Camera | None = None

    def __init__(self, path: Path, options: ReaderOptions) -> None:
        self._path = path
        self._channels = options.channels or "bgr"  # OpenCV wrote them
        self._frame: Columns = read_frame(path, options.memory)
        missing = [name for name in "xyhwc" if name not in self._frame.columns]
        if missing:
            raise RecordingError(
                f"{path}: the data frame has no column {', '.join(missing)}; "
                f"it has {listed(self._frame.columns)}"
            )
        self.frames: int | None = self._frame.rows
        self.notes: list[str] = []

    def __iter__(self) -> Iterator[SourceFrame]:
        for row in range(self._frame.rows):
            yield self._row(row)

    def _row(self, row: int) -> SourceFrame:
        where = f"{self._path}, row {row}"
        columns = self._frame.columns
        height, width, depth = (_size(columns[name][row], name, where) for name in "hwc")
        pixels = _numbers(columns["x"][row], "x", where)
        if pixels.size != height * width * depth:
            raise RecordingError(
                f"{where}: x has {pixels.size} values, h*w*c = {height}*{width}*{depth} "
                f"needs {height * width * depth}"
            )
        pose = _numbers(columns["y"][row], "y", where).astype(np.float64).ravel()
        if pose.size != 4:
            raise RecordingError(f"{where}: y has {pose.size} values, expected x, y, z, phi")
        if not (np.isfinite(pose).all() or np.isnan(pose).all()):
            raise RecordingError(f"{where}: y = {pose.tolist()} is no pose")
        x, y, z, phi = pose.tolist()
        return SourceFrame(
            where=where,
            image=pixels.reshape(height, width, depth),
            channels=self._channels,
            time_ns=None,
            label=Label((x, y, z, phi)),
        )


def _size(value: Any, name: str, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise RecordingError(f"{where}: {name} is a {type(value).__name__}, not a number")
    if not (math.isfinite(value) and value == int(value) and 1 <= value <= _SIDE):
        raise RecordingError(f"{where}: {name} = {value} is no size of an image")
    return int(value)


def _numbers(value: object, name: str, where: str) -> NDArray[Any]:
    try:
        array = value.values() if isinstance(value, Array) else np.asarray(_flat(value))
    except (RefusedPickleError, ValueError, OverflowError) as error:
        raise RecordingError(f"{where}: {name} is damaged ({error})") from error
    if array.dtype.kind == "O":
        array = np.asarray(_flat(array.ravel().tolist()))
    if array.dtype.kind not in "uifb":
        raise RecordingError(f"{where}: {name} holds {array.dtype}, not numbers")
    return array


def _flat(value: object) -> list[float]:
    """A list or tuple of numbers, at most three deep (images as rows of pixels)."""
    flat: list[Any] = [value]
    for _ in range(3):
        if not any(isinstance(part, list | tuple) for part in flat):
            break
        # A list may hold one other list a million times: count before it is spread out.
        if sum(len(part) if isinstance(part, list | tuple) else 1 for part in flat) > _MOST_VALUES:
            raise ValueError("too many values")
        flat = [n for part in flat for n in (part if isinstance(part, list | tuple) else (part,))]
    if not all(isinstance(n, int | float) for n in flat):
        raise ValueError("neither an array nor a list of numbers")
    return flat
