"""Writing recordings: MCAP with Foxglove's schemas for images, cameras and poses.

The writer leaves either a whole file or none; in flight, whatever was synced.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np
from foxglove_schemas_protobuf.RawImage_pb2 import RawImage
from google.protobuf.message import Message
from mcap.writer import CompressionType, Writer
from mcap_protobuf.schema import build_file_descriptor_set

from gearshift.runtime.errors import OutputError, RecordingError
from gearshift.runtime.files.whole_file import WholeFile, check_writable, unwritable
from gearshift.runtime.recordings import recording_messages as messages
from gearshift.runtime.recordings.recording import (
    CALIBRATION_TOPIC,
    DECISION_TOPIC,
    ESTIMATE_POSE_TOPIC,
    IMAGE_TOPIC,
    METADATA_NAME,
    SCHEMA_VERSION,
    TRUTH_POSE_TOPIC,
    TRUTH_TOPIC,
)
from gearshift.runtime.recordings.recording_messages import Decision
from gearshift.runtime.types import (
    POSE_COMPONENTS,
    Camera,
    Component,
    Frame,
    GroundTruth,
)

# Half a second of uncompressed frames at 30 Hz: what a power cut or a truncation can cost.
CHUNK_BYTES = 16 * 160 * 96


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
