"""A recorded flight as a source: what was seen then, seen again. Its ground truth stays behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gearshift.runtime.recordings.recording import RecordingReader
from gearshift.runtime.sources.playback import Moment, Playback, PlaybackOptions, usual_rate
from gearshift.runtime.sources.source import SourcePlugin
from gearshift.runtime.types import Camera


class RecordingOptions(PlaybackOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Keys of a flight's [source] of kind "recording".

    truncated: read a recording that was cut off up to its last whole frame.
    """

    truncated: bool = False


class _Recorded:
    """The frames of a recording; their numbers are the recorded sequence numbers."""

    def __init__(self, path: Path, truncated: bool) -> None:
        self._reader = RecordingReader(path, allow_truncated=truncated)
        self.camera: Camera | None = self._reader.header.camera
        self.rate_hz = usual_rate(recorded.frame.capture_time_ns for recorded in self._reader)

    def frames(self) -> Iterator[Moment]:
        for recorded in self._reader:
            frame = recorded.frame
            yield Moment(frame.image, frame.capture_time_ns, frame.sequence)


def make_source(options: RecordingOptions) -> Playback:
    """The recording as a source that is not yet open."""
    return Playback(options, lambda path: _Recorded(path, options.truncated))


PLUGIN = SourcePlugin(
    "a recorded flight (.mcap), at its own pace or as fast as it can be processed",
    RecordingOptions,
    make_source,
)
