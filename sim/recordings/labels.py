"""Labels in a CSV file: one row per image, documented columns.

`file` (image in the folder) or `frame` (number in the video, from 0); `time_ns` or `time_s`; `x`,
`y`, `z` [m] and `phi` [rad], all four or none; `visible` (1, 0, true, false); `head_u`, `head_v`
[pixels of the image]. Other columns are ignored. Empty x, y, z, phi: with visible 0 nobody is
there, else nothing is known of the frame.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

from gearshift.runtime.errors import RecordingError
from gearshift.sim.recordings.source import Label, listed

POSE: Final = ("x", "y", "z", "phi")
_TRUE: Final = {"1": True, "true": True, "0": False, "false": False}
_NOBODY: Final = Label((math.nan, math.nan, math.nan, math.nan), visible=False)
_LATEST_S: Final = 9e9


@dataclass(frozen=True, slots=True)
class Row:
    """One row: what it is of, when, and what is known of it."""

    where: str
    file: str | None
    frame: int | None
    time_ns: int | None
    label: Label | None


def read_labels(path: Path, key: str) -> Iterator[Row]:
    """The rows in order, one at a time. key: "file" or "frame", the column that must be there.

    Raises RecordingError naming the line.
    """
    for where, record in read_rows(path, (key,)):
        yield parse_row(record, where)


class NumberedLabels:
    """Rows by their `frame` column, which must grow, beside frames that come one at a time."""

    def __init__(self, path: Path | None) -> None:
        self._rows = iter(()) if path is None else read_labels(path, "frame")
        self._row = self._next(-1)

    def at(self, number: int) -> Row | None:
        """The row of a frame; ask in order. Raises RecordingError."""
        row = self._row
        if row is None or row.frame != number:
            return None
        self._row = self._next(number)
        return row

    def finish(self, frames: int) -> None:
        """Raise RecordingError when a row is of a frame beyond the last."""
        if self._row is not None:
            raise RecordingError(
                f"{self._row.where}: frame {self._row.frame}, but there are {frames} frames"
            )

    def _next(self, after: int) -> Row | None:
        row = next(self._rows, None)
        if row is not None and (row.frame is None or row.frame <= after):
            raise RecordingError(
                f"{row.where}: frame is {row.frame}, expected a number above {after}"
            )
        return row


def read_rows(path: Path, required: tuple[str, ...]) -> Iterator[tuple[str, dict[str, str]]]:
    """Rows of a CSV file with a header: where each is, and its cells by column.

    Raises RecordingError when it cannot be read, lacks a column or has a row of another length.
    """
    try:
        stream = path.open(newline="", encoding="utf-8-sig")
    except OSError as error:
        raise RecordingError(f"cannot read {path}: {error.strerror}") from error
    with stream:
        try:
            yield from _rows(path, stream, required)
        except (csv.Error, UnicodeDecodeError) as error:
            raise RecordingError(f"{path} is no CSV file: {error}") from error


def _rows(
    path: Path, stream: TextIO, required: tuple[str, ...]
) -> Iterator[tuple[str, dict[str, str]]]:
    rows = csv.reader(stream, strict=True)
    header = [name.strip() for name in next(rows, [])]
    missing = [name for name in required if name not in header]
    if missing:
        raise RecordingError(
            f"{path} has no column {', '.join(missing)}; its header is {listed(header)}"
        )
    if len(set(header)) != len(header):
        raise RecordingError(f"{path} names a column twice")
    for cells in rows:
        if not cells:
            continue
        where = f"{path}, line {rows.line_num}"
        if len(cells) != len(header):
            raise RecordingError(f"{where}: {len(cells)} cells for {len(header)} columns")
        yield where, dict(zip(header, map(str.strip, cells), strict=True))


def parse_row(record: Mapping[str, str], where: str) -> Row:
    """Cells by column as a row; raises RecordingError naming the cell."""
    return Row(
        where=where,
        file=record.get("file") or None,
        frame=whole(record, "frame", where),
        time_ns=_time(record, where),
        label=_label(record, where),
    )


def _label(record: Mapping[str, str], where: str) -> Label | None:
    seen = record.get("visible", "").lower()
    if seen and seen not in _TRUE:
        raise RecordingError(f"{where}: visible is {seen[:40]!r}, expected 1, 0, true or false")
    visible = _TRUE[seen] if seen else None
    pose = [number(record, name, where) for name in POSE]
    known = [value for value in pose if value is not None]
    if not known:
        return _NOBODY if visible is False else None
    if len(known) != len(POSE):
        raise RecordingError(f"{where}: x, y, z and phi must be all there or all empty")
    u, v = (number(record, name, where) for name in ("head_u", "head_v"))
    if (u is None) != (v is None):
        raise RecordingError(f"{where}: head_u and head_v must be both there or both empty")
    x, y, z, phi = known
    pixel = None if u is None or v is None else (u, v)
    return Label((x, y, z, phi), visible, pixel)


def _time(record: Mapping[str, str], where: str) -> int | None:
    nanoseconds = whole(record, "time_ns", where)
    if nanoseconds is not None:
        return nanoseconds
    seconds = number(record, "time_s", where)
    if seconds is None:
        return None
    if not 0 <= seconds < _LATEST_S:
        raise RecordingError(f"{where}: time_s is {seconds:g}, expected 0 to {_LATEST_S:g}")
    return round(seconds * 1e9)


def number(record: Mapping[str, str], name: str, where: str) -> float | None:
    """A finite number, None for an empty cell or no such column; raises RecordingError."""
    text = record.get(name, "")
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise RecordingError(f"{where}: {name} is {text[:40]!r}, not a number")
    return value


def whole(record: Mapping[str, str], name: str, where: str) -> int | None:
    """A whole number from 0, None for an empty cell or no such column; raises RecordingError."""
    text = record.get(name, "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise RecordingError(f"{where}: {name} is {text[:40]!r}, not a whole number")
    return int(text)
