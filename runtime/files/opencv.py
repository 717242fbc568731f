"""How OpenCV is loaded, and what becomes grey of its images: the door to an optional package."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gearshift.runtime.errors import FrameError, MissingExtraError
from gearshift.runtime.installation import install_line
from gearshift.runtime.types import Image

_SILENT = 0


def load_opencv() -> Any:
    """The module `cv2`; raises MissingExtraError where it is not installed.

    Its own messages are silenced, as ours say what to do, and it is kept to one thread: the images
    here are small, and its idle workers would spin on the cores that the networks need.
    """
    try:
        import cv2
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"cameras, video and images need OpenCV: {install_line('camera')}"
        ) from error
    cv2.setNumThreads(1)
    # OpenCV 5 moved it.
    set_level = cv2.setLogLevel if hasattr(cv2, "setLogLevel") else cv2.utils.logging.setLogLevel
    set_level(_SILENT)
    return cv2


def to_grey(raw: NDArray[Any], where: str) -> Image:
    """(h, w) uint8, contiguous and its own memory, of what a camera or file gave.

    raw: uint8 of shape (h, w) or (h, w, 1) grey, (h, w, 2) packed YUYV, of which the luma is taken
    as it is, (h, w, 3) BGR or (h, w, 4) BGRA, weighted as ITU-R BT.601 says. Raises FrameError
    naming `where`.
    """
    if raw.dtype != np.uint8 or raw.ndim not in (2, 3) or not raw.size:
        raise FrameError(f"{where}: an image of shape {raw.shape}, {raw.dtype}, expected 8 bits")
    channels = 1 if raw.ndim == 2 else raw.shape[2]
    if channels > 4:
        raise FrameError(f"{where}: an image of {channels} channels")
    if channels <= 2:
        return np.array(raw if raw.ndim == 2 else raw[:, :, 0], order="C")
    cv2 = load_opencv()
    code = cv2.COLOR_BGR2GRAY if channels == 3 else cv2.COLOR_BGRA2GRAY
    return np.asarray(cv2.cvtColor(raw, code), dtype=np.uint8)
