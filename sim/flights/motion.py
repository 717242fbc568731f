"""Motion of person and drone at 30 Hz; the drone follows at a varying distance, with lag.

World frame: x, y horizontal, z up, origin in the middle of the room's floor; FLU body frames.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gearshift.sim.flights.people.gait import Stride
from gearshift.sim.flights.places.rooms import Room
from gearshift.sim.flights.shapes.geometry import (
    Float64,
    SmoothNoise,
    rotation_x,
    rotation_y,
    rotation_z,
    wrap,
)

RATE = 30
"""States per second."""
_DT = 1.0 / RATE
_GRAVITY = 9.81
_PHI_LIMIT = 1.8
_DISTANCES = (0.45, 4.5)
_ELEVATIONS = (-0.43, 0.43)
_OFFSETS = (-0.70, 0.70)
"""Angles [rad] between the drone's nose and the head, up and to the side: the picture's edges are
at 0.49 and 0.75.
"""
_AWAY_SHARE = 0.25
_LOW_SHARE = 0.15
_WARM_UP = 30


@dataclass(frozen=True, slots=True)
class State:
    """One instant: person (x, y) [m] and heading [rad], drone position (3,), attitude (3, 3) from
    drone body to world, yaw [rad].
    """

    person: Float64
    heading: float
    stride: Stride
    drone: Float64
    attitude: Float64
    yaw: float


@dataclass(frozen=True, slots=True)
class _Away:
    """A stretch of time [s] in which the drone looks elsewhere, and how far its yaw turns."""

    start: float
    end: float
    turn: float


@dataclass(frozen=True, slots=True)
class _Low:
    """A stretch of time [s] in which the drone flies near and low: legs and torso, no head."""

    start: float
    end: float
    height: float
    distance: float


def fly(
    rng: np.random.Generator, room: Room, head_height: float, stature: float, states: int
) -> list[State]:
    """Simulate `states` instants after a short warm-up."""
    pilot = _Simulation(rng, room, head_height, stature, states * _DT)
    for _ in range(_WARM_UP):
        pilot.step(0.0)
    return [pilot.step(k * _DT) for k in range(states)]


class _Simulation:
    """State of person and drone between steps."""

    def __init__(
        self,
        rng: np.random.Generator,
        room: Room,
        head_height: float,
        stature: float,
        duration: float,
    ) -> None:
        self.rng = rng
        self.free = np.array(room.free)
        self.drone_area = np.array(room.half_size) - 0.65
        self.ceiling = room.height - 0.3
        self.head_height = head_height
        self.stature = stature
        self.wanted_distance, self.person, bearing = self._place()
        self.phi_target = self._draw_phi()
        self.hold_phi, self.hold_speed = self._hold(), self._hold()
        self.hold_distance = float(rng.uniform(1.5, 4.0))
        self.speed, self.speed_target = 0.0, self._draw_speed()
        self.stride_phase = float(rng.random())
        self.yaw_follow = wrap(bearing + math.pi)
        self.yaw = self.yaw_follow
        self.heading = wrap(self.phi_target + self.yaw - math.pi)
        self.bearing = bearing
        self.elevation_mean = float(rng.uniform(-0.20, 0.34))
        self.offset_mean = float(rng.uniform(-0.36, 0.36))
        away = self.wanted_distance * np.array([math.cos(bearing), math.sin(bearing)])
        self.drone = np.array([*(self.person + away), head_height])
        self.drone[2] = self._clip_height(head_height - self.wanted_distance * self.elevation_mean)
        self.velocity = np.zeros(3)
        self.noise = {
            "roll": SmoothNoise(rng, 0.15, 0.025),
            "pitch": SmoothNoise(rng, 0.15, 0.028),
            "offset": SmoothNoise(rng, 0.8, 0.28),
            "elevation": SmoothNoise(rng, 0.9, 0.12),
            "east": SmoothNoise(rng, 0.7, 0.06),
            "north": SmoothNoise(rng, 0.7, 0.06),
            "drift": SmoothNoise(rng, 2.0, 0.25),
            "look": SmoothNoise(rng, 1.2, 0.35),
            "lean": SmoothNoise(rng, 2.0, 0.04),
        }
        self.away = self._draw_away(duration)
        self.low = self._draw_low(duration)

    def _place(self) -> tuple[float, Float64, float]:
        """Distance, person position and bearing of the drone (seen from the person) that fit."""
        rng = self.rng
        wanted = float(rng.uniform(*_DISTANCES))
        best: tuple[float, float, Float64, float] | None = None
        for _ in range(80):
            person = rng.uniform(-1, 1, 2) * self.free
            bearing = float(rng.uniform(-math.pi, math.pi))
            reach = self._reach(person, bearing)
            if best is None or reach > best[0]:
                best = (reach, min(wanted, reach), person, bearing)
            if reach >= wanted:
                break
        assert best is not None
        return best[1], best[2], best[3]

    def _reach(self, person: Float64, bearing: float) -> float:
        """How far [m] from the person the drone can fly at a bearing."""
        direction = np.array([math.cos(bearing), math.sin(bearing)])
        limits = (np.sign(direction) * self.drone_area - person) / np.where(
            np.abs(direction) < 1e-6, 1e-6, direction
        )
        return float(max(0.0, limits.min()))

    def _draw_phi(self) -> float:
        if self.rng.random() < 0.04:
            return float(self.rng.uniform(-2.6, 2.6))
        # Drawn towards the limits: heading lags behind its target, which thins out the extremes.
        side, size = self.rng.choice([-1.0, 1.0]), self.rng.random() ** 0.75
        return float(side * size * _PHI_LIMIT)

    def _draw_speed(self) -> float:
        if self.rng.random() < 0.4:
            return 0.0
        return float(self.rng.uniform(0.25, 1.3))

    def _hold(self) -> float:
        return 0.6 + float(self.rng.exponential(1.6))

    def _draw_away(self, duration: float) -> _Away | None:
        """Some flights look away for 15 to 60 % of their time."""
        rng = self.rng
        if rng.random() > _AWAY_SHARE:
            return None
        length = duration * float(rng.uniform(0.15, 0.6))
        start = float(rng.uniform(-0.2, 0.9)) * duration
        turn = float(rng.choice([-1, 1])) * float(rng.uniform(1.4, 2.9))
        return _Away(start, start + length, turn)

    def _draw_low(self, duration: float) -> _Low | None:
        """Some flights are low and near for 15 to 50 % of their time."""
        rng = self.rng
        if rng.random() > _LOW_SHARE:
            return None
        length = duration * float(rng.uniform(0.15, 0.5))
        start = float(rng.uniform(-0.2, 0.9)) * duration
        height, distance = float(rng.uniform(0.45, 1.15)), float(rng.uniform(0.45, 1.0))
        return _Low(start, start + length, height, distance)

    def _clip_height(self, height: float) -> float:
        # Close to the walls stands furniture: stay above desks there.
        near_wall = bool((np.abs(self.drone[:2]) > self.drone_area - 0.35).any())
        return float(np.clip(height, 0.95 if near_wall else 0.4, self.ceiling))

    def step(self, time: float) -> State:
        """Advance both by one step."""
        noise = {name: track.step(_DT) for name, track in self.noise.items()}
        self._step_person()
        acceleration = self._step_drone(time, noise)
        c, s = math.cos(self.yaw), math.sin(self.yaw)
        forward = acceleration[0] * c + acceleration[1] * s
        left = -acceleration[0] * s + acceleration[1] * c
        attitude = (
            rotation_z(self.yaw)
            @ rotation_y(forward / _GRAVITY + noise["pitch"])
            @ rotation_x(-left / _GRAVITY + noise["roll"])
        )
        amplitude = min(abs(self.speed) / 1.2, 1.0) ** 0.7
        return State(
            person=self.person.copy(),
            heading=self.heading,
            stride=Stride(self.stride_phase, amplitude, noise["look"], noise["lean"]),
            drone=self.drone.copy(),
            attitude=attitude,
            yaw=self.yaw,
        )

    def _step_person(self) -> None:
        self.hold_phi -= _DT
        self.hold_speed -= _DT
        if self.hold_phi < 0:
            self.phi_target, self.hold_phi = self._draw_phi(), self._hold()
        if self.hold_speed < 0:
            self.speed_target, self.hold_speed = self._draw_speed(), self._hold()
        error = wrap(self.phi_target + self.yaw_follow - math.pi - self.heading)
        self.heading = wrap(self.heading + float(np.clip(3.0 * error, -2.6, 2.6)) * _DT)
        direction = np.array([math.cos(self.heading), math.sin(self.heading)])
        ahead = self.person + 0.5 * direction
        target = self.speed_target
        gap = self.drone[:2] - self.person
        distance = float(np.linalg.norm(gap))
        towards = float(direction @ gap) / max(distance, 1e-6)
        if (np.abs(ahead) > self.free).any():
            target = 0.0
            if self.rng.random() < 0.05:
                self.phi_target = self._inward_phi()
        if towards > 0.5 and distance < max(0.7, 0.75 * self.wanted_distance):
            target = 0.0
        self.speed += (target - self.speed) * min(1.0, 4 * _DT)
        self.person = np.clip(self.person + self.speed * _DT * direction, -self.free, self.free)
        step_length = 0.8 * self.stature * (0.5 + 0.5 * min(abs(self.speed) / 1.2, 1.0))
        self.stride_phase = (self.stride_phase + _DT * self.speed / step_length) % 1.0

    def _inward_phi(self) -> float:
        """The candidate whose heading leads back to the middle of the room."""
        candidates = self.rng.uniform(-_PHI_LIMIT, _PHI_LIMIT, 6)
        home = math.atan2(-self.person[1], -self.person[0])
        turns = [abs(wrap(float(c) + self.yaw_follow - math.pi - home)) for c in candidates]
        return float(candidates[int(np.argmin(turns))])

    def _step_drone(self, time: float, noise: dict[str, float]) -> Float64:
        self.hold_distance -= _DT
        if self.hold_distance < 0:
            self.hold_distance = float(self.rng.uniform(1.5, 4.0))
            if self.rng.random() < 0.6:
                self.wanted_distance = float(self.rng.uniform(*_DISTANCES))
            else:
                change = float(self.rng.uniform(-0.6, 0.6))
                self.wanted_distance = float(np.clip(self.wanted_distance + change, *_DISTANCES))
        low = self.low if self.low is not None and self.low.start <= time < self.low.end else None
        if low is not None:
            self.wanted_distance = low.distance
        gap = self.drone[:2] - self.person
        bearing = math.atan2(gap[1], gap[0])
        drift = noise["drift"]
        if self._reach(self.person, bearing) < self.wanted_distance:
            more = self._reach(self.person, bearing + 0.3)
            less = self._reach(self.person, bearing - 0.3)
            drift += 0.35 if more > less else -0.35
        bearing += float(np.clip(drift, -0.5, 0.5))
        wanted = self.person + self.wanted_distance * np.array(
            [math.cos(bearing), math.sin(bearing)]
        )
        wanted = wanted + np.array([noise["east"], noise["north"]])
        wanted = np.clip(wanted, -self.drone_area, self.drone_area)
        distance = max(float(np.linalg.norm(gap)), 0.05)
        near = 0.6 if low is None else 0.45
        if distance < near:  # give way
            wanted = wanted + gap / distance * (near - distance) * 2
        elevation = float(np.clip(self.elevation_mean + noise["elevation"], *_ELEVATIONS))
        height = self.head_height - distance * math.tan(elevation)
        height = self._clip_height(height if low is None else low.height)
        pull = 2.6 * (wanted - self.drone[:2])
        pull *= min(1.0, 3.5 / max(float(np.linalg.norm(pull)), 1e-6))
        acceleration = np.array([*(pull - 2.6 * self.velocity[:2]), 0.0])
        acceleration[2] = 5.0 * (height - self.drone[2]) - 4.0 * self.velocity[2]
        acceleration = np.clip(acceleration, -2.2, 2.2)
        self.velocity = self.velocity + acceleration * _DT
        self.drone = self.drone + self.velocity * _DT
        self.drone[:2] = np.clip(self.drone[:2], -self.drone_area - 0.1, self.drone_area + 0.1)

        to_person = math.atan2(self.person[1] - self.drone[1], self.person[0] - self.drone[0])
        offset = float(np.clip(self.offset_mean + noise["offset"], *_OFFSETS))
        self.yaw_follow += _turn(to_person + offset, self.yaw_follow)
        looking_away = self.away is not None and self.away.start <= time < self.away.end
        turn = self.away.turn if self.away is not None and looking_away else 0.0
        self.yaw = wrap(self.yaw + _turn(self.yaw_follow + turn, self.yaw))
        return np.asarray(acceleration)


def _turn(target: float, yaw: float) -> float:
    """Change of yaw in one step towards a target, with a proportional rate up to 2.2 rad/s."""
    return float(np.clip(5.0 * wrap(target - yaw), -2.2, 2.2)) * _DT
