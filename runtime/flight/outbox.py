"""One sink and the thread that writes to it, so that a slow or dead one delays nobody."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from gearshift.runtime.errors import GearshiftError, SinkError, SinkStoppedError
from gearshift.runtime.flight.counts import SinkCounts
from gearshift.runtime.flight.report_queue import Channel, ChannelClosedError
from gearshift.runtime.sinks.sink import FlightInfo, Report, Sink

logger = logging.getLogger(__name__)

CAPACITY = 64
"""Two seconds at 30 Hz; a sink that is further behind loses the oldest reports."""
BATCH = 8
"""Reports that a patient sink is given at once. It is woken by the last of them, right after that
one was published, when inference has nothing to do."""
CANCEL_S = 0.1
"""How long a sink that does not open may keep a flight from being called off."""
FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 5.0


@dataclass(frozen=True, slots=True)
class NamedSink:
    """A sink, what to call it, and whether the flight may start without it.

    patience_s: how long reports may wait to be written together, see `SinkPlugin`.
    """

    name: str
    sink: Sink
    required: bool = True
    patience_s: float = 0.0


class Outbox:
    """Opens, writes to, reopens and closes a sink in a thread of its own.

    lossless: `put` waits when the sink is behind, for flights from a recording that waits too. It
    does not wait for a sink that fails again and again: that would take seconds a frame.
    """

    def __init__(self, named: NamedSink, *, lossless: bool = False) -> None:
        self.name = named.name
        self.counts = SinkCounts()
        # Reports are dropped both where they are put and where they are written.
        self._counting = threading.Lock()
        self._lossless = lossless
        self._named = named
        self._sink = named.sink
        patient = named.patience_s > 0
        self._channel: Channel[Report] = Channel(
            CAPACITY, batch=BATCH if patient else 1, lossless=lossless
        )
        self._timeout_s = named.patience_s if patient else -1
        self._taken: deque[Report] = deque()
        self._opened = threading.Event()
        self._stopping = threading.Event()
        self._opening_error: GearshiftError | None = None
        self._problem = ""
        self._problem_lasts = False
        self._stopped = False
        self._thread: threading.Thread | None = None

    def start(self, info: FlightInfo) -> None:
        """Start the thread, which opens the sink at once."""
        self._thread = threading.Thread(
            target=self._run, args=(info,), name=f"sink {self.name}", daemon=True
        )
        self._thread.start()

    def wait_until_open(self, timeout_s: float, cancelled: Callable[[], bool]) -> bool:
        """Whether the flight may start; False when it was cancelled while the sink was opened.

        Raises SinkError when a required sink cannot be opened, or not in time; one that is not
        required is not waited for.
        """
        if not self._named.required:
            return True
        until = time.monotonic() + timeout_s
        while not self._opened.wait(CANCEL_S) and time.monotonic() < until:
            if cancelled():
                return False
        if not self._opened.is_set():
            raise SinkError(f"sink {self.name} did not open within {timeout_s:g} s")
        if self._opening_error is not None:
            raise self._opening_error
        return True

    def put(self, report: Report) -> None:
        """Hand over a report."""
        dropped = self._channel.put(report)
        if dropped:
            self._drop(dropped)

    def stop(self) -> None:
        """Let nothing more in; what is there is still written."""
        self._stopping.set()
        self._channel.close()

    def join(self, timeout_s: float | None) -> bool:
        """Wait until everything is written and the sink is closed; whether it was in time.

        What is left after that is dropped and counted.
        """
        if self._thread is None:
            return True
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            self._drop(self._channel.close(discard=True) + len(self._taken))
            return False
        return True

    @property
    def stopped(self) -> bool:
        """Whether the sink gave up for the rest of the flight."""
        return self._stopped

    @property
    def problem(self) -> str:
        """Why the sink does not work at the moment; empty when it does."""
        return self._problem

    def _run(self, info: FlightInfo) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                self._sink.open(info)
                self._opened.set()
                self._write_all()
                return
            except ChannelClosedError:
                return
            except Exception as error:
                # Whatever a plugged-in sink raises must not end the others' flight.
                self._fails(error)
                self._opened.set()
                if isinstance(error, SinkStoppedError):
                    self._drain()
                    return
            finally:
                self._close()
            # Opening proves little: many a sink only finds out when it writes.
            if not self._problem_lasts:
                pause_s = FIRST_PAUSE_S
            if self._pause(pause_s):
                self._drop(self._channel.close(discard=True) + len(self._taken))
                return
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _write_all(self) -> None:
        taken, write, counts = self._taken, self._sink.write, self.counts
        while True:
            if not taken:
                taken.extend(self._channel.take(self._timeout_s))
            while taken:
                report = taken.popleft()
                try:
                    write(report)
                except Exception:
                    self._drop(1)
                    raise
                counts.written += 1
                if self._problem:
                    self._works()

    def _pause(self, pause_s: float) -> bool:
        """Wait before the sink is opened again; whether the flight ended meanwhile."""
        if self._lossless and self._problem_lasts:
            self._drop(len(self._taken))
            self._taken.clear()
            until = time.monotonic() + pause_s
            with suppress(ChannelClosedError):
                while (left := until - time.monotonic()) > 0:
                    self._drop(len(self._channel.take(left)))
            return self._stopping.is_set()
        return self._stopping.wait(pause_s)

    def _drain(self) -> None:
        """Take reports from producers that would wait, for a sink that will not come back."""
        self._stopped = True
        self._drop(len(self._taken))
        try:
            while True:
                self._drop(len(self._channel.take()))
        except ChannelClosedError:
            return

    def _drop(self, count: int) -> None:
        with self._counting:
            self.counts.dropped += count

    def _works(self) -> None:
        logger.warning("sink %s works again", self.name)
        self._problem = ""
        self._problem_lasts = False

    def _fails(self, error: Exception) -> None:
        """Log a change, not every attempt, and not what keeps the flight from starting: that is
        raised."""
        self.counts.errors += 1
        opening = not self._opened.is_set()
        if opening and isinstance(error, GearshiftError):
            self._opening_error = error
        elif opening:
            self._opening_error = SinkError(f"sink {self.name}: {error}")
        self._problem_lasts = bool(self._problem)
        known = isinstance(error, GearshiftError | OSError)
        raised = known and opening and self._named.required
        if not self._problem and not raised:
            logger.warning("sink %s failed: %s", self.name, error, exc_info=not known)
        self._problem = str(error) or type(error).__name__

    def _close(self) -> None:
        try:
            self._sink.close()
        except Exception as error:
            if not self._problem:
                logger.warning("sink %s could not be closed: %s", self.name, error)
