"""The camera as one board has it: no two lenses, sensors and mountings are quite the same."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from gearshift.runtime.types import Camera
from gearshift.sim.flights.drawing.himax import CAMERA
from gearshift.sim.flights.shapes.geometry import Float64, rotation_x, rotation_y, rotation_z

_FOCAL_SPREAD = 0.03
_CENTRE_SPREAD = 4.0
_MOUNTING_SIGMA = math.radians(1.5)
_MOUNTING_LIMIT = math.radians(4.0)


@dataclass(frozen=True, slots=True)
class Board:
    """One board: its camera's intrinsics and how the camera is turned in the drone's body [rad].

    Roll, pitch and yaw turn about the body's x, y and z (FLU), yaw last: pitch is positive
    downwards, yaw to the left.
    """

    camera: Camera
    roll: float = 0.0
    pitch: float = 0.0
    yaw: float = 0.0

    @property
    def turn(self) -> Float64:
        """(3, 3) rotation from the camera's FLU frame to the drone's body."""
        return np.asarray(
            rotation_z(self.yaw) @ rotation_y(self.pitch) @ rotation_x(self.roll), dtype=np.float64
        )


NOMINAL = Board(CAMERA)
"""What networks expect: the calibrated lens, looking straight ahead."""


def draw_board(rng: np.random.Generator) -> Board:
    """Draw a board: focal length +-3 %, principal point +-4 px, mounting of some degrees.

    The boards of real clips had their principal points 67 to 77 px from the left of 160, which
    is a mounting turned by up to 8 degrees, the centre's own displacement included.
    """
    focal = CAMERA.fx * (1 + float(rng.uniform(-_FOCAL_SPREAD, _FOCAL_SPREAD)))
    move = rng.uniform(-_CENTRE_SPREAD, _CENTRE_SPREAD, 2)
    roll, pitch, yaw = np.clip(
        rng.normal(0, _MOUNTING_SIGMA, 3), -_MOUNTING_LIMIT, _MOUNTING_LIMIT
    ).tolist()
    camera = replace(
        CAMERA,
        fx=focal,
        fy=focal,
        cx=CAMERA.cx + float(move[0]),
        cy=CAMERA.cy + float(move[1]),
    )
    return Board(camera, roll, pitch, yaw)
