"""Signals and other wake-ups of the main thread, through one pipe.

A handler that runs Python between any two instructions of the main thread may not touch locks; here
the interpreter writes a byte to a pipe, and the main thread reads it when it is ready.
"""

from __future__ import annotations

import os
import select
import signal
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Self

HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
ENDED = 0
"""What `Wakeups.end` sends; no signal has this number."""


def _nothing(_number: int, _frame: FrameType | None) -> None:
    """Python writes to the pipe only for signals that have a handler."""


class Wakeups:
    """Collects SIGTERM, SIGINT and SIGHUP and calls of `end`; to be used in the main thread."""

    def __enter__(self) -> Self:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._handlers = {number: signal.signal(number, _nothing) for number in HANDLED}
        self._fd = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        signal.set_wakeup_fd(self._fd)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        os.close(self._read)
        os.close(self._write)

    def end(self) -> None:
        """Wake the main thread from another one."""
        with suppress(OSError):  # it is awake when the pipe is full, and gone when it is closed
            os.write(self._write, bytes([ENDED]))

    def wait(self, timeout_s: float) -> bytes:
        """The numbers of the signals that came, ENDED among them; empty when none came in time."""
        select.select([self._read], [], [], max(timeout_s, 0.0))
        try:
            return os.read(self._read, 64)
        except BlockingIOError:
            return b""
