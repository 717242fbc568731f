"""PNG frames: read by name, and what is no frame is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gearshift.models.formats.png_frames import read_frames
from gearshift.runtime.errors import FrameError

Image = pytest.importorskip("PIL.Image")


def save(path: Path, height: int, level: int) -> None:
    Image.fromarray(np.full((height, 160), level, np.uint8)).save(path)


def test_frames_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    for level in (2, 0, 1):
        save(tmp_path / f"{level}.png", 96, level)
    frames = read_frames(tmp_path)
    assert frames.shape == (3, 96, 160)
    assert frames[:, 0, 0].tolist() == [0, 1, 2]


def test_what_is_no_frame_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FrameError, match="holds no frames"):
        read_frames(tmp_path)
    save(tmp_path / "a.png", 96, 0)
    with pytest.raises(FrameError, match="frames are 160x96, not 80x48"):
        read_frames(tmp_path, (48, 80))
    save(tmp_path / "b.png", 48, 0)
    with pytest.raises(FrameError, match="several sizes"):
        read_frames(tmp_path)
    (tmp_path / "c.png").write_text("no picture")
    with pytest.raises(FrameError, match=r"c\.png: no readable image"):
        read_frames(tmp_path)
