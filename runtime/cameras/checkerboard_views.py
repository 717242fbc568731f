"""Views of a checkerboard from wherever they come: images, a video, a recording, a live camera."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from gearshift.runtime.cameras.checkerboard import Board, ViewCollector, find_corners
from gearshift.runtime.errors import ConfigurationError, FrameError, SourceError
from gearshift.runtime.sources.source import Source, SourceEnded
from gearshift.runtime.sources.source_registry import find_source
from gearshift.runtime.types import Image

logger = logging.getLogger(__name__)

_VIDEO_SUFFIXES: Final = (
    ".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v", ".mjpeg", ".mjpg",
)  # fmt: skip
_SILENCE_S: Final = 10.0


@dataclass(frozen=True, slots=True, eq=False)
class Views:
    """What was seen. images: how many; last: the last of them."""

    collector: ViewCollector
    images: int
    last: Image


def views_source(where: str, size: tuple[int, int] | None, form: str | None) -> Source:
    """The source for a folder, video, recording, device, URL or "picamera2:0"; not yet open.

    size, form: what to ask a camera for. Raises ConfigurationError.
    """
    path = Path(where)
    suffix = path.suffix.lower()
    is_url = "://" in where
    settings: dict[str, Any] = {"path": where, "pace": "none"}
    asked: dict[str, Any] = {}
    if size is not None:
        asked |= {"width": size[0], "height": size[1]}
    if form is not None:
        asked["format"] = form
    if path.is_dir():
        kind = "images"
    elif suffix == ".mcap" and not is_url:
        kind = "recording"
    elif suffix in _VIDEO_SUFFIXES and not is_url:
        kind = "video"
    elif where.startswith("picamera2"):
        kind = "picamera2"
        number = where.removeprefix("picamera2").removeprefix(":") or "0"
        if not number.isdigit():
            raise ConfigurationError(f"{where}: write picamera2:0, with the camera's number")
        settings = {"camera": int(number), **asked}
    elif where.startswith("/dev/") or is_url:
        kind = "v4l2"
        settings = {"device": where, **asked}
    else:
        raise ConfigurationError(
            f"{where} is no folder, video or recording, nor a camera (/dev/video0, URL, picamera2)"
        )
    if asked and "path" in settings:
        raise ConfigurationError("--size and --format are for cameras; images have theirs")
    plugin = find_source(kind)
    try:
        return plugin.make(msgspec.convert(settings, plugin.options))
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"{where}: {error}") from error


def collect_views(
    source: Source,
    board: Board,
    count: int,
    progress: Callable[[ViewCollector], None],
) -> Views:
    """Views of the whole board that differ, from an open source.

    A live one is watched until there are `count` or the user interrupts; another is read to its
    end. progress: called when a view was added. Raises ConfigurationError when images differ in
    size or none shows the board, SourceError when a camera falls silent.
    """
    collector: ViewCollector | None = None
    last: Image | None = None
    images, silent_since = 0, time.monotonic()
    # Most of the time goes into looking for the board: that is what an interrupt meets.
    with suppress(SourceEnded, KeyboardInterrupt):
        while not source.live or collector is None or len(collector.corners) < count:
            try:
                frame = source.read(0.5)
            except FrameError as error:
                logger.warning("%s", error)
                continue
            if frame is None:
                if time.monotonic() - silent_since > _SILENCE_S:
                    raise SourceError(f"the camera gave no image for {_SILENCE_S:g} s")
                continue
            silent_since = time.monotonic()
            height, width = frame.image.shape
            if collector is None:
                collector = ViewCollector((width, height))
            elif collector.size != (width, height):
                raise ConfigurationError(
                    f"image {frame.sequence} is {width}x{height}, the first one was "
                    f"{collector.size[0]}x{collector.size[1]}; calibrate one size at a time"
                )
            images, last = images + 1, frame.image
            corners = find_corners(frame.image, board)
            if corners is not None and collector.offer(corners):
                progress(collector)
    if collector is None or last is None:
        raise ConfigurationError("there was no image")
    if not collector.corners:
        raise ConfigurationError(
            f"none of {images} images shows all {board.columns}x{board.rows} inner corners of the "
            "board; count corners where four squares meet, not squares"
        )
    return Views(collector, images, last)
