"""Tracks of poses from motion capture, and the head's pose as a level drone sees it."""

from __future__ import annotations

import math
from array import array
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gearshift.runtime.errors import RecordingError
from gearshift.sim.convert.reader import Label

MAX_GAP_NS: Final = 100_000_000
"""Two samples further apart say nothing about the time between them."""

Placed = tuple[float, float, float, float]
"""x, y, z [m] and heading [rad] about the vertical axis."""


class PoseTrack:
    """Poses over time, interpolated linearly; the heading along the shorter way round."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._times = array("q")
        self._values = array("d")
        self._sorted: tuple[NDArray[np.int64], NDArray[np.float64]] | None = None

    def add(
        self,
        time_ns: int,
        position: tuple[float, float, float],
        rotation: tuple[float, float, float, float],
    ) -> None:
        """Add a sample; rotation: quaternion (x, y, z, w). Raises RecordingError."""
        x, y, z, w = rotation
        norm = math.sqrt(x * x + y * y + z * z + w * w)
        if not all(map(math.isfinite, position)) or not 1e-6 < norm < math.inf:
            raise RecordingError(f"{self._name}: the sample at {time_ns} ns is no pose")
        x, y, z, w = x / norm, y / norm, z / norm, w / norm
        heading = math.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
        self._times.append(time_ns)
        self._values.extend((*position, heading))
        self._sorted = None

    def at(self, time_ns: int) -> Placed | None:
        """The pose at a moment, None where no samples lie close on both sides."""
        if self._sorted is None:
            times = np.array(self._times, dtype=np.int64)
            order = np.argsort(times, kind="stable")
            values = np.array(self._values, dtype=np.float64).reshape(-1, 4)
            self._sorted = times[order], values[order]
        times, values = self._sorted
        after = int(np.searchsorted(times, time_ns))
        if after < len(times) and times[after] == time_ns:
            x, y, z, heading = (float(v) for v in values[after])
            return x, y, z, heading
        if not 0 < after < len(times):
            return None
        start, end = int(times[after - 1]), int(times[after])
        if end - start > MAX_GAP_NS:
            return None
        share = (time_ns - start) / (end - start)
        a, b = values[after - 1], values[after]
        x, y, z = (float(v) for v in a[:3] + share * (b[:3] - a[:3]))
        turn = (float(b[3] - a[3]) + math.pi) % (2 * math.pi) - math.pi
        return x, y, z, float(a[3]) + share * turn


def relative_label(head: Placed, drone: Placed | None) -> Label:
    """The head in the drone's yaw-levelled frame.

    drone: in the same world frame as the head; None when the head's pose is relative already.
    phi = wrap(head's heading - drone's heading + pi): 0 when the person faces the drone.
    """
    x, y, z, heading = head
    if drone is not None:
        dx, dy = x - drone[0], y - drone[1]
        cosine, sine = math.cos(drone[3]), math.sin(drone[3])
        x, y, z = cosine * dx + sine * dy, cosine * dy - sine * dx, z - drone[2]
        heading -= drone[3]
    phi = heading % (2 * math.pi) - math.pi
    return Label((x, y, z, phi))
