"""Flat pictures of people: what posters, stand-ups and screens show, and no one should follow.

A dressed figure of nobody's pool is drawn once per room, seen from far away (orthographic), by
points sampled on its triangles: enough for a picture that a 160 x 96 camera sees.
"""

from __future__ import annotations

import functools

import cv2
import numpy as np

from gearshift.sim.flights.people.gait import (
    Stride,
    bone_matrices,
    draw_style,
    joint_rotations,
    skin,
)
from gearshift.sim.flights.people.people import build_body, draw_person
from gearshift.sim.flights.people.wardrobe import Figure, draw_outfit, dress
from gearshift.sim.flights.shapes.geometry import Float32, rotation_z
from gearshift.sim.flights.shapes.surfaces import SIZE, Layer, cloud

_SAMPLES = 24
_PAPER = 0.4
"""Albedo that a texel of 1 stands for (what pictures are hung with)."""
_LIGHT = np.array([0.75, 0.45, 0.5])


@functools.lru_cache(maxsize=64)
def portraits(seed: int) -> dict[Layer, Float32]:
    """The pictures of a room: a whole figure, 1 wide and 2 tall, and one from the chest up, 3:4.

    Texels as in `surfaces`, first row at the bottom.
    """
    rng = np.random.default_rng([seed, 0x9057])
    whole = _figure(rng)
    tall = float(whole.crown[2])
    out = {Layer.STANDING: _draw(whole, rng, low=-0.05 * tall, high=1.06 * tall, aspect=0.5)}
    share = float(rng.uniform(0.4, 0.75))  # from the waist, from the chest
    out[Layer.PORTRAIT] = _draw(
        _figure(rng) if rng.random() < 0.5 else whole,
        rng,
        low=share * tall,
        high=1.05 * tall,
        aspect=0.75,
    )
    return out


def _figure(rng: np.random.Generator) -> Figure:
    seed = int(rng.integers(1 << 31))
    person = draw_person("portrait", seed)
    return dress(build_body(person), person, draw_outfit(person, seed))


def _draw(
    figure: Figure, rng: np.random.Generator, *, low: float, high: float, aspect: float
) -> Float32:
    """(SIZE, SIZE) picture of the figure between two heights [m]; aspect: width over height."""
    rotations = joint_rotations(draw_style(rng), Stride(0.0, 0.15, 0.0, 0.0), figure.joints)
    vertices, normals = skin(
        figure.vertices, figure.normals, figure.weights, bone_matrices(rotations, figure.joints)
    )
    turn = rotation_z(float(rng.normal(0, 0.5))).astype(np.float32)
    vertices, normals = vertices @ turn.T, normals @ turn.T
    shade = figure.albedo / _PAPER * (0.45 + 0.75 * np.clip(normals @ _LIGHT, 0, None))
    weights = rng.dirichlet([1.0, 1.0, 1.0], _SAMPLES).astype(np.float32)
    points = (weights @ vertices[figure.faces]).reshape(-1, 3)
    values = (weights @ shade[figure.faces].astype(np.float32)[..., None]).reshape(-1)
    half = SIZE // 2
    wide = (high - low) * aspect
    column = ((points[:, 1] / wide + 0.5) * half).astype(np.int64)
    row = ((points[:, 2] - low) / (high - low) * half).astype(np.int64)
    inside = (column >= 0) & (column < half) & (row >= 0) & (row < half)
    order = np.argsort(points[inside, 0])  # the nearest last
    backdrop = float(np.exp(rng.uniform(np.log(0.15), np.log(1.9))))
    picture = np.full((half, half), np.nan, np.float32)
    picture[row[inside][order], column[inside][order]] = values[inside][order]
    empty = np.isnan(picture)
    near = cv2.dilate(np.where(empty, -1, picture).astype(np.float32), np.ones((3, 3)))
    closed = cv2.morphologyEx((~empty).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3)))
    picture = np.where(empty & (closed > 0), near, picture)
    scene = backdrop * (1 + rng.uniform(0.02, 0.3) * cv2.resize(cloud(rng, 4), (half, half)))
    picture = np.where(np.isnan(picture), scene, picture)
    return np.asarray(cv2.resize(picture.astype(np.float32), (SIZE, SIZE)), dtype=np.float32)
