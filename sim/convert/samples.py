"""Writing one example of every format that is read, each through the library its users write it
with: for trying a conversion out, and for measuring what conversions cost.

Frames are made from their number alone, so that whoever reads a sample knows what must come out.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gearshift.runtime.errors import ConfigurationError
from gearshift.runtime.files.whole_file import make_folder, writing
from gearshift.runtime.types import Frame, GroundTruth, HeadGrid

PERIOD_NS: Final = 33_333_000
"""Whole microseconds, which is what NanoCockpit's clock counts."""
START_NS: Final = 1_000_000_000
DISTINCT: Final = 61
"""Pictures before they come again; a prime, so that frames of a rate do not line up."""
_POSE: Final = "geometry_msgs/msg/PoseStamped"
_IMAGE: Final = "sensor_msgs/msg/Image"


@dataclass(frozen=True, slots=True)
class Sample:
    """What a sample holds. frames: how many. width, height: of its images [pixels]."""

    frames: int
    width: int = 160
    height: int = 96

    def images(self) -> Iterator[NDArray[np.uint8]]:
        """The (height, width) uint8 images, one at a time."""
        pictures = [_picture(number, self.height, self.width) for number in range(DISTINCT)]
        for number in range(self.frames):
            yield pictures[number % DISTINCT]

    def pose(self, number: int) -> tuple[float, float, float, float]:
        """x, y, z [m] and phi [rad] of the head in one frame, in the drone's level frame."""
        turn = 0.05 * number
        x = 1.5 + 0.5 * math.sin(turn)
        return x, 0.3 * math.sin(0.7 * turn), 0.1 * math.cos(turn), 1.2 * math.sin(0.3 * turn)

    @staticmethod
    def time_ns(number: int) -> int:
        """When a frame was captured."""
        return START_NS + number * PERIOD_NS


def write_sample(name: str, path: Path, sample: Sample) -> None:
    """Write a sample of a format; raises ConfigurationError for an unknown one or existing file."""
    if name not in WRITERS:
        raise ConfigurationError(f"unknown format {name!r}; there are {', '.join(WRITERS)}")
    if path.exists():
        raise ConfigurationError(f"{path} exists; give another name")
    make_folder(path.parent)
    with writing(path):
        WRITERS[name].write(path, sample)


def _picture(number: int, height: int, width: int) -> NDArray[np.uint8]:
    """A sensor's noise over a slope, so that it compresses about as real frames do."""
    rng = np.random.default_rng(number)
    slope = np.linspace(40, 200, width) + np.linspace(0, 40, height)[:, None]
    picture = slope + rng.normal(0, 4, (height, width)) + number
    return np.asarray(np.clip(picture, 0, 255), np.uint8)


def _write_frontnet(path: Path, sample: Sample) -> None:
    import pandas

    images = [image.ravel() for image in sample.images()]
    poses = [np.array(sample.pose(number), np.float32) for number in range(sample.frames)]
    size = {"h": sample.height, "w": sample.width, "c": 1}
    # Arrays of their own per row, as the original data sets have them.
    columns = {"x": [image.copy() for image in images], "y": poses, **size}
    pandas.DataFrame(columns).to_pickle(path)


def _write_gearshift(path: Path, sample: Sample) -> None:
    from gearshift.runtime.recordings.recording_writer import RecordingWriter

    with RecordingWriter(path, camera=None) as writer:
        for number, image in enumerate(sample.images()):
            truth = GroundTruth(sample.pose(number), True, None, HeadGrid().no_head)
            writer.write_frame(Frame(image, sample.time_ns(number), number, "sample"), truth)


def _write_folder(path: Path, sample: Sample) -> None:
    import cv2

    path.mkdir()
    with (path / "labels.csv").open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["file", "time_ns", "x", "y", "z", "phi"])
        for number, image in enumerate(sample.images()):
            name = f"{number:06}.png"
            cv2.imwrite(str(path / name), image)
            rows.writerow([name, sample.time_ns(number), *sample.pose(number)])


def _write_nanocockpit(path: Path, sample: Sample) -> None:
    import cv2

    (path / "camera_raw").mkdir(parents=True)
    # The rest of its columns is the drone's own state, which the reader does not need.
    with (
        (path / "metadata.csv").open("w", newline="") as stream,
        path.with_name(path.name + ".csv").open("w", newline="") as labels,
    ):
        rows, poses = csv.writer(stream), csv.writer(labels)
        rows.writerow(["filename", "metadata_version", "frame_id", "frame_gap8_timestamp"])
        poses.writerow(["frame", "x", "y", "z", "phi"])
        for number, image in enumerate(sample.images()):
            name = f"{number:05}.png"
            cv2.imwrite(str(path / "camera_raw" / name), image)
            stamp = sample.time_ns(number) // 1000 % 2**32
            rows.writerow([name, 10, number % 256, stamp])
            poses.writerow([number, *sample.pose(number)])


def _write_hdf5(path: Path, sample: Sample) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        shape = (sample.frames, sample.height, sample.width)
        images = file.create_dataset("images", shape, np.uint8, chunks=(1, *shape[1:]))
        poses = file.create_dataset("poses", (sample.frames, 4), np.float64)
        times = file.create_dataset("time_ns", (sample.frames,), np.int64)
        for number, image in enumerate(sample.images()):
            images[number], poses[number] = image, sample.pose(number)
            times[number] = sample.time_ns(number)


def _write_video(path: Path, sample: Sample) -> None:
    import cv2

    code = cv2.VideoWriter.fourcc(*"FFV1")
    writer = cv2.VideoWriter(str(path), code, 1e9 / PERIOD_NS, (sample.width, sample.height))
    if not writer.isOpened():
        raise ConfigurationError(f"{path}: this OpenCV writes no lossless video (FFV1)")
    with path.with_suffix(".csv").open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["frame", "time_ns", "x", "y", "z", "phi"])
        for number, image in enumerate(sample.images()):
            writer.write(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR))
            rows.writerow([number, sample.time_ns(number), *sample.pose(number)])
    writer.release()


def _write_ros1(path: Path, sample: Sample) -> None:
    from rosbags.rosbag1 import Writer
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS1_NOETIC)
    with Writer(path) as writer:
        _write_bag(writer, store, store.serialize_ros1, {"seq": 0}, sample)


def _write_ros2(path: Path, sample: Sample, plugin: str) -> None:
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS2_HUMBLE)
    storage = StoragePlugin.MCAP if plugin == "mcap" else StoragePlugin.SQLITE3
    with Writer(path, version=9, storage_plugin=storage) as writer:
        _write_bag(writer, store, store.serialize_cdr, {}, sample)


def _write_bag(
    writer: Any,
    store: Any,
    serialise: Callable[[Any, str], Any],
    extra: Mapping[str, int],
    sample: Sample,
) -> None:
    """Images on /camera/image_raw, poses of the head in the drone's frame on /head."""
    make = store.types
    camera = writer.add_connection("/camera/image_raw", _IMAGE, typestore=store)
    head = writer.add_connection("/head", _POSE, typestore=store)
    for number, image in enumerate(sample.images()):
        time_ns = sample.time_ns(number)
        stamp = make["builtin_interfaces/msg/Time"](sec=time_ns // 10**9, nanosec=time_ns % 10**9)
        header = make["std_msgs/msg/Header"](stamp=stamp, frame_id="", **extra)
        x, y, z, phi = sample.pose(number)
        half = (phi - math.pi) / 2  # phi is 0 when the person faces the drone
        pose = make["geometry_msgs/msg/Pose"](
            position=make["geometry_msgs/msg/Point"](x=x, y=y, z=z),
            orientation=make["geometry_msgs/msg/Quaternion"](
                x=0.0, y=0.0, z=math.sin(half), w=math.cos(half)
            ),
        )
        picture = make[_IMAGE](
            header=header,
            height=image.shape[0],
            width=image.shape[1],
            encoding="mono8",
            is_bigendian=0,
            step=image.shape[1],
            data=image.ravel(),
        )
        placed = make[_POSE](header=header, pose=pose)
        writer.write(head, time_ns, serialise(placed, _POSE))
        writer.write(camera, time_ns, serialise(picture, _IMAGE))


@dataclass(frozen=True, slots=True)
class SampleFormat:
    """How one format is written, and what converting it back takes.

    suffix: of its path. reader: the format's name in `source.FORMATS`. read: what is read of it.
    options: of `gearshift recordings convert`, "{labels}" being the file of labels beside it.
    tolerance: how far pixels may be off; 0 where nothing on the way is lossy.
    """

    suffix: str
    reader: str
    read: str
    write: Callable[[Path, Sample], None]
    options: tuple[str, ...] = ()
    tolerance: int = 0


_HEAD: Final = ("--pose-topic", "/head")
WRITERS: Final[Mapping[str, SampleFormat]] = MappingProxyType(
    {
        "frontnet": SampleFormat(
            ".pickle",
            "frontnet",
            "columns x, y, h, w, c",
            _write_frontnet,
            ("--rate", str(1e9 / PERIOD_NS)),
        ),
        "ros1": SampleFormat(
            ".bag", "ros", "Image, PoseStamped; header stamps", _write_ros1, _HEAD
        ),
        "ros2-sqlite": SampleFormat(
            "",
            "ros",
            "Image, PoseStamped; header stamps",
            lambda path, sample: _write_ros2(path, sample, "sqlite3"),
            _HEAD,
        ),
        "ros2-mcap": SampleFormat(
            "",
            "ros",
            "Image, PoseStamped; header stamps",
            lambda path, sample: _write_ros2(path, sample, "mcap"),
            _HEAD,
        ),
        "nanocockpit": SampleFormat(
            "",
            "nanocockpit",
            "metadata.csv, camera_raw/*.png; --labels",
            _write_nanocockpit,
            ("--labels", "{labels}"),
        ),
        "folder": SampleFormat(
            "", "folder", "*.png, labels.csv: file, time_ns, x, y, z, phi", _write_folder
        ),
        "hdf5": SampleFormat(".h5", "hdf5", "datasets images, poses, time_ns", _write_hdf5),
        "video": SampleFormat(
            ".avi", "video", "FFV1, .csv beside it: frame, time_ns, pose", _write_video, (), 2
        ),
        "gearshift": SampleFormat(".mcap", "gearshift", "/camera/image, /truth", _write_gearshift),
    }
)
