"""A folder of images as a source, with the times of a CSV file where there is one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gearshift.runtime.errors import ConfigurationError, FrameError, RecordingError
from gearshift.runtime.files.csv_rows import read_rows, time_ns
from gearshift.runtime.files.image_files import SUFFIXES, image_names, read_image
from gearshift.runtime.files.opencv import load_opencv, to_grey
from gearshift.runtime.sources.playback import Moment, Playback, PlaybackOptions, usual_rate
from gearshift.runtime.sources.source import SourcePlugin
from gearshift.runtime.types import Camera, Image


class ImagesOptions(PlaybackOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Keys of a flight's [source] of kind "images".

    times: a CSV file with the columns `file` and `time_ns` or `time_s`; its rows say which images
    are played, and in which order. Without it they come sorted by name at rate_hz (30 when not
    given).
    """

    times: str | None = None


class _Folder:
    """The images of a folder, decoded one at a time."""

    camera: Camera | None = None

    def __init__(self, folder: Path, times: Path | None) -> None:
        load_opencv()
        try:
            names = image_names(folder)
        except OSError as error:
            raise RecordingError(f"cannot read the folder {folder}: {error.strerror}") from error
        if not names:
            raise RecordingError(f"{folder} has no images ({', '.join(SUFFIXES)})")
        self._folder = folder
        self._rows = [(n, None) for n in names] if times is None else _timed(names, folder, times)
        self.rate_hz = usual_rate(when for _, when in self._rows if when is not None)

    def frames(self) -> Iterator[Moment]:
        for number, (name, when) in enumerate(self._rows):
            yield Moment(self._decode(str(self._folder / name)), when, number)

    def _decode(self, path: str) -> Image | FrameError:
        try:
            return to_grey(read_image(Path(path), path), path)
        except RecordingError as error:
            return FrameError(str(error))
        except FrameError as error:
            return error


def _timed(names: list[str], folder: Path, times: Path) -> list[tuple[str, int | None]]:
    """Image and time [ns] of every row."""
    known = frozenset(names)
    rows: list[tuple[str, int | None]] = []
    for where, row in read_rows(times, ("file",)):
        name, when = row["file"], time_ns(row, where)
        if name not in known:
            raise RecordingError(f"{where}: there is no image {name[:80]!r} in {folder}")
        if when is None:
            raise RecordingError(f"{where}: neither time_ns nor time_s is given")
        rows.append((name, when))
    return rows


def make_source(options: ImagesOptions) -> Playback:
    """The folder as a source that is not yet open; raises ConfigurationError."""
    times = None if options.times is None else Path(options.times).expanduser()
    if times is not None and options.rate_hz is not None:
        raise ConfigurationError("images: give either times or rate_hz, not both")
    return Playback(options, lambda folder: _Folder(folder, times))


PLUGIN = SourcePlugin(
    "a folder of images, at a rate or at the times of a CSV file", ImagesOptions, make_source
)
