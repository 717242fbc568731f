"""Draws a lit room with a posed figure into a radiance image, with OpenGL on EGL (llvmpipe on CPUs)."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import moderngl
import numpy as np
from numpy.typing import NDArray

from gearshift.runtime.errors import GearshiftError
from gearshift.sim.flights import shading
from gearshift.sim.flights.baking import BakedLight, Tracer
from gearshift.sim.flights.gait import Stride, bone_matrices, draw_style, joint_rotations, skin
from gearshift.sim.flights.geometry import Float32, Float64
from gearshift.sim.flights.himax import CAMERA, RENDER_HEIGHT, RENDER_WIDTH, SUPERSAMPLING
from gearshift.sim.flights.rooms import CONSTANT, GROUPS, Room
from gearshift.sim.flights.surfaces import Layer
from gearshift.sim.flights.wardrobe import Figure

_SHADOW_CELLS = 128
_SHADOW_SIDE = 4.5
_CUBE_HEIGHTS = (0.25, 1.05, 1.85)
_SHADOW_LIGHTS = 6


class RenderingError(GearshiftError):
    """The renderer cannot start or draw."""


@dataclass(frozen=True, slots=True)
class PosedFigure:
    """A figure's vertices and normals in the world, each (n, 3)."""

    vertices: Float32
    normals: Float32


def open_sky(figure: Figure, seed: int) -> Float32:
    """(n, 2) ambient and overhead visibility of a standing figure's vertices, by ray casts."""
    rng = np.random.default_rng([seed, 0xA0])
    rotations = joint_rotations(draw_style(rng), Stride(0.0, 0.2, 0.0, 0.0), figure.joints)
    matrices = bone_matrices(rotations, figure.joints)
    vertices, normals = skin(figure.vertices, figure.normals, figure.weights, matrices)
    tracer = Tracer(vertices.astype(np.float64), figure.faces)
    count = len(vertices)
    origins = (vertices + 0.012 * normals).astype(np.float64)
    sums = np.zeros((count, 2))
    weights = np.zeros((count, 2))
    for k in range(20):
        way = rng.normal(size=(count, 3))
        way /= np.linalg.norm(way, axis=1, keepdims=True)
        if k % 2:  # overhead: a cone of about 50 degrees around the vertical
            way = 0.75 * way + [0, 0, 1.0]
        else:
            way = way + 1.02 * normals
        way /= np.linalg.norm(way, axis=1, keepdims=True)
        hit, far = tracer.hits(origins, way)
        sums[:, k % 2] += (hit < 0) | (far > 0.6)
        weights[:, k % 2] += 1
    # Bounced light fills what is hidden, so the darkest crease keeps some.
    return (0.14 + 0.86 * sums / weights).astype(np.float32)


class Renderer:
    """One OpenGL context with the scene of one flight; call `close` when done."""

    def __init__(self) -> None:
        try:
            self._gl = moderngl.create_context(standalone=True, backend="egl")
        except Exception as error:
            raise RenderingError(
                "no OpenGL on EGL: install libegl1 libegl-mesa0 libgl1-mesa-dri"
            ) from error
        gl = self._gl
        self._room_program = gl.program(shading.ROOM_VERTEX, shading.ROOM_FRAGMENT)
        self._figure_program = gl.program(shading.FIGURE_VERTEX, shading.FIGURE_FRAGMENT)
        self._mask_program = gl.program(shading.MASK_VERTEX, shading.MASK_FRAGMENT)
        size = (RENDER_WIDTH, RENDER_HEIGHT)
        self._target = gl.framebuffer(
            [gl.texture(size, 1, dtype="f4")], gl.depth_renderbuffer(size)
        )
        shadow_size = (_SHADOW_CELLS, _SHADOW_CELLS)
        self._shadow = gl.texture(shadow_size, 4, dtype="f1")
        self._shadow.repeat_x = self._shadow.repeat_y = False
        gl.enable(moderngl.DEPTH_TEST)
        self._owned: list[moderngl.Buffer | moderngl.Texture | moderngl.VertexArray] = []
        self._ready = False

    def close(self) -> None:
        """Free the context."""
        self._gl.release()

    def load(
        self,
        room: Room,
        light: BakedLight,
        powers: Float64,
        figure: Figure,
        textures: NDArray[np.uint8],
        seed: int,
    ) -> None:
        """Upload a flight's scene; `powers` (GROUPS,) scales the light groups."""
        for owned in self._owned:
            owned.release()
        self._owned.clear()
        self._room, self._figure, self._powers = room, figure, powers
        self._lights = [x for x in room.lights if powers[x.group] > 0]
        self._load_textures(textures)
        self._load_room(room, light, powers)
        self._load_figure(figure, seed)
        self._probes = np.tensordot(powers, light.probes, axes=1)  # (nx, ny, nz, 6)
        self._probe_low, self._probe_high = light.probe_low, light.probe_high
        self._ready = True

    def _buffer(self, data: NDArray[np.float32] | NDArray[np.int32]) -> moderngl.Buffer:
        buffer = self._gl.buffer(np.ascontiguousarray(data).tobytes())
        self._owned.append(buffer)
        return buffer

    def _load_textures(self, textures: NDArray[np.uint8]) -> None:
        layers, height, width = textures.shape
        stack = self._gl.texture_array((width, height, layers), 1, textures.tobytes())
        stack.build_mipmaps()
        stack.filter = (moderngl.LINEAR_MIPMAP_LINEAR, moderngl.LINEAR)
        self._owned.append(stack)
        self._textures = stack

    def _load_room(self, room: Room, light: BakedLight, powers: Float64) -> None:
        mesh = room.mesh
        on_floor = mesh.texture[:, 2] == float(Layer.FLOOR)
        direct = light.direct * powers.astype(np.float32)
        indirect = light.indirect @ powers.astype(np.float32)
        glow = mesh.emission[:, :GROUPS] @ powers + mesh.emission[:, CONSTANT]
        total = np.where(on_floor, 0.0, direct.sum(axis=1)) + indirect
        rest = np.where(glow > 0, glow * np.pi / np.maximum(mesh.albedo, 0.02), total)
        direct[~on_floor] = 0.0
        data = np.column_stack([mesh.vertices, direct, rest, mesh.albedo, mesh.texture])
        buffer = self._buffer(data.astype(np.float32))
        index = self._buffer(mesh.faces.astype(np.int32))
        array = self._gl.vertex_array(
            self._room_program,
            [(buffer, "3f 4f 2f 3f", "position", "direct", "surface", "texture_uvl")],
            index,
        )
        self._owned.append(array)
        self._room_array = array
        radiance = mesh.albedo / np.pi * (direct.sum(axis=1) + indirect)
        wall = mesh.texture[:, 2] == float(Layer.WALL)
        above = mesh.texture[:, 2] == float(Layer.CEILING)
        self._wall_radiance = float(radiance[wall].mean()) if wall.any() else 0.0
        picture = np.full((64, 64), float(radiance[above].mean()), np.float32)
        x, y = room.half_size
        for lamp in self._lights:
            if lamp.normal[2] < -0.5:
                low = (lamp.centre[:2] - np.abs(lamp.half_u + lamp.half_v)[:2]) / (2 * x, 2 * y)
                high = (lamp.centre[:2] + np.abs(lamp.half_u + lamp.half_v)[:2]) / (2 * x, 2 * y)
                a = np.clip(((low + 0.5) * 64).astype(int), 0, 63)
                b = np.clip(((high + 0.5) * 64).astype(int) + 1, 1, 64)
                picture[a[1] : b[1], a[0] : b[0]] += lamp.radiance * powers[lamp.group]
        picture = cv2.GaussianBlur(picture, (0, 0), 1.3)
        ceiling = self._gl.texture((64, 64), 1, picture.tobytes(), dtype="f4")
        ceiling.repeat_x = ceiling.repeat_y = False
        self._owned.append(ceiling)
        self._ceiling = ceiling

    def _load_figure(self, figure: Figure, seed: int) -> None:
        count = len(figure.vertices)
        still = np.column_stack([figure.albedo, open_sky(figure, seed), figure.texture])
        self._pose_buffer = self._gl.buffer(reserve=count * 24, dynamic=True)
        self._owned.append(self._pose_buffer)
        index = self._buffer(figure.faces.astype(np.int32))
        array = self._gl.vertex_array(
            self._figure_program,
            [
                (self._pose_buffer, "3f 3f", "position", "normal"),
                (
                    self._buffer(still.astype(np.float32)),
                    "1f 2f 3f",
                    "albedo",
                    "open_",
                    "texture_uvl",
                ),
            ],
            index,
        )
        mask = self._gl.vertex_array(
            self._mask_program, [(self._pose_buffer, "3f 12x", "position")], index
        )
        self._owned += [array, mask]
        self._figure_array, self._mask_array = array, mask

    def draw(self, eye: Float64, attitude: Float64, posed: PosedFigure | None) -> Float32:
        """Radiance image (RENDER_HEIGHT, RENDER_WIDTH) from `eye` (3,), `attitude` body to world."""
        self._check()
        projection = _view_projection(eye, attitude)
        self._target.use()
        self._target.clear(0.0, 0.0, 0.0, 1.0)
        self._textures.use(0)
        self._shadow.use(1)
        self._ceiling.use(2)
        centre = (0.0, 0.0) if posed is None else tuple(posed.vertices[:, :2].mean(axis=0))
        self._write_shadow(posed, centre)
        if posed is not None:
            self._upload(posed)
            program = self._figure_program
            program["view_projection"].write(projection)
            program["cube"].write(self._cubes(centre))
            program["cube_heights"].value = _CUBE_HEIGHTS
            program["textures"].value = 0
            self._figure_array.render()
        program = self._room_program
        program["view_projection"].write(projection)
        program["textures"].value = 0
        program["shadow"].value = 1
        program["ceiling"].value = 2
        program["shadow_frame"].value = (float(centre[0]), float(centre[1]), _SHADOW_SIDE)
        program["eye"].value = tuple(float(v) for v in eye)
        program["room"].value = (*self._room.half_size, self._room.height)
        program["gloss"].value = self._room.gloss
        program["wall_radiance"].value = self._wall_radiance
        self._room_array.render()
        return self._read()

    def draw_mask(self, eye: Float64, attitude: Float64, posed: PosedFigure) -> Float32:
        """Like `draw`, but 1 where the figure is and 0 elsewhere; the room hides nothing."""
        self._check()
        self._target.use()
        self._target.clear(0.0, 0.0, 0.0, 1.0)
        self._upload(posed)
        self._mask_program["view_projection"].write(_view_projection(eye, attitude))
        self._mask_array.render()
        return self._read()

    def _check(self) -> None:
        if not self._ready:
            raise RenderingError("load a scene before drawing")

    def _upload(self, posed: PosedFigure) -> None:
        data = np.concatenate([posed.vertices, posed.normals], axis=1, dtype=np.float32)
        self._pose_buffer.write(np.ascontiguousarray(data))

    def _read(self) -> Float32:
        raw = self._target.read(components=1, dtype="f4")
        return np.frombuffer(raw, np.float32).reshape(RENDER_HEIGHT, RENDER_WIDTH)[::-1]

    def _cubes(self, centre: tuple[float, ...]) -> bytes:
        """The ambient cubes at three heights above a point: +x +y +z of each, then -x -y -z."""
        shape = np.array(self._probes.shape[:3])
        samples = []
        for z in _CUBE_HEIGHTS:
            at = (np.array([centre[0], centre[1], z]) - self._probe_low) / (
                self._probe_high - self._probe_low
            )
            q = np.clip(at, 0, 1) * (shape - 1)
            i = np.minimum(q.astype(int), shape - 2)
            f = q - i
            block = self._probes[i[0] : i[0] + 2, i[1] : i[1] + 2, i[2] : i[2] + 2]
            block = block[0] * (1 - f[0]) + block[1] * f[0]
            block = block[0] * (1 - f[1]) + block[1] * f[1]
            samples.append(block[0] * (1 - f[2]) + block[1] * f[2])
        cubes = np.stack(samples)
        return np.concatenate([cubes[:, :3], cubes[:, 3:]]).astype(np.float32).tobytes()

    def _write_shadow(self, posed: PosedFigure | None, centre: tuple[float, ...]) -> None:
        """The floor's shadow map: share of each light group that arrives, figure splatted."""
        clear = np.ones((_SHADOW_CELLS, _SHADOW_CELLS, GROUPS), np.float32)
        if posed is not None:
            points = posed.vertices[::2].astype(np.float64)
            strengths = np.array(
                [
                    x.area
                    * x.radiance
                    * self._powers[x.group]
                    / max(float(((x.centre[:2] - centre) ** 2).sum()) + x.centre[2] ** 2, 0.1) ** 2
                    for x in self._lights
                ]
            )
            totals = np.zeros(GROUPS)
            for light, strength in zip(self._lights, strengths, strict=True):
                totals[light.group] += strength
            low = points[:, 2] < 0.35
            for k in np.argsort(-strengths)[:_SHADOW_LIGHTS]:
                light = self._lights[int(k)]
                share = strengths[k] / totals[light.group]
                shade = 1 - _splat(points[low], light.centre, centre, 1.2)
                shade *= 1 - _splat(points[~low], light.centre, centre, 4.0)
                clear[:, :, light.group] -= np.float32(share) * (1 - shade)
        self._shadow.write((np.clip(clear, 0, 1) * 255).astype(np.uint8).tobytes())


def _splat(points: Float64, lamp: Float64, centre: tuple[float, ...], blur: float) -> Float32:
    """How far points shade each cell of the floor map, seen from a lamp; 0..1."""
    below = points[points[:, 2] < lamp[2] - 0.25]
    onto = below[:, :2] + (below[:, :2] - lamp[:2]) * (below[:, 2:] / (lamp[2] - below[:, 2:]))
    cells = ((onto - centre) / _SHADOW_SIDE + 0.5) * _SHADOW_CELLS
    inside = ((cells >= 1) & (cells < _SHADOW_CELLS - 1)).all(axis=1)
    index = cells[inside].astype(np.int64)
    count = np.bincount(
        index[:, 1] * _SHADOW_CELLS + index[:, 0], minlength=_SHADOW_CELLS * _SHADOW_CELLS
    ).reshape(_SHADOW_CELLS, _SHADOW_CELLS)
    covered = 1 - np.exp(-0.7 * cv2.GaussianBlur(count.astype(np.float32), (0, 0), 0.8))
    return np.asarray(cv2.GaussianBlur(covered, (0, 0), blur), dtype=np.float32)


def _view_projection(eye: Float64, attitude: Float64) -> bytes:
    """Column-major clip matrix of a camera at `eye` looking along the body's x axis."""
    focal = CAMERA.fx * SUPERSAMPLING
    near, far = 0.05, 30.0
    clip = np.array(
        [
            [2 * focal / RENDER_WIDTH, 0, 0, 0],
            [0, 2 * focal / RENDER_HEIGHT, 0, 0],
            [0, 0, -(far + near) / (far - near), -2 * far * near / (far - near)],
            [0, 0, -1, 0],
        ]
    )
    view = np.eye(4)
    view[:3, :3] = np.stack([-attitude[:, 1], attitude[:, 2], -attitude[:, 0]])
    view[:3, 3] = -view[:3, :3] @ eye
    return np.ascontiguousarray((clip @ view).T, np.float32).tobytes()
