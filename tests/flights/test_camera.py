from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("cv2", reason="synthetic flights need the extra 'sim'")

from gearshift.sim.flights.himax import (
    CAMERA,
    HEIGHT,
    MARGIN,
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


def test_a_point_lands_where_it_is_projected() -> None:
    camera = Himax(np.random.default_rng(0))
    for y, z in ((0.0, 0.0), (0.5, 0.25), (-0.45, -0.3), (0.55, -0.1)):
        pinhole_u = CAMERA.cx - CAMERA.fx * y + MARGIN
        pinhole_v = CAMERA.cy - CAMERA.fy * z + MARGIN
        rendered = np.zeros_like(FLAT)
        rows, columns = np.mgrid[0:RENDER_HEIGHT, 0:RENDER_WIDTH]
        # Pixel centres at integers: supersampled index i lies at (i + 0.5) / s - 0.5.
        du = (columns + 0.5) / SUPERSAMPLING - 0.5 - pinhole_u
        dv = (rows + 0.5) / SUPERSAMPLING - 0.5 - pinhole_v
        rendered[:] = np.exp(-(du**2 + dv**2) / 2)
        seen = camera.distort(rendered)
        rows, columns = np.mgrid[0 : seen.shape[0], 0 : seen.shape[1]]
        u = ((columns + 0.5) / SUPERSAMPLING - 0.5)[seen > 0.01]
        v = ((rows + 0.5) / SUPERSAMPLING - 0.5)[seen > 0.01]
        weight = seen[seen > 0.01]
        found = [float((u * weight).sum() / weight.sum()), float((v * weight).sum() / weight.sum())]
        expected = project(np.array([[1.0, y, z]]))[0]
        np.testing.assert_allclose(found, expected, atol=0.05)


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
