"""Cameras that a user names, and where a labelled head lies in the image."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from gearshift.runtime.cameras.camera_file import read_camera
from gearshift.runtime.cameras.lens import check_camera, check_size, pixels_of_rays, widest_radius
from gearshift.runtime.errors import ConfigurationError
from gearshift.runtime.types import Camera, GroundTruth, HeadGrid
from gearshift.sim.convert.reader import Label

TILT: Final = math.radians(10)
"""How far a flying drone tilts: labels know nothing of it, so so far may a projection be off."""


def parse_camera(text: str, width: int, height: int) -> Camera:
    """Intrinsics of a width x height image from "hfov=82" (degrees), a camera.toml or a JSON file.

    A JSON file has the fields of `Camera`: name, width, height, fx, fy, cx, cy and, optionally,
    distortion. Raises ConfigurationError.
    """
    if text.startswith("hfov="):
        return _from_field_of_view(text, width, height)
    path = Path(text)
    camera = read_camera(path) if path.suffix == ".toml" else _from_json(path)
    check_size(camera, width, height, str(path))
    return camera


def _from_json(path: Path) -> Camera:
    try:
        fields = json.loads(path.read_text())
        camera = Camera(
            name=str(fields["name"]),
            width=int(fields["width"]),
            height=int(fields["height"]),
            fx=float(fields["fx"]),
            fy=float(fields["fy"]),
            cx=float(fields["cx"]),
            cy=float(fields["cy"]),
            distortion=tuple(float(value) for value in fields.get("distortion", ())),
        )
    except OSError as error:
        raise ConfigurationError(f"cannot read the camera {path}: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ConfigurationError(
            f"{path} is no camera ({type(error).__name__}: {error}); it is a JSON object with "
            "name, width, height, fx, fy, cx, cy and, optionally, distortion"
        ) from error
    try:
        check_camera(camera)
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from error
    return camera


def _from_field_of_view(text: str, width: int, height: int) -> Camera:
    try:
        degrees = float(text.removeprefix("hfov="))
    except ValueError:
        degrees = math.nan
    if not 1 <= degrees < 179:
        raise ConfigurationError(f"--camera {text}: a field of view is 1 to 179 degrees")
    focal = width / 2 / math.tan(math.radians(degrees) / 2)
    return Camera(text, width, height, focal, focal, (width - 1) / 2, (height - 1) / 2)


def project(camera: Camera, x: float, y: float, z: float) -> tuple[float, float] | None:
    """Pixel of a point in the drone's yaw-levelled frame [m]; None behind the camera.

    Assumes a camera at the drone's origin that looks along x and is level: what a data set without
    the drone's attitude allows.
    """
    if not x > 1e-3:
        return None
    ray = np.array([-y / x, -z / x])
    if camera.distortion and np.hypot(*ray) >= widest_radius(camera):
        return None
    u, v = pixels_of_rays(camera, ray)
    return float(u), float(v)


def ground_truth(
    label: Label | None, camera: Camera | None, width: int, height: int
) -> GroundTruth | None:
    """A label as ground truth of a width x height image.

    label.head_pixel and camera: of that image, after cropping and resizing. Where the head's place
    in the image is not known, a visible head has no head_pixel, and then its head_cell means
    nothing (it is set to 'no head', as the format has no number for unknown). A projection that
    falls beside the image by less than a drone tilts leaves the head visible at an unknown place,
    unless the label says more.
    """
    if label is None:
        return None
    grid = HeadGrid()
    nowhere = GroundTruth(label.values, False, None, grid.no_head)
    if any(map(math.isnan, label.values)) or label.visible is False:
        return nowhere
    pixel, margin = label.head_pixel, 0.0
    if pixel is None and camera is not None:
        pixel, margin = project(camera, *label.values[:3]), camera.fy * math.tan(TILT)
        if pixel is None and label.visible is None:
            return nowhere
    if pixel is None:
        return GroundTruth(label.values, True, None, grid.no_head)
    cell = grid.cell(*pixel, width, height)
    if cell != grid.no_head:
        return GroundTruth(label.values, True, pixel, cell)
    u, v = pixel
    near = -margin <= u + 0.5 <= width + margin and -margin <= v + 0.5 <= height + margin
    return GroundTruth(label.values, label.visible or (margin > 0 and near), None, grid.no_head)


def wrap_phi(label: Label) -> Label:
    """The label with phi in [-pi, pi)."""
    x, y, z, phi = label.values
    if math.isnan(phi) or -math.pi <= phi < math.pi:
        return label
    return replace(label, values=(x, y, z, (phi + math.pi) % (2 * math.pi) - math.pi))
