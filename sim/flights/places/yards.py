"""Places outdoors: open sky, facades, hedges and trees, parked cars and posts, drawn from a seed.

Frame as in `quads`. They are lit by the sky alone, one large light of a lamp group.
"""

from __future__ import annotations

import numpy as np

from gearshift.sim.flights.people.parts import ellipsoid
from gearshift.sim.flights.places.distractors import picture_of_a_person
from gearshift.sim.flights.places.fittings import HalfSize, reflectance
from gearshift.sim.flights.shapes.geometry import rotation_z
from gearshift.sim.flights.shapes.quads import Builder, Light
from gearshift.sim.flights.shapes.surfaces import Layer

SKY_HEIGHT = 14.0
_SKY_RADIANCE = 0.12


def lay_out(b: Builder, half: HalfSize) -> list[Light]:
    """Ground, sky and what stands around the free area with half extents `half` [m]."""
    rng = b.rng
    far = float(rng.uniform(14.0, 24.0))
    ground = float(rng.uniform(0.08, 0.4))
    b.quad(
        [-far, -far, 0],
        [2 * far, 0, 0],
        [0, 2 * far, 0],
        ground,
        Layer.FLOOR,
        repeat=float(rng.uniform(1.8, 5.0)),
        mottle=0.02,
    )
    _sky(b, far)
    if rng.random() < 0.5:
        _marks(b, half)
    # Most places are open to at least one side.
    kinds = rng.choice(4, 4, p=[0.4, 0.12, 0.2, 0.28])
    kinds[int(rng.integers(0, 4))] = 3
    for side, kind in enumerate(kinds.tolist()):
        _turn_to(b, side)
        edge = (half[0] if side % 2 == 0 else half[1]) + 0.5
        away = float(rng.uniform(edge, min(edge + 7, far - 1)))
        if kind == 0:
            _facade(b, away, far)
        elif kind == 1:
            _barrier(b, away, far)
        elif kind == 2:
            for _ in range(int(rng.integers(2, 6))):
                _tree(b, float(rng.uniform(edge + 1, far - 2)), float(rng.uniform(-far, far) * 0.6))
        _skyline(b, far)
        for _ in range(int(rng.poisson(1.2))):
            _thing(b, float(rng.uniform(edge, edge + 4)), float(rng.uniform(-6, 6)))
        if rng.random() < 0.2:
            _hoarding(b, edge + 0.3)
    b.transform = (np.eye(3), np.zeros(3))
    return [
        Light(
            centre=np.array([0, 0, SKY_HEIGHT - 0.05]),
            half_u=np.array([far, 0, 0]),
            half_v=np.array([0, -far, 0]),
            radiance=3.8 * _SKY_RADIANCE,
            group=0,
        )
    ]


def _turn_to(b: Builder, side: int) -> None:
    """Local frame of a side: origin in the middle of the place, x outwards."""
    b.transform = (rotation_z(side * np.pi / 2), np.zeros(3))


def _sky(b: Builder, far: float) -> None:
    glow = _SKY_RADIANCE * float(b.rng.uniform(0.8, 2.2))
    for side in range(4):
        _turn_to(b, side)
        wall = [far, far, 0.0], [0, -2 * far, 0.0], [0.0, 0.0, SKY_HEIGHT]
        b.quad(*wall, 0.05, Layer.CLOUDS, repeat=30.0, step=2.0, emission=glow, group=0)
    b.transform = (np.eye(3), np.zeros(3))
    top = [-far, far, SKY_HEIGHT], [2 * far, 0.0, 0.0], [0.0, -2 * far, 0.0]
    b.quad(*top, 0.05, Layer.CLOUDS, repeat=30.0, step=2.0, emission=glow, group=0)


def _marks(b: Builder, half: HalfSize) -> None:
    """Lines on the ground."""
    rng = b.rng
    yaw, shade = float(rng.uniform(0, np.pi)), float(rng.uniform(0.4, 0.7))
    for k in range(int(rng.integers(2, 7))):
        along = (k - 2.5) * float(rng.uniform(1.6, 2.4))
        x, y = along * np.cos(yaw), along * np.sin(yaw)
        if abs(x) < half[0] + 6 and abs(y) < half[1] + 6:
            b.box([x, y, 0.004], [1.2, 0.12, 0.008], shade, yaw=yaw, step=1.5)


def _facade(b: Builder, away: float, far: float) -> None:
    rng = b.rng
    wide = float(rng.uniform(6.0, 2 * far))
    tall = float(rng.uniform(3.0, SKY_HEIGHT - 0.5))
    y = float(rng.uniform(-far + wide / 2, far - wide / 2))
    shade, repeat = float(rng.uniform(0.12, 0.6)), float(rng.uniform(5.0, 12.0))
    b.quad(
        [away, y + wide / 2, 0.0],
        [0, -wide, 0],
        [0, 0, tall],
        shade,
        Layer.FACADE,
        repeat=repeat,
        step=0.8,
    )
    if rng.random() < 0.5:  # the ground floor
        low = float(rng.uniform(0.5, 2.8))
        box = [away - 0.06, y, low / 2], [0.1, wide, low]
        b.box(*box, reflectance(rng, 0.06, 0.5), Layer.PANEL, repeat=2.0, step=0.8)


def _barrier(b: Builder, away: float, far: float) -> None:
    """A wall, a fence or a hedge along a side."""
    rng = b.rng
    layer = (Layer.WALL, Layer.PANEL, Layer.LEAVES)[int(rng.integers(0, 3))]
    tall = float(rng.uniform(0.8, 2.6))
    shade = float(rng.uniform(0.06, 0.16)) if layer is Layer.LEAVES else reflectance(rng, 0.1, 0.6)
    b.box([away + 0.3, 0, tall / 2], [0.5, 2 * far, tall], shade, layer, repeat=2.0, step=0.8)


def _tree(b: Builder, x: float, y: float) -> None:
    rng = b.rng
    tall, shade = float(rng.uniform(2.5, 9.0)), float(rng.uniform(0.05, 0.14))
    thick = 0.03 * tall + 0.05
    b.box([x, y, tall / 2], [thick, thick, tall], 0.08, Layer.WOOD)
    for _ in range(int(rng.integers(5, 10))):
        size = tall * rng.uniform(0.12, 0.24, 3)
        centre = np.array([x, y, tall * 0.75]) + rng.normal(size=3) * tall * [0.13, 0.13, 0.12]
        vertices, faces = ellipsoid(centre, size)
        rough = 1 + 0.12 * rng.normal(size=(len(vertices), 1))
        b.solid(centre + (vertices - centre) * rough, faces, shade, Layer.LEAVES, repeat=1.5)


def _skyline(b: Builder, far: float) -> None:
    """Low, dark, distant things: what every horizon has."""
    rng = b.rng
    y = -far
    while y < far:
        wide, tall = float(rng.uniform(2.0, 9.0)), float(rng.uniform(0.3, 4.0))
        layer = (Layer.FACADE, Layer.LEAVES, Layer.PLAIN)[int(rng.integers(0, 3))]
        b.box(
            [far - 0.4, y + wide / 2, tall / 2],
            [0.5, wide, tall],
            float(rng.uniform(0.05, 0.3)),
            layer,
            repeat=6.0,
            step=1.5,
        )
        y += wide + rng.exponential(2.0)


def _hoarding(b: Builder, x: float) -> None:
    """A board with a poster of a person."""
    turn, move = b.transform
    b.transform = (turn, move + turn @ np.array([x, float(b.rng.uniform(-3, 3)), 0.0]))
    b.box([0.06, 0, 1.1], [0.1, 2.6, 2.2], reflectance(b.rng, 0.1, 0.6), Layer.PANEL)
    picture_of_a_person(b, 1.3, 2.2)
    b.transform = (turn, move)


def _thing(b: Builder, x: float, y: float) -> None:
    """A parked car, a post with a sign, or a bin."""
    rng = b.rng
    kind = rng.random()
    if kind < 0.4:
        yaw, shade = float(rng.choice([0.0, np.pi / 2])), reflectance(rng, 0.03, 0.6)
        x += 1.5
        c, s = np.cos(yaw), np.sin(yaw)
        b.box([x, y, 0.6], [4.1, 1.7, 0.65], shade, yaw=yaw)
        b.box([x - 0.2 * c, y - 0.2 * s, 1.17], [2.2, 1.5, 0.5], 0.03, yaw=yaw)
        b.box([x - 0.2 * c, y - 0.2 * s, 1.44], [1.7, 1.4, 0.05], shade, yaw=yaw)
        for along in (-1.25, 1.25):
            b.box([x + along * c, y + along * s, 0.3], [0.6, 1.74, 0.6], 0.02, yaw=yaw)
    elif kind < 0.8:
        tall, shade = float(rng.uniform(1.0, 5.0)), reflectance(rng, 0.03, 0.5)
        b.box([x, y, tall / 2], [0.08, 0.08, tall], shade)
        if rng.random() < 0.6:
            sign = [0.04, float(rng.uniform(0.3, 0.7)), float(rng.uniform(0.3, 0.6))]
            b.box([x - 0.06, y, tall - 0.3], sign, reflectance(rng, 0.1, 0.8), Layer.WRITING)
    else:
        tall = float(rng.uniform(0.7, 1.3))
        b.box([x, y, tall / 2], [0.5, 0.5, tall], reflectance(rng, 0.03, 0.4), Layer.PANEL)
