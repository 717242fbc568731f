from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

pytest.importorskip("cv2", reason="synthetic flights need the extra 'sim'")

from gearshift.sim.flights.drawing.himax import HEIGHT, WIDTH, project
from gearshift.sim.flights.motion import RATE, State, fly
from gearshift.sim.flights.places.rooms import Room, draw_room
from gearshift.sim.flights.shapes.geometry import SmoothNoise, wrap


@pytest.fixture(scope="module")
def rooms() -> list[Room]:
    return [draw_room(f"room-test-{k:03d}", k) for k in range(12)]


@pytest.fixture(scope="module")
def flights(rooms: list[Room]) -> list[list[State]]:
    return [fly(np.random.default_rng(k), rooms[k % 12], 1.6, 1.72, 120) for k in range(36)]


def phi(instant: State) -> float:
    return wrap(instant.heading - instant.yaw + math.pi)


def test_motion_is_physically_plausible(flights: list[list[State]]) -> None:
    for states in flights:
        drone = np.array([s.drone for s in states])
        speed = np.linalg.norm(np.diff(drone, axis=0), axis=1) * RATE
        assert speed.max() < 3.0
        person = np.array([s.person for s in states])
        assert np.linalg.norm(np.diff(person, axis=0), axis=1).max() * RATE < 1.6
        turn = [abs(wrap(b.yaw - a.yaw)) * RATE for a, b in itertools.pairwise(states)]
        assert max(turn) <= 2.2 + 1e-6
        tilt = [math.acos(min(1.0, s.attitude[2, 2])) for s in states]
        assert max(tilt) < math.radians(35)
        for s in states:
            np.testing.assert_allclose(s.attitude @ s.attitude.T, np.eye(3), atol=1e-9)


def test_everybody_stays_in_the_room(flights: list[list[State]], rooms: list[Room]) -> None:
    for k, states in enumerate(flights):
        room = rooms[k % 12]
        for s in states:
            assert (np.abs(s.person) <= np.array(room.free) + 1e-9).all()
            assert (np.abs(s.drone[:2]) <= np.array(room.half_size) - 0.5).all()
            assert 0.1 < s.drone[2] < room.height


def test_distances_and_headings_cover_their_ranges(flights: list[list[State]]) -> None:
    every = [s for states in flights for s in states[::10]]
    distance = np.array([np.linalg.norm(s.drone[:2] - s.person) for s in every])
    assert np.percentile(distance, 5) < 1.0
    assert np.percentile(distance, 95) > 3.0
    angles = np.array([phi(s) for s in every])
    assert (np.abs(angles) <= 1.75).mean() > 0.85
    counts, _ = np.histogram(angles, np.linspace(-1.75, 1.75, 8))
    assert (counts > 0.03 * len(angles)).all()


def test_the_head_reaches_the_pictures_edges_and_sometimes_leaves_it(
    flights: list[list[State]],
) -> None:
    every = [s for states in flights for s in states[::5]]
    heads = np.array([(np.array([*s.person, 1.6]) - s.drone) @ s.attitude for s in every])
    pixels = project(heads)
    margin = np.minimum(pixels + 0.5, [WIDTH, HEIGHT] - (pixels + 0.5)).min(axis=1)
    inside = margin > 0  # False where there is no pixel
    assert 0.75 < inside.mean() < 0.95
    assert 0.02 < (inside & (margin < 8)).mean() < 0.15
    u = pixels[inside, 0]
    assert np.percentile(u, 5) < 0.2 * WIDTH
    assert np.percentile(u, 95) > 0.8 * WIDTH
    # Low and near: a body ahead, its head above the picture.
    above = (heads[:, 0] > 0.2) & (heads[:, 0] < 1.3) & (pixels[:, 1] < -0.5)
    assert above.mean() > 0.01


def test_same_seed_same_motion(rooms: list[Room]) -> None:
    first, second = (fly(np.random.default_rng(5), rooms[0], 1.6, 1.7, 30) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.drone, b.drone)
        assert a.heading == b.heading


def test_smooth_noise_has_its_standard_deviation() -> None:
    noise = SmoothNoise(np.random.default_rng(0), 0.5, 2.0)
    values = np.array([noise.step(1 / RATE) for _ in range(60_000)])
    assert values.std() == pytest.approx(2.0, rel=0.15)
    assert np.abs(np.diff(values)).max() < 1.0
