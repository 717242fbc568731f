"""Augmentation of grey frames with exact labels, batched in torch.

Geometry: the frame is seen again by a camera turned by a small yaw, pitch and roll (a homography,
exact for a pinhole) and optionally mirrored. The pose is yaw-levelled, so only yaw changes it:
turning the drone left by d moves the person right: position rotated by -d about z, phi - d.
Mirroring negates y and phi. Photometry: gain, offset and gamma by a table per image, blur, noise,
occluding patches.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from gearshift.runtime.types import Camera, HeadGrid

X, Y, PHI = 0, 1, 3
"""Columns of the pose that turn with the drone."""
NOISE_FRAMES = 320
"""Size of the noise bank; no batch may be larger."""


@dataclass(frozen=True, slots=True)
class AugmentationConfig:
    """Ranges. Angles in rad (uniform within +-), shares are probabilities per image."""

    turned: float = 0.6
    yaw: float = math.radians(9)
    pitch: float = math.radians(1)
    roll: float = math.radians(1.5)
    mirrored: float = 0.5
    gain: float = 0.35
    """Standard deviation of the logarithm of the gain."""
    offset: float = 12.0
    gamma: float = 0.25
    """Standard deviation of the logarithm of the exponent."""
    noise: float = 8.0
    """Largest standard deviation of the noise, grey levels."""
    blurred: float = 0.2
    occluded: float = 0.15
    occlusion: float = 0.35
    """Largest side of a patch, as a share of the image's."""


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Frames and labels. image: (b, 1, h, w) float32 in 0..255 (uint8 before augmentation).

    values: (b, 4). visible: (b,) bool. head: (b, 2) pixel. cell: (b,) int64 class.
    """

    image: Tensor
    values: Tensor
    visible: Tensor
    head: Tensor
    cell: Tensor


class Augmenter:
    """Draws and applies random augmentations from its own generator."""

    def __init__(
        self, camera: Camera, grid: HeadGrid, config: AugmentationConfig, generator: torch.Generator
    ) -> None:
        self._camera = camera
        self._grid = grid
        self._config = config
        self._generator = generator
        # Normal numbers are slow to draw: a bank is drawn once, and batches start anywhere in it.
        size = camera.width * camera.height
        self._noise = torch.randn(NOISE_FRAMES * size, generator=generator)

    def __call__(self, batch: Batch) -> Batch:
        """A random variant of a batch of uint8 frames."""
        config, count = self._config, len(batch.image)
        turned = (self._uniform(count) < config.turned).float()
        angles = torch.stack(
            [
                turned * (2 * self._uniform(count) - 1) * limit
                for limit in (config.yaw, config.pitch, config.roll)
            ],
            dim=1,
        )
        mirrored = self._uniform(count) < config.mirrored
        image = self._tone(batch.image)
        batch = Batch(image, batch.values, batch.visible, batch.head, batch.cell)
        batch = turn(batch, angles, mirrored, self._camera, self._grid)
        self._blur(batch.image)
        self._occlude(batch.image)
        self._add_noise(batch.image)
        return batch

    def _uniform(self, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=self._generator)

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self._generator)

    def _tone(self, image: Tensor) -> Tensor:
        """Gain, offset and gamma through one table of 256 levels per image."""
        count = len(image)
        level = torch.arange(256, dtype=torch.float32) / 255
        gamma = torch.exp(self._config.gamma * self._normal(count, 1))
        gain = torch.exp(self._config.gain * self._normal(count, 1))
        offset = self._config.offset * self._normal(count, 1)
        table = (255 * gain * level**gamma + offset).clamp(0, 255)
        flat = image.reshape(count, -1).long()
        return table.gather(1, flat).reshape(image.shape)

    def _blur(self, image: Tensor) -> None:
        """Spread a share of each pixel of some images to its neighbours (3 x 3, separable)."""
        chosen = torch.nonzero(self._uniform(len(image)) < self._config.blurred).flatten()
        if not len(chosen):
            return
        side = 0.33 * self._uniform(len(chosen), 1, 1, 1)
        part = functional.pad(image[chosen], (1, 1, 1, 1), mode="replicate")
        part = side * (part[..., :-2] + part[..., 2:]) + (1 - 2 * side) * part[..., 1:-1]
        part = side * (part[..., :-2, :] + part[..., 2:, :]) + (1 - 2 * side) * part[..., 1:-1, :]
        image[chosen] = part

    def _occlude(self, image: Tensor) -> None:
        height, width = image.shape[-2:]
        chosen = torch.nonzero(self._uniform(len(image)) < self._config.occluded).flatten()
        draws = self._uniform(len(chosen), 5)
        for index, (top, left, tall, wide, grey) in zip(
            chosen.tolist(), draws.tolist(), strict=True
        ):
            rows = 1 + int(tall * self._config.occlusion * height)
            columns = 1 + int(wide * self._config.occlusion * width)
            v, u = int(top * (height - rows)), int(left * (width - columns))
            image[index, :, v : v + rows, u : u + columns] = 255 * grey

    def _add_noise(self, image: Tensor) -> None:
        size = image[0].numel()
        deviation = self._config.noise * self._uniform(len(image), 1, 1, 1) ** 2
        start = int(self._uniform(1) * (len(self._noise) - len(image) * size))
        noise = self._noise[start : start + len(image) * size].view(image.shape)
        torch.addcmul(image, noise, deviation, out=image).clamp_(0, 255)


def turn(batch: Batch, angles: Tensor, mirrored: Tensor, camera: Camera, grid: HeadGrid) -> Batch:
    """The batch as the camera sees it after turning by angles (b, 3) yaw, pitch, roll and
    mirroring.

    Yaw is positive to the left (counter-clockwise from above), pitch positive downwards, roll
    positive to the right, each about the camera's axes. What was outside the image repeats its
    border; a head that leaves the image is no longer visible.
    """
    rotation = _rotation(angles)
    sign = torch.where(mirrored, -1.0, 1.0)
    flip = torch.ones(len(sign), 3)
    flip[:, 1] = sign
    source = rotation * flip[:, None, :]
    image = batch.image.clone()
    moved = torch.nonzero(mirrored | (angles != 0).any(dim=1)).flatten()
    if len(moved):
        image[moved] = _resample(batch.image[moved], source[moved], camera)
    values = batch.values.clone()
    cos, sin = torch.cos(angles[:, 0]), torch.sin(angles[:, 0])
    x, y = batch.values[:, X], batch.values[:, Y]
    values[:, X] = cos * x + sin * y
    values[:, Y] = sign * (cos * y - sin * x)
    phi = batch.values[:, PHI] - angles[:, 0]
    values[:, PHI] = sign * torch.atan2(torch.sin(phi), torch.cos(phi))
    head = _move_pixels(batch.head, source, camera)
    inside = (
        (head[:, 0] >= -0.5)
        & (head[:, 0] < camera.width - 0.5)
        & (head[:, 1] >= -0.5)
        & (head[:, 1] < camera.height - 0.5)
    )
    column = ((head[:, 0] + 0.5) * grid.columns / camera.width).long()
    row = ((head[:, 1] + 0.5) * grid.rows / camera.height).long()
    located = (batch.cell != grid.no_head) & inside
    cell = torch.where(located, row * grid.columns + column, grid.no_head)
    return Batch(image, values, batch.visible & inside, head, cell)


def _rotation(angles: Tensor) -> Tensor:
    """(b, 3, 3): rays (forward, left, up) of the turned camera into the original one's."""
    (cy, cp, cr), (sy, sp, sr) = torch.cos(angles).T, torch.sin(angles).T
    rows = (
        (cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr),
        (sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr),
        (-sp, cp * sr, cp * cr),
    )
    return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)


def _resample(image: Tensor, source: Tensor, camera: Camera) -> Tensor:
    """Bilinear; source (b, 3, 3) maps rays of the new camera to rays of the old one."""
    to_ray, to_pixel = _intrinsics(camera)
    normalise = torch.tensor(
        [
            [1.0, 0.0, 0.0],
            [1 / camera.width - 1, 2 / camera.width, 0.0],
            [1 / camera.height - 1, 0.0, 2 / camera.height],
        ]
    )
    u = torch.arange(camera.width, dtype=torch.float32)
    v = torch.arange(camera.height, dtype=torch.float32)
    matrix = normalise @ to_pixel @ source @ to_ray
    # Affine in u and v: two broadcast sums instead of a product per pixel.
    across = matrix[:, :, 1, None] * u + matrix[:, :, 0, None]
    plane = across[:, :, None, :] + (matrix[:, :, 2, None] * v)[..., None]
    position = (plane[:, 1:] / plane[:, :1]).permute(0, 2, 3, 1)
    return functional.grid_sample(
        image, position, mode="bilinear", padding_mode="border", align_corners=False
    )


def _move_pixels(pixel: Tensor, source: Tensor, camera: Camera) -> Tensor:
    to_ray, to_pixel = _intrinsics(camera)
    homogeneous = torch.cat([torch.ones(len(pixel), 1), pixel], dim=1)
    ray = homogeneous @ to_ray.T
    # `source` is orthogonal (a rotation, perhaps mirrored): its transpose is its inverse.
    moved = torch.einsum("bij,bi->bj", source, ray) @ to_pixel.T
    return moved[:, 1:] / moved[:, :1]


def _intrinsics(camera: Camera) -> tuple[Tensor, Tensor]:
    """(1, u, v) to a ray (forward, left, up), and back up to scale."""
    to_ray = torch.tensor(
        [
            [1.0, 0.0, 0.0],
            [camera.cx / camera.fx, -1 / camera.fx, 0.0],
            [camera.cy / camera.fy, 0.0, -1 / camera.fy],
        ]
    )
    to_pixel = torch.tensor(
        [[1.0, 0.0, 0.0], [camera.cx, -camera.fx, 0.0], [camera.cy, 0.0, -camera.fy]]
    )
    return to_ray, to_pixel
