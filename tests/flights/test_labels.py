"""Label conventions against hand-computed cases, and against OpenCV for the camera."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("cv2", reason="synthetic flights need the extra 'sim'")
pytest.importorskip("moderngl", reason="synthetic flights need the extra 'sim'")
pytest.importorskip("embreex", reason="synthetic flights need the extra 'sim'")

import cv2

from gearshift.runtime.cameras.lens import fields_of_view
from gearshift.sim.flights.drawing.camera_units import Board
from gearshift.sim.flights.drawing.himax import CAMERA, project
from gearshift.sim.flights.flight import head_values, to_camera
from gearshift.sim.flights.motion import State
from gearshift.sim.flights.people.gait import Stride
from gearshift.sim.flights.shapes.geometry import rotation_y, rotation_z


def state(heading: float, yaw: float, pitch: float = 0.0) -> State:
    return State(
        person=np.zeros(2),
        heading=heading,
        stride=Stride(0.0, 0.0, 0.0, 0.0),
        drone=np.array([1.0, 2.0, 1.5]),
        attitude=rotation_z(yaw) @ rotation_y(pitch),
        yaw=yaw,
    )


def test_pose_of_a_person_who_faces_the_drone() -> None:
    # Drone at (1, 2, 1.5) looking along +y; head 2 m ahead, 0.5 m to its left (-x), 0.2 m above.
    instant = state(heading=-math.pi / 2, yaw=math.pi / 2)
    values = head_values(np.array([0.5, 4.0, 1.7]), instant)
    assert values == pytest.approx((2.0, 0.5, 0.2, 0.0))


def test_phi_is_positive_when_the_person_faces_the_right_of_the_picture() -> None:
    # Drone looks along +x, its right is -y; heading -90 deg: -pi/2 - 0 + pi = pi/2.
    assert head_values(np.zeros(3), state(-math.pi / 2, 0.0))[3] == pytest.approx(math.pi / 2)
    assert head_values(np.zeros(3), state(math.pi / 2, 0.0))[3] == pytest.approx(-math.pi / 2)
    # Wrapped: 170 deg - (-170 deg) + 180 deg = 520 deg = 160 deg.
    wrapped = head_values(np.zeros(3), state(math.radians(170), math.radians(-170)))[3]
    assert wrapped == pytest.approx(math.radians(160))


def test_values_are_levelled_but_the_picture_tilts() -> None:
    head = np.array([3.0, 2.0, 1.5])  # straight ahead of a drone that looks along +x
    level, nose_down = state(0.0, 0.0), state(0.0, 0.0, pitch=0.1)
    assert head_values(head, level) == pytest.approx(head_values(head, nose_down))
    v_level = project(to_camera(head[None], level))[0, 1]
    v_down = project(to_camera(head[None], nose_down))[0, 1]
    assert v_level == pytest.approx(CAMERA.cy)
    assert v_down < v_level - 8  # what was ahead moves up in the picture


def test_projection_is_opencv_plumb_bob() -> None:
    rng = np.random.default_rng(0)
    points = np.column_stack(
        [rng.uniform(0.5, 4, 50), rng.uniform(-0.3, 0.3, 50), rng.uniform(-0.2, 0.2, 50)]
    )
    matrix = np.array([[CAMERA.fx, 0, CAMERA.cx], [0, CAMERA.fy, CAMERA.cy], [0, 0, 1.0]])
    optical = np.column_stack([-points[:, 1], -points[:, 2], points[:, 0]])
    expected, _ = cv2.projectPoints(
        optical, np.zeros(3), np.zeros(3), matrix, np.array(CAMERA.distortion)
    )
    np.testing.assert_allclose(project(points), expected[:, 0], atol=1e-6)


def test_field_of_view_is_the_measured_one() -> None:
    # f = 91.9 px at 160 px: 82 degrees without the distortion, 86 with it.
    assert CAMERA.fx == pytest.approx((183.7 + 184.1) / 4, abs=0.1)
    assert math.degrees(2 * math.atan(80 / CAMERA.fx)) == pytest.approx(82.0, abs=0.1)
    horizontal, vertical = fields_of_view(CAMERA)
    assert math.degrees(horizontal) == pytest.approx(86.05, abs=0.1)
    assert math.degrees(vertical) == pytest.approx(56.4, abs=0.1)


def test_a_mounting_moves_the_picture_and_not_the_values() -> None:
    head, instant = np.array([3.0, 2.0, 1.5]), state(0.0, 0.0)
    left_and_down = Board(CAMERA, yaw=0.1, pitch=0.05)
    u, v = project(to_camera(head[None], instant, left_and_down))[0]
    assert u > CAMERA.cx + 8  # a camera turned left shows what is ahead on the right
    assert v < CAMERA.cy - 4
    assert head_values(head, instant)[:3] == pytest.approx((2.0, 0.0, 0.0))


def test_points_behind_or_far_aside_have_no_pixel() -> None:
    assert np.isnan(project(np.array([[-1.0, 0, 0], [0.1, 3.0, 0]]))).all()
