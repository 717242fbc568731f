"""Puts a figure's mesh together from parts; makes simple extra shapes (ellipsoids, rings)."""

from __future__ import annotations

import numpy as np

from gearshift.sim.flights.people.makehuman import BONES
from gearshift.sim.flights.shapes.geometry import Float64, Int32

Shape = tuple[Float64, Int32]


def ellipsoid(centre: Float64, radii: Float64, square: float = 1.0) -> Shape:
    """Super-ellipsoid with half axes `radii` (3,); `square` < 1 makes it boxier."""
    lat, lon = np.meshgrid(
        np.linspace(-np.pi / 2, np.pi / 2, 9), np.linspace(0, 2 * np.pi, 15)[:-1], indexing="ij"
    )

    def power(v: Float64) -> Float64:
        return np.asarray(np.sign(v) * np.abs(v) ** square)

    x = power(np.cos(lat)) * power(np.cos(lon))
    y = power(np.cos(lat)) * power(np.sin(lon))
    points = np.stack([x, y, power(np.sin(lat))], axis=-1).reshape(-1, 3)
    return points * radii + centre, _grid_faces(9, 14, wrap_columns=True)


def ring(centre: Float64, radius: float, thickness: float) -> Shape:
    """Thin ring facing forward (x)."""
    angle, around = np.meshgrid(
        np.linspace(0, 2 * np.pi, 15)[:-1], np.linspace(0, 2 * np.pi, 5)[:-1], indexing="ij"
    )
    r = radius + thickness * np.cos(around)
    points = np.stack([thickness * np.sin(around), r * np.cos(angle), r * np.sin(angle)], axis=-1)
    faces = _grid_faces(14, 4, wrap_columns=True, wrap_rows=True)
    return points.reshape(-1, 3) + centre, faces


def _grid_faces(
    rows: int, columns: int, *, wrap_columns: bool = False, wrap_rows: bool = False
) -> Int32:
    """Triangles of a rows x columns grid of points, row-major."""
    grid = np.meshgrid(
        np.arange(rows if wrap_rows else rows - 1),
        np.arange(columns if wrap_columns else columns - 1),
        indexing="ij",
    )
    i, j = grid[0].ravel(), grid[1].ravel()
    i2, j2 = (i + 1) % rows, (j + 1) % columns
    a, b, c, d = i * columns + j, i * columns + j2, i2 * columns + j2, i2 * columns + j
    return np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]).astype(np.int32)


def sheet_faces(rows: int, columns: int) -> Int32:
    """Triangles of an open rows x columns sheet of points, row-major."""
    return _grid_faces(rows, columns)


class MeshParts:
    """Collects parts of a skinned mesh and joins them into one."""

    def __init__(self) -> None:
        self._vertices: list[Float64] = []
        self._faces: list[Int32] = []
        self._weights: list[Float64] = []
        self._albedo: list[Float64] = []
        self._texture: list[Float64] = []
        self._count = 0

    def add(
        self,
        vertices: Float64,
        faces: Int32,
        weights: Float64,
        albedo: Float64,
        texture: Float64,
    ) -> None:
        """Add a part; shapes as in `wardrobe.Figure`."""
        self._vertices.append(vertices)
        self._faces.append((faces + self._count).astype(np.int32))
        self._weights.append(weights)
        self._albedo.append(albedo)
        self._texture.append(texture)
        self._count += len(vertices)

    def add_rigid(self, shape: Shape, bone: str, albedo: float, layer: int) -> None:
        """Add a shape that moves with one bone and has one brightness."""
        vertices, faces = shape
        weights = np.zeros((len(vertices), len(BONES)))
        weights[:, BONES.index(bone)] = 1.0
        uv = np.stack([vertices[:, 1] + vertices[:, 0], vertices[:, 2]], axis=1) * 1.6
        texture = np.column_stack([uv, np.full(len(vertices), float(layer))])
        self.add(vertices, faces, weights, np.full(len(vertices), albedo), texture)

    @property
    def first(self) -> tuple[Float64, Float64, Float64]:
        """Vertices, albedo and texture of the first part (the body), to be changed in place."""
        return self._vertices[0], self._albedo[0], self._texture[0]

    def joined(self) -> tuple[Float64, Int32, Float64, Float64, Float64]:
        """Vertices, faces, weights, albedo and texture of all parts."""
        return (
            np.concatenate(self._vertices),
            np.concatenate(self._faces),
            np.concatenate(self._weights),
            np.concatenate(self._albedo),
            np.concatenate(self._texture),
        )
