"""Labels in a CSV file: one row per image, documented columns.

`file` (image in the folder) or `frame` (number in the video, from 0); `time_ns` or `time_s`; `x`,
`y`, `z` [m] and `phi` [rad], all four or none; `visible` (1, 0, true, false); `head_u`, `head_v`
[pixels of the image]. Other columns are ignored. Empty x, y, z, phi: with visible 0 nobody is
there, else nothing is known of the frame.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gearshift.runtime.errors import RecordingError
from gearshift.runtime.files.csv_rows import number, read_rows, time_ns, whole
from gearshift.sim.convert.reader import Label

POSE: Final = ("x", "y", "z", "phi")
_TRUE: Final = {"1": True, "true": True, "0": False, "false": False}
_NOBODY: Final = Label((math.nan, math.nan, math.nan, math.nan), visible=False)


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


def parse_row(record: Mapping[str, str], where: str) -> Row:
    """Cells by column as a row; raises RecordingError naming the cell."""
    return Row(
        where=where,
        file=record.get("file") or None,
        frame=whole(record, "frame", where),
        time_ns=time_ns(record, where),
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
