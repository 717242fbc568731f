"""The camera: a Himax HM01B0 behind its lens, from scene radiance to 160 x 96 grey frames.

Barrel distortion, vignetting, blur, motion blur, auto exposure with lag, shot and fixed-pattern
noise and the edge enhancement of the sensor's raw pipeline. Parameters vary between flights, as
they do between cameras.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from gearshift.runtime.cameras.lens import pixels_of_rays, rays_of_pixels, widest_radius
from gearshift.runtime.types import Camera, Image
from gearshift.sim.flights.shapes.geometry import Float32, Float64

WIDTH, HEIGHT = 160, 96
_FOCAL = 91.9

CAMERA = Camera(
    name="himax-hm01b0",
    width=WIDTH,
    height=HEIGHT,
    fx=_FOCAL,
    fy=_FOCAL,
    cx=(WIDTH - 1) / 2,
    cy=(HEIGHT - 1) / 2,
    distortion=(-0.0957, 0.0211, 0.0, 0.0, 0.0),
)
"""An AI-deck's HM01B0, calibrated with a checkerboard: 35 views of 320 x 224, reprojection error
0.16 px, f = 183.7 and 184.1 px there (IMRCLab's multi-robot data set); half of it at 160 px. That
is 82 degrees for a pinhole, 86 from edge to edge with the distortion (plumb_bob: k1 k2 p1 p2 k3).
The principal point differs from board to board: here it is the picture's middle."""

SUPERSAMPLING = 2
MARGIN = (16, 12)
"""Pixels rendered beyond the left and right, the top and bottom edges: the distortion pulls in
8, and boards differ (see `boards`)."""
RENDER_WIDTH = (WIDTH + 2 * MARGIN[0]) * SUPERSAMPLING
RENDER_HEIGHT = (HEIGHT + 2 * MARGIN[1]) * SUPERSAMPLING
RENDER_FOCAL = _FOCAL * SUPERSAMPLING
"""Focal length in supersampled pixels of the rendered pinhole image, centred on the axis."""
_MIDDLE = np.array([(RENDER_WIDTH - 1) / 2, (RENDER_HEIGHT - 1) / 2])

# A corner's light beside the middle's, and how it falls off between, were fitted to real frames.
_FALLOFF = 0.52
_CORNER_SHADE = 0.22


def project(points: Float64, camera: Camera = CAMERA) -> Float64:
    """Pixels (n, 2) of points (n, 3) in the camera's FLU frame [m]; NaN where it cannot look."""
    x = np.where(points[:, 0] > 1e-3, points[:, 0], np.nan)
    rays = np.stack([-points[:, 1] / x, -points[:, 2] / x], axis=1)
    seen = np.hypot(rays[:, 0], rays[:, 1]) < widest_radius(camera)
    return pixels_of_rays(camera, np.where(seen[:, None], rays, np.nan))


def _distortion_maps(camera: Camera) -> tuple[Float32, Float32]:
    """Where each supersampled pixel of the distorted image lies in the rendered pinhole image."""
    v, u = np.mgrid[0 : HEIGHT * SUPERSAMPLING, 0 : WIDTH * SUPERSAMPLING].astype(np.float64)
    pixels = (np.stack([u, v], axis=-1) + 0.5) / SUPERSAMPLING - 0.5
    places = rays_of_pixels(camera, pixels) * RENDER_FOCAL + _MIDDLE
    return places[..., 0].astype(np.float32), places[..., 1].astype(np.float32)


@dataclass(frozen=True, slots=True)
class _Unit:
    """One camera's traits in one flight."""

    blur: float
    sharpening: float
    sharpening_radius: float
    vignetting: float
    shot_noise: float
    read_noise: float
    gamma: float
    knee: float
    black: float
    target: float
    exposure_time: float
    flare: float
    lag: float


class Himax:
    """Turns rendered radiance into frames, one call per kept frame (exposure has a memory).

    The traits of the sensor are drawn; `camera` is its lens. `target`: the mean that auto-exposure
    aims at, as a share of full scale; drawn where it is not given.
    """

    def __init__(
        self, rng: np.random.Generator, camera: Camera = CAMERA, target: float | None = None
    ) -> None:
        self._rng = rng
        self._map_x, self._map_y = _distortion_maps(camera)
        usual = float(np.clip(rng.normal(0.46, 0.06), 0.3, 0.62))
        self._unit = _Unit(
            blur=float(rng.uniform(0.45, 0.85)),
            sharpening=float(rng.uniform(0.15, 0.5)),
            sharpening_radius=float(rng.uniform(0.9, 1.3)),
            vignetting=float(rng.uniform(0.75, 1.35)),
            shot_noise=float(rng.uniform(0.0001, 0.0004)),
            read_noise=float(rng.uniform(0.00001, 0.00006)),
            gamma=float(rng.uniform(0.85, 1.1)),
            knee=float(rng.uniform(0.4, 0.8)),
            black=float(rng.uniform(0.0, 14.0)),
            target=usual if target is None else target,
            exposure_time=float(rng.uniform(0.05, 0.45)),
            flare=float(rng.uniform(0.01, 0.045)),
            lag=float(rng.uniform(0.15, 0.6)),
        )
        v, u = np.mgrid[0:HEIGHT, 0:WIDTH]
        square = ((u - camera.cx) ** 2 + (v - camera.cy) ** 2) / (CAMERA.cx**2 + CAMERA.cy**2)
        strength = self._unit.vignetting
        falloff = (1 + _FALLOFF * strength * square) ** -2
        corner = 1 - _CORNER_SHADE * strength * np.clip(square, 0, 1) ** 3
        patch = rng.normal(0, 1, (4, 6)).astype(np.float32)
        shade = 1 + 0.04 * cv2.resize(patch, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
        pixels = 1 + rng.normal(0, 0.012, (HEIGHT, WIDTH)) + rng.normal(0, 0.004, WIDTH)
        self._gain: Float32 = (falloff * corner * shade * pixels).astype(np.float32)
        self._offset: Float32 = rng.normal(0, 0.004, (HEIGHT, WIDTH)).astype(np.float32)
        self._exposure: float | None = None

    def distort(self, rendered: Float32) -> Float32:
        """The rendered pinhole image as the lens shows it, still supersampled."""
        return np.asarray(
            cv2.remap(rendered, self._map_x, self._map_y, cv2.INTER_LINEAR), dtype=np.float32
        )

    def expose(self, rendered: Float32, motion: tuple[float, float]) -> Image:
        """(96, 160) uint8 frame of a rendered image (RENDER_HEIGHT, RENDER_WIDTH) of radiance.

        `motion`: pixels that the picture moves in one thirtieth of a second.
        """
        unit, rng = self._unit, self._rng
        seen = _motion_blur(self.distort(rendered), motion, unit.exposure_time)
        seen = cv2.GaussianBlur(seen, (0, 0), unit.blur * SUPERSAMPLING)
        light = cv2.resize(seen, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
        bounded = np.minimum(light, 10 * float(np.median(light)) + 1e-6)
        small = cv2.resize(bounded, (40, 24), interpolation=cv2.INTER_AREA)
        glow = cv2.resize(cv2.GaussianBlur(small, (0, 0), 3), (WIDTH, HEIGHT))
        light = (light + unit.flare * (glow - light)) * self._gain
        metered = float(np.minimum(light, 4.0 * np.median(light) + 1e-6).mean())
        wanted = unit.target / max(metered, 1e-5)
        if self._exposure is None:
            self._exposure = wanted * float(np.exp(rng.normal(0, 0.15)))
        self._exposure *= (wanted / self._exposure) ** unit.lag
        signal = light * np.float32(self._exposure)
        spread = np.sqrt(unit.shot_noise * signal + unit.read_noise)
        noise = rng.standard_normal(signal.shape, dtype=np.float32)
        signal = np.maximum(signal + spread * noise + self._offset, 0.0)
        signal = signal**unit.gamma
        over = np.maximum(signal - unit.knee, 0.0)
        signal = signal - over + over / (1 + 1.4 * over)
        soft = cv2.GaussianBlur(signal, (0, 0), unit.sharpening_radius)
        signal = signal + unit.sharpening * (signal - soft)
        levels = np.clip(signal * 250.0 + unit.black, 0, 255)
        return np.asarray(levels, dtype=np.uint8)


def _motion_blur(image: Float32, motion: tuple[float, float], exposure_time: float) -> Float32:
    """Average along the way that the picture moves during the exposure."""
    dx, dy = (m * exposure_time * SUPERSAMPLING for m in motion)
    length = math.hypot(dx, dy)
    if length < 1.0:
        return image
    scale = min(1.0, 24.0 / length)
    reach = math.ceil(length * scale / 2) + 1
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    for t in np.linspace(-0.5, 0.5, 4 * reach):
        x, y = reach + t * dx * scale, reach + t * dy * scale
        i, j = int(y), int(x)
        fy, fx = y - i, x - j
        kernel[i, j] += (1 - fy) * (1 - fx)
        kernel[i, min(j + 1, 2 * reach)] += (1 - fy) * fx
        kernel[min(i + 1, 2 * reach), j] += fy * (1 - fx)
        kernel[min(i + 1, 2 * reach), min(j + 1, 2 * reach)] += fy * fx
    return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum()), dtype=np.float32)
