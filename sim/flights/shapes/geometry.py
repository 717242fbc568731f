"""Rotations, smooth noise and small mesh helpers shared by the generator's modules."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int32 = NDArray[np.int32]


def wrap(angle: float) -> float:
    """Angle in radians wrapped to [-pi, pi)."""
    return (angle + math.pi) % (2 * math.pi) - math.pi


def rotation_x(angle: float) -> Float64:
    """(3, 3) rotation about x by `angle` radians."""
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def rotation_y(angle: float) -> Float64:
    """(3, 3) rotation about y by `angle` radians."""
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def rotation_z(angle: float) -> Float64:
    """(3, 3) rotation about z by `angle` radians."""
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def rotation_about(axis: Float64, angle: float) -> Float64:
    """(3, 3) rotation by `angle` radians about `axis` (3,), any length (Rodrigues' formula)."""
    x, y, z = axis / max(float(np.linalg.norm(axis)), 1e-12)
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    turned = np.eye(3) + math.sin(angle) * k + (1 - math.cos(angle)) * (k @ k)
    return np.asarray(turned)


def smoothstep(low: float, high: float, x: Float64) -> Float64:
    """Hermite ramp from 0 at `low` to 1 at `high` (either order), elementwise."""
    t = np.clip((x - low) / (high - low), 0.0, 1.0)
    return np.asarray(t * t * (3 - 2 * t))


def bump(x: Float64, centre: float, width: float) -> Float64:
    """Gaussian bump exp(-((x - centre) / width)^2), elementwise."""
    return np.asarray(np.exp(-(((x - centre) / width) ** 2)))


class SmoothNoise:
    """Stationary second-order noise: a damped oscillator driven by white noise.

    `time_constant` in seconds (1 / natural frequency), `sigma` the standard deviation of the value.
    """

    __slots__ = ("_rng", "_sigma", "_velocity", "_w", "value")

    _DAMPING = 0.6

    def __init__(self, rng: np.random.Generator, time_constant: float, sigma: float) -> None:
        self._rng = rng
        self._w = 1.0 / time_constant
        self._sigma = sigma
        self.value = float(rng.normal()) * sigma
        self._velocity = float(rng.normal()) * sigma * self._w

    def step(self, dt: float) -> float:
        """Advance by `dt` seconds and return the new value."""
        w, z = self._w, self._DAMPING
        drive = self._sigma * 2 * math.sqrt(z * w**3 * dt) * float(self._rng.normal())
        self._velocity += dt * (-2 * z * w * self._velocity - w * w * self.value) + drive
        self.value += dt * self._velocity
        return self.value


def lattice_noise(points: Float64, scale: float, seed: int) -> Float64:
    """Trilinear value noise in [-1, 1] at `points` (n, 3) [m] with cells of `scale` metres."""
    table = np.random.default_rng(seed).uniform(-1, 1, 4096)
    q = points / scale
    base = np.floor(q).astype(np.int64)
    f = q - base
    f = f * f * (3 - 2 * f)
    total = np.zeros(len(points))
    for corner in range(8):
        offset = np.array([corner & 1, corner >> 1 & 1, corner >> 2 & 1])
        cell = base + offset
        index = (cell[:, 0] * 73856093 ^ cell[:, 1] * 19349663 ^ cell[:, 2] * 83492791) & 4095
        weight = np.prod(np.where(offset == 1, f, 1 - f), axis=1)
        total += weight * table[index]
    return total


def vertex_normals(positions: Float64, faces: Int32) -> Float64:
    """Unit normals (n, 3) of a triangle mesh: area-weighted mean of the faces around a vertex."""
    corners = positions[faces]
    face = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.stack(
        [
            np.bincount(faces.ravel(), weights=np.repeat(face[:, k], 3), minlength=len(positions))
            for k in range(3)
        ],
        axis=1,
    )
    return np.asarray(normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12))


def smooth_over_mesh(values: Float64, faces: Int32, weight: Float64, iterations: int) -> Float64:
    """Laplacian smoothing of vertex values (n, k); `weight` (n,) in 0..1: how far each moves."""
    out = values.copy()
    count = np.maximum(np.bincount(faces.ravel(), minlength=len(values)) * 2.0, 1.0)
    for _ in range(iterations):
        mean = np.empty_like(out)
        for k in range(out.shape[1]):
            corner = out[faces, k]
            ring = corner.sum(axis=1, keepdims=True) - corner
            mean[:, k] = np.bincount(faces.ravel(), ring.ravel(), minlength=len(values)) / count
        out += weight[:, None] * (mean - out)
    return out
