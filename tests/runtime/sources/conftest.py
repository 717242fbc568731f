"""Clips on which recorded sources are tried: a recording, a video, a folder of images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gearshift.runtime.recordings.recording_writer import RecordingWriter
from gearshift.runtime.types import Camera, Frame, Image

CAMERA = Camera("bench", 32, 24, 20.0, 20.0, 15.5, 11.5, (-0.05,))
FRAMES = 12
PERIOD_NS = 10_000_000


def picture(index: int, width: int = 32, height: int = 24) -> Image:
    """Flat but for a ramp, so that lossy coding keeps its mean: it tells the index."""
    ramp = np.linspace(0, 8, width)[None, :] + np.zeros((height, 1))
    return (20 + 15 * index + ramp).astype(np.uint8)


def index_of(image: Image) -> int:
    """Which picture it is."""
    return round((float(image.mean()) - 24) / 15)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """12 frames at 100 Hz, the fifth a little late."""
    path = tmp_path / "flight.mcap"
    with RecordingWriter(path, camera=CAMERA) as writer:
        for i in range(FRAMES):
            stamp = 5_000_000_000 + i * PERIOD_NS + (3_000_000 if i == 4 else 0)
            writer.write_frame(Frame(picture(i), stamp, 7 + i, "test", CAMERA))
    return path


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """12 frames at 100 Hz."""
    cv2 = pytest.importorskip("cv2")
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 100.0, (32, 24))
    for i in range(FRAMES):
        writer.write(cv2.cvtColor(picture(i), cv2.COLOR_GRAY2BGR))
    writer.release()
    return path


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """12 PNG files, one of them in colour."""
    cv2 = pytest.importorskip("cv2")
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(FRAMES):
        image = picture(i)
        cv2.imwrite(str(folder / f"{i:03d}.png"), np.dstack([image] * 3) if i == 3 else image)
    (folder / "notes.txt").write_text("no image")
    return folder
