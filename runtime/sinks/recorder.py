"""Records the flight: every frame with its decision, on the disk within the second.

A flight is split into parts, so that a long one stays small in memory and fits on FAT; after a
power cut the last part is readable up to its last sync (`gearshift replay --truncated`).
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec

from gearshift.runtime.errors import RecordingError, SinkError, SinkStoppedError
from gearshift.runtime.recordings.recording_messages import Decision
from gearshift.runtime.recordings.recording_writer import RecordingWriter
from gearshift.runtime.scheduling.description import ATTRIBUTE
from gearshift.runtime.sinks.sink import FlightInfo, Report, SinkPlugin

NS_PER_S = 1_000_000_000
MEGABYTE = 1_000_000
PATIENCE_S = 0.3
"""How long reports may wait to be written together."""
LONGEST_SYNC_S = 0.7
"""With the reports that wait, what a power cut takes stays within a second."""

logger = logging.getLogger(__name__)


class RecorderOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """folder: made when it is missing. split_mb: size at which the next part begins. sync_s: how
    often data is put on the disk, which bounds what a power cut takes."""

    folder: str = "flights"
    split_mb: Annotated[float, msgspec.Meta(gt=0)] = 200.0
    sync_s: Annotated[float, msgspec.Meta(gt=0, le=LONGEST_SYNC_S)] = 0.5


class Recorder:
    """Writes `flight-<UTC>[-<n>]-part<k>.mcap`; never overwrites."""

    def __init__(self, options: RecorderOptions) -> None:
        self._folder = Path(options.folder).expanduser()
        self._split_bytes = int(options.split_mb * MEGABYTE)
        self._sync_ns = int(options.sync_s * NS_PER_S)
        self._writer: RecordingWriter | None = None
        self._info: FlightInfo | None = None
        self._name = ""
        self._next_part = 0
        self._synced_ns = 0

    @property
    def path(self) -> Path | None:
        """The part that is being written."""
        return None if self._writer is None else self._writer.path

    def open(self, info: FlightInfo, /) -> None:
        """See `Sink.open`. Opened again, it goes on with the next part."""
        self._info = info
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SinkError(
                f"cannot make the recording folder {self._folder}: {error.strerror}"
            ) from error
        if not self._name:
            self._name = self._free_name(info)
        try:
            self._begin_part()
        except RecordingError as error:
            raise SinkError(str(error)) from error

    def write(self, report: Report) -> None:
        """See `Sink.write`. Raises SinkStoppedError when the disk is full or gone: what was
        synced stays readable."""
        writer = self._writer
        if writer is None:
            raise SinkError(f"the recording in {self._folder} is closed")
        try:
            if report.frame is not None:
                decision = None
                if report.estimate is not None:
                    decision = Decision(report.estimate, report.outputs)
                writer.write_frame(report.frame, decision=decision)
            # A report without a frame says that frames stopped coming: nothing else would sync.
            if report.frame is None or report.time_ns - self._synced_ns >= self._sync_ns:
                writer.sync()
                self._synced_ns = report.time_ns
                if writer.size >= self._split_bytes:
                    self._writer = None  # a finished part stays whole, whatever becomes of the next
                    writer.close()
                    self._begin_part()
        except RecordingError as error:
            if self._writer is not None:
                self._writer.discard()
                self._writer = None
            raise SinkStoppedError(f"{error}; recording stopped, the flight goes on") from error

    def close(self) -> None:
        """See `Sink.close`."""
        writer, self._writer = self._writer, None
        if writer is None:
            return
        try:
            writer.close()
        except RecordingError as error:
            raise SinkStoppedError(f"{error}; it is readable with --truncated") from error

    def _begin_part(self) -> None:
        info = self._info
        if info is None:
            raise SinkError("the recorder was not opened")
        attributes = dict(info.attributes)
        attributes["start_unix_ns"] = str(info.start_unix_ns)
        attributes["start_monotonic_ns"] = str(info.start_monotonic_ns)
        if info.flight is not None:
            part = replace(info.flight, flight=self._name, part=self._next_part)
            attributes[ATTRIBUTE] = part.to_json()
        path = self._folder / f"{self._name}-part{self._next_part}.mcap"
        self._writer = RecordingWriter(
            path,
            camera=info.camera,
            components=info.components,
            attributes=attributes,
            in_place=True,
        )
        self._next_part += 1
        logger.info("recording to %s", path)

    def _free_name(self, info: FlightInfo) -> str:
        started = datetime.fromtimestamp(info.start_unix_ns / NS_PER_S, UTC)
        name = base = f"flight-{started:%Y%m%dT%H%M%SZ}"
        number = 2
        # A clock that starts at 1970 on every boot gives the same name again.
        while any(self._folder.glob(f"{name}-part*.mcap")):
            name = f"{base}-{number}"
            number += 1
        return name


PLUGIN = SinkPlugin(
    summary="MCAP recording of every frame and decision, synced every half second",
    options=RecorderOptions,
    make=Recorder,
    patience_s=PATIENCE_S,
)
