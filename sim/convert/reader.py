"""What every reader gives, and how the reader of an input is found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from gearshift.runtime.types import Camera


@dataclass(frozen=True, slots=True)
class Label:
    """What a source says about one frame.

    values: x, y, z [m], phi [rad] of the head in the drone's yaw-levelled frame, NaN where nobody
    is there. visible: whether the head is in the image; None where the source does not say.
    head_pixel: (u, v) in the source's image, pixel centres at integers.
    """

    values: tuple[float, float, float, float]
    visible: bool | None = None
    head_pixel: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class SourceFrame:
    """One image as the source holds it.

    where: names it in messages ("row 12", "00012.png"). image: (h, w), (h, w, 1), (h, w, 3) or
    (h, w, 4), any number type. channels: order of colours, "rgb" or "bgr"; a fourth is ignored.
    time_ns: when it was captured, None where the source does not know. label: None where nothing
    is known.
    """

    where: str
    image: NDArray[Any]
    channels: str
    time_ns: int | None
    label: Label | None


@dataclass(frozen=True, slots=True)
class ReaderOptions:
    """What the user said about the input; None: look for the usual names."""

    labels: Path | None = None
    image_topic: str | None = None
    pose_topic: str | None = None
    drone_topic: str | None = None
    stamp: str = "header"
    images: str | None = None
    poses: str | None = None
    times: str | None = None
    channels: str | None = None
    memory: int = 2_000_000_000


class Source(Protocol):
    """One opened input: frames in order of capture, one at a time in memory.

    frames: how many, None where only reading tells. camera: None where the source has no
    intrinsics. notes: one line each on what a user must know (what was left out, what is not
    truth), complete after the frames were read.
    """

    @property
    def frames(self) -> int | None: ...  # noqa: D102

    @property
    def camera(self) -> Camera | None: ...  # noqa: D102

    @property
    def notes(self) -> list[str]: ...  # noqa: D102

    def __iter__(self) -> Iterator[SourceFrame]: ...


class Reader(Protocol):
    """A module that reads one kind of input."""

    NAME: str

    def recognises(self, path: Path) -> bool:
        """Whether the input looks like this kind; reads a few bytes at most."""

    def open_source(self, path: Path, options: ReaderOptions) -> Source:
        """Open it; raises RecordingError and ConfigurationError."""


def starts_with(path: Path, *magic: bytes) -> bool:
    """Whether a file begins with one of some bytes; False for a folder or an unreadable file."""
    try:
        with path.open("rb") as stream:
            head = stream.read(max(map(len, magic)))
    except OSError:
        return False
    return head.startswith(magic)
