"""What recorded sources share: frames that were captured before, played at their own pace.

A recording, a video and a folder of images differ in how a frame is decoded and what is known of
its time; when it comes, and with which time stamp, is decided here for all three.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from statistics import median
from typing import Annotated, Literal, Protocol

import msgspec

from gearshift.runtime.errors import FrameError, RecordingError, SourceError
from gearshift.runtime.sources.source import SourceEnded
from gearshift.runtime.types import Camera, Frame, Image

logger = logging.getLogger(__name__)


class PlaybackOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How something recorded is played.

    path: the file or folder. pace: "recorded", frames come at their recorded times, like those of a
    camera that waits for nobody: whoever is late misses some; "none", every frame, as fast as they
    are fetched. loop: begin again after the last frame. start_s: seconds from the first frame at
    which to begin. rate_hz: play at this even rate instead of at the recorded times.
    """

    path: str
    pace: Literal["recorded", "none"] = "recorded"
    loop: bool = False
    start_s: Annotated[float, msgspec.Meta(ge=0, le=1e6)] = 0.0
    rate_hz: Annotated[float, msgspec.Meta(gt=0, le=1000)] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Moment:
    """One recorded frame, or why it cannot be used.

    time_ns: of any clock, None when unknown. number: grows, with gaps.
    """

    image: Image | FrameError
    time_ns: int | None
    number: int


class Clip(Protocol):
    """Something recorded, opened. rate_hz: nominal, None when unknown."""

    @property
    def camera(self) -> Camera | None: ...  # noqa: D102

    @property
    def rate_hz(self) -> float | None: ...  # noqa: D102

    def frames(self) -> Iterator[Moment]:
        """From the first frame on, again at each call.

        Raises RecordingError when nothing more can be read; closing the iterator frees what it
        holds.
        """


_USUAL_HZ = 30.0
_NOT_LATER = "%s: frame %d is not later than the one before; such frames are left out"


def usual_rate(times_ns: Iterable[int]) -> float | None:
    """Frames per second by the median interval of the first few times; None when there is none."""
    first = list(islice(times_ns, 16))
    intervals = [late - early for early, late in pairwise(first) if late > early]
    return 1e9 / median(intervals) if intervals else None


class Playback:
    """A `Source` that plays a clip.

    Times are the recorded ones moved so that the first frame is captured when it is first asked
    for; intervals stay as they were, also with pace "none", where a frame may thus be fetched
    before its time. Frames whose recorded time does not grow are left out with a warning.
    """

    def __init__(self, options: PlaybackOptions, open_clip: Callable[[Path], Clip]) -> None:
        self._options = options
        self._path = Path(options.path).expanduser()
        self._open_clip = open_clip
        self._clip: Clip | None = None
        self._timeline: Generator[tuple[int, Moment], None, None] | None = None
        self._waiting: tuple[int, Moment] | None = None
        self._following: tuple[int, Moment] | None = None
        self._origin_ns: int | None = None
        self._ended = False

    @property
    def camera(self) -> Camera | None:
        """The recorded intrinsics; None where there are none."""
        return self._clip.camera if self._clip is not None else None

    @property
    def live(self) -> bool:
        """Whether frames come whether or not they are fetched."""
        return self._options.pace == "recorded"

    @property
    def rate_hz(self) -> float | None:
        """Nominal frame rate."""
        return self._options.rate_hz or (self._clip.rate_hz if self._clip is not None else None)

    def open(self) -> None:
        """Open the clip and decode its first frame; raises SourceError."""
        self.close()
        try:
            self._clip = self._open_clip(self._path)
        except RecordingError as error:
            raise SourceError(str(error)) from error
        self._timeline = self._play(self._clip)
        self._ended, self._origin_ns = False, None
        try:
            self._waiting = self._next()
        except SourceError:
            self.close()
            raise
        if self._waiting is None:
            self.close()
            begin = self._options.start_s
            after = f" at or after start_s = {begin:g}" if begin else ""
            raise SourceError(f"{self._path} has no frame{after}")

    def read(self, timeout_s: float) -> Frame | None:
        """The frame that is due, see `Source.read`; late ones are skipped where `live`."""
        if self._timeline is None:
            raise SourceError(f"{self._path} is not open")
        if self._waiting is None:
            self._waiting = self._next()
        if self._waiting is None:
            raise SourceEnded
        now = time.monotonic_ns()
        if self._origin_ns is None:
            self._origin_ns = now
        if self.live:
            wait_s = (self._origin_ns + self._waiting[0] - now) * 1e-9
            if wait_s > timeout_s:
                time.sleep(max(timeout_s, 0.0))
                return None
            if wait_s > 0:
                time.sleep(wait_s)
            self._catch_up(self._origin_ns)
        offset_ns, moment = self._waiting
        self._waiting = None
        if isinstance(moment.image, FrameError):
            raise moment.image
        return Frame(
            moment.image,
            self._origin_ns + offset_ns,
            moment.number,
            self._path.name,
            self.camera,
        )

    def close(self) -> None:
        """Let go of the clip."""
        timeline, self._timeline = self._timeline, None
        if timeline is not None:
            timeline.close()
        self._clip = self._waiting = self._following = None

    def _catch_up(self, origin_ns: int) -> None:
        """Skip to the newest frame whose time has come, as a camera would have by now."""
        period_ns = round(1e9 / (self.rate_hz or _USUAL_HZ))
        while self._waiting is not None:
            since_ns = time.monotonic_ns() - origin_ns
            if since_ns - self._waiting[0] < period_ns:
                return  # too fresh for the next one to be due, which need not be decoded yet
            newer = self._next()
            if newer is None or newer[0] > since_ns:
                self._following = newer
                return
            self._waiting = newer

    def _next(self) -> tuple[int, Moment] | None:
        """The next frame with its time from the first one [ns]; None after the last."""
        following, self._following = self._following, None
        if following is not None or self._timeline is None or self._ended:
            return following
        try:
            following = next(self._timeline, None)
        except RecordingError as error:
            raise SourceError(str(error)) from error
        self._ended = following is None
        return following

    def _play(self, clip: Clip) -> Generator[tuple[int, Moment], None, None]:
        """All rounds in one: times from the first frame [ns] and numbers that grow."""
        period_ns = round(1e9 / (self.rate_hz or _USUAL_HZ))
        last_ns, last_number, warned = -period_ns, -1, False
        while True:
            played = False
            for since_ns, moment in self._round(clip):
                if not played:
                    shift_ns = last_ns + period_ns - since_ns
                    shift_number = last_number + 1 - moment.number if last_number >= 0 else 0
                offset_ns, number = since_ns + shift_ns, moment.number + shift_number
                if played and (offset_ns <= last_ns or number <= last_number):
                    if not warned:
                        logger.warning(_NOT_LATER, self._path, moment.number)
                    warned = True
                    continue
                last_ns, last_number, played = offset_ns, number, True
                yield offset_ns, Moment(moment.image, moment.time_ns, number)
            if not (played and self._options.loop):
                return

    def _round(self, clip: Clip) -> Iterator[tuple[int, Moment]]:
        """The clip once, from start_s on, with the time since its own first frame [ns]."""
        even_hz = self._options.rate_hz
        usual_hz = even_hz or clip.rate_hz or _USUAL_HZ
        first_ns: int | None = None
        for index, moment in enumerate(clip.frames()):
            if index == 0:
                first_ns = moment.time_ns
            if even_hz is not None or moment.time_ns is None or first_ns is None:
                since_ns = round(index * 1e9 / usual_hz)
            else:
                since_ns = moment.time_ns - first_ns
            if since_ns >= self._options.start_s * 1e9:
                yield since_ns, moment
