"""Our own recordings once more: to crop, resize or give a camera to what was recorded without."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from gearshift.runtime.errors import RecordingError
from gearshift.runtime.recordings.recording import RecordingReader
from gearshift.runtime.types import Camera, GroundTruth
from gearshift.sim.convert.reader import Label, ReaderOptions, SourceFrame, starts_with

NAME: Final = "gearshift"
MAGIC: Final = b"\x89MCAP0\r\n"


def recognises(path: Path) -> bool:
    """Any MCAP file that no reader before this one took."""
    return path.is_file() and starts_with(path, MAGIC)


def open_source(path: Path, _options: ReaderOptions) -> GearshiftSource:
    """Open it; raises RecordingError."""
    return GearshiftSource(path)


class GearshiftSource:
    """The frames of a recording with their ground truth."""

    frames: int | None = None

    def __init__(self, path: Path) -> None:
        self._reader = RecordingReader(path)
        names = tuple(c.name for c in self._reader.header.components)
        if names != ("x", "y", "z", "phi"):
            raise RecordingError(f"{path} holds {', '.join(names)}, no poses")
        self.camera: Camera | None = self._reader.header.camera
        self.notes: list[str] = []

    def __iter__(self) -> Iterator[SourceFrame]:
        for entry in self._reader:
            frame = entry.frame
            where = f"{self._reader.path}, frame {frame.sequence}"
            label = None if entry.truth is None else _label(entry.truth)
            yield SourceFrame(where, frame.image, "rgb", frame.capture_time_ns, label)


def _label(truth: GroundTruth) -> Label:
    x, y, z, phi = truth.values
    return Label((x, y, z, phi), truth.visible, truth.head_pixel)
