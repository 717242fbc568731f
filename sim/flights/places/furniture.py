"""What stands along a room's walls: desks, shelves, doors, boards, chairs and clutter."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gearshift.sim.flights.places.distractors import (
    coat_on_chair,
    coat_stand,
    picture_of_a_person,
    screen,
)
from gearshift.sim.flights.places.fittings import (
    HalfSize,
    floor_cables,
    reflectance,
    truss,
    wall_items,
    window_band,
)
from gearshift.sim.flights.shapes.quads import Builder, Light
from gearshift.sim.flights.shapes.surfaces import Layer


def furnish(b: Builder, half: HalfSize, height: float) -> list[Light]:
    """Fill the walls with windows, boards, desks, shelves and clutter; returns window lights."""
    rng = b.rng
    x, y = half
    windows: list[Light] = []
    clutter = float(rng.choice([0.5, 1.1, 2.0], p=[0.25, 0.45, 0.3]))
    walls = [(0.0, x, y), (np.pi / 2, y, x), (np.pi, x, y), (-np.pi / 2, y, x)]
    window_wall = int(rng.integers(0, 4)) if rng.random() < 0.6 else -1
    for index, (yaw, depth, reach) in enumerate(walls):
        c, s = np.cos(yaw), np.sin(yaw)
        # Local frame of a wall: origin on the floor at its middle, x into the wall, y along it.
        turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])
        b.transform = (turn, turn @ np.array([depth, 0.0, 0.0]))
        if index == window_wall:
            windows += window_band(b, reach, height)
        position = -reach + rng.uniform(0.2, 0.8)
        while position < reach - 0.5:
            width = _pick(rng, clutter)(b, position, reach - 0.2 - position, height)
            position += width + rng.exponential(0.9 / clutter) * rng.uniform(0.2, 1.5)
        wall_items(b, reach, height, int(rng.poisson(2.5 * clutter)))
        _floor_clutter(b, reach, int(rng.poisson(2.2 * clutter)))
        if rng.random() < 0.18:
            picture_of_a_person(b, reach, height)
        if rng.random() < 0.12:
            screen(b, reach)
    b.transform = (np.eye(3), np.zeros(3))
    if rng.random() < 0.35:
        truss(b, half, height)
    if rng.random() < 0.5:
        floor_cables(b, half)
    return windows


def _pick(
    rng: np.random.Generator, clutter: float
) -> Callable[[Builder, float, float, float], float]:
    items = (
        _desk,
        _shelf,
        _cabinet,
        _door,
        _board,
        _curtain,
        _chairs,
        _rack,
        coat_stand,
        _plant,
        _nothing,
    )
    weights = np.array([1.5, 1.0, 1.0, 0.8, 0.9, 0.4, 0.8, 0.7, 0.6, 0.4, 2.5 / clutter])
    return items[int(rng.choice(len(items), p=weights / weights.sum()))]


def _nothing(b: Builder, y: float, room: float, height: float) -> float:
    del y, room, height
    return float(b.rng.uniform(0.8, 2.5))


def _desk(b: Builder, y: float, room: float, height: float) -> float:
    del height
    rng = b.rng
    width = min(float(rng.uniform(0.9, 2.4)), room)
    if width < 0.6:
        return width
    depth, top = float(rng.uniform(0.5, 0.75)), float(rng.uniform(0.7, 0.78))
    shade, legs = reflectance(rng, 0.06, 0.6), reflectance(rng, 0.03, 0.4)
    middle = y + width / 2
    b.box([-depth / 2 - 0.03, middle, top], [depth, width, 0.04], shade, Layer.WOOD)
    for side in (y + 0.04, y + width - 0.04):
        b.box([-depth / 2 - 0.03, side, top / 2], [depth * 0.9, 0.05, top - 0.04], legs)
    place = y + 0.2
    while place < y + width - 0.25:
        kind = rng.random()
        if kind < 0.4:
            w = float(rng.uniform(0.4, 0.62))
            b.box([-depth * 0.6, place + w / 2, top + 0.3], [0.05, w, 0.34], 0.03)
            b.box([-depth * 0.6, place + w / 2, top + 0.08], [0.12, 0.08, 0.16], 0.05)
            b.quad(
                [-depth * 0.6 - 0.03, place + w - 0.02, top + 0.15],
                [0, 0.04 - w, 0],
                [0, 0, 0.3],
                0.05,
                Layer.SCREEN,
                repeat=None,
                emission=float(rng.choice([0.0, rng.uniform(0.01, 0.08)])),
            )
        else:
            w = float(rng.uniform(0.08, 0.4))
            h = float(rng.uniform(0.06, 0.4))
            size = [float(rng.uniform(0.08, 0.3)), w, h]
            b.box(
                [-depth / 2, place + w / 2, top + 0.02 + h / 2],
                size,
                reflectance(rng),
                Layer.CLUTTER if rng.random() < 0.5 else Layer.PLAIN,
                yaw=float(rng.normal(0, 0.3)),
            )
        place += w + rng.uniform(0.03, 0.25)
    if rng.random() < 0.6:
        _chair(b, -depth - rng.uniform(0.05, 0.3), middle + rng.uniform(-0.3, 0.3))
    if rng.random() < 0.5:
        b.box([-0.35, y + width * 0.7, 0.28], [0.45, 0.4, 0.5], reflectance(rng, 0.03, 0.5))
    return width


def _chair(b: Builder, x: float, y: float) -> None:
    rng = b.rng
    yaw, shade = float(rng.uniform(0, 6.28)), reflectance(rng, 0.03, 0.4)
    c, s = np.cos(yaw), np.sin(yaw)
    b.box([x, y, 0.45], [0.44, 0.44, 0.06], shade, Layer.PLAIN, yaw=yaw)
    b.box([x - 0.2 * c, y - 0.2 * s, 0.78], [0.05, 0.42, 0.45], shade, yaw=yaw)
    b.box([x, y, 0.22], [0.05, 0.05, 0.42], 0.05)
    b.box([x, y, 0.04], [0.5, 0.06, 0.05], 0.05, yaw=yaw)
    b.box([x, y, 0.04], [0.06, 0.5, 0.05], 0.05, yaw=yaw)
    if rng.random() < 0.25:
        coat_on_chair(b, x, y, yaw)


def _chairs(b: Builder, y: float, room: float, height: float) -> float:
    del height
    count = min(int(b.rng.integers(1, 4)), int(max(1, room // 0.6)))
    for k in range(count):
        _chair(b, -float(b.rng.uniform(0.3, 0.55)), y + 0.3 + 0.6 * k)
    return 0.6 * count


def _shelf(b: Builder, y: float, room: float, height: float) -> float:
    rng = b.rng
    width = min(float(rng.uniform(0.7, 1.8)), room)
    top = min(float(rng.uniform(0.8, 2.2)), height - 0.2)
    depth = float(rng.uniform(0.28, 0.45))
    b.box([-depth / 2, y + width / 2, top / 2], [depth, width, top], reflectance(rng, 0.05, 0.6))
    layer = Layer.BOOKS if rng.random() < 0.6 else Layer.CLUTTER
    b.quad(
        [-depth - 0.01, y + width - 0.03, 0.05],
        [0, 0.06 - width, 0],
        [0, 0, top - 0.1],
        float(rng.uniform(0.2, 0.5)),
        layer,
        repeat=float(rng.uniform(1.0, 1.7)),
    )
    return width


def _cabinet(b: Builder, y: float, room: float, height: float) -> float:
    rng = b.rng
    width = min(float(rng.uniform(0.5, 1.4)), room)
    top = min(float(rng.uniform(0.5, 2.1)), height - 0.2)
    depth = float(rng.uniform(0.3, 0.5))
    b.box(
        [-depth / 2, y + width / 2, top / 2],
        [depth, width, top],
        reflectance(rng),
        Layer.PANEL,
        repeat=float(rng.uniform(0.8, 1.6)),
    )
    if top < 1.5:
        _pile(b, -depth / 2, y + 0.1, y + width - 0.1, top)
    return width


def _pile(b: Builder, x: float, start: float, end: float, base: float) -> None:
    """Boxes and things on top of something."""
    rng = b.rng
    while start < end - 0.1:
        w, h = float(rng.uniform(0.08, 0.4)), float(rng.uniform(0.08, 0.4))
        if rng.random() < 0.7:
            size = [float(rng.uniform(0.1, 0.3)), min(w, end - start), h]
            b.box([x, start + w / 2, base + h / 2], size, reflectance(rng), Layer.CLUTTER)
        start += w + 0.1


def _door(b: Builder, y: float, room: float, height: float) -> float:
    rng = b.rng
    width = 0.95
    if room < width:
        return width
    top = min(2.05, height - 0.1)
    frame, leaf = reflectance(rng, 0.1, 0.7), reflectance(rng, 0.08, 0.75)
    b.box([-0.02, y + width / 2, top / 2 + 0.03], [0.05, width, top + 0.06], frame)
    b.box(
        [-0.04, y + width / 2, top / 2],
        [0.05, width - 0.12, top],
        leaf,
        Layer.WOOD if rng.random() < 0.3 else Layer.PLAIN,
    )
    b.box([-0.09, y + 0.15, 1.02], [0.06, 0.12, 0.03], 0.3)
    if rng.random() < 0.5:
        b.box([-0.03, y + width / 2, top + 0.2], [0.04, 0.35, 0.14], 0.5, Layer.WRITING, repeat=0.4)
    return width


def _board(b: Builder, y: float, room: float, height: float) -> float:
    del height
    rng = b.rng
    width = min(float(rng.uniform(1.0, 2.6)), room)
    white = rng.random() < 0.75
    tall = float(rng.uniform(0.8, 1.2))
    b.box([-0.03, y + width / 2, 1.45], [0.05, width, tall], 0.35 if white else 0.15)
    b.quad(
        [-0.06, y + width - 0.04, 1.45 - tall / 2 + 0.04],
        [0, 0.08 - width, 0],
        [0, 0, tall - 0.08],
        float(rng.uniform(0.6, 0.8)) if white else 0.06,
        Layer.WRITING,
        repeat=None,
    )
    return width


def _curtain(b: Builder, y: float, room: float, height: float) -> float:
    rng = b.rng
    width = min(float(rng.uniform(1.0, 2.8)), room)
    low = float(rng.choice([0.05, 0.9]))
    top = min(float(rng.uniform(2.0, 2.6)), height - 0.05)
    b.quad(
        [-0.1, y + width, low],
        [0, -width, 0],
        [0, 0, top - low],
        reflectance(rng, 0.05, 0.5),
        Layer.CURTAIN,
        repeat=float(rng.uniform(1.2, 2.6)),
    )
    b.box([-0.08, y + width / 2, top + 0.04], [0.1, width + 0.1, 0.08], reflectance(rng, 0.1, 0.7))
    return width


def _rack(b: Builder, y: float, room: float, height: float) -> float:
    """Coats on hooks, a tripod or a tall narrow thing: what a network may take for a person."""
    rng = b.rng
    if room < 0.4:
        return 0.4
    kind = rng.random()
    if kind < 0.45:
        for k in range(int(rng.integers(1, 4))):
            place = y + 0.15 + 0.28 * k
            long = float(rng.uniform(0.6, 1.0))
            shade = reflectance(rng, 0.02, 0.4)
            b.box(
                [-0.1, place, 1.6 - long / 2],
                [0.14, 0.3, long],
                shade,
                Layer.PICTURE,
                yaw=float(rng.normal(0, 0.15)),
            )
            b.box([-0.1, place, 1.62], [0.12, 0.14, 0.12], shade * 0.8)
        return 0.9
    if kind < 0.8:
        for lean in (-0.22, 0.0, 0.22):
            b.box([-0.35 + lean, y + 0.3 + 0.5 * lean, 0.6], [0.03, 0.03, 1.2], 0.05)
        b.box([-0.35, y + 0.3, 1.3], [0.18, 0.14, 0.16], reflectance(rng, 0.03, 0.3))
        return 0.7
    top = min(float(rng.uniform(1.2, 1.9)), height - 0.2)
    b.box([-0.3, y + 0.25, top / 2], [0.4, 0.45, top], reflectance(rng, 0.03, 0.3), Layer.CLUTTER)
    return 0.6


def _plant(b: Builder, y: float, room: float, height: float) -> float:
    del room, height
    rng = b.rng
    b.box([-0.4, y + 0.35, 0.18], [0.3, 0.3, 0.36], reflectance(rng, 0.05, 0.5))
    for _ in range(22):
        base = np.array([-0.4, y + 0.35, rng.uniform(0.4, 1.2)])
        out = rng.normal(size=3) * [0.16, 0.16, 0.1]
        side = np.cross(out, [0, 0, 1.0])
        side *= 0.05 / max(float(np.linalg.norm(side)), 1e-6)
        shade = float(rng.uniform(0.05, 0.2))
        b.quad(base - side, out * 2, side * 2, shade, step=1.0)
        b.quad(base - side, side * 2, out * 2, shade, step=1.0)
    return 0.8


def _floor_clutter(b: Builder, reach: float, count: int) -> None:
    """Boxes, bags and equipment standing along a wall."""
    rng = b.rng
    for _ in range(count):
        y, h = float(rng.uniform(-reach + 0.3, reach - 0.3)), float(rng.uniform(0.1, 0.55))
        size = [float(rng.uniform(0.12, 0.45)), float(rng.uniform(0.12, 0.5)), h]
        layer = (Layer.PLAIN, Layer.CLUTTER, Layer.PANEL)[rng.integers(0, 3)]
        x = -float(rng.uniform(0.3, 0.8))
        b.box([x, y, h / 2], size, reflectance(rng), layer, yaw=float(rng.uniform(0, 3)))
