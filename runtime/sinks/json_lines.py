"""JSON lines: one document per report, to standard output or into a file."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import msgspec

from gearshift.runtime.errors import SinkError, SinkStoppedError
from gearshift.runtime.sinks.document import ReportEncoder
from gearshift.runtime.sinks.sink import FlightInfo, Report, SinkPlugin

STANDARD_OUTPUT = "-"


class JsonLinesOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """path: a file, to which lines are added, or "-" for standard output."""

    path: str = STANDARD_OUTPUT


class JsonLines:
    """Every line is written at once and unbuffered, so that a reader never sees half of one, and
    what a full disk took of a line is taken back."""

    def __init__(self, options: JsonLinesOptions) -> None:
        self._path = options.path
        self._is_stdout = options.path == STANDARD_OUTPUT
        self._name = "standard output" if self._is_stdout else options.path
        self._encoder = ReportEncoder()
        self._descriptor: int | None = None

    def open(self, _info: FlightInfo, /) -> None:
        """See `Sink.open`."""
        self.close()
        if self._is_stdout:
            try:
                self._descriptor = os.dup(sys.stdout.fileno())
            except (AttributeError, ValueError, OSError) as error:  # None where it is closed
                raise SinkError("standard output is closed; give jsonl a path") from error
            return
        path = Path(self._path).expanduser()
        try:
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise SinkError(f"cannot write {path}: {error.strerror}") from error

    def write(self, report: Report) -> None:
        """See `Sink.write`."""
        if self._descriptor is None:
            raise SinkError(f"{self._name} is closed")
        line = self._encoder.encode(report) + b"\n"
        written = 0
        try:
            while written < len(line):
                written += os.write(self._descriptor, line[written:])
        except BrokenPipeError as error:
            message = f"the reader of {self._name} left"
            # Another reader can open a named pipe, but nobody this process's standard output.
            raise (SinkStoppedError if self._is_stdout else SinkError)(message) from error
        except OSError as error:
            _take_back(self._descriptor, written)
            raise SinkError(f"cannot write {self._name}: {error.strerror}") from error

    def close(self) -> None:
        """See `Sink.close`."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def _take_back(descriptor: int, written: int) -> None:
    """Remove the last bytes of a regular file: half a line would spoil the next one."""
    status = os.fstat(descriptor)
    if written and stat.S_ISREG(status.st_mode):
        os.ftruncate(descriptor, status.st_size - written)


PLUGIN = SinkPlugin(
    summary="one JSON document per line, to standard output or a file",
    options=JsonLinesOptions,
    make=JsonLines,
)
