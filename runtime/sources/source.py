"""Where frames come from: what every source offers and how one is found by name.

A source hands over frames of its own camera at its own size; `geometry` turns them into what the
networks were trained for. Plug-ins name a `SourcePlugin` in the entry-point group
`gearshift.sources`; every source passes `source_conformance.source_checks`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from gearshift.runtime.types import Camera, Frame


class SourceEnded(Exception):  # noqa: N818 (the end is no error)
    """A source that ends has given its last frame."""


class Source(Protocol):
    """Gives frames one after the other. Used by one thread at a time.

    Opening and closing may be repeated: a device that went away is closed and opened again until it
    is back.
    """

    @property
    def camera(self) -> Camera | None:
        """Intrinsics of the frames as they come; None when unknown. Settled once opened."""

    @property
    def live(self) -> bool:
        """Whether frames come whether or not they are fetched; a recording waits."""

    @property
    def rate_hz(self) -> float | None:
        """Nominal frame rate, None when unknown. Settled once opened."""

    def open(self) -> None:
        """Get ready to read; raises SourceError when the device or file cannot be used."""

    def read(self, timeout_s: float) -> Frame | None:
        """The next frame that was not read yet, or None when none came in time.

        Its capture time is monotonic (`time.monotonic_ns`): the sensor's own time stamp where there
        is one, else the moment it arrived. The image, (height, width) uint8, is the caller's to
        keep. Raises FrameError when one frame was garbage (only it is lost: count it, read on),
        SourceError when the device failed (close, then open again) and SourceEnded after the last
        frame.
        """

    def close(self) -> None:
        """Give back the device; closing twice does nothing."""


@dataclass(frozen=True, slots=True)
class SourcePlugin:
    """What stands behind the name of a source.

    options: the keys of its table in `flight.toml`, a frozen msgspec.Struct that forbids unknown
    fields. make: from those to a source that is not yet open; raises ConfigurationError.
    """

    summary: str
    options: type[msgspec.Struct]
    make: Callable[[Any], Source]
