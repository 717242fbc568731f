"""The threads that read frames and run inference on them, taking turns.

There are two roles, reading and inference, and a thread may have one, both or none. The one that
has read a frame runs inference on it at once, and the other one takes over reading: capture and
inference overlap, and yet no frame waits for a thread to wake up, which takes longer than
everything else that a flight adds to its networks. Where inference is over long before the next
frame, nobody needs to take over. A frame that comes while inference is busy waits, and is replaced
by the next one; a recording that waits for its reader is read no faster than it is processed.
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
        self._threads: list[threading.Thread] = []
        # The lock guards all that follows, and is held for microseconds.
        self._lock = threading.Lock()
        self._reading_is_free = threading.Condition(self._lock)
        self._inference_is_free = threading.Condition(self._lock)
        self._reader: threading.Thread | None = None
        self._inferrer: threading.Thread | None = None
        self._waiting: Available | None = None  # a frame that came while inference was busy
        self._over = False  # no more frames are taken
        self._stopping = False  # and none that was taken is begun with
        self._told = False  # of the end
        self._error: GearshiftError | None = None
        # Written by the thread that has the role of inference.
        self._busy_since_ns = self._available_ns = self._took_ns = 0

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
        """Ask the threads to end; whether they did in time. No further inference begins."""
        with self._lock:
            self._stopping = True
            self._no_more_frames()
        self._capture.stop()
        until = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(until - time.monotonic(), 0.0))
        return not any(thread.is_alive() for thread in self._threads)

    def leave_behind(self) -> None:
        """Go on without the thread that has the role of inference; it will raise AbandonedError."""
        with self._lock:
            left, self._inferrer = self._inferrer, None
            self._busy_since_ns = 0
            self._inference_is_free.notify()
            if self._reader is left:
                self._let_go_of_reading()
        self._start_one()

    def _start_one(self) -> None:
        name = f"flight {len(self._threads) + 1}"
        thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _work(self) -> None:
        """Read and infer in turn until all is over."""
        me = threading.current_thread()
        problem: GearshiftError | None = None
        try:
            while self._take_reading(me):
                available = self._capture.next()
                if available is None:
                    break
                if self._take_inference(me, available):
                    self._infer(me, available)
        except AbandonedError:
            # It keeps its roles until `leave_behind` has passed them on.
            logger.warning("the network that was left behind has returned")
            return
        except SourceEnded:
            pass
        except GearshiftError as error:
            problem = error
        except Exception as error:
            logger.exception("the flight failed")
            problem = GearshiftError(f"the flight failed: {error}")
        self._end(me, problem)

    def _take_reading(self, me: threading.Thread) -> bool:
        """Wait for the role of reading; False when all is over."""
        with self._lock:
            while self._reader not in (None, me) and not self._over:
                self._reading_is_free.wait()
            if self._over:
                return False
            self._reader = me
            return True

    def _take_inference(self, me: threading.Thread, available: Available) -> bool:
        """Take the role of inference for a frame that was read; False when somebody has it.

        Then a frame of a live source waits for who has it, in place of the one that does; a
        recording waits here. Lets go of reading, unless this thread will be back in time for it.
        """
        with self._lock:
            if not self._capture.live:
                while self._inferrer is not None and not self._over:
                    self._inference_is_free.wait()
            if self._over:
                return False
            # One may be left from before a thread was left behind.
            self._capture.counts.replaced += self._waiting is not None
            if self._inferrer is not None:
                self._waiting = available
                return False
            self._waiting = None
            self._inferrer = me
            if not self._is_back_in_time(available):
                self._let_go_of_reading()
            return True

    def _is_back_in_time(self, available: Available) -> bool:
        """Whether the frame will be through long before the next one comes, by the last ones.

        Then its thread goes on to read as well: waking the other one would cost the processor more
        than all that is done for the frame.
        """
        interval_ns = available.time_ns - self._available_ns
        self._available_ns = available.time_ns
        return interval_ns > BACK_IN_TIME * self._took_ns

    def _infer(self, me: threading.Thread, available: Available) -> None:
        """Process a frame and what came in the meantime, then let go of inference."""
        current: Available | None = available
        while current is not None:
            began_ns = self._busy_since_ns = time.monotonic_ns()
            self._process(current)
            took_ns = time.monotonic_ns() - began_ns
            with self._lock:
                if self._inferrer is not me:
                    raise AbandonedError  # left behind just as it came back
                self._took_ns = took_ns
                self._busy_since_ns = 0
                current, self._waiting = self._waiting, None
                if current is None or self._stopping:
                    self._let_go_of_inference()
                    return

    def _let_go_of_reading(self) -> None:
        """With the lock."""
        self._reader = None
        self._reading_is_free.notify()

    def _let_go_of_inference(self) -> None:
        """With the lock."""
        self._inferrer = None
        self._inference_is_free.notify()

    def _no_more_frames(self) -> None:
        """With the lock: wake whoever waits for a role."""
        self._over = True
        self._reading_is_free.notify_all()
        self._inference_is_free.notify_all()

    def _end(self, me: threading.Thread, problem: GearshiftError | None) -> None:
        """Close the source and tell of the end, once inference is through with its last frame."""
        with self._lock:
            self._no_more_frames()
            self._error = self._error or problem
            if self._inferrer is me:
                self._let_go_of_inference()
            # Whoever reads at the moment closes the source when it is through with that.
            closes = self._reader in (None, me)
            if closes:
                self._reader = me
            tells, self._told = not self._told, True
        if closes:
            self._capture.close()
        if not tells:
            return
        with self._lock:
            while self._inferrer is not None and not self._stopping:
                self._inference_is_free.wait()
            problem = self._error
        self._on_end(problem)
