"""What every source of frames has to pass, ours and plugged-in ones alike.

for check in source_checks():
    check(lambda: MySource(...))      # raises AssertionError, saying what is wrong
is_missed_in_one_line(lambda: MySource(a device that is not there))
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from gearshift.runtime.errors import GearshiftError, SourceError
from gearshift.runtime.sources.source import Source, SourceEnded
from gearshift.runtime.types import Frame

MakeSource = Callable[[], Source]
"""Makes the source under test, not yet open; twice in a row it is the same device or file."""
SourceCheck = Callable[[MakeSource], None]

_PATIENCE_S = 10.0
"""Longer than any source may take to give a frame; only a source that hangs is this slow."""
_FRAMES = 8
_ENDLESS = 2000


def _require(condition: object, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def read_frames(source: Source, count: int) -> list[Frame]:
    """The next frames, fewer when the source ends; AssertionError when none comes for long."""
    frames: list[Frame] = []
    silent_since = time.monotonic()
    while len(frames) < count:
        try:
            frame = source.read(0.2)
        except SourceEnded:
            break
        if frame is not None:
            frames.append(frame)
            silent_since = time.monotonic()
        _require(time.monotonic() - silent_since < _PATIENCE_S, "no frame came")
    return frames


def gives_images(make: MakeSource) -> None:
    """Frames are grey, whole, of the camera's size, and say where they come from."""
    source = make()
    source.open()
    try:
        frames = read_frames(source, _FRAMES)
        _require(frames, "it gave no frame")
        rate = source.rate_hz
        _require(rate is None or rate > 0, f"its rate is {rate}")
        camera = source.camera
        for frame in frames:
            image = frame.image
            _require(image.dtype == np.uint8, f"images are {image.dtype}, not uint8")
            _require(image.ndim == 2 and image.size, f"images have shape {image.shape}")
            _require(image.flags.c_contiguous, "images are not contiguous")
            _require(frame.source, "frames do not say where they come from")
            _require(frame.camera == camera, "frames and source name different cameras")
            if camera is not None:
                size = (camera.height, camera.width)
                _require(image.shape == size, f"images are {image.shape}, the camera {size}")
    finally:
        source.close()


def images_are_kept(make: MakeSource) -> None:
    """A frame stays as it is while later ones are read and after the source is closed."""
    source = make()
    source.open()
    try:
        frames = read_frames(source, 1)
        before = [frame.image.copy() for frame in frames]
        later = read_frames(source, _FRAMES)
    finally:
        source.close()
    for frame, image in zip(frames, before, strict=True):
        _require(np.array_equal(frame.image, image), "an image changed after it was handed over")
        for other in later:
            shared = np.shares_memory(frame.image, other.image)
            _require(not shared, "two frames share their memory")


def times_and_numbers_grow(make: MakeSource) -> None:
    """Capture times and sequence numbers grow; a live frame was captured before it was read."""
    source = make()
    source.open()
    try:
        before = time.monotonic_ns()
        last: Frame | None = None
        for _ in range(_FRAMES):
            for frame in read_frames(source, 1):
                now = time.monotonic_ns()
                if last is not None:
                    grows = frame.capture_time_ns > last.capture_time_ns
                    _require(grows, "capture times do not grow")
                    _require(frame.sequence > last.sequence, "sequence numbers do not grow")
                if source.live:
                    _require(frame.capture_time_ns <= now, "a frame was read before its capture")
                age_s = (before - frame.capture_time_ns) * 1e-9
                _require(age_s < _PATIENCE_S, f"a frame is {age_s:.0f} s old")
                last = frame
    finally:
        source.close()


def time_outs_are_honoured(make: MakeSource) -> None:
    """With nothing to read, reading returns None in about the time that it was given."""
    source = make()
    source.open()
    try:
        for timeout_s in (0.0, 0.01):
            for _ in range(20):
                start = time.monotonic()
                try:
                    frame = source.read(timeout_s)
                except SourceEnded:
                    return
                took_s = time.monotonic() - start
                # Generous: a busy machine may stall anyone, but not for seconds.
                _require(took_s < timeout_s + 5.0, f"read({timeout_s}) took {took_s:.1f} s")
                if frame is None and source.live:
                    break
    finally:
        source.close()


def opens_again(make: MakeSource) -> None:
    """After closing it opens and gives frames again, as a device does that came back."""
    source = make()
    last_ns = 0
    for _ in range(3):
        source.open()
        try:
            frames = read_frames(source, 2)
        finally:
            source.close()
        _require(frames, "it gave no frame after it was opened again")
        _require(frames[0].capture_time_ns > last_ns, "capture times went back on reopening")
        if source.live:
            last_ns = frames[-1].capture_time_ns


def closes_quietly(make: MakeSource) -> None:
    """Closing is allowed before opening and twice; reading what is closed is a SourceError."""
    source = make()
    source.close()
    source.open()
    read_frames(source, 1)
    source.close()
    source.close()
    _refused(lambda: source.read(0.0), "reading a closed source")


def stays_ended(make: MakeSource) -> None:
    """What ends says so again and again; what does not end passes."""
    source = make()
    source.open()
    try:
        if source.live or len(read_frames(source, _ENDLESS)) == _ENDLESS:
            return
        for _ in range(3):
            try:
                source.read(0.0)
            except SourceEnded:
                continue
            raise AssertionError("after its end it did not raise SourceEnded")
    finally:
        source.close()


def is_missed_in_one_line(make_missing: MakeSource) -> None:
    """A device or file that is not there is a SourceError of one line, each time it is tried."""
    source = make_missing()
    for _ in range(2):
        message = _refused(source.open, "opening what is not there")
        _require(message, "the error says nothing")
        _require("\n" not in message, "the error is longer than a line")
        source.close()


def _refused(action: Callable[[], object], what: str) -> str:
    try:
        action()
    except SourceError as error:
        return str(error)
    except GearshiftError as error:
        raise AssertionError(f"{what} raised {type(error).__name__}, not SourceError") from error
    raise AssertionError(f"{what} was accepted")


def source_checks() -> tuple[SourceCheck, ...]:
    """Every check a source passes; `is_missed_in_one_line` wants a source that cannot open."""
    return (
        gives_images,
        images_are_kept,
        times_and_numbers_grow,
        time_outs_are_honoured,
        opens_again,
        closes_quietly,
        stays_ended,
    )
