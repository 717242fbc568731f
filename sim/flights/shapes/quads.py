"""Textured, tessellated quads and rectangular lights: what rooms are built from.

Frame of a room: x and y horizontal with the origin in the middle of the floor, z up, metres.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gearshift.sim.flights.shapes.geometry import Float64, Int32, vertex_normals
from gearshift.sim.flights.shapes.surfaces import Layer

GROUPS = 4
"""Light groups whose powers vary between flights: three of lamps, the last is daylight."""
DAYLIGHT = GROUPS - 1
CONSTANT = GROUPS
"""Emission that no group scales (screens)."""


@dataclass(frozen=True, slots=True)
class Light:
    """A rectangular light: centre and half edges (3,), facing u x v; radiance at power 1."""

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
    """Tessellated surfaces.

    vertices, normals: (n, 3). faces: (m, 3). albedo: (n,). texture: (n, 3): u, v in repeats,
    layer. emission: (n, GROUPS + 1) radiance by light group (last: constant).
    """

    vertices: Float64
    normals: Float64
    faces: Int32
    albedo: Float64
    texture: Float64
    emission: Float64


class Builder:
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
        grid = np.meshgrid(np.linspace(0, 1, nu + 1), np.linspace(0, 1, nv + 1), indexing="ij")
        a, b = grid[0].ravel(), grid[1].ravel()
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

    def solid(
        self,
        vertices: Float64,
        faces: Int32,
        albedo: float,
        layer: Layer = Layer.PLAIN,
        *,
        repeat: float = 1.0,
    ) -> None:
        """A closed triangle mesh: vertices (n, 3), faces (m, 3)."""
        turn, move = self.transform
        points = vertices @ turn.T + move
        normals = vertex_normals(points, faces)
        lost = np.linalg.norm(normals, axis=1) < 0.5  # the poles of an ellipsoid
        normals[lost] = [0, 0, 1.0]
        uv = np.stack([vertices[:, 0] + vertices[:, 1], vertices[:, 2]], axis=1) / repeat
        texture = np.column_stack([uv + self.rng.random(2), np.full(len(points), float(layer))])
        glow = np.zeros((len(points), GROUPS + 1))
        self._parts.append((points, normals, np.full(len(points), albedo), texture, glow))
        self._faces.append((faces + self._count).astype(np.int32))
        self._count += len(points)

    def mesh(self) -> Mesh:
        """Everything collected so far."""
        points, normals, albedo, texture, emission = (
            np.concatenate(column) for column in zip(*self._parts, strict=True)
        )
        return Mesh(points, normals, np.concatenate(self._faces), albedo, texture, emission)
