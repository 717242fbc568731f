"""What looks like a person and is none: pictures of people, coats on stands and over chairs."""

from __future__ import annotations

import numpy as np

from gearshift.sim.flights.people.parts import ellipsoid
from gearshift.sim.flights.places.fittings import reflectance
from gearshift.sim.flights.shapes.geometry import Float64, rotation_z
from gearshift.sim.flights.shapes.quads import Builder
from gearshift.sim.flights.shapes.surfaces import Layer

_PAPER = 0.4


def picture_of_a_person(b: Builder, reach: float, height: float) -> None:
    """A poster, a roll-up or a screen on the wall of the builder's frame (x into it, y along)."""
    rng = b.rng
    kind = rng.random()
    if kind < 0.45:  # a whole figure, up to its natural size
        tall = min(float(rng.uniform(0.9, 2.0)), height - 0.1)
        size, layer = (tall / 2, tall), Layer.STANDING
        low = 0.02 if tall > 1.5 else float(rng.uniform(0.4, max(0.45, height - tall - 0.05)))
    else:
        tall = float(rng.uniform(0.45, 1.3))
        size, layer = (0.75 * tall, tall), Layer.PORTRAIT
        low = float(rng.uniform(0.7, max(0.75, min(1.6, height - tall - 0.05))))
    y = float(rng.uniform(-reach + 0.3, max(-reach + 0.4, reach - 0.3 - size[0])))
    glow = float(rng.uniform(0.015, 0.08)) if kind > 0.8 else 0.0
    out = float(rng.uniform(0.03, 0.6)) if low < 0.1 else 0.04
    middle = [0.025 - out, y + size[0] / 2, low + tall / 2]
    b.box(middle, [0.03, size[0] + 0.06, tall + 0.06], 0.05 if glow else reflectance(rng))
    b.quad(
        [-out, y + size[0], low],
        [0, -size[0], 0],
        [0, 0, tall],
        _PAPER,
        layer,
        repeat=None,
        emission=glow,
    )


def screen(b: Builder, reach: float) -> None:
    """A large screen on the wall, on or off."""
    rng = b.rng
    wide = float(rng.uniform(0.8, 1.7))
    tall, y = wide * 9 / 16, float(rng.uniform(-reach + 0.2, max(-reach + 0.3, reach - wide - 0.2)))
    low = float(rng.uniform(0.8, 1.3))
    b.box([-0.04, y + wide / 2, low + tall / 2], [0.06, wide + 0.05, tall + 0.05], 0.03)
    glow = float(rng.choice([0.0, rng.uniform(0.015, 0.1)]))
    b.quad(
        [-0.075, y + wide, low],
        [0, -wide, 0],
        [0, 0, tall],
        0.05,
        Layer.SCREEN,
        repeat=None,
        emission=glow,
    )


def coat_stand(b: Builder, y: float, room: float, height: float) -> float:
    """A coat on a stand or a hook, at a person's height; now and then with a hat."""
    del height
    rng = b.rng
    if room < 0.7:
        return room
    x, yaw = -float(rng.uniform(0.22, 0.6)), float(rng.uniform(0, 2 * np.pi))
    outer = _stand(b, x, y + 0.35, yaw)
    cloth, top = reflectance(rng, 0.02, 0.5), float(rng.uniform(1.35, 1.65))
    long = float(rng.uniform(0.55, 1.1))
    b.box([0, 0, 0.85], [0.04, 0.04, 1.7], reflectance(rng, 0.02, 0.3))
    b.box([0, 0, 0.02], [0.4, 0.4, 0.04], 0.05)
    layer = Layer.FABRIC if rng.random() < 0.7 else Layer.BLOCKS
    _lump(b, [0, 0, top - long / 2], [0.13, 0.21, long / 2], cloth, layer, square=0.6)
    _lump(b, [0, 0, top - 0.08], [0.1, 0.23, 0.11], cloth, layer)
    for side in (-1, 1):
        arm = [0.02, side * 0.22, top - 0.38]
        _lump(b, arm, [0.065, 0.06, 0.32], cloth * 0.9, layer)
    if rng.random() < 0.4:
        hat = [0, 0, max(top + 0.12, 1.6)]
        _lump(b, hat, [0.12, 0.1, 0.1], reflectance(rng, 0.02, 0.4), Layer.FABRIC)
    b.transform = outer
    return 0.7


def coat_on_chair(b: Builder, x: float, y: float, yaw: float) -> None:
    """A coat over the back of a chair that stands at (x, y), turned by `yaw`."""
    rng = b.rng
    outer = _stand(b, x, y, yaw)
    cloth = reflectance(rng, 0.02, 0.5)
    _lump(b, [-0.2, 0, 0.74], [0.1, 0.25, 0.3], cloth, Layer.FABRIC, square=0.6)
    for side in (-1, 1):
        _lump(b, [-0.2, side * 0.24, 0.68], [0.07, 0.06, 0.26], cloth, Layer.FABRIC)
    b.transform = outer


def _stand(b: Builder, x: float, y: float, yaw: float) -> tuple[Float64, Float64]:
    """Move the builder's frame to (x, y), turned by `yaw`; returns the frame that it had."""
    turn, move = b.transform
    b.transform = (turn @ rotation_z(yaw), move + turn @ np.array([x, y, 0.0]))
    return turn, move


def _lump(
    b: Builder,
    centre: list[float],
    radii: list[float],
    albedo: float,
    layer: Layer,
    *,
    square: float = 1.0,
) -> None:
    vertices, faces = ellipsoid(np.array(centre), np.array(radii), square)
    b.solid(vertices, faces, albedo, layer, repeat=0.6)
