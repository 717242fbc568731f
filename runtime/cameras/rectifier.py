"""From the camera that flies to the camera that the networks were trained for.

Metric pose scales with focal length: a person fills as many pixels at 2 m through one lens as at
3 m through another. So every image is resampled to what the networks' own camera would have shown
from the same place. Maps are made once; a frame costs two or three OpenCV calls into memory that is
kept, and nothing at all (OpenCV neither) when both cameras are the same.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gearshift.runtime.cameras.lens import (
    Points,
    check_camera,
    distort,
    pixels_of_rays,
    rays_of_pixels,
    widest_radius,
    within,
)
from gearshift.runtime.engines.network import Network
from gearshift.runtime.errors import ConfigurationError, FrameError
from gearshift.runtime.files.opencv import load_opencv
from gearshift.runtime.types import Camera, Image

logger = logging.getLogger(__name__)

_SUPERSAMPLING: Final = 2
"""Samples per target pixel and direction when the source is the finer one."""
_COARSE: Final = 1.25
"""Source pixels per target pixel up to which one sample is enough."""
_FINE: Final = 0.7
"""Source pixels per target pixel below which detail is missing that the networks knew."""
_UNSEEN: Final = 0.002
"""Share of the target beyond the source's image that is not worth a warning."""


@dataclass(frozen=True, slots=True)
class View:
    """What networks expect to see: an image of width x height; camera None when unknown."""

    width: int
    height: int
    camera: Camera | None


def network_view(networks: Iterable[Network]) -> View:
    """The view that all networks of an ensemble share; raises ConfigurationError."""
    views: dict[View, Network] = {}
    for n in networks:
        camera = None if n.camera is None else replace(n.camera, name="")
        views.setdefault(View(n.width, n.height, camera), n)
    if not views:
        raise ConfigurationError("there is no network to take frames for")
    if len(views) > 1:
        names = " and ".join(network.name for network in views.values())
        raise ConfigurationError(
            f"{names} want images of different sizes or cameras; one frame cannot serve all"
        )
    network = next(iter(views.values()))
    return View(network.width, network.height, network.camera)


class Rectifier:
    """Turns images of one camera, all of one size, into the view of the networks.

    missing: share of the view, 0 to 1, that lies outside of the source's image and is filled with
    its border. warnings: what the user should know before take-off, one line each.
    """

    def __init__(self, source: Camera | None, size: tuple[int, int], view: View) -> None:
        """Prepare for images of size (width, height); `make_rectifier` also logs the warnings.

        source: None when the intrinsics are unknown: the middle of the image is then taken for the
        whole view. Raises ConfigurationError when the camera does not fit the size, and
        MissingExtraError when OpenCV is needed and not there.
        """
        self.view = view
        self.size = size
        self.missing = 0.0
        self.warnings: tuple[str, ...] = ()
        self._shape = (size[1], size[0])
        self._plan: _Crop | _Maps | None = None
        if source is not None:
            check_camera(source)
            if (source.width, source.height) != size:
                raise ConfigurationError(
                    f"camera {source.name!r} was calibrated at {source.width}x{source.height}, its "
                    f"images are {size[0]}x{size[1]}; calibrate at the size that you fly"
                )
        same_size = size == (view.width, view.height)
        if source is None or view.camera is None:
            self._plan = None if same_size else _Crop(size, view)
            self.warnings = (_unknown(source is None, self._plan),)
        elif not (same_size and _same(source, view.camera)):
            self._plan = _Maps(source, view.camera)
            self.missing = self._plan.missing
            self.warnings = tuple(worries(source, 1 - self.missing, self._plan.scale))

    @property
    def passes_through(self) -> bool:
        """Whether images are handed on as they are."""
        return self._plan is None

    def apply(self, image: Image, out: Image | None = None) -> Image:
        """The view (height, width) of an image (size[1], size[0]), both uint8.

        out: contiguous memory for the result, which is returned; without it, new memory. Where both
        cameras are the same the image itself is returned and `out` left alone. Raises FrameError
        for an image of another size. One thread at a time: intermediate memory is shared.
        """
        if image.shape != self._shape or image.dtype != np.uint8:
            raise FrameError(
                f"a frame of shape {image.shape}, {image.dtype}, from a camera of "
                f"{self.size[0]}x{self.size[1]} uint8"
            )
        if self._plan is None:
            return image
        if out is None:
            out = np.empty((self.view.height, self.view.width), np.uint8)
        self._plan.run(image, out)
        return out


def make_rectifier(source: Camera | None, size: tuple[int, int], view: View) -> Rectifier:
    """A `Rectifier` whose warnings are logged."""
    rectifier = Rectifier(source, size, view)
    for warning in rectifier.warnings:
        logger.warning("%s", warning)
    return rectifier


def covered(source: Camera, target: Camera, pixels: Points) -> tuple[Points, NDArray[np.bool_]]:
    """Where the source shows what the target shows at pixels (..., 2), and whether it does.

    Same place, same direction: only the lenses differ. Rays that the source does not show are moved
    to its nearest one.
    """
    rays = rays_of_pixels(target, pixels)
    limit = widest_radius(source)
    shown = np.hypot(rays[..., 0], rays[..., 1]) < limit
    found = pixels_of_rays(source, within(rays, limit))
    inside = (found >= -0.5) & (found <= [source.width - 0.5, source.height - 0.5])
    return found, shown & inside.all(axis=-1)


def coverage(source: Camera, target: Camera) -> tuple[float, float]:
    """Share of the target's image that the source shows, and source pixels per target pixel.

    The second is per direction, in the middle of what is seen; NaN where nothing is.
    """
    where, seen = covered(source, target, _grid(target, 1))
    down: Points = np.gradient(where, axis=0)
    right: Points = np.gradient(where, axis=1)
    area = np.abs(right[..., 0] * down[..., 1] - right[..., 1] * down[..., 0])
    scale = float(np.sqrt(np.median(area[seen]))) if seen.any() else float("nan")
    return float(seen.mean()), scale


def _same(a: Camera, b: Camera) -> bool:
    """Whether two cameras show the same to a hundredth of a pixel, whatever they are called."""
    if (a.width, a.height, a.fisheye) != (b.width, b.height, b.fisheye):
        return False
    corners = np.array([[u, v] for u in (0.0, a.width - 1.0) for v in (0.0, a.height - 1.0)])
    middle = np.array([[a.cx, a.cy], [a.cx, 0.0], [0.0, a.cy]])
    pixels = np.concatenate([corners, middle])
    rays = rays_of_pixels(a, pixels)
    there = distort(b, rays) * [b.fx, b.fy] + [b.cx, b.cy]
    return bool(np.abs(there - pixels).max() < 0.01)


class _Maps:
    """Undistort, turn into the target's lens and resample, with its anti-aliasing."""

    def __init__(self, source: Camera, target: Camera) -> None:
        self._cv2 = cv2 = load_opencv()
        share, self.scale = coverage(source, target)
        self.missing = 1 - share
        if not share:
            raise ConfigurationError(
                f"camera {source.name!r} shows nothing of what the networks' camera would; "
                "its intrinsics are wrong"
            )
        samples = 1 if self.scale <= _COARSE else _SUPERSAMPLING
        shrink = max(1, round(self.scale / samples)) if samples > 1 else 1
        self._shrink = shrink
        self._width, self._height = source.width // shrink, source.height // shrink
        self._small = np.empty((self._height, self._width), np.uint8) if shrink > 1 else None
        fine = (target.height * samples, target.width * samples)
        self._fine = np.empty(fine, np.uint8) if samples > 1 else None
        where, _ = covered(source, target, _grid(target, samples))
        # Pixel centres are at integers: the image's edge is at -0.5, before and after shrinking.
        where = (where + 0.5) / shrink - 0.5
        where = np.clip(where, -1.0, [self._width, self._height])
        self._map, self._weights = cv2.convertMaps(
            where[..., 0].astype(np.float32), where[..., 1].astype(np.float32), cv2.CV_16SC2
        )

    def run(self, image: Image, out: Image) -> None:
        cv2, small, fine = self._cv2, self._small, self._fine
        if small is not None:
            part = image[: self._height * self._shrink, : self._width * self._shrink]
            cv2.resize(part, (self._width, self._height), dst=small, interpolation=cv2.INTER_AREA)
            image = small
        cv2.remap(
            image,
            self._map,
            self._weights,
            cv2.INTER_LINEAR,
            dst=out if fine is None else fine,
            borderMode=cv2.BORDER_REPLICATE,
        )
        if fine is not None:
            cv2.resize(fine, out.shape[::-1], dst=out, interpolation=cv2.INTER_AREA)


class _Crop:
    """The middle of the image at the view's aspect, resized: a guess that says it is one."""

    def __init__(self, size: tuple[int, int], view: View) -> None:
        self._cv2 = load_opencv()
        width = min(size[0], round(size[1] * view.width / view.height))
        height = min(size[1], round(size[0] * view.height / view.width))
        self.width, self.height = max(1, width), max(1, height)
        self._x, self._y = (size[0] - self.width) // 2, (size[1] - self.height) // 2
        self._area: Any = self._cv2.INTER_AREA if width >= view.width else self._cv2.INTER_LINEAR

    def run(self, image: Image, out: Image) -> None:
        part = image[self._y : self._y + self.height, self._x : self._x + self.width]
        self._cv2.resize(part, out.shape[::-1], dst=out, interpolation=self._area)


def _grid(camera: Camera, samples: int) -> Points:
    """Pixels (height * samples, width * samples, 2) that divide each pixel evenly."""
    u = (np.arange(camera.width * samples) + 0.5) / samples - 0.5
    v = (np.arange(camera.height * samples) + 0.5) / samples - 0.5
    return np.stack(np.meshgrid(u, v), axis=-1)


def _unknown(source: bool, crop: _Crop | None) -> str:
    who = "the source's camera has no intrinsics" if source else "the networks name no camera"
    taken = "its image is" if crop is None else f"the middle {crop.width}x{crop.height} is"
    what = "calibrate it with `gearshift camera calibrate`"
    if not source:
        what = "import them again with --camera, the one that they were trained for"
    return f"{who}: {taken} taken for the whole view and distances will be off by its scale; {what}"


def worries(source: Camera, share: float, scale: float) -> Iterable[str]:
    """What a user should know of a camera of that `coverage`, one line each."""
    if 1 - share > _UNSEEN:
        yield (
            f"camera {source.name!r} does not show {1 - share:.1%} of what the networks' camera "
            "does; that part is filled with the border of its image: use a wider lens"
        )
    if scale < _FINE:
        yield (
            f"camera {source.name!r} has {scale:.2f} pixels where the networks' camera has one; "
            "the picture is blurred: fly it at a higher resolution"
        )
