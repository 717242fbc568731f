"""One flight, fully determined by its split, index and options: frames with their ground truth."""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gearshift.runtime.errors import ConfigurationError
from gearshift.runtime.types import Frame, GroundTruth, HeadGrid
from gearshift.sim.flights.drawing.camera_units import NOMINAL, Board, draw_board
from gearshift.sim.flights.drawing.himax import HEIGHT, WIDTH, Himax, project
from gearshift.sim.flights.drawing.rendering import PosedFigure, Renderer, Scene
from gearshift.sim.flights.motion import RATE, State, fly
from gearshift.sim.flights.people.gait import (
    GaitStyle,
    bone_matrices,
    draw_style,
    joint_rotations,
    skin,
)
from gearshift.sim.flights.people.makehuman import BONES
from gearshift.sim.flights.people.people import Body, Person, build_body, draw_person
from gearshift.sim.flights.people.portraits import portraits
from gearshift.sim.flights.people.wardrobe import Figure, draw_outfit, dress
from gearshift.sim.flights.places.baking import BakedLight, Tracer, baked
from gearshift.sim.flights.places.rooms import Room, draw_room
from gearshift.sim.flights.shapes.geometry import Float64, rotation_z, wrap
from gearshift.sim.flights.shapes.quads import DAYLIGHT, GROUPS
from gearshift.sim.flights.shapes.surfaces import texture_stack

_LOG = logging.getLogger(__name__)

SPLITS = ("train", "val", "known", "unseen")
_POOLS = {"train": "train", "val": "train", "known": "train", "unseen": "unseen"}
POOL_ROOMS = {"train": 200, "unseen": 48}
POOL_PEOPLE = {"train": 160, "unseen": 48}
_HEAD = BONES.index("head")
_EMPTY_SHARE = 0.10
_ODD_EXPOSURE_SHARE = 0.25
_ODD_EXPOSURE = (0.05, 0.62)
_HEAD_RADIUS = 0.085


@dataclass(frozen=True, slots=True)
class FlightPlan:
    """Which flight to make. rate: frames kept per second out of the motion's 30."""

    split: str
    index: int
    frames: int
    rate: int
    seed: int = 0

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise ConfigurationError(f"split '{self.split}' is not one of {', '.join(SPLITS)}")
        if self.rate < 1 or RATE % self.rate:
            raise ConfigurationError(f"rate {self.rate} does not divide {RATE} frames per second")
        if self.frames < 1 or self.index < 0:
            raise ConfigurationError("a flight needs at least one frame and an index from 0")

    @property
    def pool(self) -> str:
        """The pool of rooms and people: `train` (train, val, known) or `unseen`."""
        return _POOLS[self.split]

    @property
    def file_name(self) -> str:
        """Name of the flight's recording."""
        return f"{self.split}-{self.index:05d}.mcap"

    def _pick(self, count: int, salt: int) -> int:
        """Which of `count` rooms or people: each block of `count` flights takes every one once."""
        block, place = divmod(self.index, count)
        rng = np.random.default_rng([self.seed, SPLITS.index(self.split), block, salt])
        return int(rng.permutation(count)[place])

    @property
    def room_name(self) -> str:
        """Identity of the room, such as room-train-017."""
        return f"room-{self.pool}-{self._pick(POOL_ROOMS[self.pool], 1):03d}"

    @property
    def person_name(self) -> str:
        """Identity of the person, such as person-unseen-003."""
        return f"person-{self.pool}-{self._pick(POOL_PEOPLE[self.pool], 2):03d}"

    def identity_seed(self, name: str) -> int:
        """Seed of a room or person by name; the same in every flight and split of a pool."""
        kind, pool, number = name.split("-")
        return (
            1_000_000 * (1 + ("room", "person").index(kind))
            + 100_000 * ("train", "unseen").index(pool)
            + int(number)
            + 10_000_000 * self.seed
        )

    @property
    def flight_seed(self) -> list[int]:
        """Seed of everything that is drawn per flight."""
        return [self.seed, SPLITS.index(self.split), self.index]

    @property
    def board(self) -> Board:
        """The board that flies: training meets many, the other splits are seen as networks are
        meant to see.
        """
        if self.split != "train":
            return NOMINAL
        return draw_board(np.random.default_rng([*self.flight_seed, 0xB0A2]))


@functools.lru_cache(maxsize=48)
def _room(name: str, seed: int, cache: Path | None) -> tuple[Room, BakedLight]:
    room = draw_room(name, seed)
    return room, baked(room, cache)


@functools.lru_cache(maxsize=48)
def _body(name: str, seed: int) -> tuple[Person, Body]:
    person = draw_person(name, seed)
    return person, build_body(person)


def _draw_powers(rng: np.random.Generator) -> Float64:
    """Powers of the light groups: lamps dimmed or off, daylight from night to noon."""
    powers = np.exp(rng.normal(0, 0.35, GROUPS))
    for group in range(DAYLIGHT):
        if rng.random() < 0.12:
            powers[group] = 0.0
    powers[DAYLIGHT] = float(rng.choice([0.05, rng.uniform(0.3, 2.5)], p=[0.3, 0.7]))
    if powers[:DAYLIGHT].sum() == 0:
        powers[0] = 1.0
    return np.asarray(powers)


def _draw_exposure(plan: FlightPlan, rng: np.random.Generator) -> float | None:
    """Exposures are random at power-up (means of 4 to 146 were seen): a share of the training
    flights is much darker or brighter than usual. None: as usual.
    """
    if plan.split != "train" or rng.random() > _ODD_EXPOSURE_SHARE:
        return None
    low, high = np.log(_ODD_EXPOSURE)
    return float(np.exp(rng.uniform(low, high)))


@dataclass(frozen=True, slots=True)
class FlightFrame:
    """A frame with its truth and what a check needs: the state, the board and the posed figure, if
    present.
    """

    frame: Frame
    truth: GroundTruth
    state: State
    board: Board
    posed: PosedFigure | None


class FlightMaker:
    """Renders one flight after the other in one OpenGL context."""

    def __init__(self, cache: Path | None = None) -> None:
        self._cache = cache
        self._renderer = Renderer()

    @property
    def renderer(self) -> Renderer:
        """The renderer, loaded with the scene of the flight being made."""
        return self._renderer

    def close(self) -> None:
        """Free the OpenGL context."""
        self._renderer.close()

    def frames(self, plan: FlightPlan) -> Iterator[FlightFrame]:
        """The frames of a flight in order."""
        rng = np.random.default_rng([*plan.flight_seed, 0xF11])
        room_name, person_name = plan.room_name, plan.person_name
        room, light = _room(room_name, plan.identity_seed(room_name), self._cache)
        person, body = _body(person_name, plan.identity_seed(person_name))
        outfit = draw_outfit(person, int(rng.integers(1 << 31)))
        figure = dress(body, person, outfit)
        powers = _draw_powers(rng)
        if not any(powers[x.group] > 0.1 for x in room.lights):
            powers = np.maximum(powers, 0.8)
        textures = texture_stack(room.seed, outfit.seed, portraits(room.seed))
        self._renderer.load(Scene(room, light, powers, figure, textures, outfit.seed))
        tracer = Tracer(room.mesh.vertices, room.mesh.faces)
        style = draw_style(rng)
        empty = rng.random() < _EMPTY_SHARE
        stride = RATE // plan.rate
        motion_rng, sensor_rng = rng.spawn(2)
        states = fly(
            motion_rng,
            room,
            float(figure.head_centre[2]),
            person.stature,
            (plan.frames - 1) * stride + 2,
        )
        board = plan.board
        sensor = Himax(sensor_rng, board.camera, _draw_exposure(plan, sensor_rng))
        for number in range(plan.frames):
            before, state = states[number * stride : number * stride + 2]
            posed, matrices = pose_figure(figure, style, state)
            drawn = None if empty else posed
            radiance = self._renderer.draw(state.drone, state.attitude @ board.turn, drawn)
            image = sensor.expose(radiance, _picture_motion(before, state, board))
            head = matrices[_HEAD] @ np.array([*figure.head_centre, 1.0])
            truth = _EMPTY_TRUTH if empty else _truth(head, state, board, posed, tracer)
            frame = Frame(
                image=image,
                capture_time_ns=round((number * stride + 1) * 1e9 / RATE),
                sequence=number,
                source=plan.file_name.removesuffix(".mcap"),
                camera=board.camera,
            )
            yield FlightFrame(frame, truth, state, board, drawn)


_EMPTY_TRUTH = GroundTruth((math.nan,) * 4, False, None, HeadGrid().no_head)


def pose_figure(figure: Figure, style: GaitStyle, state: State) -> tuple[PosedFigure, Float64]:
    """The figure in the world, standing on the floor; and its (bones, 3, 4) world transforms."""
    matrices = bone_matrices(joint_rotations(style, state.stride, figure.joints), figure.joints)
    turn = rotation_z(state.heading)
    world = np.concatenate(
        [turn @ matrices[:, :, :3], (matrices[:, :, 3] @ turn.T)[:, :, None]], axis=2
    )
    world[:, :2, 3] += state.person
    vertices, normals = skin(figure.vertices, figure.normals, figure.weights, world)
    lift = -float(vertices[figure.sole_vertices, 2].min())
    vertices[:, 2] += np.float32(lift)
    world[:, 2, 3] += lift
    return PosedFigure(vertices, normals, figure.drawn), world


def to_camera(points: Float64, state: State, board: Board = NOMINAL) -> Float64:
    """World points (n, 3) in the camera's frame: the drone's body (FLU, tilted with the drone) but
    for the camera's mounting.
    """
    return np.asarray((points - state.drone) @ (state.attitude @ board.turn))


def _pixels(points: Float64, state: State, board: Board) -> Float64:
    """Pixels (n, 2) of world points (n, 3)."""
    return project(to_camera(points, state, board), board.camera)


def head_values(head: Float64, state: State) -> tuple[float, float, float, float]:
    """x, y, z of a world point in the yaw-levelled drone frame, and phi (see GroundTruth)."""
    x, y, z = (head - state.drone) @ rotation_z(state.yaw)
    return float(x), float(y), float(z), wrap(state.heading - state.yaw + math.pi)


def _truth(
    head: Float64, state: State, board: Board, posed: PosedFigure, tracer: Tracer
) -> GroundTruth:
    """What is true of a frame with a person whose head's centre is at `head` (3,) in the world."""
    seen = _pixels(posed.vertices[posed.drawn[::3]].astype(np.float64), state, board)
    inside = (
        (seen[:, 0] > -0.5)
        & (seen[:, 0] < WIDTH - 0.5)
        & (seen[:, 1] > -0.5)
        & (seen[:, 1] < HEIGHT - 0.5)
    )
    if not inside.any():
        return _EMPTY_TRUTH
    u, v = (float(c) for c in _pixels(head[None], state, board)[0])
    visible = -0.5 < u < WIDTH - 0.5 and -0.5 < v < HEIGHT - 0.5
    if visible:
        offsets = _HEAD_RADIUS * np.array(
            [[0, 0, 0], [0, 0, 1], [0, 0, -1], [0, 1, 0], [0, -1, 0], [1, 0, 0], [-1, 0, 0]]
        )
        targets = head + offsets
        hidden = tracer.blocked(np.tile(state.drone, (len(targets), 1)), targets)
        visible = bool(hidden.mean() < 0.5)
    grid = HeadGrid()
    return GroundTruth(
        values=head_values(head, state),
        visible=visible,
        head_pixel=(u, v) if visible else None,
        head_cell=grid.cell(u, v, WIDTH, HEIGHT) if visible else grid.no_head,
    )


def _picture_motion(before: State, after: State, board: Board) -> tuple[float, float]:
    """Pixels that something 2.5 m ahead moves in the picture between two states."""
    point = (after.drone + after.attitude @ np.array([2.5, 0.0, 0.0]))[None]
    old, new = _pixels(point, before, board)[0], _pixels(point, after, board)[0]
    if not (np.isfinite(old).all() and np.isfinite(new).all()):
        return (0.0, 0.0)
    return float(new[0] - old[0]), float(new[1] - old[1])
