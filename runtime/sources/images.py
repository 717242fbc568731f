"""A folder of images as a source, with the times of a CSV file where there is one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gearshift.runtime.csv_rows import read_rows, time_ns
from gearshift.runtime.errors import ConfigurationError, RecordingError
from gearshift.runtime.image_files import SUFFIXES, image_names, read_image
from gearshift.runtime.opencv import load_opencv, to_grey
from gearshift.runtime.source import SourcePlugin
from gearshift.runtime.sources.playback import Moment, Playback, PlaybackOptions
from gearshift.runtime.types import Camera


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
    rate_hz: float | None = None

    def __init__(self, folder: Path, times: Path | None) -> None:
        load_opencv()
        try:
            self._names = image_names(folder)
        except OSError as error:
            raise RecordingError(f"cannot read the folder {folder}: {error.strerror}") from error
        if not self._names:
            raise RecordingError(f"{folder} has no images ({', '.join(SUFFIXES)})")
        self._folder = folder
        self._times = times

    def frames(self) -> Iterator[Moment]:
        for number, (name, when) in enumerate(self._listed()):
            where = str(self._folder / name)
            image = to_grey(read_image(self._folder / name, where), where)
            yield Moment(image, when, number)

    def _listed(self) -> Iterator[tuple[str, int | None]]:
        if self._times is None:
            yield from ((name, None) for name in self._names)
            return
        known = frozenset(self._names)
        for where, row in read_rows(self._times, ("file",)):
            name, when = row["file"], time_ns(row, where)
            if name not in known:
                raise RecordingError(f"{where}: there is no image {name[:80]!r} in {self._folder}")
            if when is None:
                raise RecordingError(f"{where}: neither time_ns nor time_s is given")
            yield name, when


def make_source(options: ImagesOptions) -> Playback:
    """The folder as a source that is not yet open; raises ConfigurationError."""
    times = None if options.times is None else Path(options.times).expanduser()
    if times is not None and options.rate_hz is not None:
        raise ConfigurationError("images: give either times or rate_hz, not both")
    return Playback(options, lambda folder: _Folder(folder, times))


PLUGIN = SourcePlugin(
    "a folder of images, at a rate or at the times of a CSV file", ImagesOptions, make_source
)
