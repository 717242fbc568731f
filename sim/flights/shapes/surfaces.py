"""Procedural grey textures for rooms and clothes: one stack of square layers, drawn from a seed.

A texel multiplies a surface's albedo by texel / 128; layers repeat, 256 texels a repeat.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

import cv2
import numpy as np
from numpy.typing import NDArray

from gearshift.sim.flights.shapes.geometry import Float32

SIZE = 256


class Layer(IntEnum):
    """Layers of the texture stack."""

    PLAIN = 0
    FLOOR = 1
    WALL = 2
    CEILING = 3
    WOOD = 4
    CURTAIN = 5
    BLINDS = 6
    POSTER = 7
    WRITING = 8
    BOOKS = 9
    CLUTTER = 10
    SCREEN = 11
    PICTURE = 12
    OUTSIDE = 13
    PANEL = 14
    FABRIC = 15
    STRIPES = 16
    CHECK = 17
    LOGO = 18
    BLOCKS = 19
    DENIM = 20
    HAIR = 21
    SKIN = 22
    STANDING = 23
    PORTRAIT = 24
    CLOUDS = 25
    FACADE = 26
    LEAVES = 27


def cloud(rng: np.random.Generator, cells: int, octaves: int = 3) -> Float32:
    """Periodic value noise (SIZE, SIZE), mean 0, standard deviation about 1."""
    total = np.zeros((SIZE, SIZE), np.float32)
    for octave in range(octaves):
        n = min(cells * 2**octave, SIZE)
        grid = rng.normal(size=(n, n)).astype(np.float32)
        wide = np.pad(grid, 2, mode="wrap")
        big = cv2.resize(wide, None, fx=SIZE / n, fy=SIZE / n, interpolation=cv2.INTER_CUBIC)
        edge = round(2 * SIZE / n)
        total += big[edge : edge + SIZE, edge : edge + SIZE] * 0.6**octave
    return np.asarray(total / max(float(total.std()), 1e-6))


def _coordinates() -> tuple[Float32, Float32]:
    v, u = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32) / SIZE
    return u, v


def _tiles(rng: np.random.Generator, per_repeat: int, joint: float, contrast: float) -> Float32:
    u, v = _coordinates()
    fu, fv = (u * per_repeat) % 1, (v * per_repeat) % 1
    edge = np.minimum(np.minimum(fu, 1 - fu), np.minimum(fv, 1 - fv)) / per_repeat
    shade = rng.normal(0, 0.05, (per_repeat, per_repeat)).astype(np.float32)
    tile = shade[(v * per_repeat).astype(int), (u * per_repeat).astype(int)]
    out = 1 + tile + 0.05 * cloud(rng, 6)
    return np.asarray(np.where(edge < joint / 2, out * (1 - contrast), out))


def _planks(rng: np.random.Generator, rows: int) -> Float32:
    u, v = _coordinates()
    row = (v * rows).astype(int)
    start = rng.random(rows).astype(np.float32)[row]
    column = ((u + start) * 2).astype(int) % 2
    shade = rng.normal(0, 0.12, (rows, 2)).astype(np.float32)[row, column]
    grain = cloud(rng, 32)
    grain = cv2.GaussianBlur(np.tile(grain, (1, 3)), (0, 0), 9, sigmaY=0.7)[:, SIZE : 2 * SIZE]
    joint = ((v * rows) % 1 < 0.05) | (((u + start) * 2) % 1 < 0.01)
    return np.asarray((1 + shade + 0.18 * grain / grain.std() * 0.6) * np.where(joint, 0.6, 1.0))


def _rectangles(rng: np.random.Generator, count: int, small: float, large: float) -> Float32:
    out = np.full((SIZE, SIZE), rng.uniform(0.2, 1.4), np.float32)
    for _ in range(count):
        w, h = (rng.uniform(small, large, 2) * SIZE).astype(int) + 2
        x, y = rng.integers(0, SIZE, 2)
        value = float(np.exp(rng.uniform(np.log(0.06), np.log(1.9))))
        if rng.random() < 0.75:
            cv2.rectangle(out, (int(x), int(y)), (int(x + w), int(y + h)), value, -1)
        else:
            cv2.ellipse(out, (int(x), int(y)), (int(w // 2), int(h // 2)), 0, 0, 360, value, -1)
    return out


def _writing(rng: np.random.Generator, lines: int, ink: float) -> Float32:
    out = np.ones((SIZE, SIZE), np.float32) + 0.02 * cloud(rng, 4)
    y = rng.uniform(12, 40)
    for _ in range(lines):
        x, end = rng.uniform(8, 70), rng.uniform(90, 250)
        while x < end:
            step = rng.uniform(3, 14)
            cv2.line(
                out,
                (int(x), int(y + rng.normal(0, 2))),
                (int(x + step * 0.7), int(y + rng.normal(0, 3))),
                1 - ink,
                int(rng.integers(1, 4)),
            )
            x += step
        y += rng.uniform(11, 24)
    for _ in range(int(rng.integers(0, 4))):
        a, b = rng.integers(20, 236, 2), rng.integers(10, 60, 2)
        cv2.rectangle(out, a.tolist(), (a + b).tolist(), 1 - ink, 2)
    return out


def _books(rng: np.random.Generator) -> Float32:
    out = np.full((SIZE, SIZE), 0.15, np.float32)
    for shelf in range(4):
        x, base = 2, (shelf + 1) * 64 - 5
        while x < SIZE - 6:
            w, h = int(rng.integers(3, 16)), int(rng.integers(28, 54))
            if rng.random() < 0.85:
                value = float(np.exp(rng.uniform(np.log(0.1), np.log(1.8))))
                cv2.rectangle(out, (x, base - h), (x + w - 1, base), value, -1)
                if rng.random() < 0.5:
                    cv2.rectangle(out, (x, base - h // 2), (x + w - 1, base - h // 2 + 5), 1.5, -1)
            x += w
        out[base : base + 5] = rng.uniform(0.5, 1.2)
    return out


def _floor(rng: np.random.Generator) -> Float32:
    kind = int(rng.choice(5, p=[0.42, 0.18, 0.2, 0.1, 0.1]))
    if kind == 0:
        per_repeat = int(rng.choice([2, 3, 4, 6]))
        return _tiles(rng, per_repeat, rng.uniform(0.004, 0.012), rng.uniform(0.25, 0.6))
    if kind == 1:
        return _planks(rng, int(rng.choice([8, 12, 16])))
    if kind == 2:
        return np.asarray(1 + rng.uniform(0.04, 0.2) * cloud(rng, 48) + 0.05 * cloud(rng, 4))
    if kind == 3:
        return np.asarray(1 + rng.uniform(0.05, 0.2) * cloud(rng, 5, 5))
    u, v = _coordinates()
    check = ((u * 6).astype(int) + (v * 6).astype(int)) % 2
    return np.asarray(1 + rng.uniform(0.1, 0.35) * (check - 0.5) + 0.06 * cloud(rng, 20))


def _wall(rng: np.random.Generator) -> Float32:
    kind = int(rng.choice(4, p=[0.6, 0.14, 0.13, 0.13]))
    u, v = _coordinates()
    base = 1 + 0.025 * cloud(rng, 3) + 0.012 * cloud(rng, 64, 1)
    if kind == 1:  # bricks or blocks
        rows = int(rng.choice([12, 20, 32]))
        shift = 0.5 * ((v * rows).astype(int) % 2) / (rows / 2)
        joint = ((v * rows) % 1 < 0.14) | (((u + shift) * rows / 2) % 1 < 0.07)
        base = base * np.where(joint, rng.uniform(0.7, 1.15), 1.0) + 0.05 * cloud(rng, 20)
    elif kind == 2:  # vertical panels
        n = int(rng.choice([2, 3, 8, 24]))
        base = base * np.where((u * n) % 1 < 0.02 * n / 2, rng.uniform(0.5, 0.85), 1.0)
    elif kind == 3:  # rough plaster, stains
        base = base + rng.uniform(0.03, 0.08) * cloud(rng, 24, 4)
    return np.asarray(base, dtype=np.float32)


def _ceiling(rng: np.random.Generator) -> Float32:
    if rng.random() < 0.6:
        grid = _tiles(rng, int(rng.choice([2, 4])), 0.012, rng.uniform(0.15, 0.5))
        return np.asarray(grid * (1 - 0.06 * (cloud(rng, 64, 1) > 1.5)))
    return np.asarray(1 + 0.02 * cloud(rng, 4))


def _cloth(rng: np.random.Generator, layer: Layer) -> Float32:
    u, v = _coordinates()
    base = 1 + 0.05 * cloud(rng, 10) + 0.05 * cloud(rng, 60, 1)
    contrast = float(rng.choice([-1, 1])) * rng.uniform(0.3, 0.75)
    if layer is Layer.STRIPES:
        n, duty = int(rng.choice([6, 10, 16, 24])), rng.uniform(0.2, 0.6)
        axis = v if rng.random() < 0.8 else u
        base = base * np.where((axis * n) % 1 < duty, 1 + contrast, 1.0)
    elif layer is Layer.CHECK:
        n, duty = int(rng.choice([8, 12, 18])), rng.uniform(0.3, 0.5)
        bands = ((u * n) % 1 < duty).astype(np.float32) + ((v * n) % 1 < duty)
        base = base * (1 + contrast * bands / 2)
    elif layer is Layer.LOGO:
        # On the chest: v is 1.6 x height [m] modulo 1, about 0.0 .. 0.3 at 1.25 .. 1.45 m.
        print_ = _rectangles(rng, 12, 0.02, 0.12) if rng.random() < 0.6 else _writing(rng, 8, 0.8)
        inside = (np.abs((u + 0.5) % 1 - 0.5 - 0.12) < 0.13) & (v > 0.02) & (v < 0.26)
        base = np.where(inside, print_ * (1.6 if contrast > 0 else 0.7), base)
    elif layer is Layer.BLOCKS:
        base = base * np.where(((v + 0.2) % 1) < rng.uniform(0.3, 0.6), 1.0, 1 + contrast)
    elif layer is Layer.DENIM:
        base = base + 0.07 * cloud(rng, 90, 1) + 0.12 * cloud(rng, 5, 1)
    elif layer is Layer.HAIR:
        streaks = cv2.GaussianBlur(cloud(rng, 90, 1), (0, 0), 1.0, sigmaY=6.0)
        base = 1 + 0.14 * streaks / streaks.std()
    return np.asarray(base, dtype=np.float32)


def _facade(rng: np.random.Generator) -> Float32:
    """Rows of windows, some of them bright with the sky; four storeys a repeat."""
    u, v = _coordinates()
    columns, rows = int(rng.choice([2, 4, 6, 10])), int(rng.choice([3, 4, 5]))
    wide, tall = rng.uniform(0.35, 0.9), rng.uniform(0.4, 0.75)
    inside = (np.abs((u * columns) % 1 - 0.5) < wide / 2) & (
        np.abs((v * rows) % 1 - 0.5) < tall / 2
    )
    glass = np.exp(rng.normal(-1.2, 0.6, (rows, columns))).astype(np.float32)
    pane = glass[(v * rows).astype(int), (u * columns).astype(int)]
    sill = ((v * rows) % 1 < 0.06) & (rng.random() < 0.6)
    wall = (1 + 0.05 * cloud(rng, 12)) * np.where(sill, 1.25, 1.0)
    return np.asarray(np.where(inside, np.minimum(pane, 1.8), wall), dtype=np.float32)


def _leaves(rng: np.random.Generator) -> Float32:
    light = cloud(rng, 40, 2) + 0.6 * cloud(rng, 7)
    return np.asarray(np.clip(0.9 + 0.55 * light, 0.1, 1.95), dtype=np.float32)


def texture_stack(
    room_seed: int, outfit_seed: int, pictures: Mapping[Layer, Float32] | None = None
) -> NDArray[np.uint8]:
    """(layers, SIZE, SIZE) uint8: surfaces of a room and of one flight's clothes.

    `pictures` fill the layers that show people (see `portraits`), which are blank without.
    """
    rng = np.random.default_rng([room_seed, 0x7EC5])
    cloth_rng = np.random.default_rng([outfit_seed, 0x7EC5])
    u, _ = _coordinates()
    waves = int(rng.integers(6, 30))
    fold = np.sin(2 * np.pi * (u * waves + 0.6 * cloud(rng, 3, 2) * 0.15))
    slats = int(rng.choice([10, 16, 24, 40]))
    blinds = np.where((u * slats) % 1 < 0.12, 0.45, 1.0) * (
        1 + 0.14 * rng.normal(size=slats).astype(np.float32)[(u * slats).astype(int)]
    )
    outside = np.where(_coordinates()[1] > rng.uniform(0.3, 0.7), 1.3, 0.5) + 0.25 * cloud(rng, 8)
    layers: dict[Layer, Float32] = {
        Layer.PLAIN: 1 + 0.03 * cloud(rng, 8),
        Layer.FLOOR: _floor(rng),
        Layer.WALL: _wall(rng),
        Layer.CEILING: _ceiling(rng),
        Layer.WOOD: _planks(rng, 4),
        Layer.CURTAIN: np.asarray(1 + 0.3 * fold),
        Layer.BLINDS: np.asarray(blinds.T if rng.random() < 0.5 else blinds),
        Layer.POSTER: _writing(rng, 9, rng.uniform(0.5, 0.9)) * 0.9 * rng.uniform(0.2, 1.4)
        + 0.5 * (_rectangles(rng, 9, 0.1, 0.4) - 0.6),
        Layer.WRITING: _writing(rng, 11, rng.uniform(0.4, 0.8)),
        Layer.BOOKS: _books(rng),
        Layer.CLUTTER: _rectangles(rng, 90, 0.03, 0.22),
        Layer.SCREEN: _rectangles(rng, 14, 0.1, 0.6) * 0.6 + 0.4,
        Layer.PICTURE: np.asarray(1 + 0.5 * cloud(rng, 4, 5)),
        Layer.OUTSIDE: np.asarray(outside),
        Layer.PANEL: _tiles(rng, int(rng.integers(1, 4)), 0.02, 0.5),
        Layer.STANDING: np.ones((SIZE, SIZE), np.float32),
        Layer.PORTRAIT: np.ones((SIZE, SIZE), np.float32),
        Layer.CLOUDS: np.asarray(1 + rng.uniform(0.0, 0.15) * cloud(rng, 2, 4)),
        Layer.FACADE: _facade(rng),
        Layer.LEAVES: _leaves(rng),
        **(pictures or {}),
    }
    for layer in Layer:
        if Layer.FABRIC <= layer <= Layer.HAIR:
            layers[layer] = _cloth(cloth_rng, layer)
    layers[Layer.SKIN] = np.asarray(1 + 0.06 * cloud(cloth_rng, 16))
    stack = np.stack([layers[layer] for layer in Layer])
    return np.clip(stack * 128, 0, 255).astype(np.uint8)
