"""ROS 1 and ROS 2 bags, written by rosbags, read back equal; damage is named."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gearshift.runtime.errors import ConfigurationError, GearshiftError, RecordingError
from gearshift.sim.convert.formats.bags import POSE_TYPES, _pose, open_source
from gearshift.sim.convert.formats.reader_registry import find_reader
from gearshift.sim.convert.pose_tracks import PoseTrack, relative_label
from gearshift.sim.convert.reader import ReaderOptions

from .conftest import POSES, Run, check, make_images, read

pytest.importorskip("rosbags")

KINDS = ("ros1", "sqlite", "mcap")
START = 1_700_000_000_000_000_000
STEP = 50_000_000


class Bag:
    """Writes a bag of one kind."""

    def __init__(self, path: Path, kind: str) -> None:
        from rosbags.rosbag1 import Writer as Writer1
        from rosbags.rosbag2 import StoragePlugin
        from rosbags.rosbag2 import Writer as Writer2
        from rosbags.typesys import Stores, get_typestore

        self.ros1 = kind == "ros1"
        self.store: Any = get_typestore(Stores.ROS1_NOETIC if self.ros1 else Stores.ROS2_HUMBLE)
        if self.ros1:
            self.path = path.with_suffix(".bag")
            self.writer: Any = Writer1(self.path)
        else:
            self.path = path
            plugin = StoragePlugin.MCAP if kind == "mcap" else StoragePlugin.SQLITE3
            self.writer = Writer2(path, version=9, storage_plugin=plugin)
        self.connections: dict[str, Any] = {}

    def __enter__(self) -> "Bag":
        self.writer.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.writer.close()

    def make(self, kind: str, **fields: Any) -> Any:
        return self.store.types[kind](**fields)

    def header(self, time_ns: int) -> Any:
        stamp = self.make(
            "builtin_interfaces/msg/Time", sec=time_ns // 10**9, nanosec=time_ns % 10**9
        )
        extra = {"seq": 0} if self.ros1 else {}
        return self.make("std_msgs/msg/Header", stamp=stamp, frame_id="", **extra)

    def write(self, topic: str, kind: str, time_ns: int, **fields: Any) -> None:
        message = self.make(kind, header=self.header(time_ns), **fields)
        if topic not in self.connections:
            self.connections[topic] = self.writer.add_connection(topic, kind, typestore=self.store)
        serialize = self.store.serialize_ros1 if self.ros1 else self.store.serialize_cdr
        # Logged a little later than made.
        self.writer.write(self.connections[topic], time_ns + 1_000_000, serialize(message, kind))

    def image(self, topic: str, time_ns: int, image: Any, encoding: str, **change: Any) -> None:
        row = image.reshape(len(image), -1).view(np.uint8)
        fields = {
            "height": image.shape[0],
            "width": image.shape[1],
            "encoding": encoding,
            "is_bigendian": 0,
            "step": row.shape[1],
            "data": row.ravel(),
        }
        self.write(topic, "sensor_msgs/msg/Image", time_ns, **{**fields, **change})

    def pose(self, topic: str, time_ns: int, place: Any, heading: float) -> None:
        point = self.make("geometry_msgs/msg/Point", x=place[0], y=place[1], z=place[2])
        turn = self.make(
            "geometry_msgs/msg/Quaternion",
            x=0.0,
            y=0.0,
            z=math.sin(heading / 2),
            w=math.cos(heading / 2),
        )
        pose = self.make("geometry_msgs/msg/Pose", position=point, orientation=turn)
        self.write(topic, "geometry_msgs/msg/PoseStamped", time_ns, pose=pose)


TIMES = [START + i * STEP for i in range(len(POSES))]


@pytest.mark.parametrize("kind", KINDS)
def test_images_read_back_equal(tmp_path: Path, run: Run, kind: str) -> None:
    images = make_images()
    with Bag(tmp_path / "in", kind) as bag:
        for time_ns, image in zip(TIMES, images, strict=True):
            bag.image("/camera/image_raw", time_ns, image, "mono8")
    run("convert", bag.path, tmp_path / "o.mcap")
    check(tmp_path / "o.mcap", images, None, TIMES)
    run("convert", bag.path, tmp_path / "l.mcap", "--stamp", "log")
    check(tmp_path / "l.mcap", images, None, [t + 1_000_000 for t in TIMES])


def test_a_single_ros2_file_reads(tmp_path: Path, run: Run) -> None:
    images = make_images()
    for kind, suffix in (("mcap", ".mcap"), ("sqlite", ".db3")):
        with Bag(tmp_path / kind, kind) as bag:
            for time_ns, image in zip(TIMES, images, strict=True):
                bag.image("/image", time_ns, image, "mono8")
        (single,) = bag.path.glob(f"*{suffix}")
        assert find_reader(single).NAME == "ros"
        if kind == "mcap":
            run("convert", single, tmp_path / "o.mcap")
            check(tmp_path / "o.mcap", images, None, TIMES)


@pytest.mark.parametrize("kind", KINDS)
def test_world_poses_become_what_the_drone_sees(tmp_path: Path, run: Run, kind: str) -> None:
    images = make_images()
    drone, yaw = np.array([4.0, -2.0, 1.0]), 2.5
    with Bag(tmp_path / "in", kind) as bag:
        for time_ns, image, (x, y, z, phi) in zip(TIMES, images, POSES, strict=True):
            turned = [
                math.cos(yaw) * x - math.sin(yaw) * y,
                math.sin(yaw) * x + math.cos(yaw) * y,
                z,
            ]
            bag.image("/image", time_ns, image, "mono8")
            bag.pose("/head", time_ns, drone + turned, phi + yaw - math.pi)
            bag.pose("/drone", time_ns, drone, yaw)
    topics = ("--pose-topic", "/head", "--drone-topic", "/drone")
    run("convert", bag.path, tmp_path / "o.mcap", *topics)
    check(tmp_path / "o.mcap", images, POSES, TIMES)
    with pytest.raises(ConfigurationError, match="--drone-topic needs --pose-topic"):
        run("convert", bag.path, tmp_path / "p.mcap", *topics[2:])


def test_relative_poses_are_taken_as_they_are(
    tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    images = make_images()
    with Bag(tmp_path / "in", "ros1") as bag:
        for time_ns, image, (x, y, z, phi) in zip(TIMES, images, POSES, strict=True):
            bag.image("/image", time_ns, image, "mono8")
            if time_ns != TIMES[-1]:
                bag.pose("/head", time_ns, (x, y, z), phi - math.pi)
    run("convert", bag.path, tmp_path / "o.mcap", "--pose-topic", "/head")
    entries = read(tmp_path / "o.mcap")
    assert entries[-1].truth is None  # no pose after it
    for entry, pose in zip(entries[:-1], POSES, strict=False):
        assert entry.truth is not None
        np.testing.assert_allclose(entry.truth.values, pose, atol=1e-9)
    run("convert", bag.path, tmp_path / "p.mcap")
    assert "poses on /head: --pose-topic" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("encoding", "depth"), [("bgr8", 3), ("rgb8", 3), ("bgra8", 4), ("rgba8", 4), ("8UC1", None)]
)
def test_encodings(tmp_path: Path, run: Run, encoding: str, depth: int | None) -> None:
    images = make_images(2, depth=depth)
    with Bag(tmp_path / "in", "sqlite") as bag:
        for time_ns, image in zip(TIMES, images, strict=False):
            bag.image("/image", time_ns, image, encoding)
    run("convert", bag.path, tmp_path / "o.mcap")
    if depth is None:
        check(tmp_path / "o.mcap", images)
        return
    colours = images[..., :3] if encoding.startswith("rgb") else images[..., 2::-1]
    exact = colours @ np.array([0.299, 0.587, 0.114])
    for entry, expected in zip(read(tmp_path / "o.mcap"), exact, strict=True):
        assert np.abs(entry.frame.image - expected).max() <= 0.501


def test_sixteen_bits_rows_with_padding_and_compression(tmp_path: Path, run: Run) -> None:
    cv2 = pytest.importorskip("cv2")
    image = make_images(1)[0]
    with Bag(tmp_path / "in", "mcap") as bag:
        deep = (image.astype(np.uint16) * 4).astype(">u2")
        bag.image("/deep", START, deep, "mono16", is_bigendian=1)
        padded = np.pad(image, ((0, 0), (0, 8)))
        bag.image("/padded", START, padded, "mono8", width=160)
        data = cv2.imencode(".png", image)[1].ravel()
        kind = "sensor_msgs/msg/CompressedImage"
        bag.write("/small/compressed", kind, START, format="mono8; png compressed", data=data)
    with pytest.raises(ConfigurationError, match=r"--image-topic: /deep, /padded, /small/comp"):
        run("convert", bag.path, tmp_path / "o.mcap")
    for topic, extra in (
        ("/deep", ("--scale", 0.25)),
        ("/padded", ()),
        ("/small/compressed", ()),
    ):
        out = tmp_path / f"{topic.replace('/', '_')}.mcap"
        run("convert", bag.path, out, "--image-topic", topic, *extra)
        check(out, image[None], None, [START])


@pytest.mark.parametrize("kind", KINDS)
def test_the_camera_comes_from_camera_info(tmp_path: Path, run: Run, kind: str) -> None:
    with Bag(tmp_path / "in", kind) as bag:
        k = np.array([120.0, 0, 80, 0, 121, 47, 0, 0, 1])
        names = "KDRP" if bag.ros1 else "kdrp"
        values = (k, np.array([-0.1, 0, 0, 0, 0]), np.eye(3).ravel(), np.zeros(12))
        region = bag.make(
            "sensor_msgs/msg/RegionOfInterest",
            x_offset=0,
            y_offset=0,
            height=0,
            width=0,
            do_rectify=False,
        )
        bag.image("/cam/image_raw", START, make_images(1)[0], "mono8")
        bag.write(
            "/cam/camera_info",
            "sensor_msgs/msg/CameraInfo",
            START,
            height=96,
            width=160,
            distortion_model="plumb_bob",
            binning_x=0,
            binning_y=0,
            roi=region,
            **dict(zip(names, values, strict=True)),
        )
    run("convert", bag.path, tmp_path / "o.mcap")
    (entry,) = read(tmp_path / "o.mcap")
    camera = entry.frame.camera
    assert camera is not None
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (120, 121, 80, 47)
    assert camera.distortion == (-0.1, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"encoding": "bayer_rggb8"}, "encoding 'bayer_rggb8' is not one of mono8"),
        ({"step": 10}, "15360 bytes for 160x96 mono8, step 10"),
        ({"height": 97}, "15360 bytes for 160x97"),
        ({"height": 0}, "15360 bytes for 160x0"),
    ],
)
def test_images_that_do_not_fit_are_named(
    tmp_path: Path, run: Run, change: dict[str, Any], said: str
) -> None:
    with Bag(tmp_path / "in", "ros1") as bag:
        bag.image("/image", START, make_images(1)[0], **{"encoding": "mono8", **change})
    with pytest.raises(RecordingError, match=f"image 0 on /image: {said}"):
        run("convert", bag.path, tmp_path / "o.mcap")


@pytest.mark.parametrize("kind", KINDS)
def test_a_bag_that_was_cut_short_is_named(tmp_path: Path, run: Run, kind: str) -> None:
    with Bag(tmp_path / "in", kind) as bag:
        for time_ns, image in zip(TIMES, make_images(), strict=True):
            bag.image("/image", time_ns, image, "mono8")
    file = bag.path if kind == "ros1" else next(p for p in bag.path.iterdir() if p.stem == "in")
    whole = file.read_bytes()
    for share in (0.02, 0.3, 0.6, 0.97):
        file.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(
            GearshiftError, match=r"is damaged or no ROS bag|no known format|choose"
        ):
            run("convert", bag.path, tmp_path / "o.mcap")
        assert not list(tmp_path.glob("o.mcap*"))


def test_another_definition_of_a_message_is_refused(tmp_path: Path, run: Run) -> None:
    with Bag(tmp_path / "in", "ros1") as bag:
        kind = "sensor_msgs/msg/Image"
        definition, _ = bag.store.generate_msgdef(kind)
        bag.connections["/image"] = bag.writer.add_connection(
            "/image", kind, msgdef="uint8 more\n" + definition, md5sum="0" * 32
        )
        bag.image("/image", START, make_images(1)[0], "mono8")
    with pytest.raises(RecordingError, match="/image has another definition of sensor_msgs/msg/I"):
        run("convert", bag.path, tmp_path / "o.mcap")


def test_wrong_topics_are_named(tmp_path: Path, run: Run) -> None:
    with Bag(tmp_path / "in", "sqlite") as bag:
        bag.image("/image", START, make_images(1)[0], "mono8")
        bag.pose("/head", START, (1.0, 0.0, 0.0), 0.0)
    with pytest.raises(ConfigurationError, match="topic /other is not there; there is /image"):
        open_source(bag.path, ReaderOptions(image_topic="/other"))
    with pytest.raises(ConfigurationError, match="topic /head is of type geometry_msgs/msg/PoseSt"):
        open_source(bag.path, ReaderOptions(image_topic="/head"))


def test_every_kind_of_pose_message_reads() -> None:
    from rosbags.typesys import Stores, get_typestore

    types: Any = get_typestore(Stores.ROS2_HUMBLE).types
    point = types["geometry_msgs/msg/Point"](x=1.0, y=2.0, z=3.0)
    vector = types["geometry_msgs/msg/Vector3"](x=1.0, y=2.0, z=3.0)
    turn = types["geometry_msgs/msg/Quaternion"](x=0.0, y=0.0, z=0.6, w=0.8)
    pose = types["geometry_msgs/msg/Pose"](position=point, orientation=turn)
    covered = types["geometry_msgs/msg/PoseWithCovariance"](pose=pose, covariance=np.zeros(36))
    moved = types["geometry_msgs/msg/Transform"](translation=vector, rotation=turn)
    fields = {
        "geometry_msgs/msg/PoseStamped": {"pose": pose},
        "geometry_msgs/msg/PoseWithCovarianceStamped": {"pose": covered},
        "geometry_msgs/msg/TransformStamped": {"child_frame_id": "", "transform": moved},
        "nav_msgs/msg/Odometry": {"child_frame_id": "", "pose": covered, "twist": None},
    }
    assert set(fields) == set(POSE_TYPES)
    for kind, values in fields.items():
        message = types[kind](header=None, **values)
        assert _pose(message) == ((1.0, 2.0, 3.0), (0.0, 0.0, 0.6, 0.8))


def test_tracks_interpolate_the_shorter_way_round() -> None:
    track = PoseTrack("t")
    for time_ns, heading in ((0, 3.0), (100_000_000, -3.0), (300_000_000, 0.0)):
        half = heading / 2
        track.add(time_ns, (time_ns / 1e8, 0.0, 0.0), (0.0, 0.0, math.sin(half), math.cos(half)))
    middle = track.at(50_000_000)
    assert middle is not None
    assert middle[0] == pytest.approx(0.5)
    assert abs(middle[3]) == pytest.approx(math.pi)
    assert track.at(200_000_000) is None  # samples too far apart
    assert track.at(-1) is None
    assert track.at(300_000_001) is None
    assert relative_label((1.0, 0.0, 0.0, math.pi), None).values[3] == pytest.approx(0.0)
    with pytest.raises(RecordingError, match="is no pose"):
        track.add(1, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 0.0))
