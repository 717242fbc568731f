"""Recorded flights: MCAP files with Foxglove's own schemas plus our labels and decisions.

Foxglove opens them as they are. The writer leaves either a whole file or none, in flight whatever
was synced; the reader streams, and on request reads a truncated file up to its last whole frame.
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np
from foxglove_schemas_protobuf.RawImage_pb2 import RawImage
from google.protobuf.message import DecodeError, Message
from mcap.exceptions import McapError
from mcap.records import Channel, Metadata, Statistics
from mcap.records import Message as McapMessage
from mcap.stream_reader import CRCValidationError, StreamReader
from mcap.writer import CompressionType, Writer
from mcap_protobuf.schema import build_file_descriptor_set

from gearshift.runtime.errors import OutputError, RecordingError
from gearshift.runtime.files.whole_file import WholeFile, check_writable, unwritable
from gearshift.runtime.recordings import recording_messages as messages
from gearshift.runtime.recordings.recording_messages import Decision
from gearshift.runtime.types import (
    POSE_COMPONENTS,
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

# Half a second of uncompressed frames at 30 Hz: what a power cut or a truncation can cost.
CHUNK_BYTES = 16 * 160 * 96

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class RecordedFrame:
    """One frame of a recording with what is known of it."""

    frame: Frame
    truth: GroundTruth | None
    decision: Decision | None


class RecordingWriter:
    """Writes one flight. Use as a context manager: the file appears under its name only when whole.

        with RecordingWriter("flight.mcap", camera=camera) as writer:
            writer.write_frame(Frame(image, time_ns, number), truth)

    camera: None where it is unknown. components: of the truth and the estimates.
    Frames are written in order of capture. `attributes` are free strings about the flight (split,
    room, person, seed). in_place: the file has its name from the start, must be new, and keeps what
    `sync` wrote whatever happens. Raises RecordingError when the folder cannot be written or the
    disk is full.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        camera: Camera | None,
        components: tuple[Component, ...] = POSE_COMPONENTS,
        attributes: Mapping[str, str] | None = None,
        in_place: bool = False,
    ) -> None:
        self.path = Path(path)
        self._camera = camera
        self._components = components
        self._is_pose = tuple(c.name for c in components) == ("x", "y", "z", "phi")
        self._whole: WholeFile | None = None
        try:
            if in_place:
                check_writable(self.path)
                self._stream: BinaryIO = self.path.open("xb")
            else:
                self._whole = WholeFile(self.path)
                self._stream = self._whole.stream
        except (OSError, OutputError) as error:
            raise self._unwritable(error) from error
        self._writer = Writer(
            self._stream, chunk_size=CHUNK_BYTES, compression=CompressionType.ZSTD
        )
        self._writer.start(profile="", library="gearshift")
        self._channels: dict[str, int] = {}
        self._writer.add_metadata(
            METADATA_NAME,
            {
                "schema_version": str(SCHEMA_VERSION),
                "components": json.dumps([asdict(c) for c in components]),
                "camera": json.dumps(asdict(camera)) if camera else "null",
                "attributes": json.dumps(dict(attributes or {})),
            },
        )
        self._calibrated = False
        self._synced = 0
        if in_place:
            try:
                self._sync_folder()
                self.sync()
            except RecordingError:
                self.discard()
                raise

    def write_frame(
        self, frame: Frame, truth: GroundTruth | None = None, decision: Decision | None = None
    ) -> None:
        """Append one frame and what is known of it; all its messages carry the capture time."""
        time_ns = frame.capture_time_ns
        stamp = messages.timestamp(time_ns)
        if self._camera is not None and not self._calibrated:
            self._add(CALIBRATION_TOPIC, messages.calibration(self._camera, stamp), time_ns)
            self._calibrated = True
        height, width = frame.image.shape
        image = RawImage(
            timestamp=stamp,
            frame_id=messages.CAMERA_FRAME,
            width=width,
            height=height,
            encoding="mono8",
            step=width,
            data=np.ascontiguousarray(frame.image, dtype=np.uint8).tobytes(),
        )
        self._add(IMAGE_TOPIC, image, time_ns, frame.sequence)
        if truth is not None:
            self._add(TRUTH_TOPIC, messages.encode_truth(truth), time_ns)
            if self._is_pose and not any(math.isnan(v) for v in truth.values):
                self._add(TRUTH_POSE_TOPIC, messages.pose_in_frame(truth.values, stamp), time_ns)
        if decision is not None:
            self._add(DECISION_TOPIC, messages.encode_decision(decision), time_ns)
            values = decision.estimate.values
            if self._is_pose and not any(math.isnan(v) for v in values):
                self._add(ESTIMATE_POSE_TOPIC, messages.pose_in_frame(values, stamp), time_ns)

    @property
    def size(self) -> int:
        """Bytes in the file as of the last chunk."""
        return self._stream.tell()

    def sync(self) -> None:
        """Put everything written so far on the disk, readable after a power cut."""
        try:
            self._writer.flush()
            os.fsync(self._stream.fileno())
        except OSError as error:
            raise self._unwritable(error) from error
        self._synced = self._stream.tell()

    def close(self) -> None:
        """Finish the file and give it its name; when that fails nothing is left of it, in place
        what was synced."""
        try:
            self._writer.finish()
            if self._whole is not None:
                self._whole.keep()
                return
            self._stream.flush()
            os.fsync(self._stream.fileno())
            self._stream.close()
        except (OSError, OutputError) as error:
            self.discard()
            raise self._unwritable(error) from error

    def discard(self) -> None:
        """Remove what was written, in place what came after the last sync, or all before the first
        one."""
        if self._whole is not None:
            self._whole.discard()
            return
        with suppress(OSError):  # closing writes what is buffered, and a full disk fails again
            self._stream.close()
        with suppress(OSError):
            if self._synced:
                os.truncate(self.path, self._synced)
            else:
                self.path.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def _add(self, topic: str, message: Message, time_ns: int, sequence: int = 0) -> None:
        channel = self._channels.get(topic)
        if channel is None:
            schema = self._writer.register_schema(
                name=message.DESCRIPTOR.full_name,
                encoding="protobuf",
                data=build_file_descriptor_set(type(message)).SerializeToString(),
            )
            channel = self._writer.register_channel(
                topic=topic, message_encoding="protobuf", schema_id=schema
            )
            self._channels[topic] = channel
        try:
            self._writer.add_message(
                channel_id=channel,
                log_time=time_ns,
                publish_time=time_ns,
                sequence=sequence,
                data=message.SerializeToString(),
            )
        except OSError as error:
            raise self._unwritable(error) from error

    def _sync_folder(self) -> None:
        """Make the file's name outlive a power cut."""
        try:
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError | OutputError) -> RecordingError:
        said = unwritable(self.path, error) if isinstance(error, OSError) else error
        return RecordingError(str(said))


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
