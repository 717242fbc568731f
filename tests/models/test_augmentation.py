"""Labels after turning and mirroring, against a scene that is projected anew."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from gearshift.models.training.augmentation import (  # noqa: E402
    AugmentationConfig,
    Augmenter,
    Batch,
    turn,
)
from gearshift.runtime.types import Camera, HeadGrid  # noqa: E402

CAMERA = Camera("c", 160, 96, 125.6, 120.0, 79.5, 47.5, (-0.06, 0.0, 0.0, 0.0, 0.0))
GRID = HeadGrid()


def rotation_about_z(angle: float) -> np.ndarray:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def project(point: np.ndarray) -> tuple[float, float]:
    left, up = point[1:] / point[0]
    radial = 1 + CAMERA.distortion[0] * (left**2 + up**2)
    return CAMERA.cx - CAMERA.fx * left * radial, CAMERA.cy - CAMERA.fy * up * radial


def seen_from(yaw: float, head: np.ndarray, heading: float) -> tuple[np.ndarray, float]:
    """Pose of a head in the world, seen by a level drone at the origin with this yaw."""
    position = rotation_about_z(-yaw) @ head
    phi = (heading - yaw + math.pi + math.pi) % (2 * math.pi) - math.pi
    return position, phi


def batch_of(position: np.ndarray, phi: float, image: np.ndarray | None = None) -> Batch:
    u, v = project(position)
    pixels = np.zeros((96, 160), np.float32) if image is None else image
    visible = 0 <= u < 160 and 0 <= v < 96
    return Batch(
        torch.from_numpy(pixels.astype(np.float32))[None, None],
        torch.tensor([[*position, phi]], dtype=torch.float32),
        torch.tensor([visible]),
        torch.tensor([[u, v]], dtype=torch.float32),
        torch.tensor([GRID.cell(u, v, 160, 96)]),
    )


def turned(
    batch: Batch, yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0, *, mirror: bool = False
) -> Batch:
    angles = torch.tensor([[yaw, pitch, roll]])
    return turn(batch, angles, torch.tensor([mirror]), CAMERA, GRID)


@pytest.mark.parametrize("yaw", [-0.15, -0.05, 0.0, 0.12])
@pytest.mark.parametrize("heading", [math.pi, 2.0, -2.5, 0.3])
def test_yaw_gives_the_pose_that_a_turned_drone_sees(yaw: float, heading: float) -> None:
    head, start = np.array([2.0, 0.3, 0.2]), 0.4
    head = rotation_about_z(start) @ head
    before, phi = seen_from(start, head, heading)
    after, phi_after = seen_from(start + yaw, head, heading)
    result = turned(batch_of(before, phi), yaw)
    assert result.values[0, :3].numpy() == pytest.approx(after, abs=1e-5)
    wrapped = (float(result.values[0, 3]) - phi_after + math.pi) % (2 * math.pi) - math.pi
    assert wrapped == pytest.approx(0.0, abs=1e-5)
    assert result.head[0].numpy() == pytest.approx(project(after), abs=1e-3)


def test_turning_left_moves_the_person_right() -> None:
    result = turned(batch_of(np.array([2.0, 0.0, 0.0]), 0.0), yaw=0.1)
    assert float(result.values[0, 1]) < 0
    assert float(result.head[0, 0]) > CAMERA.cx
    assert float(result.values[0, 3]) == pytest.approx(-0.1, abs=1e-6)


def test_mirroring_negates_y_and_phi_and_keeps_x_and_z() -> None:
    result = turned(batch_of(np.array([2.0, 0.4, 0.1]), 0.7), mirror=True)
    assert result.values[0].numpy() == pytest.approx([2.0, -0.4, 0.1, -0.7], abs=1e-6)
    assert result.head[0].numpy() == pytest.approx(project(np.array([2.0, -0.4, 0.1])), abs=1e-3)


def test_mirroring_reverses_the_columns() -> None:
    image = np.random.default_rng(0).uniform(0, 255, (96, 160)).astype(np.float32)
    result = turned(batch_of(np.array([2.0, 0.4, 0.1]), 0.7, image), mirror=True)
    assert np.allclose(result.image[0, 0], image[:, ::-1], atol=0.05)


def test_turning_first_and_mirroring_then() -> None:
    position, phi = np.array([2.0, 0.4, 0.1]), 0.7
    both = turned(batch_of(position, phi), yaw=0.1, mirror=True)
    after, phi_after = rotation_about_z(-0.1) @ position, phi - 0.1
    expected = [after[0], -after[1], after[2], -phi_after]
    assert both.values[0].numpy() == pytest.approx(expected, abs=1e-5)
    mirrored = np.array([after[0], -after[1], after[2]])
    assert both.head[0].numpy() == pytest.approx(project(mirrored), abs=1e-3)


@pytest.mark.parametrize(
    ("angles", "mirror"),
    [
        ((0.1, 0.0, 0.0), False),
        ((-0.12, 0.0, 0.0), True),
        ((0.0, 0.03, 0.0), False),
        ((0.0, 0.0, 0.05), False),
        ((0.08, -0.02, 0.04), True),
    ],
)
def test_the_picture_moves_with_the_head(angles: tuple[float, ...], mirror: bool) -> None:
    position = np.array([2.0, 0.2, 0.1])
    u, v = project(position)
    rows, columns = np.mgrid[0:96, 0:160]
    spot = 255 * np.exp(-((columns - u) ** 2 + (rows - v) ** 2) / (2 * 3.0**2))
    result = turned(batch_of(position, 0.0, spot.astype(np.float32)), *angles, mirror=mirror)
    weight = result.image[0, 0].numpy()
    centre = ((weight * columns).sum() / weight.sum(), (weight * rows).sum() / weight.sum())
    assert centre == pytest.approx(result.head[0].numpy(), abs=0.1)


@pytest.mark.parametrize("angles", [(0.0, 0.03, 0.0), (0.0, 0.0, 0.05)])
def test_pitch_and_roll_leave_the_levelled_pose(angles: tuple[float, ...]) -> None:
    result = turned(batch_of(np.array([2.0, 0.2, 0.1]), 0.5), *angles)
    assert result.values[0].numpy() == pytest.approx([2.0, 0.2, 0.1, 0.5], abs=1e-6)


def test_pitching_down_moves_the_head_up() -> None:
    result = turned(batch_of(np.array([2.0, 0.0, 0.0]), 0.0), pitch=0.03)
    assert float(result.head[0, 1]) < CAMERA.cy


def test_a_head_that_leaves_the_image_is_no_longer_visible() -> None:
    position = np.array([2.0, -1.2, 0.0])
    result = turned(batch_of(position, 0.0), yaw=0.15)
    assert not bool(result.visible[0])
    assert int(result.cell[0]) == GRID.no_head


def test_cells_follow_the_head_and_no_head_stays() -> None:
    batch = batch_of(np.array([2.0, 0.5, 0.1]), 0.0)
    result = turned(batch, mirror=True)
    u, v = result.head[0].tolist()
    assert int(result.cell[0]) == GRID.cell(u, v, 160, 96)
    hidden = Batch(
        batch.image, batch.values, batch.visible, batch.head, torch.tensor([GRID.no_head])
    )
    assert int(turned(hidden, yaw=0.05).cell[0]) == GRID.no_head


def test_frames_without_a_person_stay_without() -> None:
    nothing = torch.full((1, 4), float("nan"))
    batch = Batch(
        torch.zeros(1, 1, 96, 160),
        nothing,
        torch.tensor([False]),
        nothing[:, :2],
        torch.tensor([GRID.no_head]),
    )
    result = turned(batch, yaw=0.1, mirror=True)
    assert not bool(result.visible[0])
    assert int(result.cell[0]) == GRID.no_head


def test_random_variants_are_seeded_and_in_range() -> None:
    generator = np.random.default_rng(1)
    images = torch.from_numpy(generator.integers(0, 256, (8, 1, 96, 160), dtype=np.uint8))
    batch = batch_of(np.array([2.0, 0.2, 0.1]), 0.5)
    many = Batch(
        images,
        batch.values.repeat(8, 1),
        batch.visible.repeat(8),
        batch.head.repeat(8, 1),
        batch.cell.repeat(8),
    )

    def draw(seed: int) -> Batch:
        source = torch.Generator().manual_seed(seed)
        return Augmenter(CAMERA, GRID, AugmentationConfig(), source)(many)

    first, again, other = draw(0), draw(0), draw(1)
    assert torch.equal(first.image, again.image)
    assert torch.equal(first.values, again.values)
    assert not torch.equal(first.image, other.image)
    assert float(first.image.min()) >= 0
    assert float(first.image.max()) <= 255
    assert images.dtype == torch.uint8
