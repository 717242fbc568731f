"""Augmentation of grey frames with exact labels, batched in torch.

Geometry: the frame is seen again by a camera turned by a small yaw, pitch and roll (a homography,
exact for a pinhole) and optionally mirrored. The pose is yaw-levelled, so only yaw changes it:
turning the drone left by d moves the person right: position rotated by -d about z, phi - d.
Mirroring negates y and phi. Frames of boards that differ a little are turned as the nominal camera
would turn: head pixels stay exact, since picture and pixel are moved by the same map, and a focal
length 3 % off turns the picture by 0.3 degrees more or less than a label's 10, far within what the
mountings of such boards differ by; a mirrored board is another such board. Photometry: gain, offset
and gamma by a table per image, blur, noise, occluding patches.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

from gearshift.runtime.types import Camera, HeadGrid

X, Y, PHI = 0, 1, 3
"""Columns of the pose that turn with the drone."""
UNDISTORTING_STEPS = 10
NOISE_FRAMES = 320
"""Size of the noise bank; no batch may be larger."""


@dataclass(frozen=True, slots=True)
class AugmentationConfig:
    """Ranges. Angles in rad (uniform within +-), shares are probabilities per image."""

    turned: float = 0.6
    yaw: float = math.radians(10)
    pitch: float = math.radians(1)
    roll: float = math.radians(1.5)
    mirrored: float = 0.5
    gain: float = 0.25
    """Standard deviation of the logarithm of the gain."""
    offset: float = 8.0
    gamma: float = 0.2
    """Standard deviation of the logarithm of the exponent."""
    noise: float = 6.0
    """Largest standard deviation of the noise, grey levels."""
    blurred: float = 0.15
    occluded: float = 0.1
    occlusion: float = 0.35
    """Largest side of a patch, as a share of the image's."""


def scaled(strength: float) -> AugmentationConfig:
    """Augmentation of a given strength: every range and share is scaled but mirroring."""
    full = AugmentationConfig()
    ranges = {
        entry.name: strength * getattr(full, entry.name)
        for entry in fields(full)
        if entry.name not in {"mirrored", "occlusion"}
    }
    return replace(full, **ranges)


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
    resampled = (angles != 0).any(dim=1)
    if camera.cx == (camera.width - 1) / 2:
        # Reversing the columns is the same as resampling them mirrored, only cheaper.
        reversed_only = torch.nonzero(mirrored & ~resampled).flatten()
        image[reversed_only] = batch.image[reversed_only].flip(-1)
    else:
        resampled = resampled | mirrored
    moved = torch.nonzero(resampled).flatten()
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
    position = _project(source @ _pixel_rays(camera), camera)
    # grid_sample counts from -1 at the first pixel's outer edge to 1 at the last one's.
    position[:, 0].mul_(2 / camera.width).add_(1 / camera.width - 1)
    position[:, 1].mul_(2 / camera.height).add_(1 / camera.height - 1)
    grid = position.view(len(image), 2, camera.height, camera.width).permute(0, 2, 3, 1)
    return functional.grid_sample(
        image, grid, mode="bilinear", padding_mode="border", align_corners=False
    )


def _move_pixels(pixel: Tensor, source: Tensor, camera: Camera) -> Tensor:
    # `source` is orthogonal (a rotation, perhaps mirrored): its transpose is its inverse.
    ray = source.transpose(1, 2) @ _rays(pixel.T, camera).T[:, :, None]
    return _project(ray, camera)[:, :, 0]


@cache
def _pixel_rays(camera: Camera) -> Tensor:
    """(3, height * width): the ray of every pixel, row by row."""
    v, u = torch.meshgrid(
        torch.arange(camera.height, dtype=torch.float32),
        torch.arange(camera.width, dtype=torch.float32),
        indexing="ij",
    )
    return _rays(torch.stack([u.flatten(), v.flatten()]), camera)


def _rays(pixel: Tensor, camera: Camera) -> Tensor:
    """Pixels (2, n) as rays (3, n) with forward = 1, left, up."""
    left = (camera.cx - pixel[0]) / camera.fx
    up = (camera.cy - pixel[1]) / camera.fy
    distorted_left, distorted_up = left, up
    for _ in range(UNDISTORTING_STEPS if camera.distortion else 0):
        factor = _radial(left.square() + up.square(), camera)
        left, up = distorted_left / factor, distorted_up / factor
    return torch.stack([torch.ones_like(left), left, up])


def _project(ray: Tensor, camera: Camera) -> Tensor:
    """Rays (b, 3, n) to pixels (b, 2, n)."""
    plane = ray[:, 1:] / ray[:, :1]
    if camera.distortion:
        plane *= _radial(plane.square().sum(dim=1, keepdim=True), camera)
    plane[:, 0].mul_(-camera.fx).add_(camera.cx)
    plane[:, 1].mul_(-camera.fy).add_(camera.cy)
    return plane


def _radial(square: Tensor, camera: Camera) -> Tensor:
    """OpenCV's radial factor at a squared radius; tangential distortion is not modelled."""
    k1, k2, _, _, k3 = (*camera.distortion, *(0.0,) * 5)[:5]
    if k2 == 0 and k3 == 0:
        return 1 + k1 * square
    return 1 + square * (k1 + square * (k2 + square * k3))
