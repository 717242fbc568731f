"""Draws a lit room with a posed figure into a radiance image: OpenGL on EGL, llvmpipe on CPUs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import moderngl
import numpy as np
from numpy.typing import NDArray

from gearshift.runtime.errors import GearshiftError
from gearshift.sim.flights.drawing import shading
from gearshift.sim.flights.drawing.figure_light import (
    CUBE_HEIGHTS,
    SHADOW_CELLS,
    SHADOW_SIDE,
    ambient_cubes,
    floor_shadow,
    open_sky,
)
from gearshift.sim.flights.drawing.himax import RENDER_FOCAL, RENDER_HEIGHT, RENDER_WIDTH
from gearshift.sim.flights.people.wardrobe import Figure
from gearshift.sim.flights.places.baking import BakedLight
from gearshift.sim.flights.places.rooms import Room
from gearshift.sim.flights.shapes.geometry import Float32, Float64, Int32
from gearshift.sim.flights.shapes.quads import CONSTANT, GROUPS
from gearshift.sim.flights.shapes.surfaces import Layer

_Owned = moderngl.Buffer | moderngl.Texture | moderngl.TextureArray | moderngl.VertexArray


class RenderingError(GearshiftError):
    """The renderer cannot start or draw."""


@dataclass(frozen=True, slots=True)
class PosedFigure:
    """A figure's vertices and normals in the world, (n, 3), and which of them are `drawn`."""

    vertices: Float32
    normals: Float32
    drawn: Int32


@dataclass(frozen=True, slots=True)
class Scene:
    """What one flight shows. powers: (GROUPS,) scale the light groups; textures: see surfaces."""

    room: Room
    light: BakedLight
    powers: Float64
    figure: Figure
    textures: NDArray[np.uint8]
    seed: int


class Renderer:
    """One OpenGL context with the scene of one flight; call `close` when done."""

    def __init__(self) -> None:
        try:
            settings: dict[str, Any] = {"backend": "egl"}
            self._gl = moderngl.create_context(standalone=True, **settings)
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
        shadow_size = (SHADOW_CELLS, SHADOW_CELLS)
        self._shadow = gl.texture(shadow_size, 4, dtype="f1")
        self._shadow.repeat_x = self._shadow.repeat_y = False
        gl.enable(moderngl.DEPTH_TEST)
        self._owned: list[_Owned] = []
        self._scene: Scene | None = None

    def close(self) -> None:
        """Free the context."""
        self._gl.release()

    def load(self, scene: Scene) -> None:
        """Upload a flight's scene in place of the last one."""
        for owned in self._owned:
            owned.release()
        self._owned.clear()
        self._scene = scene
        self._lights = [x for x in scene.room.lights if scene.powers[x.group] > 0]
        self._load_textures(scene.textures)
        self._load_room(scene.room, scene.light, scene.powers)
        self._load_figure(scene.figure, scene.seed)

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
        overhead = float(radiance[above].mean()) if above.any() else 0.0
        picture = np.full((64, 64), overhead, np.float32)
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
        """Radiance image (RENDER_HEIGHT, RENDER_WIDTH) from `eye` (3,), `attitude` to world."""
        scene = self._loaded()
        projection = _view_projection(eye, attitude)
        self._target.use()
        self._target.clear(0.0, 0.0, 0.0, 1.0)
        self._textures.use(0)
        self._shadow.use(1)
        self._ceiling.use(2)
        centre = np.zeros(2)
        clear = np.ones((SHADOW_CELLS, SHADOW_CELLS, GROUPS), np.float32)
        if posed is not None:
            centre = posed.vertices[:, :2].mean(axis=0)
            clear = floor_shadow(posed.vertices, self._lights, scene.powers, centre)
            self._upload(posed)
            cubes = ambient_cubes(scene.light, scene.powers, float(centre[0]), float(centre[1]))
            _set(
                self._figure_program,
                view_projection=projection,
                cube=cubes.tobytes(),
                cube_heights=CUBE_HEIGHTS,
                textures=0,
            )
            self._figure_array.render()
        self._shadow.write((np.clip(clear, 0, 1) * 255).astype(np.uint8).tobytes())
        _set(
            self._room_program,
            view_projection=projection,
            textures=0,
            shadow=1,
            ceiling=2,
            shadow_frame=(float(centre[0]), float(centre[1]), SHADOW_SIDE),
            eye=tuple(float(v) for v in eye),
            room=(*scene.room.half_size, scene.room.height),
            gloss=scene.room.gloss,
            wall_radiance=self._wall_radiance,
        )
        self._room_array.render()
        return self._read()

    def draw_mask(self, eye: Float64, attitude: Float64, posed: PosedFigure) -> Float32:
        """Like `draw`, but 1 where the figure is and 0 elsewhere; the room hides nothing."""
        self._loaded()
        self._target.use()
        self._target.clear(0.0, 0.0, 0.0, 1.0)
        self._upload(posed)
        _set(self._mask_program, view_projection=_view_projection(eye, attitude))
        self._mask_array.render()
        return self._read()

    def _loaded(self) -> Scene:
        if self._scene is None:
            raise RenderingError("load a scene before drawing")
        return self._scene

    def _upload(self, posed: PosedFigure) -> None:
        data = np.concatenate([posed.vertices, posed.normals], axis=1, dtype=np.float32)
        self._pose_buffer.write(np.ascontiguousarray(data))

    def _read(self) -> Float32:
        raw = self._target.read(components=1, dtype="f4")
        return np.frombuffer(raw, np.float32).reshape(RENDER_HEIGHT, RENDER_WIDTH)[::-1]


def _set(program: moderngl.Program, **values: object) -> None:
    """Set uniforms: bytes as they lie in memory, anything else by value."""
    for name, value in values.items():
        uniform = program[name]
        assert isinstance(uniform, moderngl.Uniform)
        if isinstance(value, bytes):
            uniform.write(value)
        else:
            uniform.value = value


def _view_projection(eye: Float64, attitude: Float64) -> bytes:
    """Column-major clip matrix of a camera at `eye` looking along the body's x axis."""
    near, far = 0.05, 80.0
    clip = np.array(
        [
            [2 * RENDER_FOCAL / RENDER_WIDTH, 0, 0, 0],
            [0, 2 * RENDER_FOCAL / RENDER_HEIGHT, 0, 0],
            [0, 0, -(far + near) / (far - near), -2 * far * near / (far - near)],
            [0, 0, -1, 0],
        ]
    )
    view = np.eye(4)
    view[:3, :3] = np.stack([-attitude[:, 1], attitude[:, 2], -attitude[:, 0]])
    view[:3, 3] = -view[:3, :3] @ eye
    return np.ascontiguousarray((clip @ view).T, np.float32).tobytes()
