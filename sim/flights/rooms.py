"""Rooms drawn from a seed: walls, floor, lamps, windows, furniture and clutter as textured quads.

Frame of a room: x and y horizontal with the origin in the middle of the floor, z up, metres.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gearshift.sim.flights.geometry import Float64, Int32
from gearshift.sim.flights.surfaces import Layer

GROUPS = 4
"""Light groups whose powers vary between flights: three of lamps, the last is daylight."""
DAYLIGHT = GROUPS - 1
CONSTANT = GROUPS
"""Emission that no group scales (screens)."""


@dataclass(frozen=True, slots=True)
class Light:
    """A rectangular light: centre (3,), half edges u and v (3,), facing u x v, radiance at power 1."""

    centre: Float64
    half_u: Float64
    half_v: Float64
    radiance: float
    group: int

    @property
    def area(self) -> float:
        """Area in square metres."""
        return 4 * float(np.linalg.norm(np.cross(self.half_u, self.half_v)))

    @property
    def normal(self) -> Float64:
        """Unit vector the light faces."""
        n = np.cross(self.half_u, self.half_v)
        return np.asarray(n / np.linalg.norm(n))


@dataclass(frozen=True, slots=True)
class Mesh:
    """Tessellated surfaces: vertices, normals (n, 3), faces (m, 3), albedo (n,), texture (n, 3) as
    u, v in repeats and layer, emission (n, GROUPS + 1) radiance by group (last: constant).
    """

    vertices: Float64
    normals: Float64
    faces: Int32
    albedo: Float64
    texture: Float64
    emission: Float64


@dataclass(frozen=True, slots=True)
class Room:
    """A furnished room. half_size: (X, Y) half extents; height; free: half extents of the area
    without furniture, where people walk. gloss: reflectance of the floor at normal incidence.
    """

    name: str
    seed: int
    half_size: tuple[float, float]
    height: float
    free: tuple[float, float]
    gloss: float
    mesh: Mesh
    lights: tuple[Light, ...]


class _Builder:
    """Collects textured quads, tessellated for vertex lighting."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self._parts: list[tuple[Float64, ...]] = []
        self._faces: list[Int32] = []
        self._count = 0
        self.transform = (np.eye(3), np.zeros(3))

    def quad(
        self,
        origin: list[float] | Float64,
        edge_u: list[float] | Float64,
        edge_v: list[float] | Float64,
        albedo: float,
        layer: Layer = Layer.PLAIN,
        *,
        repeat: float | None = 2.4,
        step: float = 0.3,
        emission: float = 0.0,
        group: int = CONSTANT,
        mottle: float = 0.0,
    ) -> None:
        """A rectangle facing u x v; `repeat` metres per texture repeat, None fits it once."""
        turn, move = self.transform
        o = turn @ np.asarray(origin, float) + move
        u, v = turn @ np.asarray(edge_u, float), turn @ np.asarray(edge_v, float)
        lu, lv = float(np.linalg.norm(u)), float(np.linalg.norm(v))
        nu, nv = (min(max(1, int(np.ceil(x / step))), 80) for x in (lu, lv))
        a, b = np.meshgrid(np.linspace(0, 1, nu + 1), np.linspace(0, 1, nv + 1), indexing="ij")
        a, b = a.ravel(), b.ravel()
        points = o + a[:, None] * u + b[:, None] * v
        normal = np.cross(u, v)
        normal /= max(float(np.linalg.norm(normal)), 1e-12)
        first = (np.arange(nu)[:, None] * (nv + 1) + np.arange(nv)).ravel() + self._count
        self._faces.append(
            np.concatenate(
                [
                    np.stack([first, first + nv + 1, first + nv + 2], 1),
                    np.stack([first, first + nv + 2, first + 1], 1),
                ]
            ).astype(np.int32)
        )
        if repeat is None:
            uv = np.stack([a, b], 1)
        else:
            uv = np.stack([a * lu, b * lv], 1) / repeat + self.rng.random(2)
        shade = np.full(len(points), albedo)
        if mottle:
            shade *= 1 + mottle * self.rng.normal(size=len(points)).clip(-2, 2)
        glow = np.zeros((len(points), GROUPS + 1))
        glow[:, group] = emission
        texture = np.column_stack([uv, np.full(len(points), float(layer))])
        self._parts.append((points, np.tile(normal, (len(points), 1)), shade, texture, glow))
        self._count += len(points)

    def box(
        self,
        centre: list[float],
        size: list[float],
        albedo: float,
        layer: Layer = Layer.PLAIN,
        *,
        yaw: float = 0.0,
        repeat: float | None = 1.5,
        step: float = 0.4,
    ) -> None:
        """A box; its underside only where it is off the floor."""
        outer = self.transform
        turn, move = outer
        c, s = np.cos(yaw), np.sin(yaw)
        spin = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])
        self.transform = (turn @ spin, turn @ np.asarray(centre, float) + move)
        x, y, z = (v / 2 for v in size)
        for origin, u, v in (
            ([x, -y, -z], [0, 2 * y, 0], [0, 0, 2 * z]),
            ([-x, y, -z], [0, -2 * y, 0], [0, 0, 2 * z]),
            ([x, y, -z], [-2 * x, 0, 0], [0, 0, 2 * z]),
            ([-x, -y, -z], [2 * x, 0, 0], [0, 0, 2 * z]),
            ([-x, -y, z], [2 * x, 0, 0], [0, 2 * y, 0]),
        ):
            self.quad(origin, u, v, albedo, layer, repeat=repeat, step=step)
        if centre[2] - z > 0.05:
            under = [-x, y, -z], [2 * x, 0.0, 0.0], [0.0, -2 * y, 0.0]
            self.quad(*under, albedo, layer, repeat=repeat, step=step)
        self.transform = outer

    def mesh(self) -> Mesh:
        """Everything collected so far."""
        points, normals, albedo, texture, emission = (
            np.concatenate(column) for column in zip(*self._parts, strict=True)
        )
        return Mesh(points, normals, np.concatenate(self._faces), albedo, texture, emission)


def _dark_or_light(rng: np.random.Generator) -> float:
    return float(np.exp(rng.uniform(np.log(0.03), np.log(0.7))))


def draw_room(name: str, seed: int) -> Room:
    """Draw a room; the same seed gives the same room."""
    from gearshift.sim.flights.furniture import furnish, hang_lights, shell

    rng = np.random.default_rng([seed, 0x4003])
    half = (float(rng.uniform(2.4, 5.6)), float(rng.uniform(2.0, 4.4)))
    if rng.random() < 0.3:  # many labs are near the real one's size
        half = (float(rng.uniform(3.2, 5.0)), float(rng.uniform(2.8, 4.2)))
    height = float(rng.uniform(2.35, 3.2) if rng.random() < 0.75 else rng.uniform(3.2, 4.6))
    builder = _Builder(rng)
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


Builder = _Builder
