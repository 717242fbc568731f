"""Lenses to look through in tests, and what a plane of known brightness looks like through one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gearshift.runtime.cameras.lens import Points, rays_of_pixels
from gearshift.runtime.types import Camera, Image

NETWORK = Camera("network", 160, 96, 129.0, 129.0, 79.5, 47.5, (-0.06,))
"""65 degrees wide, slightly barrel-shaped: near the camera of the shipped networks."""
WEBCAM = Camera("webcam", 640, 480, 430.0, 428.0, 322.0, 236.0, (-0.22, 0.06, 0.001, -0.0008, 0.0))
FISHEYE = Camera(
    "fisheye", 640, 480, 304.0, 304.0, 318.5, 241.5, (0.03, -0.01, 0.002, -0.0005), fisheye=True
)
RATIONAL = Camera(
    "rational",
    640,
    480,
    420.0,
    420.0,
    318.0,
    243.0,
    (0.25, 0.03, 5e-4, -3e-4, 0.002, 0.5, 0.08, 0.006),
)
LENSES = (NETWORK, WEBCAM, FISHEYE, RATIONAL)

Brightness = Callable[[Points], NDArray[np.float64]]


def pixel_grid(camera: Camera, samples: int) -> Points:
    """Points (height, width, samples * samples, 2) spread evenly over every pixel."""
    offsets = (np.arange(samples) + 0.5) / samples - 0.5
    u = np.arange(camera.width)[:, None] + offsets
    v = np.arange(camera.height)[:, None] + offsets
    grid = np.empty((camera.height, camera.width, samples, samples, 2))
    grid[..., 0] = u[None, :, None, :]
    grid[..., 1] = v[:, None, :, None]
    return grid.reshape(camera.height, camera.width, samples * samples, 2)


def picture(camera: Camera, brightness: Brightness, samples: int = 2) -> Image:
    """What the camera shows of a brightness 0 to 255 given per ray; each pixel averages its area.

    Rays are points of the plane at distance 1; there is no OpenCV in it.
    """
    rays = rays_of_pixels(camera, pixel_grid(camera, samples))
    shown: Image = np.rint(brightness(rays).mean(axis=-1)).astype(np.uint8)
    return shown
