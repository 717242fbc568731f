"""Reading a source: keeps it alive and lets only new, whole frames through."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gearshift.runtime.errors import (
    ConfigurationError,
    FrameError,
    GearshiftError,
    MissingExtraError,
    SourceError,
)
from gearshift.runtime.flight.counts import CaptureCounts
from gearshift.runtime.sources.source import Source, SourceEnded
from gearshift.runtime.types import Frame, Image

logger = logging.getLogger(__name__)

READ_TIMEOUT_S = 0.2
"""How long a stop may have to wait for the source."""
SILENCE_S = 2.0
"""A live source that gives nothing for so long is closed and opened again."""
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0
FUTURE_NS = 100_000_000
"""A stamp further ahead than this is of another clock."""

Prepare = Callable[[Frame], Frame]
"""Makes of a frame of the source's camera one for the networks; raises FrameError."""


@dataclass(slots=True, eq=False)
class Available:
    """A frame that inference may take, and when it became available (monotonic ns)."""

    frame: Frame
    time_ns: int


class FrameGate:
    """Tells new, whole frames from repeated ones and garbage, and counts those.

    A camera that froze repeats its last picture, often under a new time stamp; two real exposures
    never agree in every pixel.
    """

    def __init__(self, counts: CaptureCounts) -> None:
        self._counts = counts
        self._time_ns: int | None = None
        self._image: Image | None = None
        self._row = b""
        self._complained = False
        # The thread of inference drops frames too: those that only the networks refuse.
        self._dropping = threading.Lock()

    def passes(self, frame: Frame, now_ns: int) -> bool:
        """Whether a frame of a live source is new and whole."""
        problem = self._garbage(frame, now_ns)
        if problem:
            self.drop(f"frame {frame.sequence} is garbage: {problem}")
            return False
        self._complained = False
        image = frame.image
        # One row settles it for nearly every frame.
        row = image[image.shape[0] // 2].tobytes()
        last = self._image
        if frame.capture_time_ns == self._time_ns or (
            row == self._row and last is not None and np.array_equal(image, last)
        ):
            self._counts.repeated += 1
            return False
        self._time_ns, self._image, self._row = frame.capture_time_ns, image, row
        return True

    def drop(self, problem: str) -> None:
        """Count a frame as garbage; of several in a row the first is logged."""
        with self._dropping:
            self._counts.garbage += 1
            first, self._complained = not self._complained, True
        if first:
            logger.warning("%s; frame dropped", problem)

    def _garbage(self, frame: Frame, now_ns: int) -> str:
        image = frame.image
        if image.ndim != 2 or image.dtype != np.uint8 or image.size == 0:
            return f"it is {image.shape} {image.dtype}, not (height, width) uint8"
        if self._image is not None and image.shape != self._image.shape:
            return f"it is {image.shape[1]}x{image.shape[0]}, those before were not"
        if self._time_ns is not None and frame.capture_time_ns < self._time_ns:
            return "its time stamp went back"
        if frame.capture_time_ns > now_ns + FUTURE_NS:
            return "its time stamp lies in the future"
        return ""


class Capture:
    """Reads `source`, already open, for one thread at a time.

    A live source that fails or falls silent is closed and opened again until it is back; a
    recording that waits for its reader ends the flight instead.
    """

    def __init__(self, source: Source, prepare: Prepare) -> None:
        self.counts = CaptureCounts()
        self.live = source.live
        self._source = source
        self._prepare = prepare
        self._gate = FrameGate(self.counts)
        self._stopping = threading.Event()
        self._away = False
        self._sequence: int | None = None
        self._turned_ns = self._heard_ns = time.monotonic_ns()

    @property
    def away(self) -> bool:
        """Whether the source does not work at the moment."""
        return self._away

    @property
    def silent_s(self) -> float:
        """Seconds since reading last showed a sign of life; a driver that hangs shows none."""
        return (time.monotonic_ns() - self._turned_ns) / 1e9

    def next(self) -> Available | None:
        """The next new, whole frame, however long it takes; None after `stop`.

        Raises SourceEnded after the last one, and GearshiftError for what does not come right by
        itself: a recording that fails, a configuration that does not fit.
        """
        while not self._stopping.is_set():
            try:
                available = self._read()
                if available is not None:
                    return available
            except (SourceEnded, ConfigurationError, MissingExtraError):
                raise
            except Exception as problem:
                if not self.live:
                    raise _known(problem) from problem
                self._lose(problem)
                self._reopen()
        return None

    def drop(self, problem: str) -> None:
        """Count a frame that was let through, but that the networks cannot take, as garbage."""
        self._gate.drop(problem)

    def stop(self) -> None:
        """Let `next` return within the time-out of a read."""
        self._stopping.set()

    def close(self) -> None:
        """Close the source, whatever it raises."""
        try:
            self._source.close()
        except Exception as error:
            logger.debug("the source could not be closed: %s", error)

    def _read(self) -> Available | None:
        """One read: a frame that is new and whole, or None."""
        try:
            frame = self._source.read(READ_TIMEOUT_S)
        except FrameError as problem:
            self._came()
            if self._sequence is not None:
                self._sequence += 1
            self._gate.drop(str(problem))
            return None
        if frame is None:
            now_ns = self._turned_ns = time.monotonic_ns()
            if self.live and now_ns - self._heard_ns > SILENCE_S * 1e9:
                raise SourceError(f"no frame for {SILENCE_S:g} s")
            return None
        now_ns = self._came()
        self._count_missed(frame.sequence)
        if self.live and not self._gate.passes(frame, now_ns):
            return None
        try:
            return Available(self._prepare(frame), now_ns)
        except FrameError as problem:
            self._gate.drop(str(problem))
            return None

    def _came(self) -> int:
        """Something was read just now, be it garbage."""
        now_ns = self._turned_ns = self._heard_ns = time.monotonic_ns()
        self.counts.frames += 1
        if self._away:
            self._away = False
            logger.warning("the source works again")
        return now_ns

    def _count_missed(self, sequence: int) -> None:
        last, self._sequence = self._sequence, sequence
        if last is not None and sequence > last + 1:
            self.counts.missed += sequence - last - 1

    def _lose(self, problem: Exception) -> None:
        self.counts.outages += 1
        if not self._away:
            known = isinstance(problem, GearshiftError | OSError)
            logger.warning("the source failed: %s", problem, exc_info=not known)
        self._away = True

    def _reopen(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            self.close()
            self._sequence = None
            if self._stopping.wait(pause_s):
                return
            self._turned_ns = time.monotonic_ns()
            try:
                self._source.open()
            except Exception as error:
                # Whatever a driver raises while its device is away, it may come back.
                logger.debug("the source cannot be opened: %s", error)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            else:
                self._heard_ns = time.monotonic_ns()
                return


def _known(problem: Exception) -> GearshiftError:
    if isinstance(problem, GearshiftError):
        return problem
    return SourceError(f"the source failed: {type(problem).__name__}: {problem}")
