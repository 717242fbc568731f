"""Grey frames from PNG files: to calibrate on, to compare networks on, to run one by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gearshift.runtime.errors import FrameError


def read_frame(path: Path) -> NDArray[np.uint8]:
    """(height, width) uint8, colour converted to grey; raises FrameError."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("L"))
    except OSError as error:
        raise FrameError(f"{path}: no readable image") from error


def read_frames(folder: Path, shape: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """(n, height, width) uint8 of a folder's PNG files, by name; raises FrameError.

    shape: the (height, width) they must have.
    """
    frames = [read_frame(path) for path in sorted(folder.glob("*.png"))]
    if len({frame.shape for frame in frames}) != 1:
        raise FrameError(f"{folder}: holds no frames (*.png), or frames of several sizes")
    height, width = frames[0].shape
    if shape is not None and shape != (height, width):
        raise FrameError(f"{folder}: frames are {width}x{height}, not {shape[1]}x{shape[0]}")
    return np.stack(frames)
