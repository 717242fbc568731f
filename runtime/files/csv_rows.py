"""Rows of CSV files with a header, cell by cell, with errors that name the line."""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, TextIO

from gearshift.runtime.errors import RecordingError

_LATEST_S: Final = 9e9


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


def time_ns(record: Mapping[str, str], where: str) -> int | None:
    """The time in a row's column `time_ns` or, without it, `time_s`; raises RecordingError."""
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


def listed(names: Iterable[str]) -> str:
    """Names that a file gave, fit for one line of a message."""
    shown = (name if name.isprintable() else repr(name) for name in itertools.islice(names, 40))
    return ", ".join(shown)[:300] or "none"
