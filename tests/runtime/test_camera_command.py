"""`gearshift camera`: calibration from rendered boards of known lenses, and what it says."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from gearshift.runtime.cameras import checkerboard_views as camera_views
from gearshift.runtime.cameras.camera_file import camera_text, read_camera
from gearshift.runtime.cameras.checkerboard import Board, calibrate, find_corners
from gearshift.runtime.cameras.lens import Points, pixels_of_rays, rays_of_pixels
from gearshift.runtime.cli import main
from gearshift.runtime.errors import ConfigurationError
from gearshift.runtime.types import Camera, Image

from .lenses import FISHEYE, pixel_grid
from .sources.mjpeg_server import Behaviour, mjpeg_camera

cv2 = pytest.importorskip("cv2")

BOARD = Board(7, 5, 0.04)
LENS = Camera("lens", 320, 240, 260.0, 262.0, 157.0, 122.5, (-0.21, 0.07, 0.0012, -0.0009, 0.0))
WIDE = replace(FISHEYE, width=320, height=240, fx=150.0, fy=151.0, cx=160.5, cy=118.5)


def turn(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rotation about x, then y, then z [rad]."""
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        c, s = np.cos(angle), np.sin(angle)
        step = np.eye(3)
        i, j = [k for k in range(3) if k != axis]
        step[i, i] = step[j, j] = c
        step[i, j], step[j, i] = -s, s
        matrix = step @ matrix
    return matrix


def board_seen(rays: Points, rotation: NDArray[np.float64], middle: Points) -> Image:
    """Brightness where rays (h, w, n, 2) meet the board, whose middle lies at (3,) metres."""
    directions = np.concatenate([rays, np.ones((*rays.shape[:-1], 1))], axis=-1)
    normal = rotation[:, 2]
    distance = (middle @ normal) / (directions @ normal)
    there = (directions * distance[..., None] - middle) @ rotation
    half = np.array([(BOARD.columns + 1) / 2, (BOARD.rows + 1) / 2]) * BOARD.square
    inside = (np.abs(there[..., :2]) < half).all(axis=-1) & (distance > 0)
    cells = np.floor((there[..., :2] + half) / BOARD.square).astype(int).sum(axis=-1)
    paper = (np.abs(there[..., :2]) < half + BOARD.square).all(axis=-1) & (distance > 0)
    brightness = np.where(paper, 215.0, 110.0)
    brightness = np.where(inside & (cells % 2 == 0), 35.0, brightness)
    shown: Image = np.rint(brightness.mean(axis=-1)).astype(np.uint8)
    return shown


def views(camera: Camera, count: int, *, tilt: float = 0.6, seed: int = 0) -> list[Image]:
    """A board held up in different ways, all of it in view."""
    rng = np.random.default_rng(seed)
    rays = rays_of_pixels(camera, pixel_grid(camera, 2))
    edges = np.array([[x, y, 0.0] for x in (-0.16, 0.16) for y in (-0.12, 0.12)])
    images: list[Image] = []
    while len(images) < count:
        rotation = turn(rng.uniform(-tilt, tilt, 3) * [1, 1, 0.5])
        depth = rng.uniform(0.35, 0.8)
        aim = rays[rng.integers(camera.height), rng.integers(camera.width), 0]
        middle = np.array([*aim, 1.0]) * depth
        corners = edges @ rotation.T + middle
        pixels = pixels_of_rays(camera, corners[:, :2] / corners[:, 2:])
        margin = np.minimum(pixels, [camera.width, camera.height] - pixels)
        if corners[:, 2].min() > 0.15 and margin.min() > 6:
            noise = rng.normal(0, 1.5, (camera.height, camera.width))
            image = board_seen(rays, rotation, middle) + noise
            images.append(np.clip(image, 0, 255).astype(np.uint8))
    return images


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty views through LENS, and one picture without a board."""
    folder = tmp_path_factory.mktemp("photos")
    for i, image in enumerate(views(LENS, 20)):
        cv2.imwrite(str(folder / f"{i:02d}.png"), image)
    cv2.imwrite(str(folder / "empty.png"), np.full((240, 320), 90, np.uint8))
    return folder


def worst_pixel(found: Camera, true: Camera, share: float = 0.9) -> float:
    """How far apart the two see one ray, at worst in the middle `share` of the image [pixels]."""
    grid = pixel_grid(true, 1)[:, :, 0]
    keep = np.abs(grid - [true.cx, true.cy]) < np.array([true.width, true.height]) / 2 * share
    rays = rays_of_pixels(true, grid[keep.all(axis=-1)])
    apart = pixels_of_rays(found, rays) - pixels_of_rays(true, rays)
    return float(np.hypot(apart[:, 0], apart[:, 1]).max())


def test_the_lens_of_rendered_boards_is_found(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, preview = tmp_path / "front.toml", tmp_path / "corners.png"
    arguments = ["camera", "calibrate", str(photos), "--board", "7x5", "--square", "0.04"]
    assert main([*arguments, "--out", str(out), "--preview", str(preview)]) == 0
    printed = capsys.readouterr().out
    assert "reprojection error" in printed
    assert "21 images" in printed
    camera = read_camera(out)
    assert camera.name == "front"
    assert camera.fx == pytest.approx(LENS.fx, rel=0.01)
    assert camera.fy == pytest.approx(LENS.fy, rel=0.01)
    assert worst_pixel(camera, LENS) < 1.5
    drawn = cv2.imread(str(preview))
    assert drawn.shape == (240, 320, 3)
    # Colours are corners; the photograph itself is grey.
    assert (np.ptp(drawn.astype(int), axis=2) > 60).mean() > 0.05
    assert main([*arguments, "--out", str(out)]) == 1
    assert "replace it with --force" in capsys.readouterr().err


def test_a_camera_is_watched_until_it_has_seen_enough(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A network camera before which somebody moves a board, holding each pose for three frames."""
    shots = []
    for path in sorted(photos.glob("[0-9]*.png")):
        _, content = cv2.imencode(".jpg", cv2.imread(str(path)), [cv2.IMWRITE_JPEG_QUALITY, 97])
        shots.append(bytes(content))
    out = tmp_path / "live.toml"
    with mjpeg_camera(Behaviour(lambda i: shots[i // 3 % len(shots)], 0.02)) as (url, _):
        options = ["--board", "7x5", "--square", "0.04", "--count", "8", "--out", str(out)]
        assert main(["camera", "calibrate", url, *options]) == 0
    captured = capsys.readouterr()
    assert "view 8 of 8" in captured.err
    assert "8 of them different views" in captured.out
    assert read_camera(out).fx == pytest.approx(LENS.fx, rel=0.05)


def test_an_interrupt_while_looking_for_the_board_keeps_the_views(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = 0

    def interrupted(image: Image, board: Board) -> object:
        nonlocal looked
        looked += 1
        if looked > 12:
            os.kill(os.getpid(), signal.SIGINT)
        return find_corners(image, board)

    monkeypatch.setattr(camera_views, "find_corners", interrupted)
    out = tmp_path / "camera.toml"
    words = ["camera", "calibrate", str(photos), "--board", "7x5", "--square", "0.04"]
    assert main([*words, "--out", str(out)]) == 0
    assert looked == 13
    assert read_camera(out).width == LENS.width


@pytest.mark.slow
def test_a_fisheye_is_found() -> None:
    corners = [find_corners(image, BOARD) for image in views(WIDE, 16, seed=3)]
    seen = [c for c in corners if c is not None]
    assert len(seen) >= 10
    found = calibrate("wide", seen, (320, 240), BOARD, "fisheye")
    assert found.camera.fisheye
    assert found.error < 0.3
    assert found.camera.fx == pytest.approx(WIDE.fx, rel=0.01)
    assert worst_pixel(found.camera, WIDE, share=0.8) < 3.0


def test_poor_views_are_said_to_be_poor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Few, all but frontal and in the middle: the focal length cannot be told from the distance."""
    for i, image in enumerate(views(replace(LENS, distortion=()), 5, tilt=0.02, seed=1)):
        cv2.imwrite(str(tmp_path / f"{i}.png"), image)
    out = tmp_path / "camera.toml"
    arguments = ["camera", "calibrate", str(tmp_path), "--board", "7x5", "--square", "0.04"]
    assert main([*arguments, "--out", str(out)]) == 0
    warnings = capsys.readouterr().err
    assert "views are few" in warnings
    assert "the focal length" in warnings, warnings


def test_a_view_that_is_no_board_is_left_out() -> None:
    corners = [find_corners(image, BOARD) for image in views(LENS, 12, seed=5)]
    good = [c for c in corners if c is not None]
    rng = np.random.default_rng(0)
    bad = (good[0] + rng.normal(0, 6, good[0].shape)).astype(np.float32)
    found = calibrate("lens", [bad, *good], (320, 240), BOARD, "pinhole")
    assert 0 not in found.used
    assert len(found.used) >= len(good) - 1
    assert any("fit badly" in warning for warning in found.warnings)
    assert found.camera.fx == pytest.approx(LENS.fx, rel=0.02)


def test_what_cannot_be_calibrated_is_one_line(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def message(*arguments: str, board: str = "7x5", square: str = "0.04") -> str:
        out = tmp_path / "x.toml"
        options = ["--board", board, "--square", square, "--out", str(out)]
        code = main(["camera", "calibrate", *arguments, *options])
        assert code == 1
        assert not out.exists()
        text = capsys.readouterr().err
        assert text.startswith("gearshift: ")
        assert text.count("\n") == 1
        return text

    assert "none of 21 images shows all 9x6 inner corners" in message(str(photos), board="9x6")
    assert "write two whole numbers, such as 9x6" in message(str(photos), board="nine")
    assert "measure one, in metres" in message(str(photos), square="40")
    assert "is no folder, video or recording, nor a camera" in message("nowhere")
    assert "cannot open the camera /dev/video-none" in message("/dev/video-none")
    assert "--size and --format are for cameras" in message(str(photos), "--size", "640x480")
    few = tmp_path / "few"
    few.mkdir()
    (few / "0.png").write_bytes((photos / "00.png").read_bytes())
    assert "1 views of the board are too few" in message(str(few))


def test_show_says_how_the_lens_fits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "camera.toml"
    path.write_text(camera_text(LENS))
    assert main(["camera", "show", str(path), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    edges = np.array([[-0.5, LENS.cy], [319.5, LENS.cy]])
    left, right = np.degrees(np.arctan(rays_of_pixels(LENS, edges)[:, 0]))
    assert shown["field_of_view_deg"][0] == pytest.approx(right - left, abs=1e-6)
    assert shown["network_field_of_view_deg"][0] == pytest.approx(65.0, abs=0.2)
    assert 0.9 < shown["covered"] <= 1
    path.write_text(camera_text(replace(LENS, fx=600.0, fy=600.0)))
    assert main(["camera", "show", str(path)]) == 0
    captured = capsys.readouterr()
    assert "field of view" in captured.out
    assert "use a wider lens" in captured.err


def test_list_runs_without_cameras(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["camera", "list", "--json"]) == 0
    assert isinstance(json.loads(capsys.readouterr().out), list)
    assert main(["camera", "list"]) == 0
    assert capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "replacement", "problem"),
    [
        ("fx = 260.0", "fx = -3.0", "fx and fy must be above 0"),
        ("fx = 260.0", "focal = 3.0", r":\d+: key 'focal' is unknown"),
        ('lens = "pinhole"', 'lens = "fish"', "did you mean 'fisheye'"),
        ("schema_version = 1", "schema_version = 9", "reads schema_version = 1"),
        ("width = 320", "width = 0", r":4: 'width' is 0"),
    ],
)
def test_a_wrong_camera_file_is_one_line(
    tmp_path: Path, line: str, replacement: str, problem: str
) -> None:
    text = camera_text(LENS)
    assert line in text
    path = tmp_path / "camera.toml"
    path.write_text(text.replace(line, replacement))
    with pytest.raises(ConfigurationError, match=problem) as caught:
        read_camera(path)
    assert str(path) in str(caught.value)
    with pytest.raises(ConfigurationError, match=r"a camera is a \.toml file"):
        read_camera(tmp_path / "camera.yaml")


finite = st.floats(-1e6, 1e6)
above = st.floats(1e-3, 1e6)


@pytest.mark.slow
@given(
    st.builds(
        Camera,
        st.text(st.characters(codec="utf-8")).filter(str.isprintable),
        st.integers(1, 32768),
        st.integers(1, 32768),
        above,
        above,
        finite,
        finite,
        st.sampled_from([0, 4, 5, 8, 12]).flatmap(lambda n: st.tuples(*[finite] * n)),
    )
)
def test_a_camera_survives_its_file(
    tmp_path_factory: pytest.TempPathFactory, camera: Camera
) -> None:
    path = tmp_path_factory.getbasetemp() / "round.toml"
    path.write_text(camera_text(camera), encoding="utf-8")
    assert read_camera(path) == camera
