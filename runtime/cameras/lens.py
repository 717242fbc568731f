"""Lens distortion as OpenCV's models have it, forwards and backwards, with NumPy alone.

Points are on the plane at distance 1 before the camera, x to the right and y down: what OpenCV
calls normalised. https://docs.opencv.org/4.x/d9/d0c/group__calib3d.html gives both models; the
fisheye one is Kannala and Brandt's.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gearshift.runtime.errors import ConfigurationError
from gearshift.runtime.types import Camera

Points = NDArray[np.float64]

PINHOLE_LENGTHS: Final = (0, 1, 2, 3, 4, 5, 8, 12)
"""k1 k2 p1 p2 k3 (plumb_bob), k4 k5 k6 (rational), s1 s2 s3 s4 (thin prism); the rest is 0."""
FISHEYE_LENGTH: Final = 4
_STEPS: Final = 8
_DELTA: Final = 1e-6
_WIDEST: Final = math.radians(85)
"""Angle from the axis: a plane at distance 1 has no room for much wider rays."""


def check_camera(camera: Camera) -> None:
    """Raise ConfigurationError when the numbers are no camera."""
    numbers = (camera.fx, camera.fy, camera.cx, camera.cy, *camera.distortion)
    if not (all(map(math.isfinite, numbers)) and camera.fx > 0 and camera.fy > 0):
        raise ConfigurationError("fx and fy must be above 0, and all numbers finite")
    if camera.width < 1 or camera.height < 1:
        raise ConfigurationError(f"an image of {camera.width}x{camera.height} pixels")
    count = len(camera.distortion)
    if camera.fisheye and count not in (0, FISHEYE_LENGTH):
        raise ConfigurationError(f"{count} numbers of distortion; a fisheye lens has k1 k2 k3 k4")
    if not camera.fisheye and count not in PINHOLE_LENGTHS:
        raise ConfigurationError(
            f"{count} numbers of distortion; OpenCV's order is k1 k2 p1 p2 k3 (5), k4 k5 k6 (8), "
            "s1 s2 s3 s4 (12)"
        )


def check_size(camera: Camera, width: int, height: int, where: str) -> None:
    """Raise ConfigurationError, naming `where`, when the camera is of images of another size."""
    if (camera.width, camera.height) != (width, height):
        raise ConfigurationError(
            f"{where} is a camera of {camera.width}x{camera.height}, the images are "
            f"{width}x{height}"
        )


def distort(camera: Camera, points: Points) -> Points:
    """Where the lens shows points (..., 2) of the plane at distance 1; on that plane again."""
    x, y = points[..., 0], points[..., 1]
    if camera.fisheye:
        radius = np.hypot(x, y)
        scale = _fisheye(camera, np.arctan(radius)) / np.where(radius > 1e-12, radius, 1.0)
        return points * np.where(radius > 1e-12, scale, 1.0)[..., None]
    if not any(camera.distortion):
        return points
    k1, k2, p1, p2, k3, k4, k5, k6, s1, s2, s3, s4 = _padded(camera, 12)
    square = x * x + y * y
    radial = 1 + square * (k1 + square * (k2 + square * k3))
    radial = radial / (1 + square * (k4 + square * (k5 + square * k6)))
    return np.stack(
        [
            x * radial + 2 * p1 * x * y + p2 * (square + 2 * x * x) + square * (s1 + square * s2),
            y * radial + p1 * (square + 2 * y * y) + 2 * p2 * x * y + square * (s3 + square * s4),
        ],
        axis=-1,
    )


def undistort(camera: Camera, points: Points) -> Points:
    """The inverse of `distort`, to 1e-9; points that no ray reaches give the widest ray there is.

    A table inverts the radial part, a few of Newton's steps the rest.
    """
    if not (camera.fisheye or any(camera.distortion)):
        return points
    radii, shown = _radial_table(camera)
    radius = np.hypot(points[..., 0], points[..., 1])
    true = np.interp(radius, shown, radii)
    reached = (radius < shown[-1])[..., None]
    guess = points * (true / np.maximum(radius, 1e-12))[..., None]
    right, down = np.array([_DELTA, 0.0]), np.array([0.0, _DELTA])
    for _ in range(_STEPS):
        here = distort(camera, guess)
        error = np.where(reached, points - here, 0.0)
        if np.abs(error).max(initial=0.0) < 1e-10:
            break
        by_x = (distort(camera, guess + right) - here) / _DELTA
        by_y = (distort(camera, guess + down) - here) / _DELTA
        determinant = by_x[..., 0] * by_y[..., 1] - by_x[..., 1] * by_y[..., 0]
        determinant = np.where(determinant > 1e-6, determinant, np.inf)
        move = np.stack(
            [
                by_y[..., 1] * error[..., 0] - by_y[..., 0] * error[..., 1],
                by_x[..., 0] * error[..., 1] - by_x[..., 1] * error[..., 0],
            ],
            axis=-1,
        )
        guess = guess + move / determinant[..., None]
    return guess


def widest_radius(camera: Camera) -> float:
    """The radius on the plane at distance 1 up to which the lens shows each point once.

    Beyond it the polynomials fold outer points back into the image, which no real lens does.
    """
    radii, _ = _radial_table(camera)
    return float(radii[-1])


def _radial_table(camera: Camera) -> tuple[Points, Points]:
    """Radii on the plane at distance 1 and where the lens shows them, both growing from 0."""
    angles = np.linspace(0.0, _WIDEST, 4001)
    radii = np.tan(angles)
    if camera.fisheye:
        shown = _fisheye(camera, angles)
    else:
        k1, k2, _, _, k3, k4, k5, k6 = _padded(camera, 8)
        square = radii * radii
        above = 1 + square * (k1 + square * (k2 + square * k3))
        below = 1 + square * (k4 + square * (k5 + square * k6))
        # From its pole on a rational lens shows nothing.
        poles = np.flatnonzero(below <= 1e-6)
        known = int(poles[0]) if poles.size else len(radii)
        radii = radii[:known]
        shown = radii * above[:known] / below[:known]
    falls = np.flatnonzero(np.diff(shown) <= 0)
    count = int(falls[0]) + 1 if falls.size else len(shown)
    return radii[:count], shown[:count]


def within(points: Points, limit: float) -> Points:
    """The points, those farther from the axis than the limit pulled in to it."""
    radius = np.hypot(points[..., 0], points[..., 1])
    pulled: Points = points * np.minimum(1.0, limit / np.maximum(radius, 1e-12))[..., None]
    return pulled


def rays_of_pixels(camera: Camera, pixels: Points) -> Points:
    """Points (..., 2) on the plane at distance 1 that the camera shows at the pixels (u, v)."""
    centred = pixels - [camera.cx, camera.cy]
    return undistort(camera, centred / [camera.fx, camera.fy])


def pixels_of_rays(camera: Camera, rays: Points) -> Points:
    """Pixels (u, v), centres at integers, at which the camera shows points of that plane."""
    return distort(camera, rays) * [camera.fx, camera.fy] + [camera.cx, camera.cy]


def fields_of_view(camera: Camera) -> tuple[float, float]:
    """Angles in radians between the edges of the image: horizontal, then vertical, on the axes."""
    right, bottom = camera.width - 0.5, camera.height - 0.5
    edges = np.array(
        [[-0.5, camera.cy], [right, camera.cy], [camera.cx, -0.5], [camera.cx, bottom]]
    )
    rays = rays_of_pixels(camera, edges)
    left, right, top, bottom = np.arctan([rays[0, 0], rays[1, 0], rays[2, 1], rays[3, 1]])
    return float(right - left), float(bottom - top)


def _fisheye(camera: Camera, angle: Points) -> Points:
    k1, k2, k3, k4 = _padded(camera, FISHEYE_LENGTH)
    square = angle * angle
    return angle * (1 + square * (k1 + square * (k2 + square * (k3 + square * k4))))


def _padded(camera: Camera, count: int) -> tuple[float, ...]:
    return (*camera.distortion, *(0.0,) * count)[:count]
