"""ROS 1 bags, ROS 2 bags and ROS's MCAP files, through `rosbags`.

Messages are decoded by the fixed definitions of the ROS distributions: those inside the file, from
which `rosbags` would generate code, are not used.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gearshift.runtime.errors import ConfigurationError, GearshiftError, RecordingError
from gearshift.runtime.files.csv_rows import listed
from gearshift.runtime.files.image_files import decode_image
from gearshift.runtime.types import Camera
from gearshift.sim.convert.pose_tracks import PoseTrack, relative_label
from gearshift.sim.convert.reader import Label, ReaderOptions, SourceFrame, starts_with

NAME: Final = "ros"
IMAGE_TYPES: Final = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
INFO_TYPE: Final = "sensor_msgs/msg/CameraInfo"
POSE_TYPES: Final = (
    "geometry_msgs/msg/PoseStamped",
    "geometry_msgs/msg/PoseWithCovarianceStamped",
    "geometry_msgs/msg/TransformStamped",
    "nav_msgs/msg/Odometry",
)
_ENCODINGS: Final[dict[str, tuple[str, int, str]]] = {
    "mono8": ("u1", 1, "bgr"),
    "8UC1": ("u1", 1, "bgr"),
    "bgr8": ("u1", 3, "bgr"),
    "8UC3": ("u1", 3, "bgr"),
    "rgb8": ("u1", 3, "rgb"),
    "bgra8": ("u1", 4, "bgr"),
    "8UC4": ("u1", 4, "bgr"),
    "rgba8": ("u1", 4, "rgb"),
    "mono16": ("u2", 1, "bgr"),
    "16UC1": ("u2", 1, "bgr"),
}
"""Pixel type, channels and their order, as `sensor_msgs/image_encodings.h` names them."""


def recognises(path: Path) -> bool:
    """A ROS 1 bag, a ROS 2 folder or SQLite file, or an MCAP file with a ROS profile."""
    if path.is_dir():
        return (path / "metadata.yaml").is_file()
    if starts_with(path, b"#ROSBAG V"):
        return True
    if path.suffix == ".db3":
        return starts_with(path, b"SQLite format 3\x00")
    profile = len(b"ros2").to_bytes(4, "little")
    try:
        with path.open("rb") as stream:
            head = stream.read(25)
    except OSError:
        return False
    # Magic, opcode of the header, its length (8 bytes), then the profile as a string.
    return head[:9] == b"\x89MCAP0\r\n\x01" and head[17:] in (profile + b"ros1", profile + b"ros2")


def open_source(path: Path, options: ReaderOptions) -> BagSource:
    """Open it; raises RecordingError and ConfigurationError."""
    return BagSource(path, options)


class BagSource:
    """The images of one topic, with what other topics say about their moments.

    Poses are read first (some 100 bytes each), then images one at a time.
    """

    def __init__(self, path: Path, options: ReaderOptions) -> None:
        self._bag = _Bag(path)
        self._stamp = options.stamp
        self._channels = options.channels
        self._topic = self._bag.choose(IMAGE_TYPES, options.image_topic, "--image-topic")
        self.frames: int | None = self._bag.count(self._topic)
        self.notes: list[str] = []
        self.camera: Camera | None = self._camera()
        self._head = self._track(options.pose_topic)
        self._drone = self._track(options.drone_topic)
        if self._drone is not None and self._head is None:
            raise ConfigurationError("--drone-topic needs --pose-topic, the head's pose")
        if self._head is None and (found := self._bag.topics(POSE_TYPES)):
            self.notes.append(f"poses on {listed(found)}: --pose-topic makes them ground truth")

    def __iter__(self) -> Iterator[SourceFrame]:
        for number, (log_ns, message) in enumerate(self._bag.messages(self._topic)):
            where = f"{self._bag.path}, image {number} on {self._topic}"
            image, channels = _image(message, where)
            time_ns = _time(message, log_ns, self._stamp)
            yield SourceFrame(
                where, image, self._channels or channels, time_ns, self._label(time_ns)
            )

    def _label(self, time_ns: int) -> Label | None:
        if self._head is None:
            return None
        head = self._head.at(time_ns)
        drone = None if self._drone is None else self._drone.at(time_ns)
        if head is None or (self._drone is not None and drone is None):
            return None
        return relative_label(head, drone)

    def _track(self, topic: str | None) -> PoseTrack | None:
        if topic is None:
            return None
        self._bag.choose(POSE_TYPES, topic, "a pose topic")
        track = PoseTrack(f"{self._bag.path}, {topic}")
        for log_ns, message in self._bag.messages(topic):
            track.add(_time(message, log_ns, self._stamp), *_pose(message))
        return track

    def _camera(self) -> Camera | None:
        topics = self._bag.topics((INFO_TYPE,))
        beside = self._topic.removesuffix("/compressed").rpartition("/")[0] + "/camera_info"
        if beside not in topics:
            if len(topics) != 1:
                return None
            beside = topics[0]
        message = next((message for _, message in self._bag.messages(beside)), None)
        if message is None:
            return None
        # ROS 1 writes K and D, ROS 2 k and d.
        k = [float(n) for n in getattr(message, "K", getattr(message, "k", ()))]
        d = tuple(float(n) for n in getattr(message, "D", getattr(message, "d", ())))
        if len(k) != 9 or not all(map(math.isfinite, (*k, *d))) or min(k[0], k[4]) <= 0:
            self.notes.append(f"{beside} holds no intrinsics: the camera is not calibrated")
            return None
        if len(d) > 5 or str(message.distortion_model) not in ("plumb_bob", ""):
            self.notes.append(f"{beside}: distortion {message.distortion_model} is not known")
            return None
        distortion = d if any(d) else ()
        size = int(message.width), int(message.height)
        return Camera(beside, *size, k[0], k[4], k[2], k[5], distortion)


class _Bag:
    """A bag of either ROS, whose damage shows as RecordingError."""

    def __init__(self, path: Path) -> None:
        from rosbags.typesys import Stores, get_typestore

        self.path = path
        self._ros1 = path.is_file() and starts_with(path, b"#ROSBAG V")
        self._store = get_typestore(Stores.ROS1_NOETIC if self._ros1 else Stores.ROS2_HUMBLE)
        with self._guard(), self._open() as reader:
            self._types: dict[str, str] = {}
            self._counts: dict[str, int] = {}
            for connection in reader.connections:
                self._types[connection.topic] = connection.msgtype
                count = self._counts.get(connection.topic, 0)
                self._counts[connection.topic] = count + connection.msgcount

    def topics(self, types: Sequence[str]) -> list[str]:
        """Topics of some types, by name."""
        return sorted(topic for topic, kind in self._types.items() if kind in types)

    def count(self, topic: str) -> int:
        """How many messages a topic has."""
        return self._counts[topic]

    def choose(self, types: Sequence[str], wanted: str | None, option: str) -> str:
        """The wanted topic, or the only one of these types; raises ConfigurationError."""
        found = self.topics(types)
        if wanted is None and len(found) == 1:
            return found[0]
        if wanted is not None and wanted in found:
            return wanted
        those = listed(found) if found else f"none of type {' or '.join(types)}"
        if wanted is None:
            raise ConfigurationError(f"{self.path}: choose one with {option}: {those}")
        kind = f" of type {self._types[wanted]}" if wanted in self._types else ""
        there = "is" + kind if kind else "is not there"
        raise ConfigurationError(f"{self.path}: topic {wanted} {there}; there is {those}")

    def messages(self, topic: str) -> Iterator[tuple[int, Any]]:
        """Log time [ns] and message of a topic, in the order of the log."""
        with self._guard(), self._open() as reader:
            wanted = [c for c in reader.connections if c.topic == topic]
            self._check_definitions(wanted)
            for connection, log_ns, data in reader.messages(connections=wanted):
                if self._ros1:
                    message = self._store.deserialize_ros1(data, connection.msgtype)
                else:
                    message = self._store.deserialize_cdr(data, connection.msgtype)
                yield int(log_ns), message

    def _check_definitions(self, connections: Sequence[Any]) -> None:
        for connection in connections:
            kind, digest = connection.msgtype, connection.digest
            ours = self._store.generate_msgdef(kind)[1] if self._ros1 else ""
            if self._ros1 and digest not in ("*", ours):
                raise RecordingError(
                    f"{self.path}: {connection.topic} has another definition of {kind}"
                )

    def _open(self) -> Any:
        if self._ros1:
            from rosbags.rosbag1 import Reader as Reader1

            return Reader1(self.path)
        from rosbags.rosbag2 import Reader as Reader2

        return Reader2(self.path)

    def _guard(self) -> _Guard:
        return _Guard(self.path)


class _Guard:
    """Turns what `rosbags` raises on a damaged bag, from many places, into RecordingError."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: Any, trace: Any) -> None:
        if kind is None or issubclass(kind, GearshiftError | ModuleNotFoundError):
            return
        if issubclass(kind, Exception):
            said = str(error).splitlines()[0][:160] if str(error) else kind.__name__
            raise RecordingError(f"{self._path} is damaged or no ROS bag ({said})") from error


def _time(message: Any, log_ns: int, stamp: str) -> int:
    """When a message was made; its log time where it does not say or `stamp` is "log"."""
    header = getattr(message, "header", None)
    if stamp == "log" or header is None:
        return log_ns
    time_ns = int(header.stamp.sec) * 1_000_000_000 + int(header.stamp.nanosec)
    return time_ns or log_ns


def _image(message: Any, where: str) -> tuple[NDArray[Any], str]:
    data = np.asarray(message.data, dtype=np.uint8)
    if not hasattr(message, "encoding"):
        return decode_image(data, where), "bgr"
    known = _ENCODINGS.get(message.encoding)
    if known is None:
        raise RecordingError(
            f"{where}: encoding {message.encoding[:40]!r} is not one of {', '.join(_ENCODINGS)}"
        )
    kind, depth, channels = known
    height, width, step = int(message.height), int(message.width), int(message.step)
    dtype = np.dtype(kind).newbyteorder(">" if message.is_bigendian else "<")
    row = width * depth * dtype.itemsize
    if not height or not width or step < row or data.size != height * step:
        raise RecordingError(
            f"{where}: {data.size} bytes for {width}x{height} {message.encoding}, step {step}"
        )
    pixels = np.ascontiguousarray(data.reshape(height, step)[:, :row]).view(dtype)
    return pixels.reshape(height, width, depth), channels


def _pose(message: Any) -> tuple[tuple[float, float, float], tuple[float, float, float, float]]:
    """Position [m] and orientation (x, y, z, w) of any of POSE_TYPES."""
    inner = getattr(message, "pose", getattr(message, "transform", None))
    inner = getattr(inner, "pose", inner)  # with covariance
    place = getattr(inner, "position", getattr(inner, "translation", None))
    turn = getattr(inner, "orientation", getattr(inner, "rotation", None))
    assert place is not None and turn is not None  # noqa: PT018  (by the message's type)
    return (place.x, place.y, place.z), (turn.x, turn.y, turn.z, turn.w)
