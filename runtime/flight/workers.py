"""The threads that read frames and run inference on them, taking turns.

There are two roles, reading and inference, each held by one thread at a time. The thread that has
read a frame runs inference on it at once, and the other one takes over reading: capture and
inference overlap, and yet no frame waits for a thread to wake up, which takes longer than
everything else that a flight adds to its networks. Where inference is over long before the next
frame, its thread keeps both roles and nobody is woken. A frame that comes while inference is busy
waits, and is replaced by the next one; a recording that waits for its reader is read no faster than
it is processed.
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
        # Guards the roles and the frame that waits; told whenever one of them changes.
        self._turn = threading.Condition()
        self._reader: threading.Thread | None = None
        self._inferrer: threading.Thread | None = None
        self._waiting: Available | None = None
        self._over = False
        self._ended = False
        self._stopping = False
        self._busy_since_ns = self._taken_ns = self._took_ns = 0
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
        """Ask the threads to end, after the frame they are at; whether they did in time."""
        self._capture.stop()
        with self._turn:
            self._stopping = True
            self._turn.notify_all()
        until = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(until - time.monotonic(), 0.0))
        return not any(thread.is_alive() for thread in self._threads)

    def leave_behind(self) -> None:
        """Go on without the thread that runs inference; it will raise AbandonedError."""
        self._busy_since_ns = 0
        with self._turn:
            if self._inferrer is not None:
                self._give_back(self._inferrer)
        self._start_one()

    def _start_one(self) -> None:
        name = f"flight {len(self._threads) + 1}"
        thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _work(self) -> None:
        me = threading.current_thread()
        try:
            while self._take_reading(me):
                available = self._read(me)
                if available is None:
                    self._end(None)
                    return
                self._infer(me, available)
        except AbandonedError:
            logger.warning("the network that was left behind has returned")
        except Exception as error:
            if not isinstance(error, GearshiftError):
                logger.exception("the flight failed")
                error = GearshiftError(f"the flight failed: {error}")
            self._end(error)
        finally:
            with self._turn:
                self._give_back(me)

    def _give_back(self, thread: threading.Thread) -> None:
        """Take the roles from a thread that has them. The caller holds `_turn`."""
        if self._reader is thread:
            self._reader = None
        if self._inferrer is thread:
            self._inferrer = None
        self._turn.notify_all()

    def _take_reading(self, me: threading.Thread) -> bool:
        """Wait for the role of reading, which this thread may have kept; False: nothing to read."""
        with self._turn:
            self._turn.wait_for(lambda: self._over or self._reader in (None, me))
            if self._over:
                return False
            self._reader = me
            return True

    def _read(self, me: threading.Thread) -> Available | None:
        """Read until there is a frame and the role of inference, and take both; None: the end."""
        while True:
            try:
                available = self._capture.next()
            except SourceEnded:
                available = None
            if available is None:
                self._capture.close()
                with self._turn:
                    self._over = True
                    self._wait_for_inference()
                return None
            with self._turn:
                if not self._capture.live:
                    self._wait_for_inference()
                    if self._stopping:
                        continue
                if self._inferrer is not None:
                    self._let_wait(available)
                    continue
                self._let_wait(None)
                self._inferrer = me
                if not self._is_back_in_time(available):
                    self._reader = None
                    self._turn.notify_all()
                return available

    def _is_back_in_time(self, available: Available) -> bool:
        """Whether the frame will be through long before the next one comes, by the last ones.

        Then its thread goes on to read as well: waking the other one would cost the processor more
        than all that is done for the frame.
        """
        interval_ns = available.time_ns - self._taken_ns
        self._taken_ns = available.time_ns
        return interval_ns > BACK_IN_TIME * self._took_ns

    def _wait_for_inference(self) -> None:
        """Until whoever runs inference is through or left behind, or the flight is to stop.

        The caller holds `_turn`; the role is not taken.
        """
        self._turn.wait_for(lambda: self._inferrer is None or self._stopping)

    def _infer(self, me: threading.Thread, available: Available) -> None:
        """Process a frame, and what came in the meantime, in the role of inference."""
        current: Available | None = available
        while current is not None:
            began_ns = self._busy_since_ns = time.monotonic_ns()
            self._process(current)
            now_ns = time.monotonic_ns()
            with self._turn:
                if self._inferrer is not me:
                    return  # left behind just as it came back
                self._took_ns = now_ns - began_ns
                self._busy_since_ns = 0
                current = None if self._stopping else self._waiting
                if current is None:
                    self._inferrer = None
                    self._turn.notify_all()
                else:
                    self._waiting = None

    def _let_wait(self, available: Available | None) -> None:
        """Let a frame wait in place of the one that does. The caller holds `_turn`."""
        self._capture.counts.replaced += self._waiting is not None
        self._waiting = available

    def _end(self, error: GearshiftError | None) -> None:
        with self._turn:
            self._over = True
            self._turn.notify_all()
            if self._ended:
                return
            self._ended = True
        self._on_end(error)
