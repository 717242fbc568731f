"""Tiny recordings with random frames, for tests of everything that reads flights."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gearshift.runtime.recordings.recording_writer import RecordingWriter
from gearshift.runtime.types import Camera, Frame, GroundTruth, HeadGrid

CAMERA = Camera("test", 160, 96, 125.6, 125.6, 79.5, 47.5)


def write_flights(folder: Path, flights: int = 6, frames: int = 8, first: int = 0) -> None:
    """Flights whose frames are a bright square at the head over noise; every fifth is empty."""
    folder.mkdir(parents=True, exist_ok=True)
    for flight in range(first, first + flights):
        generator = np.random.default_rng(flight)
        attributes = {"room": f"room{flight % 3}", "person": f"person{flight % 2}"}
        path = folder / f"flight{flight:03}.mcap"
        with RecordingWriter(path, camera=CAMERA, attributes=attributes) as writer:
            for index in range(frames):
                image = generator.integers(40, 120, (96, 160)).astype(np.uint8)
                truth = _truth(generator, empty=index % 5 == 4)
                if truth.head_pixel is not None:
                    u, v = (int(c) for c in truth.head_pixel)
                    image[max(v - 5, 0) : v + 5, max(u - 5, 0) : u + 5] = 255
                frame = Frame(image, 1 + index * 10**8, index, path.name, CAMERA)
                writer.write_frame(frame, truth)


def _truth(generator: np.random.Generator, *, empty: bool) -> GroundTruth:
    if empty:
        return GroundTruth((np.nan,) * 4, False, None, HeadGrid().no_head)
    x, phi = generator.uniform(1, 3), generator.uniform(-1.5, 1.5)
    y, z = generator.uniform(-0.4, 0.4, 2) * x
    u = CAMERA.cx - CAMERA.fx * y / x
    v = CAMERA.cy - CAMERA.fy * z / x
    visible = 0 <= u < 160 and 0 <= v < 96
    cell = HeadGrid().cell(u, v, 160, 96)
    return GroundTruth((x, y, z, phi), visible, (u, v), cell)
