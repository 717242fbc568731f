"""Images of any source as mono8: colour, scale, crop, size."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gearshift.runtime.errors import RecordingError
from gearshift.runtime.types import Camera, Image

LUMA: Final = (299, 587, 114)
"""Thousandths of red, green and blue in grey: ITU-R BT.601, as OpenCV and Pillow weigh them."""


@dataclass(frozen=True, slots=True)
class Crop:
    """A part of the image, pixels of the source: width x height from column x, row y."""

    width: int
    height: int
    x: int
    y: int


def to_grey(image: NDArray[Any], channels: str, scale: float | None, where: str) -> Image:
    """(h, w) uint8 of an (h, w), (h, w, 1), (h, w, 3) or (h, w, 4) image.

    channels: "rgb" or "bgr". scale: pixel values are multiplied by it; without it they must lie in
    0..255 already, since guessing between 0..1, 10 bits and 16 bits would be wrong silently. Real
    numbers are rounded to the nearest. Raises RecordingError naming `where`.
    """
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (3, 4)):
        raise RecordingError(f"{where}: an array of shape {image.shape} is no image")
    if not image.size:
        raise RecordingError(f"{where}: the image is empty ({image.shape[1]}x{image.shape[0]})")
    if image.dtype.kind not in "uif" and image.dtype != np.bool_:
        raise RecordingError(f"{where}: pixels of type {image.dtype} are no numbers")
    if image.dtype != np.uint8 or scale is not None:
        image = _to_bytes(image, scale, where)
    if image.ndim == 3:
        red, green, blue = (0, 1, 2) if channels == "rgb" else (2, 1, 0)
        wide = image.astype(np.uint32)
        total = LUMA[0] * wide[..., red] + LUMA[1] * wide[..., green] + LUMA[2] * wide[..., blue]
        image = ((total + 500) // 1000).astype(np.uint8)
    return np.ascontiguousarray(image)


def _to_bytes(image: NDArray[Any], scale: float | None, where: str) -> NDArray[np.uint8]:
    if scale is not None:
        # Scaled to full range, the brightest values may come out a little above it.
        return np.clip(np.rint(image.astype(np.float64) * scale), 0, 255).astype(np.uint8)
    low, high = float(image.min()), float(image.max())
    if not (low >= 0 and high <= 255):  # also NaN
        raise RecordingError(
            f"{where}: pixels lie in {low:g}..{high:g}, not in 0..255; give --scale"
        )
    if image.dtype.kind == "f" and 0 < high <= 1:
        raise RecordingError(
            f"{where}: pixels lie in {low:g}..{high:g}: give --scale 255, or --scale 1 to keep them"
        )
    rounded: NDArray[np.uint8] = np.rint(image).astype(np.uint8)
    return rounded


def crop_image(image: Image, crop: Crop | None, where: str) -> Image:
    """The part that was asked for; raises RecordingError when it is not all in the image."""
    if crop is None:
        return image
    height, width = image.shape
    if crop.x + crop.width > width or crop.y + crop.height > height:
        raise RecordingError(
            f"{where}: the image is {width}x{height}, too small for the crop "
            f"{crop.width}x{crop.height}+{crop.x}+{crop.y}"
        )
    return image[crop.y : crop.y + crop.height, crop.x : crop.x + crop.width]


def resize_image(image: Image, size: tuple[int, int] | None) -> Image:
    """The image at (width, height), each pixel the mean of the area that it covers."""
    if size is None or image.shape == (size[1], size[0]):
        return image
    import cv2

    smaller = size[0] <= image.shape[1] and size[1] <= image.shape[0]
    resized = cv2.resize(image, size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
    return np.asarray(resized, dtype=np.uint8)


def fit_pixel(
    pixel: tuple[float, float],
    source: tuple[int, int],
    crop: Crop | None,
    size: tuple[int, int] | None,
) -> tuple[float, float]:
    """Where a pixel of a (width, height) source image lies after cropping and resizing."""
    u, v = pixel
    width, height = source
    if crop is not None:
        u, v, width, height = u - crop.x, v - crop.y, crop.width, crop.height
    if size is not None:
        # Pixel centres are at integers: the image's edge is at -0.5.
        u = (u + 0.5) * size[0] / width - 0.5
        v = (v + 0.5) * size[1] / height - 0.5
    return u, v


def fit_camera(camera: Camera, crop: Crop | None, size: tuple[int, int] | None) -> Camera:
    """Intrinsics of the image after cropping and resizing; distortion keeps its numbers."""
    cx, cy = fit_pixel((camera.cx, camera.cy), (camera.width, camera.height), crop, size)
    width, height = (camera.width, camera.height) if crop is None else (crop.width, crop.height)
    target = size or (width, height)
    return replace(
        camera,
        width=target[0],
        height=target[1],
        fx=camera.fx * target[0] / width,
        fy=camera.fy * target[1] / height,
        cx=cx,
        cy=cy,
    )
