"""JSON lines: one document per report, to standard output or into a file."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec

from gearshift.runtime.errors import SinkError, SinkStoppedError
from gearshift.runtime.sink import FlightInfo, Report, SinkPlugin
from gearshift.runtime.sinks.document import ReportEncoder

STANDARD_OUTPUT = "-"


class JsonLinesOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """path: a file, to which lines are added, or "-" for standard output."""

    path: str = STANDARD_OUTPUT


class JsonLines:
    """Every line is written at once and unbuffered, so that a reader never sees half of one."""

    def __init__(self, options: JsonLinesOptions) -> None:
        self._path = options.path
        self._encoder = ReportEncoder()
        self._descriptor: int | None = None

    def open(self, _info: FlightInfo, /) -> None:
        """See `Sink.open`."""
        self.close()
        if self._path == STANDARD_OUTPUT:
            self._descriptor = os.dup(sys.stdout.fileno())
            return
        path = Path(self._path).expanduser()
        try:
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise SinkError(f"cannot write {path}: {error.strerror}") from error

    def write(self, report: Report) -> None:
        """See `Sink.write`."""
        if self._descriptor is None:
            raise SinkError(f"{self._path} is closed")
        line = self._encoder.encode(report) + b"\n"
        try:
            while line:
                line = line[os.write(self._descriptor, line) :]
        except BrokenPipeError as error:
            raise SinkStoppedError("the reader of standard output left") from error
        except OSError as error:
            raise SinkError(f"cannot write {self._path}: {error.strerror}") from error

    def close(self) -> None:
        """See `Sink.close`."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


PLUGIN = SinkPlugin(
    summary="one JSON document per line, to standard output or a file",
    options=JsonLinesOptions,
    make=JsonLines,
)
