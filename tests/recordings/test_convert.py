"""Converting: geometry, options, bounded memory, whole files or none, and what `info` tells."""

import errno
import json
import math
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearshift.runtime import cli
from gearshift.runtime.cameras.camera_file import camera_text
from gearshift.runtime.errors import ConfigurationError, RecordingError
from gearshift.runtime.recordings.recording import RecordingReader
from gearshift.runtime.types import Camera, HeadGrid
from gearshift.sim.commands import recordings_command as command
from gearshift.sim.convert.convert import Converted, ConvertOptions, convert
from gearshift.sim.convert.formats.reader_registry import FORMATS
from gearshift.sim.convert.grey_images import Crop, fit_camera, fit_pixel, to_grey
from gearshift.sim.convert.named_cameras import ground_truth, parse_camera, project, wrap_phi
from gearshift.sim.convert.reader import Label, SourceFrame

from .conftest import POSES, Run, make_images, read

CAMERA = Camera("c", 160, 96, 125.6, 125.6, 79.5, 47.5)


class Frames:
    """A source made of an iterator."""

    camera: Camera | None = None

    def __init__(self, frames: Iterator[SourceFrame]) -> None:
        self._frames = frames
        self.frames: int | None = None
        self.notes: list[str] = []

    def __iter__(self) -> Iterator[SourceFrame]:
        return self._frames


def source(labels: list[Label | None], camera: Camera | None = CAMERA) -> Frames:
    images = make_images(len(labels))
    frames = Frames(
        SourceFrame(f"row {i}", images[i], "rgb", i * 10**7, label)
        for i, label in enumerate(labels)
    )
    frames.camera = camera
    return frames


def options(**changes: Any) -> ConvertOptions:
    return ConvertOptions(**changes)


class Pixels(np.ndarray[Any, np.dtype[np.uint8]]):
    """An image whose life is watched."""


def test_only_one_frame_is_in_memory_at_a_time(tmp_path: Path) -> None:
    alive: list[weakref.ref[Any]] = []
    most = 0

    def frames() -> Iterator[SourceFrame]:
        nonlocal most
        for i in range(200):
            image = np.zeros((96, 160), dtype=np.uint8).view(Pixels)
            alive.append(weakref.ref(image))
            most = max(most, sum(ref() is not None for ref in alive))
            yield SourceFrame(f"row {i}", image, "rgb", i, None)

    assert convert(Frames(frames()), "it", tmp_path / "o.mcap", options()).frames == 200
    # The one that is made, the one before it, and the first, which chain() holds on to.
    assert most <= 3


def test_a_source_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def frames() -> Iterator[SourceFrame]:
        for i in range(30):
            yield SourceFrame(f"row {i}", make_images(1)[0], "rgb", i, None)
        raise RecordingError("row 30: damaged")

    with pytest.raises(RecordingError, match="row 30"):
        convert(Frames(frames()), "it", tmp_path / "o.mcap", options())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("method", ["add_message", "finish"])
def test_a_full_disk_is_named_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(f"mcap.writer.Writer.{method}", fail)
    with pytest.raises(RecordingError, match=r"cannot write .*: No space left"):
        convert(source([None]), "it", tmp_path / "o.mcap", options())
    assert not list(tmp_path.iterdir())


def test_the_head_cell_comes_from_the_camera(tmp_path: Path) -> None:
    labels: list[Label | None] = [
        Label((2.0, 0.0, 0.0, 0.1)),
        Label((2.0, 0.5, 0.2, 0.1)),
        Label((2.0, 1.4, 0.0, 0.1)),  # beside the image by less than a drone tilts
        Label((2.0, 9.0, 0.0, 0.1)),
        Label((-1.0, 0.0, 0.0, 0.1)),
        Label((math.nan,) * 4),
        None,
        Label((2.0, 0.0, 0.0, 0.1), visible=False),
        Label((2.0, 9.0, 0.0, 0.1), visible=True),
        Label((2.0, 0.0, 0.0, 0.1), head_pixel=(10.0, 90.0)),
    ]
    convert(source(labels), "it", tmp_path / "o.mcap", options())
    truths = [entry.truth for entry in read(tmp_path / "o.mcap")]
    grid = HeadGrid()
    assert truths[6] is None
    known = [t for t in truths if t is not None]
    visible = [True, True, True, False, False, False, False, True, True]
    assert [t.visible for t in known] == visible
    assert [t.head_pixel is not None for t in known] == [True, True, *[False] * 6, True]
    assert known[0].head_pixel == (79.5, 47.5)
    assert known[1].head_pixel == pytest.approx((79.5 - 125.6 / 4, 47.5 - 12.56))
    for truth in known:
        cell = grid.no_head if truth.head_pixel is None else grid.cell(*truth.head_pixel, 160, 96)
        assert truth.head_cell == cell


def test_without_a_camera_the_head_is_visible_at_an_unknown_place(tmp_path: Path) -> None:
    labels: list[Label | None] = [Label((2.0, 9.0, 0.0, 0.1)), Label((math.nan,) * 4)]
    done = convert(source(labels, None), "it", tmp_path / "o.mcap", options())
    seen, nobody = (entry.truth for entry in read(tmp_path / "o.mcap"))
    assert seen is not None
    assert (seen.visible, seen.head_pixel, seen.head_cell) == (True, None, HeadGrid().no_head)
    assert nobody is not None
    assert (nobody.visible, nobody.head_pixel) == (False, None)
    assert sum("no camera intrinsics" in line for line in done.warnings) == 1


def test_crop_and_resize_move_the_camera_along(tmp_path: Path) -> None:
    labels: list[Label | None] = [Label((2.0, 0.3, 0.1, 0.1))]
    whole, part = tmp_path / "a.mcap", tmp_path / "b.mcap"
    convert(source(labels), "it", whole, options())
    crop = options(crop=Crop(80, 48, 20, 10), size=(160, 96))
    pytest.importorskip("cv2")
    done = convert(source(labels), "it", part, crop)
    (before,), (after,) = read(whole), read(part)
    assert after.frame.image.shape == (96, 160)
    camera = after.frame.camera
    assert camera is not None
    assert camera.fx == pytest.approx(251.2)
    stretched = convert(source(labels), "it", tmp_path / "c.mcap", options(size=(96, 96)))
    assert any("aspect ratio" in line for line in stretched.warnings)
    assert not any("aspect" in line for line in done.warnings)
    assert before.truth is not None
    assert before.truth.head_pixel is not None
    assert after.truth is not None
    u, v = before.truth.head_pixel
    expected = ((u - 20 + 0.5) * 2 - 0.5, (v - 10 + 0.5) * 2 - 0.5)
    assert after.truth.head_pixel == pytest.approx(expected)


@given(
    st.tuples(st.floats(0.5, 5), st.floats(-2, 2), st.floats(-1, 1)),
    st.tuples(st.integers(20, 160), st.integers(20, 96)),
    st.tuples(st.integers(8, 640), st.integers(8, 480)),
)
def test_projecting_and_fitting_commute(
    point: tuple[float, float, float], part: tuple[int, int], size: tuple[int, int]
) -> None:
    crop = Crop(*part, 160 - part[0], 96 - part[1])
    pixel = project(CAMERA, *point)
    assert pixel is not None
    through = project(fit_camera(CAMERA, crop, size), *point)
    assert through == pytest.approx(fit_pixel(pixel, (160, 96), crop, size))


def test_distortion_is_opencvs() -> None:
    cv2: Any = pytest.importorskip("cv2")
    distortion = (-0.06, 0.01, 0.002, -0.003, 0.001)
    camera = Camera("c", 160, 96, 125.6, 120.0, 79.5, 47.5, distortion)
    k = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])
    for x, y, z in ((2.0, 0.5, 0.2), (1.0, -0.6, -0.3), (3.0, 0.0, 0.0)):
        optical = np.array([[-y, -z, x]])
        pixels, _ = cv2.projectPoints(optical, np.zeros(3), np.zeros(3), k, np.array(distortion))
        assert project(camera, x, y, z) == pytest.approx(tuple(pixels.ravel()))


def test_headings_are_wrapped_and_those_turned_away_counted(tmp_path: Path) -> None:
    assert wrap_phi(Label((1, 0, 0, 4.0))).values[3] == pytest.approx(4.0 - 2 * math.pi)
    labels: list[Label | None] = [Label((2.0, 0.0, 0.0, phi)) for phi in (0.0, 3.0, 5.0, 1.7)]
    done = convert(source(labels), "it", tmp_path / "o.mcap", options())
    assert done.turned_away == 1
    assert any("1 frames have |phi| > 1.75" in line for line in done.warnings)


def test_no_label_is_no_truth() -> None:
    assert ground_truth(None, CAMERA, 160, 96) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hfov=200", "1 to 179 degrees"),
        ("hfov=wide", "1 to 179 degrees"),
        ("none.json", "cannot read the camera"),
        ("list.json", "is no camera"),
        ("text.json", "is no camera"),
        ("zero.json", "fx and fy must be above 0"),
        ("long.json", "6 numbers of distortion"),
        ("size.json", "is a camera of 320x96, the images are 160x96"),
    ],
)
def test_bad_cameras_are_named(tmp_path: Path, text: str, said: str) -> None:
    good = {"name": "a", "width": 160, "height": 96, "fx": 1, "fy": 1, "cx": 0, "cy": 0}
    contents = {
        "list.json": "[1]",
        "text.json": "{",
        "zero.json": json.dumps({**good, "fx": 0}),
        "long.json": json.dumps({**good, "distortion": [0] * 6}),
        "size.json": json.dumps({**good, "width": 320}),
    }
    for name, content in contents.items():
        (tmp_path / name).write_text(content)
    where = text if text.startswith("hfov") else str(tmp_path / text)
    with pytest.raises(ConfigurationError, match=said):
        parse_camera(where, 160, 96)


def test_a_camera_file_reads(tmp_path: Path) -> None:
    fields = {"name": "a", "width": 160, "height": 96, "fx": 120, "fy": 121, "cx": 80, "cy": 47}
    path = tmp_path / "c.json"
    path.write_text(json.dumps({**fields, "distortion": [-0.1, 0, 0, 0]}))
    expected = Camera("a", 160, 96, 120, 121, 80, 47, (-0.1, 0, 0, 0))
    assert parse_camera(str(path), 160, 96) == expected
    toml = tmp_path / "c.toml"
    toml.write_text(camera_text(expected))
    assert parse_camera(str(toml), 160, 96) == expected


@pytest.mark.parametrize(
    "image",
    [np.zeros(5), np.zeros((2, 2, 2)), np.zeros((2, 2, 5)), np.full((2, 2), "a")],
)
def test_what_is_no_image_is_named(image: Any) -> None:
    with pytest.raises(RecordingError, match="row 3: "):
        to_grey(image, "rgb", None, "row 3")


def test_options_are_checked(tmp_path: Path, run: Run) -> None:
    (tmp_path / "in").mkdir()
    for arguments, said in (
        (("--resize", "0x5"), "two whole numbers, such as 160x96"),
        (("--crop", "5x5"), r"no part such as 160x96\+82\+74"),
        (("--rate", 0), "--rate is 0.0, it must be above 0"),
        (("--scale", "nan"), "--scale is nan"),
        (("--set", "room"), "is not KEY=VALUE"),
        ((), "is a folder of no known format"),
    ):
        with pytest.raises(ConfigurationError, match=said):
            run("convert", tmp_path / "in", tmp_path / "o.mcap", *arguments)
    with pytest.raises(RecordingError, match=r"there is no .*none"):
        run("convert", tmp_path / "none", tmp_path / "o.mcap")


def write_folder(tmp_path: Path) -> Path:
    cv2: Any = pytest.importorskip("cv2")
    folder = tmp_path / "in"
    folder.mkdir()
    for i, image in enumerate(make_images()):
        cv2.imwrite(str(folder / f"{i}.png"), image)
    rows = [f"{i}.png,{i * 10},{','.join(map(str, pose))}" for i, pose in enumerate(POSES)]
    (folder / "labels.csv").write_text("file,time_ns,x,y,z,phi\n" + "\n".join(rows) + "\n")
    return folder


def test_an_output_is_replaced_only_when_told(tmp_path: Path, run: Run) -> None:
    folder, out = write_folder(tmp_path), tmp_path / "o.mcap"
    run("convert", folder, out, "--set", "room=lab", "--set", "person=a")
    assert RecordingReader(out).header.attributes == {"source": "in", "room": "lab", "person": "a"}
    with pytest.raises(ConfigurationError, match="exists; replace it with --force"):
        run("convert", folder, out)
    assert run("convert", folder, out, "--force") == 0


def test_info_tells_what_a_recording_holds(
    tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = write_folder(tmp_path), tmp_path / "o.mcap"
    run("convert", folder, out, "--camera", "hfov=65")
    capsys.readouterr()
    run("info", out, folder, "--json")
    ours, theirs = json.loads(capsys.readouterr().out)["files"]
    assert (ours["frames"], ours["truth"], ours["visible"]) == (4, 4, 4)
    assert ours["sizes"] == {"160x96": 4}
    assert ours["camera"]["name"] == "hfov=65"
    assert (theirs["format"], theirs["has_time"], theirs["first_has_truth"]) == (
        "folder",
        True,
        True,
    )
    run("info", out, folder)
    text = capsys.readouterr().out
    assert "o.mcap: 4 frames" in text
    assert "head in view on 4" in text
    assert "folder" in text


def test_info_names_damage(tmp_path: Path, run: Run) -> None:
    folder, out = write_folder(tmp_path), tmp_path / "o.mcap"
    run("convert", folder, out)
    out.write_bytes(out.read_bytes()[:-500])
    with pytest.raises(RecordingError, match="truncated or damaged"):
        run("info", out)
    assert run("info", out, "--truncated") == 0
    with pytest.raises(RecordingError, match="truncated or damaged"):
        run("convert", out, tmp_path / "p.mcap")


def test_a_recording_of_ours_gets_a_camera_and_a_size(tmp_path: Path, run: Run) -> None:
    folder, out = write_folder(tmp_path), tmp_path / "o.mcap"
    run("convert", folder, out)
    run("convert", out, tmp_path / "p.mcap", "--camera", "hfov=65", "--resize", "80x48")
    for entry, pose in zip(read(tmp_path / "p.mcap"), POSES, strict=True):
        assert entry.frame.image.shape == (48, 80)
        assert entry.truth is not None
        assert entry.truth.values == tuple(pose)
        assert entry.truth.head_pixel is not None
    with pytest.raises(ConfigurationError, match="is the input"):
        run("convert", out, out, "--force")


def test_a_known_error_is_one_line_and_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "load_commands", lambda only: {"recordings": command})
    (tmp_path / "a.pickle").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    out = tmp_path / "o.mcap"
    code = cli.main(["recordings", "convert", str(tmp_path / "a.pickle"), str(out), "--rate", "1"])
    assert code == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "it asks for 'os.system', which no data frame needs" in said
    assert [p.name for p in tmp_path.iterdir()] == ["a.pickle"]


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, gearshift.sim.commands.recordings_command; "
        "heavy = {'numpy', 'cv2', 'h5py', 'rosbags', 'pandas', 'mcap'} & set(sys.modules); "
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert tuple(command.FORMATS) == FORMATS


def test_a_summary_needs_no_frames() -> None:
    assert "no ground truth" in command._summary(Path("a"), "folder", Converted())
