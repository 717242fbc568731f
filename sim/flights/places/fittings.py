"""What belongs to the building: shell, lamps, windows, things on walls, truss and cables."""

from __future__ import annotations

import numpy as np

from gearshift.sim.flights.shapes.geometry import Float64
from gearshift.sim.flights.shapes.quads import DAYLIGHT, Builder, Light
from gearshift.sim.flights.shapes.surfaces import Layer

HalfSize = tuple[float, float]
"""Half extents of a room in x and y [m]."""


def reflectance(rng: np.random.Generator, low: float = 0.03, high: float = 0.7) -> float:
    """Log-uniform albedo: as many dark things as light ones."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def shell(b: Builder, half: HalfSize, height: float) -> None:
    """Floor, ceiling, four walls (now and then one painted or curtained) and their skirting."""
    rng = b.rng
    x, y = half
    wall = float(rng.choice([rng.uniform(0.6, 0.82), rng.uniform(0.3, 0.6)], p=[0.78, 0.22]))
    floor = float(
        rng.choice(
            [rng.uniform(0.2, 0.5), rng.uniform(0.08, 0.2), rng.uniform(0.5, 0.7)],
            p=[0.6, 0.2, 0.2],
        )
    )
    repeat = float(rng.uniform(1.8, 4.0))
    b.quad(
        [-x, -y, 0],
        [2 * x, 0, 0],
        [0, 2 * y, 0],
        floor,
        Layer.FLOOR,
        repeat=repeat,
        step=0.14,
        mottle=0.02,
    )
    ceiling = float(rng.uniform(0.6, 0.85) if rng.random() < 0.85 else rng.uniform(0.05, 0.4))
    b.quad([-x, y, height], [2 * x, 0, 0], [0, -2 * y, 0], ceiling, Layer.CEILING, repeat=2.4)
    corners = [(x, -y), (x, y), (-x, y), (-x, -y)]
    strips = [(rng.uniform(0.05, 0.15), rng.uniform(0.01, 0.05), reflectance(rng, 0.05, 0.7))]
    if rng.random() < 0.5:
        strips.append(
            (rng.uniform(0.25, 0.4), rng.uniform(0.03, 0.08), reflectance(rng, 0.08, 0.6))
        )
    for k in range(4):
        (x0, y0), (x1, y1) = corners[k], corners[(k + 1) % 4]
        along = np.array([x1 - x0, y1 - y0, 0.0])
        albedo, layer = wall * rng.uniform(0.9, 1.05), Layer.WALL
        roll = rng.random()
        if roll < 0.1:
            albedo = reflectance(rng, 0.08, 0.6)
        elif roll < 0.17:
            albedo, layer = rng.uniform(0.1, 0.6), Layer.CURTAIN
        _wall(b, (x0, y0), along, height, albedo=min(albedo, 0.85), layer=layer)
        normal = np.array([-along[1], along[0], 0]) / np.linalg.norm(along)
        middle = np.array([(x0 + x1) / 2, (y0 + y1) / 2, 0])
        length = float(np.linalg.norm(along))
        yaw = float(np.arctan2(along[1], along[0]))
        for top, depth, shade in strips:
            low = 0.0 if top < 0.2 else top - 0.1
            centre = middle + normal * depth / 2 + [0, 0, (low + top) / 2]
            b.box(centre.tolist(), [length, depth, top - low], shade, yaw=yaw)


def _wall(
    b: Builder,
    start: tuple[float, float],
    along: Float64,
    height: float,
    *,
    albedo: float,
    layer: Layer,
) -> None:
    """One wall; faces the room."""
    end = [start[0] + along[0], start[1] + along[1], 0.0]
    b.quad(end, -along, np.array([0, 0, height]), albedo, layer, repeat=2.4, step=0.15)


def hang_lights(b: Builder, half: HalfSize, height: float) -> list[Light]:
    """Ceiling lamps in a grid of three groups; now and then a dead one or an extra spot."""
    rng = b.rng
    x, y = half
    columns = int(rng.choice([1, 2, 3, 4], p=[0.1, 0.45, 0.35, 0.1]))
    rows = int(rng.choice([1, 2, 3], p=[0.25, 0.6, 0.15]))
    u = float(rng.choice([0.3, 0.6, 0.75]))
    v = float(rng.choice([0.08, 0.15, 0.3]))
    if rng.random() < 0.5:
        u, v = v, u
    drop = float(rng.choice([0.0, rng.uniform(0.1, 0.5)], p=[0.75, 0.25]))
    shift = rng.uniform(-0.4, 0.4, 2)
    lights = []
    for i in range(columns):
        for j in range(rows):
            if columns * rows > 2 and rng.random() < 0.12:
                continue  # a dead lamp
            cx = x * ((2 * i + 1) / columns - 1) * 0.8 + shift[0]
            cy = y * ((2 * j + 1) / rows - 1) * 0.8 + shift[1]
            lights.append(_lamp(b, [cx, cy, height - drop - 0.02], u, v, int(rng.integers(0, 3))))
    if not lights or rng.random() < 0.15:
        centre = [rng.uniform(-x, x) * 0.6, rng.uniform(-y, y) * 0.6, height - 0.03]
        lights.append(_lamp(b, centre, 0.15, 0.15, 0))
    return lights


def _lamp(b: Builder, centre: list[float], u: float, v: float, group: int) -> Light:
    radiance = float(b.rng.uniform(0.7, 1.3)) / (4 * u * v) ** 0.8
    cx, cy, cz = centre
    b.quad(
        [cx - u, cy + v, cz],
        [2 * u, 0, 0],
        [0, -2 * v, 0],
        0.8,
        emission=2.0 * radiance,
        group=group,
    )
    frame = b.rng.uniform(0.03, 0.08)
    b.box([cx, cy, cz + 0.04], [2 * u + frame, 2 * v + frame, 0.06], 0.6)
    return Light(
        centre=np.array([cx, cy, cz - 0.01]),
        half_u=np.array([u, 0, 0]),
        half_v=np.array([0, -v, 0]),
        radiance=radiance,
        group=group,
    )


def window_band(b: Builder, reach: float, height: float) -> list[Light]:
    """A band of window panes with blinds over some of them; daylight comes through."""
    rng = b.rng
    sill, top = float(rng.uniform(0.7, 1.1)), min(float(rng.uniform(1.9, 2.6)), height - 0.15)
    width = float(rng.uniform(0.9, 1.5))
    count = max(1, int(2 * (reach - 0.4) // (width + 0.15) * rng.uniform(0.4, 1.0)))
    start = -count * (width + 0.15) / 2 + rng.uniform(-0.3, 0.3)
    bright = float(rng.choice([rng.uniform(0.03, 0.12), rng.uniform(0.12, 0.35)]))
    covered = rng.random() < 0.55
    lights = []
    for k in range(count):
        y = start + k * (width + 0.15)
        radiance = bright * (0.25 if covered else 1.0)
        layer = Layer.BLINDS if covered else Layer.OUTSIDE
        b.box(
            [0.0, y + width / 2, (sill + top) / 2],
            [0.06, width + 0.12, top - sill + 0.12],
            float(rng.uniform(0.3, 0.8)),
        )
        b.quad(
            [-0.05, y + width, sill],
            [0, -width, 0],
            [0, 0, top - sill],
            0.35 if covered else 0.08,
            layer,
            repeat=None,
            emission=radiance,
            group=DAYLIGHT,
        )
        lights.append(
            Light(
                centre=np.array([-0.07, y + width / 2, (sill + top) / 2]),
                half_u=np.array([0, -width / 2, 0]),
                half_v=np.array([0, 0, (top - sill) / 2]),
                radiance=radiance,
                group=DAYLIGHT,
            )
        )
    b.box(
        [-0.1, start + count * (width + 0.15) / 2, sill - 0.06],
        [0.2, count * (width + 0.15), 0.04],
        0.6,
    )
    if rng.random() < 0.6:
        b.box(
            [-0.08, start + count * (width + 0.15) / 2, 0.4],
            [0.1, width * count * 0.8, 0.5],
            float(rng.uniform(0.4, 0.75)),
            Layer.PANEL,
            repeat=0.6,
        )
    turn, move = b.transform
    return [
        Light(turn @ w.centre + move, turn @ w.half_u, turn @ w.half_v, w.radiance, w.group)
        for w in lights
    ]


def wall_items(b: Builder, reach: float, height: float, count: int) -> None:
    """Posters, pictures, sockets, pipes and hanging cables."""
    rng = b.rng
    for _ in range(count):
        y, kind = float(rng.uniform(-reach + 0.4, reach - 0.8)), rng.random()
        if kind < 0.5:
            w, h = float(rng.uniform(0.3, 0.9)), float(rng.uniform(0.3, 1.1))
            z = float(rng.uniform(1.0, max(1.1, height - h - 0.2)))
            layer = (Layer.POSTER, Layer.PICTURE, Layer.WRITING, Layer.CLUTTER)[rng.integers(0, 4)]
            b.quad(
                [-0.025, y + w, z],
                [0, -w, 0],
                [0, 0, h],
                float(rng.uniform(0.2, 0.75)),
                layer,
                repeat=None,
            )
        elif kind < 0.75:
            z, h = float(rng.uniform(0.3, height - 0.4)), float(rng.uniform(0.08, 0.3))
            b.box([-0.03, y, z], [0.05, float(rng.uniform(0.08, 0.3)), h], reflectance(rng))
        else:
            long = float(rng.uniform(0.5, height - 0.2))
            b.box(
                [-0.05, y, height - long / 2],
                [0.04, float(rng.uniform(0.02, 0.06)), long],
                reflectance(rng, 0.03, 0.5),
            )


def truss(b: Builder, half: HalfSize, height: float) -> None:
    """A motion-capture truss under the ceiling with its cameras."""
    rng = b.rng
    x, y = half[0] - 0.35, half[1] - 0.35
    z, shade = height - float(rng.uniform(0.1, 0.35)), reflectance(rng, 0.03, 0.4)
    for side in (-1, 1):
        b.box([0, side * y, z], [2 * x, 0.05, 0.05], shade)
        b.box([side * x, 0, z], [0.05, 2 * y, 0.05], shade)
        for t in np.linspace(-0.8, 0.8, 4):
            b.box([t * x, side * y, z - 0.1], [0.1, 0.12, 0.1], 0.05)
            b.box([side * x, t * y, z - 0.1], [0.12, 0.1, 0.1], 0.05)
        if rng.random() < 0.6:
            b.box([side * x, y * rng.choice([-1, 1]), z / 2], [0.05, 0.05, z], shade)


def floor_cables(b: Builder, half: HalfSize) -> None:
    """A cable snaking over the floor."""
    rng = b.rng
    for _ in range(int(rng.integers(1, 4))):
        at = rng.uniform(-0.9, 0.9, 2) * half
        yaw, shade = float(rng.uniform(0, 6.28)), float(rng.choice([0.04, 0.5]))
        for _ in range(int(rng.integers(4, 12))):
            at = np.clip(at, [-half[0] + 0.3, -half[1] + 0.3], [half[0] - 0.3, half[1] - 0.3])
            b.box([at[0], at[1], 0.01], [0.34, 0.025, 0.012], shade, yaw=yaw, step=1.0)
            at = at + 0.3 * np.array([np.cos(yaw), np.sin(yaw)])
            yaw += float(rng.normal(0, 0.5))
