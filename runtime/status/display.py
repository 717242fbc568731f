"""The status of a flight on a terminal: one line that is kept up to date, or log lines."""

from __future__ import annotations

import logging
import shutil
import sys
from typing import Literal, TextIO

logger = logging.getLogger(__name__)

StatusMode = Literal["auto", "line", "log", "off"]
LINE_EVERY_S = 0.5
_CLEAR = "\r\x1b[2K"


class StatusLine:
    """The last line of a terminal. Log messages on the same terminal go above it."""

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        self._stream = stream
        self._handlers = [
            h
            for h in logging.getLogger().handlers
            if isinstance(h, logging.StreamHandler) and h.stream is stream
        ]
        for handler in self._handlers:
            handler.addFilter(self._make_room)

    def show(self, text: str) -> None:
        """Replace the line."""
        width = shutil.get_terminal_size().columns
        self._stream.write(_CLEAR + text[: width - 1])
        self._stream.flush()

    def close(self) -> None:
        """Leave the line behind."""
        for handler in self._handlers:
            handler.removeFilter(self._make_room)
        self._stream.write("\n")
        self._stream.flush()

    def _make_room(self, _record: logging.LogRecord) -> bool:
        self._stream.write(_CLEAR)
        return True


class StatusLog:
    """Lines in the log, whatever the level of other messages: they were asked for."""

    def __init__(self) -> None:
        logger.setLevel(logging.INFO)

    def show(self, text: str) -> None:
        """Log the line."""
        logger.info("%s", text)

    def close(self) -> None:
        """Nothing to leave behind."""


def status_mode(mode: StatusMode, *, estimates_on_stdout: bool) -> Literal["line", "log", "off"]:
    """What "auto" means here: a line on a terminal that estimates are not written to as well."""
    if mode != "auto":
        return mode
    if not sys.stderr.isatty():
        return "log"
    return "off" if estimates_on_stdout and sys.stdout.isatty() else "line"
