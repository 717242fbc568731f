"""The threads that read frames and run inference on them, taking turns.

The one that has read a frame runs inference on it at once, and the other one takes over reading:
capture and inference overlap, and yet no frame waits for a thread to wake up, which takes longer
than everything else that a flight adds to its networks. Where inference is over long before the
next frame, nobody needs to take over. A frame that comes while inference is busy waits, and is
replaced by the next one; a recording that waits for its reader is read no faster than it is
processed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from gearshift.runtime.errors import GearshiftError
from gearshift.runtime.flight.capture import Available, Capture
from gearshift.runtime.flight.guard import AbandonedError
from gearshift.runtime.sources.source import SourceEnded

logger = logging.getLogger(__name__)

BACK_IN_TIME = 4
"""A thread goes on to read if frames are so many times further apart than inference takes."""
PATIENCE_S = 0.1
"""How often a thread that waits for inference looks whether its holder was left behind."""


class Workers:
    """Two threads, more where one of them is left behind.

    process: runs inference on a frame; called by one thread at a time. on_end: called once, from a
    thread, when there will be no more frames: with the error that ended them or None.
    """

    def __init__(
        self,
        capture: Capture,
        process: Callable[[Available], None],
        on_end: Callable[[GearshiftError | None], None],
    ) -> None:
        self._capture = capture
        self._process = process
        self._on_end = on_end
        # The two roles; they are replaced by new ones when their holder is left behind.
        self._reading = threading.Lock()
        self._inferring = threading.Lock()
        self._keeps_reading = False
        self._newest: Available | None = None
        self._handing_over = threading.Lock()
        self._busy_since_ns = self._available_ns = self._took_ns = 0
        self._over = False
        self._ended = False
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    @property
    def busy_s(self) -> float:
        """For how long inference has been at its present frame; 0 between frames."""
        since = self._busy_since_ns
        return (time.monotonic_ns() - since) / 1e9 if since else 0.0

    def start(self) -> None:
        """Start both threads."""
        self._start_one()
        self._start_one()

    def stop(self, timeout_s: float) -> bool:
        """Ask the threads to end; whether they did in time."""
        self._stopping.set()
        self._capture.stop()
        until = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(until - time.monotonic(), 0.0))
        return not any(thread.is_alive() for thread in self._threads)

    def leave_behind(self) -> None:
        """Go on without the thread that has the role of inference; it will raise AbandonedError."""
        self._busy_since_ns = 0
        self._inferring = threading.Lock()
        if self._keeps_reading:
            self._reading = threading.Lock()
        self._start_one()

    def _start_one(self) -> None:
        name = f"flight {len(self._threads) + 1}"
        thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _work(self) -> None:
        reading: threading.Lock | None = None  # the role, while this thread has it
        try:
            while True:
                reading = reading or self._take_reading()
                found = self._read()
                if found is None:
                    return
                available, inferring = found
                if not self._is_back_in_time(available):
                    reading.release()
                    reading = None
                self._keeps_reading = reading is not None
                self._infer(available, inferring)
        except AbandonedError:
            logger.warning("the network that was left behind has returned")
        except Exception as error:
            if not isinstance(error, GearshiftError):
                logger.exception("the flight failed")
                error = GearshiftError(f"the flight failed: {error}")
            self._over = True
            self._end(error)
        finally:
            if reading is not None:
                reading.release()

    def _take_reading(self) -> threading.Lock:
        """Wait for the role of reading; one that was left behind with its holder does not count."""
        while True:
            role = self._reading
            role.acquire()
            if role is self._reading:
                return role
            role.release()

    def _is_back_in_time(self, available: Available) -> bool:
        """Whether the frame will be through long before the next one comes, by the last ones.

        Then its thread goes on to read as well: waking the other one would cost the processor more
        than all that is done for the frame.
        """
        interval_ns = available.time_ns - self._available_ns
        self._available_ns = available.time_ns
        return interval_ns > BACK_IN_TIME * self._took_ns

    def _read(self) -> tuple[Available, threading.Lock] | None:
        """Read until there is a frame that inference is free for, and take both; None: the end.

        The caller has the role of reading.
        """
        while not self._over:
            try:
                available = self._capture.next()
            except SourceEnded:
                available = None
            if available is None:
                self._over = True
                self._capture.close()
                self._wait_for_inference()
                self._end(None)
                break
            if not self._capture.live:
                return available, self._wait_for_inference()
            role = self._inferring
            if role.acquire(blocking=False):
                if self._newest is not None:
                    self._replace(None)
                return available, role
            self._replace(available)
            # Inference may have looked for a frame and let go of its role in between.
            if role.acquire(blocking=False):
                newest = self._take_newest()
                if newest is not None:
                    return newest, role
                role.release()
        return None

    def _wait_for_inference(self) -> threading.Lock:
        """Take the role of inference once whoever has it is through, or was left behind."""
        while True:
            role = self._inferring
            if role.acquire(timeout=PATIENCE_S) or self._stopping.is_set():
                return role

    def _infer(self, available: Available, role: threading.Lock) -> None:
        """Process a frame, and what came in the meantime, in the role of inference."""
        current: Available | None = available
        while current is not None:
            began_ns = self._busy_since_ns = time.monotonic_ns()
            self._process(current)
            self._took_ns = time.monotonic_ns() - began_ns
            self._busy_since_ns = 0
            current = self._take_newest()
            if current is None:
                role.release()
                if self._newest is not None and role.acquire(blocking=False):
                    current = self._take_newest()
                    if current is None:
                        role.release()

    def _replace(self, available: Available | None) -> None:
        """Let a frame wait in place of the one that does."""
        with self._handing_over:
            self._capture.counts.replaced += self._newest is not None
            self._newest = available

    def _take_newest(self) -> Available | None:
        if self._newest is None:
            return None
        with self._handing_over:
            newest, self._newest = self._newest, None
            return newest

    def _end(self, error: GearshiftError | None) -> None:
        if not self._ended:
            self._ended = True
            self._on_end(error)
