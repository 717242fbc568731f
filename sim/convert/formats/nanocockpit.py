"""NanoCockpit's data sets: `metadata.csv`, `camera_raw/NNNNN.png` and perhaps `inference.csv`.

Source: `src/client/aideck_cpx_streamer/aideck_cpx_streamer/utils/frame_saver.py` of
idsia-robotics/nanocockpit (commit 1d14874). What it does not say, its `cpx/streamer.py` does: frame
time stamps are of GAP8, microseconds in 32 bits. Its `filename` column names the file that was
saved last for the frame, which is the colour JPEG or the time-of-flight PNG: only the number in it
is of use. `inference.csv` is what a network said, not the truth, and does not become ground truth.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from gearshift.runtime.errors import RecordingError
from gearshift.runtime.files.csv_rows import read_rows, whole
from gearshift.runtime.files.image_files import read_image
from gearshift.runtime.types import Camera
from gearshift.sim.convert.formats.folder import inside
from gearshift.sim.convert.labels import NumberedLabels
from gearshift.sim.convert.reader import ReaderOptions, SourceFrame

NAME: Final = "nanocockpit"
METADATA: Final = "metadata.csv"
IMAGES: Final = "camera_raw"
_WRAP: Final = 1 << 32


def recognises(path: Path) -> bool:
    """A folder with metadata.csv and camera_raw."""
    return (path / METADATA).is_file() and (path / IMAGES).is_dir()


def open_source(path: Path, options: ReaderOptions) -> NanoCockpitSource:
    """Open the folder; raises RecordingError."""
    if not (path / METADATA).is_file():
        raise RecordingError(f"{path} has no {METADATA}")
    if not (path / IMAGES).is_dir():
        raise RecordingError(f"{path} has no folder {IMAGES}")
    return NanoCockpitSource(path, options.labels, options.channels or "bgr")


class NanoCockpitSource:
    """Frames in the order of metadata.csv; labels, if any, by the number of the row from 0."""

    camera: Camera | None = None

    def __init__(self, path: Path, labels: Path | None, channels: str) -> None:
        self._path = path
        self._labels = labels
        self._channels = channels
        self.frames: int | None = sum(1 for _ in (path / IMAGES).glob("*.png"))
        self.notes: list[str] = []
        if (path / "inference.csv").is_file():
            self.notes.append(
                f"{path / 'inference.csv'} is what a network said, no ground truth: left out"
            )

    def __iter__(self) -> Iterator[SourceFrame]:
        labels = NumberedLabels(self._labels)
        rows = turns = 0
        last: int | None = None
        skipped = 0
        last_id: int | None = None
        for where, record in read_rows(
            self._path / METADATA, ("filename", "frame_id", "frame_gap8_timestamp")
        ):
            stamp = whole(record, "frame_gap8_timestamp", where)
            frame_id = whole(record, "frame_id", where)
            if stamp is None or stamp >= _WRAP:
                raise RecordingError(f"{where}: frame_gap8_timestamp is not 32 bits")
            # 32 bits of microseconds start again at 0 every 71 minutes.
            if last is not None and stamp < last and last - stamp > _WRAP // 2:
                turns += 1
            last = stamp
            if frame_id is not None and last_id is not None:
                skipped += (frame_id - last_id - 1) % 256  # the camera's counter has 8 bits
            last_id = frame_id
            number = Path(record["filename"]).stem
            name = inside(self._path / IMAGES, f"{number}.png", where)
            row = labels.at(rows)
            rows += 1
            yield SourceFrame(
                where=where,
                image=read_image(name, where),
                channels=self._channels,
                time_ns=(turns * _WRAP + stamp) * 1000,
                label=None if row is None else row.label,
            )
        labels.finish(rows)
        if skipped:
            self.notes.append(f"the camera's counter skips {skipped} frames: they never arrived")
