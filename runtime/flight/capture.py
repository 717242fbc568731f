"""The capture thread: reads a source, keeps it alive, and lets only new, whole frames through."""

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
from gearshift.runtime.flight.channel import Channel
from gearshift.runtime.flight.counts import CaptureCounts
from gearshift.runtime.source import Source, SourceEnded
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


@dataclass(frozen=True, slots=True, eq=False)
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
        self._shape: tuple[int, ...] | None = None
        self._complained = False

    def passes(self, frame: Frame, now_ns: int) -> bool:
        """Whether a frame of a live source is new and whole."""
        problem = self._garbage(frame, now_ns)
        if problem:
            self.drop(f"frame {frame.sequence} is garbage: {problem}")
            return False
        self._complained = False
        if frame.capture_time_ns == self._time_ns or self._is_same_picture(frame.image):
            self._counts.repeated += 1
            return False
        self._time_ns, self._image, self._shape = (
            frame.capture_time_ns,
            frame.image,
            frame.image.shape,
        )
        return True

    def drop(self, problem: str) -> None:
        """Count a frame as garbage; of several in a row the first is logged."""
        self._counts.garbage += 1
        if not self._complained:
            logger.warning("%s; frame dropped", problem)
            self._complained = True

    def _garbage(self, frame: Frame, now_ns: int) -> str:
        image = frame.image
        if image.ndim != 2 or image.dtype != np.uint8 or image.size == 0:
            return f"it is {image.shape} {image.dtype}, not (height, width) uint8"
        if self._shape is not None and image.shape != self._shape:
            return f"it is {image.shape[1]}x{image.shape[0]}, those before were not"
        if self._time_ns is not None and frame.capture_time_ns < self._time_ns:
            return "its time stamp went back"
        if frame.capture_time_ns > now_ns + FUTURE_NS:
            return "its time stamp lies in the future"
        return ""

    def _is_same_picture(self, image: Image) -> bool:
        last = self._image
        if last is None or last.shape != image.shape:
            return False
        # One row settles it for nearly every frame.
        middle = image.shape[0] // 2
        return np.array_equal(image[middle], last[middle]) and np.array_equal(image, last)


class Capture:
    """Reads `source`, already open, until it ends or `stop` is called.

    A source that fails or falls silent is closed and opened again until it is back; one that waits
    for its reader (a recording) ends the flight instead. on_end: called from the thread, with
    the error that ended it or None.
    """

    def __init__(
        self,
        source: Source,
        channel: Channel[Available],
        prepare: Prepare,
        on_end: Callable[[GearshiftError | None], None],
    ) -> None:
        self.counts = CaptureCounts()
        self._source = source
        self._live = source.live
        self._channel = channel
        self._prepare = prepare
        self._on_end = on_end
        self._gate = FrameGate(self.counts)
        self._stopping = threading.Event()
        self._away = False
        self._turned_ns = 0
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)

    @property
    def away(self) -> bool:
        """Whether the source does not work at the moment."""
        return self._away

    @property
    def silent_s(self) -> float:
        """Seconds since the thread last showed a sign of life."""
        return (time.monotonic_ns() - self._turned_ns) / 1e9

    def start(self) -> None:
        """Start the thread."""
        self._turned_ns = time.monotonic_ns()
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """Ask the thread to end; whether it did in time."""
        self._stopping.set()
        self._channel.close(discard=True)
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        error: GearshiftError | None = None
        try:
            while not self._stopping.is_set():
                try:
                    self._read_all()
                except SourceEnded:
                    return
                except Exception as problem:
                    # What is wrong with the configuration does not come right by itself.
                    settled = isinstance(problem, ConfigurationError | MissingExtraError)
                    if settled or not self._live:
                        error = _known(problem)
                        return
                    self._lose(problem)
                    self._reopen()
        finally:
            self._close()
            self._on_end(error)

    def _read_all(self) -> None:
        silent_since = time.monotonic_ns()
        while not self._stopping.is_set():
            frame: Frame | None = None
            try:
                frame = self._source.read(READ_TIMEOUT_S)
            except FrameError as problem:
                self._gate.drop(str(problem))
            now_ns = self._turned_ns = time.monotonic_ns()
            if frame is None:
                if self._live and now_ns - silent_since > SILENCE_S * 1e9:
                    raise SourceError(f"no frame for {SILENCE_S:g} s")
                continue
            silent_since = now_ns
            self.counts.frames += 1
            if self._away:
                self._away = False
                logger.warning("the source works again")
            if self._live and not self._gate.passes(frame, now_ns):
                continue
            try:
                prepared = self._prepare(frame)
            except FrameError as problem:
                if not self._live:
                    raise
                self._gate.drop(str(problem))
                continue
            dropped = self._channel.put(Available(prepared, now_ns))
            if not self._stopping.is_set():
                self.counts.replaced += dropped

    def _lose(self, problem: Exception) -> None:
        self.counts.outages += 1
        if not self._away:
            known = isinstance(problem, GearshiftError | OSError)
            logger.warning("the source failed: %s", problem, exc_info=not known)
        self._away = True

    def _reopen(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            self._close()
            if self._stopping.wait(pause_s):
                return
            self._turned_ns = time.monotonic_ns()
            try:
                self._source.open()
                return
            except Exception as error:
                # Whatever a driver raises while its device is away, it may come back.
                logger.debug("the source cannot be opened: %s", error)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _close(self) -> None:
        try:
            self._source.close()
        except Exception as error:
            logger.debug("the source could not be closed: %s", error)


def _known(problem: Exception) -> GearshiftError:
    if isinstance(problem, GearshiftError):
        return problem
    logger.error("the source failed", exc_info=problem)
    return SourceError(f"the source failed: {type(problem).__name__}: {problem}")
