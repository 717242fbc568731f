"""Light on and around a figure: its openness, the ambient light there, its shadow."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from gearshift.sim.flights.people.gait import (
    Stride,
    bone_matrices,
    draw_style,
    joint_rotations,
    skin,
)
from gearshift.sim.flights.people.wardrobe import Figure
from gearshift.sim.flights.places.baking import BakedLight, Tracer
from gearshift.sim.flights.shapes.geometry import Float32, Float64
from gearshift.sim.flights.shapes.quads import GROUPS, Light

SHADOW_CELLS = 128
SHADOW_SIDE = 4.5
"""Side of the floor's shadow map, in cells and in metres."""
CUBE_HEIGHTS = (0.25, 1.05, 1.85)
"""Heights [m] at which the ambient light on a figure is sampled."""
_SHADOW_LIGHTS = 6


def open_sky(figure: Figure, seed: int) -> Float32:
    """(n, 2) ambient and overhead visibility of a standing figure's vertices, by ray casts."""
    rng = np.random.default_rng([seed, 0xA0])
    rotations = joint_rotations(draw_style(rng), Stride(0.0, 0.2, 0.0, 0.0), figure.joints)
    matrices = bone_matrices(rotations, figure.joints)
    vertices, normals = skin(figure.vertices, figure.normals, figure.weights, matrices)
    tracer = Tracer(vertices.astype(np.float64), figure.faces)
    count = len(vertices)
    origins = (vertices + 0.012 * normals).astype(np.float64)
    sums = np.zeros((count, 2))
    weights = np.zeros((count, 2))
    for k in range(20):
        way = rng.normal(size=(count, 3))
        way /= np.linalg.norm(way, axis=1, keepdims=True)
        # Overhead: a cone of about 50 degrees around the vertical.
        way = 0.75 * way + np.array([0, 0, 1.0]) if k % 2 else way + 1.02 * normals
        way /= np.linalg.norm(way, axis=1, keepdims=True)
        hit, far = tracer.hits(origins, way)
        sums[:, k % 2] += (hit < 0) | (far > 0.6)
        weights[:, k % 2] += 1
    # Bounced light fills what is hidden, so the darkest crease keeps some.
    return (0.14 + 0.86 * sums / weights).astype(np.float32)


def ambient_cubes(light: BakedLight, powers: Float64, x: float, y: float) -> Float32:
    """(6, 3) irradiance at CUBE_HEIGHTS above (x, y): rows facing +x +y +z, then -x -y -z."""
    shape = np.array(light.probes.shape[1:4])
    samples = []
    for z in CUBE_HEIGHTS:
        at = (np.array([x, y, z]) - light.probe_low) / (light.probe_high - light.probe_low)
        q = np.clip(at, 0, 1) * (shape - 1)
        i = np.minimum(q.astype(int), shape - 2)
        f = q - i
        block = light.probes[:, i[0] : i[0] + 2, i[1] : i[1] + 2, i[2] : i[2] + 2]
        corners = np.tensordot(powers, block, axes=1)
        corners = corners[0] * (1 - f[0]) + corners[1] * f[0]
        corners = corners[0] * (1 - f[1]) + corners[1] * f[1]
        samples.append(corners[0] * (1 - f[2]) + corners[1] * f[2])
    cubes = np.stack(samples)
    return np.concatenate([cubes[:, :3], cubes[:, 3:]]).astype(np.float32)


def floor_shadow(
    vertices: Float32, lights: Sequence[Light], powers: Float64, centre: Float64
) -> Float32:
    """(SHADOW_CELLS, SHADOW_CELLS, GROUPS) share of each light group that reaches the floor.

    `vertices` (n, 3) of the figure are splatted onto the floor around `centre` (2,) from each of
    the strongest lights, and blurred more for parts high above the floor (penumbra).
    """
    clear = np.ones((SHADOW_CELLS, SHADOW_CELLS, GROUPS), np.float32)
    points = vertices[::2].astype(np.float64)
    strengths = np.array(
        [
            x.area
            * x.radiance
            * powers[x.group]
            / max(float(((x.centre[:2] - centre) ** 2).sum()) + x.centre[2] ** 2, 0.1) ** 2
            for x in lights
        ]
    )
    totals = np.zeros(GROUPS)
    for light, strength in zip(lights, strengths, strict=True):
        totals[light.group] += strength
    low = points[:, 2] < 0.35
    for k in np.argsort(-strengths)[:_SHADOW_LIGHTS]:
        light = lights[int(k)]
        share = strengths[k] / totals[light.group]
        shade = 1 - _splat(points[low], light.centre, centre, 1.2)
        shade *= 1 - _splat(points[~low], light.centre, centre, 4.0)
        clear[:, :, light.group] -= np.float32(share) * (1 - shade)
    return clear


def _splat(points: Float64, lamp: Float64, centre: Float64, blur: float) -> Float32:
    """How far points shade each cell of the floor map, seen from a lamp; 0..1."""
    below = points[points[:, 2] < lamp[2] - 0.25]
    onto = below[:, :2] + (below[:, :2] - lamp[:2]) * (below[:, 2:] / (lamp[2] - below[:, 2:]))
    cells = ((onto - centre) / SHADOW_SIDE + 0.5) * SHADOW_CELLS
    inside = ((cells >= 1) & (cells < SHADOW_CELLS - 1)).all(axis=1)
    index = cells[inside].astype(np.int64)
    count = np.bincount(
        index[:, 1] * SHADOW_CELLS + index[:, 0], minlength=SHADOW_CELLS * SHADOW_CELLS
    ).reshape(SHADOW_CELLS, SHADOW_CELLS)
    covered = 1 - np.exp(-0.7 * cv2.GaussianBlur(count.astype(np.float32), (0, 0), 0.8))
    return np.asarray(cv2.GaussianBlur(covered, (0, 0), blur), dtype=np.float32)
