"""`camera.toml`: the intrinsics of one camera and how they were found.

    schema_version = 1
    name = "front"
    width = 640                  # of the images that it holds for
    height = 480
    lens = "pinhole"             # or "fisheye"
    fx = 612.4                   # pixels
    fy = 611.9
    cx = 318.2                   # pixel centres at integers: the middle of 640 is 319.5
    cy = 241.7
    distortion = [0.04, -0.11, 0.0003, -0.0007, 0.05]      # OpenCV's order

`[calibration]` is what `gearshift camera calibrate` measured; nothing reads it but people.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from gearshift.runtime.cameras.lens import check_camera
from gearshift.runtime.errors import ConfigurationError
from gearshift.runtime.files.toml_file import read_toml
from gearshift.runtime.types import Camera

SCHEMA_VERSION = 1

Pixels = Annotated[int, msgspec.Meta(ge=1, le=32768)]


class CalibrationRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where intrinsics come from. reprojection_error: root mean square, in pixels."""

    views: int
    board: str
    square_m: float
    reprojection_error: float
    coverage: float


class CameraFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The keys of a camera.toml."""

    schema_version: int
    name: str
    width: Pixels
    height: Pixels
    lens: Literal["pinhole", "fisheye"] = "pinhole"
    fx: float
    fy: float
    cx: float
    cy: float
    distortion: tuple[float, ...] = ()
    calibration: CalibrationRecord | None = None


def read_camera(path: Path | str) -> Camera:
    """The camera of a file; raises ConfigurationError naming the line or the numbers."""
    path = Path(path)
    if path.suffix != ".toml":
        raise ConfigurationError(
            f"{path}: a camera is a .toml file, written by `gearshift camera calibrate`"
        )
    content = read_toml(path, CameraFile, schema_version=SCHEMA_VERSION)
    camera = Camera(
        name=content.name,
        width=content.width,
        height=content.height,
        fx=content.fx,
        fy=content.fy,
        cx=content.cx,
        cy=content.cy,
        distortion=content.distortion,
        fisheye=content.lens == "fisheye",
    )
    try:
        check_camera(camera)
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from error
    return camera


def camera_text(camera: Camera, calibration: CalibrationRecord | None = None) -> str:
    """The camera as the text of a camera.toml, every number to its last bit."""
    name = camera.name.replace("\\", "\\\\").replace('"', '\\"')
    if not name.isprintable():
        raise ConfigurationError(f"{camera.name!r} is no name for a camera: not printable")
    lines = [
        "# Intrinsics of one camera: docs/cameras.md",
        f"schema_version = {SCHEMA_VERSION}",
        f'name = "{name}"',
        f"width = {camera.width}",
        f"height = {camera.height}",
        f'lens = "{"fisheye" if camera.fisheye else "pinhole"}"',
        *(f"{key} = {_number(getattr(camera, key))}" for key in ("fx", "fy", "cx", "cy")),
        f"distortion = [{', '.join(map(_number, camera.distortion))}]",
    ]
    if calibration is not None:
        lines += [
            "",
            "[calibration]",
            f"views = {calibration.views}",
            f'board = "{calibration.board}"',
            f"square_m = {_number(calibration.square_m)}",
            f"reprojection_error = {calibration.reprojection_error:.4f}",
            f"coverage = {calibration.coverage:.3f}",
        ]
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    if not math.isfinite(value):
        raise ConfigurationError(f"{value} is no number for a camera")
    return repr(float(value))
