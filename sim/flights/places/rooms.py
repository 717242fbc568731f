"""Rooms drawn from a seed: size, surfaces, lamps, windows, furniture and clutter; or a yard."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gearshift.sim.flights.places.fittings import hang_lights, shell
from gearshift.sim.flights.places.furniture import furnish
from gearshift.sim.flights.places.yards import lay_out
from gearshift.sim.flights.shapes.quads import Builder, Light, Mesh

_OUTDOORS_SHARE = 0.15


@dataclass(frozen=True, slots=True)
class Room:
    """A furnished room, or a place outdoors; frame as in `quads`.

    half_size: half extents in x and y [m] of the room, outdoors of the part that drones fly in.
    height [m], outdoors of that part. free: half extents of the area without
    furniture, where people walk. gloss: reflectance of the floor at normal incidence.
    """

    name: str
    seed: int
    half_size: tuple[float, float]
    height: float
    free: tuple[float, float]
    gloss: float
    mesh: Mesh
    lights: tuple[Light, ...]
    outdoors: bool = False


def draw_room(name: str, seed: int) -> Room:
    """Draw a room; the same seed gives the same room."""
    rng = np.random.default_rng([seed, 0x4003])
    if rng.random() < _OUTDOORS_SHARE:
        return _draw_yard(name, seed, rng)
    half = (float(rng.uniform(2.4, 5.6)), float(rng.uniform(2.0, 4.4)))
    if rng.random() < 0.3:  # many labs are near the real one's size
        half = (float(rng.uniform(3.2, 5.0)), float(rng.uniform(2.8, 4.2)))
    height = float(rng.uniform(2.35, 3.2) if rng.random() < 0.75 else rng.uniform(3.2, 4.6))
    builder = Builder(rng)
    shell(builder, half, height)
    windows = furnish(builder, half, height)
    lamps = hang_lights(builder, half, height)
    margin = 0.55
    return Room(
        name=name,
        seed=seed,
        half_size=half,
        height=height,
        free=(half[0] - margin - 0.35, half[1] - margin - 0.35),
        gloss=float(rng.choice([0.0, rng.uniform(0.01, 0.08)])),
        mesh=builder.mesh(),
        lights=(*lamps, *windows),
    )


def _draw_yard(name: str, seed: int, rng: np.random.Generator) -> Room:
    half = (float(rng.uniform(3.5, 5.5)), float(rng.uniform(3.5, 5.5)))
    builder = Builder(rng)
    sky = lay_out(builder, half)
    return Room(
        name=name,
        seed=seed,
        half_size=half,
        height=3.5,
        free=(half[0] - 0.7, half[1] - 0.7),
        gloss=0.0,
        mesh=builder.mesh(),
        lights=tuple(sky),
        outdoors=True,
    )
