"""Image files as they are: those of a folder, and decoding one with the reason when it fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gearshift.runtime.errors import RecordingError
from gearshift.runtime.files.opencv import load_opencv

SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".pgm", ".ppm", ".bmp", ".tif", ".tiff")
_ENDS: Final = {b"\x89PNG": b"IEND", b"\xff\xd8": b"\xff\xd9"}
_TAIL: Final = 4096


def image_names(folder: Path) -> list[str]:
    """Names of the image files in a folder, sorted."""
    return sorted(p.name for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)


def read_image(path: Path, where: str) -> NDArray[Any]:
    """An image file as it is: (h, w), (h, w, 3) or (h, w, 4) in OpenCV's order, 8 or 16 bits.

    Raises RecordingError.
    """
    try:
        data = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise RecordingError(f"{where}: cannot read {path}: {error.strerror}") from error
    return decode_image(data, f"{where}: {path.name}" if where != str(path) else where)


def decode_image(data: NDArray[np.uint8], where: str, *, luma: bool = False) -> NDArray[Any]:
    """A compressed image of any kind that OpenCV knows; raises RecordingError.

    luma: only that, in 8 bits, which of a JPEG costs less.
    """
    cv2 = load_opencv()
    tail = data[-_TAIL:].tobytes().rstrip(b"\x00")
    for head, end in _ENDS.items():
        # Some versions of OpenCV decode half an image without a word.
        if data[: len(head)].tobytes() == head and end not in tail:
            raise RecordingError(f"{where} is cut short")
    try:
        # Unchanged, so that 16 bits are not cut to 8 and grey is not made of grey.
        flags = cv2.IMREAD_GRAYSCALE if luma else cv2.IMREAD_UNCHANGED
        image = cv2.imdecode(data, flags) if data.size else None
    except cv2.error as error:
        raise RecordingError(f"{where} is no image that can be read ({error.err})") from error
    if image is None:
        raise RecordingError(f"{where} is no image, or damaged")
    decoded: NDArray[Any] = image
    return decoded
