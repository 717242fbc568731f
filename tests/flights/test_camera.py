from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("cv2", reason="synthetic flights need the extra 'sim'")

from gearshift.runtime.cameras.camera_file import read_camera
from gearshift.runtime.types import Camera
from gearshift.sim.flights.drawing.camera_units import Board, draw_board
from gearshift.sim.flights.drawing.himax import (
    CAMERA,
    HEIGHT,
    RENDER_FOCAL,
    RENDER_HEIGHT,
    RENDER_WIDTH,
    SUPERSAMPLING,
    WIDTH,
    Himax,
    project,
)

FLAT = np.full((RENDER_HEIGHT, RENDER_WIDTH), 0.2, np.float32)


def exposed(seed: int, rendered: np.ndarray = FLAT, frames: int = 20) -> np.ndarray:
    camera = Himax(np.random.default_rng(seed))
    return np.array([camera.expose(rendered, (0.0, 0.0)) for _ in range(frames)])


def test_frames_have_the_cameras_size_and_type() -> None:
    frame = exposed(0, frames=1)[0]
    assert frame.shape == (HEIGHT, WIDTH) == (CAMERA.height, CAMERA.width)
    assert frame.dtype == np.uint8


def test_a_grey_wall_is_exposed_to_mid_grey_with_dark_corners_and_noise() -> None:
    means, noises, ratios = [], [], []
    for seed in range(12):
        frames = exposed(seed).astype(np.float64)
        settled = frames[8:]
        means.append(settled.mean())
        noises.append(settled[:, 40:56, 70:90].std(axis=(1, 2)).mean())
        corner = settled[:, :8, :8].mean()
        ratios.append(corner / settled[:, 44:52, 76:84].mean())
    assert 95 < np.mean(means) < 140
    assert 2 < np.mean(noises) < 8
    assert 0.3 < np.mean(ratios) < 0.65


@pytest.mark.parametrize("light", [0.002, 0.2, 20.0])
def test_exposure_follows_the_light(light: float) -> None:
    frames = exposed(3, FLAT * (light / 0.2), 15)
    assert frames[-1].mean() == pytest.approx(exposed(3, FLAT, 15)[-1].mean(), abs=2)


def test_exposure_lags_behind_a_change() -> None:
    camera = Himax(np.random.default_rng(1))
    for _ in range(10):
        camera.expose(FLAT, (0.0, 0.0))
    after = [camera.expose(FLAT * 0.3, (0.0, 0.0)).mean() for _ in range(15)]
    assert after[0] < after[-1] - 5


OFF_CENTRE = replace(CAMERA, fx=0.97 * CAMERA.fx, fy=0.97 * CAMERA.fy, cx=83.5, cy=43.5)


@pytest.mark.parametrize("lens", [CAMERA, OFF_CENTRE], ids=["nominal", "off-centre"])
def test_a_point_lands_where_it_is_projected(lens: Camera) -> None:
    camera = Himax(np.random.default_rng(0), lens)
    for y, z in ((0.0, 0.0), (0.5, 0.25), (-0.75, -0.45), (0.85, 0.4), (0.6, -0.1)):
        rendered = np.zeros_like(FLAT)
        rows, columns = np.mgrid[0:RENDER_HEIGHT, 0:RENDER_WIDTH]
        du = (columns - (RENDER_WIDTH - 1) / 2 + RENDER_FOCAL * y) / SUPERSAMPLING
        dv = (rows - (RENDER_HEIGHT - 1) / 2 + RENDER_FOCAL * z) / SUPERSAMPLING
        rendered[:] = np.exp(-(du**2 + dv**2) / 2)
        seen = camera.distort(rendered)
        rows, columns = np.mgrid[0 : seen.shape[0], 0 : seen.shape[1]]
        # Pixel centres at integers: supersampled index i lies at (i + 0.5) / s - 0.5.
        u = ((columns + 0.5) / SUPERSAMPLING - 0.5)[seen > 0.01]
        v = ((rows + 0.5) / SUPERSAMPLING - 0.5)[seen > 0.01]
        weight = seen[seen > 0.01]
        found = [float((u * weight).sum() / weight.sum()), float((v * weight).sum() / weight.sum())]
        expected = project(np.array([[1.0, y, z]]), lens)[0]
        np.testing.assert_allclose(found, expected, atol=0.05)


@pytest.mark.parametrize("across", [-1, 1])
@pytest.mark.parametrize("down", [-1, 1])
@pytest.mark.parametrize("focal", [0.97, 1.03])
def test_every_board_sees_only_what_is_rendered(across: int, down: int, focal: float) -> None:
    lens = replace(
        CAMERA,
        fx=focal * CAMERA.fx,
        fy=focal * CAMERA.fy,
        cx=CAMERA.cx + 4 * across,
        cy=CAMERA.cy + 4 * down,
    )
    assert (Himax(np.random.default_rng(0), lens).distort(np.ones_like(FLAT)) == 1).all()


def test_boards_vary_within_their_bounds_and_are_turned_about_the_bodys_axes() -> None:
    rng = np.random.default_rng(0)
    boards = [draw_board(rng) for _ in range(300)]
    focal = np.array([board.camera.fx / CAMERA.fx - 1 for board in boards])
    centre = np.array([[b.camera.cx - CAMERA.cx, b.camera.cy - CAMERA.cy] for b in boards])
    mounting = np.degrees([[b.roll, b.pitch, b.yaw] for b in boards])
    for values, bound in ((focal, 0.03), (centre, 4.0), (mounting, 4.0)):
        assert np.abs(values).max() <= bound + 1e-9
        assert (np.abs(values) > 0.8 * bound).any()
    assert mounting.std(axis=0) == pytest.approx([1.5] * 3, rel=0.2)
    left, down = Board(CAMERA, yaw=0.1).turn, Board(CAMERA, pitch=0.1).turn
    assert (left @ [1.0, 0, 0])[1] == pytest.approx(np.sin(0.1))
    assert (down @ [1.0, 0, 0])[2] == pytest.approx(-np.sin(0.1))


def test_a_target_sets_the_mean_brightness() -> None:
    means = []
    for target in (0.05, 0.2, 0.55):
        camera = Himax(np.random.default_rng(2), target=target)
        means.append([camera.expose(FLAT, (0.0, 0.0)) for _ in range(20)][-1].mean())
    assert means[0] < 30
    assert means[0] < means[1] - 15
    assert means[1] < means[2] - 40


def test_motion_blur_smears_along_the_motion() -> None:
    rendered = np.zeros_like(FLAT)
    rendered[:, RENDER_WIDTH // 2 :] = 0.3
    sharp = Himax(np.random.default_rng(4)).expose(rendered, (0.0, 0.0))
    across = Himax(np.random.default_rng(4)).expose(rendered, (30.0, 0.0))
    along = Himax(np.random.default_rng(4)).expose(rendered, (0.0, 30.0))

    def steepest(frame: np.ndarray) -> float:
        return float(np.abs(np.diff(frame[30:60].astype(float).mean(axis=0))).max())

    assert steepest(across) < 0.8 * steepest(sharp)
    assert steepest(along) > 0.9 * steepest(sharp)


def test_the_camera_file_in_the_documentation_is_this_lens(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "cameras.md").read_text()
    start = page.index('    schema_version = 1\n    name = "himax-hm01b0"')
    block = page[start:].split("\n\n")[0]
    path = tmp_path / "camera.toml"
    path.write_text("\n".join(line.strip() for line in block.splitlines()))
    assert read_camera(path) == CAMERA
