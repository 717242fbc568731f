"""Bakes a room's light once with Embree: direct light and bounces per light group, light probes.

Light groups stay apart, so that a flight can choose its lamp powers without baking again. Baked
rooms are cached on disk, keyed by what baking reads and by BAKE_VERSION.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from embreex import rtcore_scene
from embreex.mesh_construction import TriangleMesh

from gearshift.runtime.files.whole_file import WholeFile, make_folder
from gearshift.sim.flights.places.rooms import Room
from gearshift.sim.flights.shapes.geometry import Float32, Float64
from gearshift.sim.flights.shapes.quads import GROUPS, Mesh

BAKE_VERSION = 1
"""Raise when baking changes: part of the key of cached rooms, beside what it reads."""

_LOG = logging.getLogger(__name__)
_EPSILON = 0.012
_DIRECT_SAMPLES = 24
_BOUNCE_SAMPLES = (32, 32, 128)
_PROBES = (9, 8, 4)


@dataclass(frozen=True, slots=True)
class BakedLight:
    """Irradiance at unit power of each light group.

    direct, indirect: (n, GROUPS) at the room's vertices. probes: (GROUPS, nx, ny, nz, 6)
    irradiance, direct included, on planes facing +x, +y, +z, -x, -y, -z. probe_low, probe_high:
    corners (3,) of the grid [m].
    """

    direct: Float32
    indirect: Float32
    probes: Float32
    probe_low: Float64
    probe_high: Float64


class Tracer:
    """Ray casts against a fixed triangle mesh."""

    def __init__(self, vertices: Float64, faces: np.ndarray) -> None:
        self._scene = rtcore_scene.EmbreeScene()
        self._mesh = TriangleMesh(self._scene, vertices.astype(np.float32), faces.astype(np.int32))

    def hits(self, origins: Float64, directions: Float64) -> tuple[np.ndarray, np.ndarray]:
        """First triangle hit (-1: none) and its distance, by ray; origins, directions (n, 3)."""
        result = self._scene.run(
            np.ascontiguousarray(origins, np.float32),
            np.ascontiguousarray(directions, np.float32),
            output=1,
        )
        return result["primID"], result["tfar"]

    def blocked(self, origins: Float64, targets: Float64) -> np.ndarray:
        """Whether something stands between each origin and its target, both (n, 3)."""
        ways = targets - origins
        lengths = np.linalg.norm(ways, axis=1)
        hit, far = self.hits(origins, ways / np.maximum(lengths, 1e-9)[:, None])
        return np.asarray((hit >= 0) & (far < lengths - 2 * _EPSILON))


def _direct(
    room: Room, tracer: Tracer, points: Float64, normals: Float64, rng: np.random.Generator
) -> Float64:
    """(n, GROUPS) direct irradiance at points with normals (n, 3), area-sampled."""
    out = np.zeros((len(points), GROUPS))
    for light in room.lights:
        samples = max(3, _DIRECT_SAMPLES // max(1, len(room.lights) // 3))
        total = np.zeros(len(points))
        for _ in range(samples):
            a, b = rng.uniform(-1, 1, (2, len(points), 1))
            target = light.centre + a * light.half_u + b * light.half_v
            way = target - points
            square = np.maximum((way**2).sum(axis=1), 0.02)
            inverse = 1 / np.sqrt(square)
            receive = np.clip((way * normals).sum(axis=1) * inverse, 0, 1)
            send = np.clip(-(way @ light.normal) * inverse, 0, 1)
            gain = receive * send / square * light.area * light.radiance
            lit = gain > 1e-5
            if lit.any():
                origins = points[lit] + _EPSILON * normals[lit]
                gain[lit] *= ~tracer.blocked(origins, target[lit])
            total += np.where(lit, gain, 0.0)
        out[:, light.group] += total / samples
    return out


def _gather(
    mesh: Mesh,
    tracer: Tracer,
    points: Float64,
    normals: Float64,
    radiance: Float64,
    *,
    samples: int,
    rng: np.random.Generator,
) -> Float64:
    """(n, GROUPS) irradiance from the mesh's vertex `radiance` (m, GROUPS), cosine-sampled."""
    helper = np.where(np.abs(normals[:, 2:3]) < 0.9, [[0, 0, 1.0]], [[1.0, 0, 0]])
    tangent = np.cross(helper, normals)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    bitangent = np.cross(normals, tangent)
    face_radiance = radiance[mesh.faces].mean(axis=1)
    total = np.zeros((len(points), radiance.shape[1]))
    origins = points + _EPSILON * normals
    for _ in range(samples):
        r, turn = np.sqrt(rng.random(len(points))), 2 * np.pi * rng.random(len(points))
        way = (
            tangent * (r * np.cos(turn))[:, None]
            + bitangent * (r * np.sin(turn))[:, None]
            + normals * np.sqrt(1 - r * r)[:, None]
        )
        hit, _ = tracer.hits(origins, way)
        total += np.where((hit >= 0)[:, None], face_radiance[np.maximum(hit, 0)], 0.0)
    return np.asarray(total * np.pi / samples)


def _smooth(mesh: Mesh, values: Float64) -> Float64:
    """One round of averaging over neighbouring faces, against sampling noise."""
    mean = values[mesh.faces].mean(axis=1)
    count = np.maximum(np.bincount(mesh.faces.ravel(), minlength=len(values)), 1)
    columns = [
        np.bincount(mesh.faces.ravel(), np.repeat(mean[:, k], 3), minlength=len(values)) / count
        for k in range(values.shape[1])
    ]
    return np.stack(columns, axis=1)


def bake(room: Room) -> BakedLight:
    """Trace a room's light; takes seconds."""
    rng = np.random.default_rng([room.seed, 0xBA4E])
    mesh = room.mesh
    tracer = Tracer(mesh.vertices, mesh.faces)
    direct = _smooth(mesh, _direct(room, tracer, mesh.vertices, mesh.normals, rng))
    # Lamps close to a wall would burn out the picture; real luminaires are shielded there.
    direct /= 1 + direct / np.maximum(6 * direct.mean(axis=0), 1e-6)
    indirect = np.zeros_like(direct)
    for samples in _BOUNCE_SAMPLES:
        radiance = mesh.albedo[:, None] / np.pi * (direct + indirect)
        indirect = _gather(
            mesh, tracer, mesh.vertices, mesh.normals, radiance, samples=samples, rng=rng
        )
        indirect = _smooth(mesh, _smooth(mesh, indirect))
    # Light of further bounces, about a geometric series in the room's mean reflectance.
    indirect *= 1.1
    radiance = mesh.albedo[:, None] / np.pi * (direct + indirect)
    low = np.array([-room.half_size[0] + 0.3, -room.half_size[1] + 0.3, 0.15])
    high = np.array([room.half_size[0] - 0.3, room.half_size[1] - 0.3, 2.1])
    axes = [np.linspace(low[k], high[k], _PROBES[k]) for k in range(3)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    sides = []
    for side in np.concatenate([np.eye(3), -np.eye(3)]):
        normals = np.tile(side, (len(grid), 1))
        light = _direct(room, tracer, grid, normals, rng)
        sides.append(light + _gather(mesh, tracer, grid, normals, radiance, samples=64, rng=rng))
    probes = np.stack(sides, axis=-1).reshape(*_PROBES, GROUPS, 6)
    return BakedLight(
        direct=direct.astype(np.float32),
        indirect=indirect.astype(np.float32),
        probes=np.moveaxis(probes, 3, 0).astype(np.float32),
        probe_low=low,
        probe_high=high,
    )


def _digest(room: Room) -> str:
    """Hash of everything that baking reads."""
    digest = hashlib.sha256(f"{BAKE_VERSION} {room.seed} {room.half_size}".encode())
    for array in (room.mesh.vertices, room.mesh.normals, room.mesh.faces, room.mesh.albedo):
        digest.update(np.ascontiguousarray(array).tobytes())
    for x in room.lights:
        digest.update(
            np.concatenate([x.centre, x.half_u, x.half_v, [x.radiance, x.group]]).tobytes()
        )
    return digest.hexdigest()[:16]


def baked(room: Room, cache: Path | None) -> BakedLight:
    """The room's baked light, from `cache` (a folder) where it is there, else baked and kept."""
    if cache is None:
        return bake(room)
    file = cache / f"{room.name}-{_digest(room)}.npz"
    if file.exists():
        with np.load(file) as stored:
            return BakedLight(
                stored["direct"],
                stored["indirect"],
                stored["probes"],
                stored["low"],
                stored["high"],
            )
    light = bake(room)
    make_folder(cache)
    with WholeFile(file) as stream:
        np.savez(
            stream,
            direct=light.direct,
            indirect=light.indirect,
            probes=light.probes,
            low=light.probe_low,
            high=light.probe_high,
        )
    _LOG.info("baked %s: %d vertices, %d lights", room.name, len(light.direct), len(room.lights))
    return light
