"""Recorded flights: MCAP files with Foxglove's own schemas plus our labels and decisions.

Foxglove opens them as they are. The reader streams, and on request reads a truncated file up to its
last whole frame; `recording_writer.py` writes them.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
from foxglove_schemas_protobuf.RawImage_pb2 import RawImage
from google.protobuf.message import DecodeError
from mcap.exceptions import McapError
from mcap.records import Channel, Metadata, Statistics
from mcap.records import Message as McapMessage
from mcap.stream_reader import CRCValidationError, StreamReader

from gearshift.runtime.errors import RecordingError
from gearshift.runtime.recordings import recording_messages as messages
from gearshift.runtime.recordings.recording_messages import Decision
from gearshift.runtime.types import (
    Camera,
    Component,
    Frame,
    GroundTruth,
)

SCHEMA_VERSION = 1
METADATA_NAME = "gearshift"
IMAGE_TOPIC = "/camera/image"
CALIBRATION_TOPIC = "/camera/calibration"
TRUTH_TOPIC = "/truth"
TRUTH_POSE_TOPIC = "/truth/pose"
DECISION_TOPIC = "/decision"
ESTIMATE_POSE_TOPIC = "/estimate/pose"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class RecordedFrame:
    """One frame of a recording with what is known of it."""

    frame: Frame
    truth: GroundTruth | None
    decision: Decision | None


@dataclass(frozen=True, slots=True)
class RecordingHeader:
    """What a recording says about itself before its first frame."""

    camera: Camera | None
    components: tuple[Component, ...]
    attributes: Mapping[str, str]


class _Bounded:
    """A file of which no more is asked for than there is: memory is taken by what a length says."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream = stream
        self._size = size

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes, and at most what is left."""
        left = max(self._size - self._stream.tell(), 0)
        return self._stream.read(left if size < 0 else min(size, left))


class RecordingReader:
    """Reads one flight in order, holding one chunk in memory.

        for entry in RecordingReader("flight.mcap"):
            entry.frame.image, entry.truth, entry.decision

    header: camera, components and attributes (split, room, person, ...) of the flight. Each round
    of a loop gives a `RecordedFrame`, whose truth and decision are None where the recording has
    none; the file is read anew for every loop.
    With `allow_truncated`, a file that was cut off is read up to its last whole frame and a warning
    is logged; otherwise it raises. Raises RecordingError for a file that is missing, truncated,
    damaged or no recording of ours.
    """

    def __init__(self, path: Path | str, *, allow_truncated: bool = False) -> None:
        self.path = Path(path)
        self.allow_truncated = allow_truncated
        self.header = self._read_header()

    def __iter__(self) -> Iterator[RecordedFrame]:
        """Yield the frames in the order of capture."""
        camera = self.header.camera
        pending: RecordedFrame | None = None
        for topic, record in self._messages():
            try:
                if topic == IMAGE_TOPIC:
                    if pending is not None:
                        yield pending
                    pending = RecordedFrame(self._decode_frame(record, camera), None, None)
                elif pending is None or record.log_time != pending.frame.capture_time_ns:
                    continue
                elif topic == TRUTH_TOPIC:
                    pending = replace(pending, truth=messages.decode_truth(record.data))
                elif topic == DECISION_TOPIC:
                    decision = messages.decode_decision(record.data, self.header.components)
                    pending = replace(pending, decision=decision)
            except (DecodeError, ValueError) as error:
                raise RecordingError(
                    f"{self.path}: damaged message on {topic} at {record.log_time} ns"
                ) from error
        if pending is not None:
            yield pending

    def _read_header(self) -> RecordingHeader:
        for record in self._records():
            if isinstance(record, Metadata) and record.name == METADATA_NAME:
                return _decode_header(self.path, record.metadata)
            if isinstance(record, McapMessage):
                break
        raise RecordingError(f"{self.path} is an MCAP file, but no recording of gearshift's")

    def _messages(self) -> Iterator[tuple[str, McapMessage]]:
        topics: dict[int, str] = {}
        count = 0
        for record in self._records():
            if isinstance(record, Channel):
                topics[record.id] = record.topic
            elif isinstance(record, McapMessage):
                if record.channel_id not in topics:
                    return self._report_damage("message on an unknown channel")
                count += 1
                yield topics[record.channel_id], record
            elif isinstance(record, Statistics) and record.message_count != count:
                # A damaged opcode hides a chunk from a reader; the summary gives it away.
                return self._report_damage(f"{count} of {record.message_count} messages found")
        return None

    def _records(self) -> Iterator[object]:
        try:
            stream = self.path.open("rb")
        except OSError as error:
            raise RecordingError(f"cannot read {self.path}: {error.strerror}") from error
        with stream:
            size = self.path.stat().st_size
            try:
                # A record longer than the file is a damaged length, not a reason to allocate it.
                yield from StreamReader(
                    _Bounded(stream, size), validate_crcs=True, record_size_limit=max(size, 1)
                ).records
            except (McapError, CRCValidationError, ValueError, EOFError, KeyError) as error:
                if isinstance(error, McapError) and "invalid magic" in str(error):
                    raise RecordingError(
                        f"{self.path} is not an MCAP recording; `gearshift recordings convert "
                        f"{self.path} OUT.mcap` makes one of other formats"
                    ) from error
                self._report_damage(type(error).__name__, error)
            except Exception as error:
                if type(error).__module__.split(".")[0] not in ("struct", "zstd", "zstandard"):
                    raise
                self._report_damage(type(error).__name__, error)

    def _report_damage(self, what: str, cause: Exception | None = None) -> None:
        if not self.allow_truncated:
            raise RecordingError(
                f"{self.path} is truncated or damaged ({what}); "
                "use --truncated to read it up to its last whole frame"
            ) from cause
        logger.warning("%s is truncated or damaged; read up to the last whole frame", self.path)

    def _decode_frame(self, record: McapMessage, camera: Camera | None) -> Frame:
        message = RawImage.FromString(record.data)
        if message.encoding != "mono8":
            raise RecordingError(
                f"{self.path}: images are {message.encoding}, expected mono8; convert the recording"
            )
        if len(message.data) != message.height * message.step or message.step < message.width:
            raise RecordingError(
                f"{self.path}: frame {record.sequence} has {len(message.data)} bytes "
                f"for {message.width}x{message.height}"
            )
        image = np.frombuffer(message.data, dtype=np.uint8).reshape(message.height, message.step)
        return Frame(
            image=image[:, : message.width],
            capture_time_ns=record.log_time,
            sequence=record.sequence,
            source=self.path.name,
            camera=camera,
        )


def _decode_header(path: Path, metadata: Mapping[str, str]) -> RecordingHeader:
    try:
        version = int(metadata["schema_version"])
        if version != SCHEMA_VERSION:
            raise RecordingError(
                f"{path} has schema version {version}, this gearshift reads {SCHEMA_VERSION}; "
                "record it again or use the gearshift that wrote it"
            )
        components = tuple(Component(**c) for c in json.loads(metadata["components"]))
        camera = json.loads(metadata["camera"])
        if camera is not None:
            camera = Camera(**{**camera, "distortion": tuple(camera["distortion"])})
        return RecordingHeader(camera, components, json.loads(metadata["attributes"]))
    except (KeyError, ValueError, TypeError) as error:
        raise RecordingError(f"{path}: its gearshift metadata is damaged ({error})") from error
