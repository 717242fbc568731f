"""Networks on real pictures whose truth somebody measured: never for training, only for judging.

A folder of pictures and a CSV file: `frame` (a picture's name, with or without suffix) or `file`,
a column per component (`x` or `x_m`: name, or name and unit), and perhaps `clip`, `head_u_px` and
`head_v_px`. Empty cells are unknown. What was not scored is counted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gearshift.runtime.cameras.lens import pixels_of_rays, rays_of_pixels
from gearshift.runtime.errors import ConfigurationError, RecordingError
from gearshift.runtime.files.csv_rows import number, read_rows
from gearshift.runtime.files.image_files import SUFFIXES, read_image
from gearshift.runtime.files.opencv import to_grey
from gearshift.runtime.types import Camera, Component, FloatArray, Image

Numbers = NDArray[np.float64]
TRUTH_NAME = "truth.csv"
_FLAT = 1e-9
"""Standard deviation below which numbers do not vary but for rounding."""
_HEAD = ("head_u_px", "head_v_px")


@dataclass(frozen=True, slots=True, eq=False)
class RealFrames:
    """Pictures with truth.

    images: n of (height, width) uint8, of one size. truth: (n, k), NaN where unknown. clips: (n,)
    names. heads: (n, 2) pixels of the head, NaN where not marked. without: rows of the file that
    have no picture.
    """

    images: tuple[Image, ...]
    components: tuple[Component, ...]
    truth: Numbers
    clips: NDArray[np.str_]
    heads: Numbers
    without: int

    def of_clip(self, clip: str) -> NDArray[np.bool_]:
        """(n,) which frames belong to a clip; raises ConfigurationError."""
        chosen = self.clips == clip
        if not chosen.any():
            known = ", ".join(sorted(set(self.clips.tolist())))
            raise ConfigurationError(f"there is no clip {clip!r}; there are {known}")
        return np.asarray(chosen)


def read_real_frames(
    folder: Path, components: tuple[Component, ...], truth: Path | None = None
) -> RealFrames:
    """The pictures of a folder that a truth file names.

    truth: default FOLDER/truth.csv. Raises RecordingError naming what is missing or no number.
    """
    path = truth or folder / TRUTH_NAME
    images: list[Image] = []
    values: list[list[float]] = []
    clips: list[str] = []
    heads: list[list[float]] = []
    without = 0
    for where, row in read_rows(path, ()):
        name = row.get("file") or row.get("frame")
        if not name:
            raise RecordingError(f"{where}: no frame or file is named; the columns are {list(row)}")
        picture = _picture(folder, name)
        if picture is None:
            without += 1
            continue
        image = to_grey(read_image(picture, str(picture)), str(picture))
        if images and image.shape != images[0].shape:
            raise RecordingError(f"{picture}: pictures of several sizes")
        images.append(image)
        values.append([_value(row, component, where) for component in components])
        clips.append(row.get("clip") or folder.name)
        heads.append([_or_nan(number(row, column, where)) for column in _HEAD])
    if not images:
        raise RecordingError(f"{path} names no picture of {folder}")
    known = np.array(values)
    if np.isnan(known).all():
        raise RecordingError(
            f"{path} has no truth of {', '.join(c.name for c in components)}: name the columns so, "
            "or with the unit, such as x_m"
        )
    return RealFrames(tuple(images), components, known, np.array(clips), np.array(heads), without)


@dataclass(frozen=True, slots=True)
class ComponentScore:
    """How one component compares with the truth, over `frames` where it is known.

    mae and bias (mean of estimate - truth) in the component's unit; ratio: slope through the origin
    of estimate over truth; correlation: Pearson's. NaN where there is too little to say.
    """

    frames: int
    mae: float
    bias: float
    ratio: float
    correlation: float


def score(
    estimates: FloatArray | Numbers, truth: Numbers, components: Sequence[Component]
) -> dict[str, ComponentScore]:
    """Scores by component of (n, k) estimates; angles are compared wrapped."""
    found = {}
    for index, component in enumerate(components):
        known = ~np.isnan(truth[:, index])
        said = estimates[known, index].astype(np.float64)
        true = truth[known, index]
        error = said - true
        if component.angular:
            error = _wrapped(error)
        count = int(known.sum())
        square = float((true * true).sum())
        varied = count > 2 and min(said.std(), true.std()) > _FLAT
        found[component.name] = ComponentScore(
            frames=count,
            mae=float(np.abs(error).mean()) if count else math.nan,
            bias=float(error.mean()) if count else math.nan,
            ratio=float((true * (true + error)).sum() / square) if square > 0 else math.nan,
            correlation=float(np.corrcoef(true + error, true)[0, 1]) if varied else math.nan,
        )
    return found


def constant_at_mean(frames: RealFrames, chosen: NDArray[np.bool_]) -> Numbers:
    """(n, k): the mean of the chosen frames' own truth, the control that knows no picture."""
    truth = frames.truth[chosen]
    counts = (~np.isnan(truth)).sum(axis=0)
    means = np.where(counts > 0, np.nansum(truth, axis=0) / np.maximum(counts, 1), 0.0)
    return np.broadcast_to(means, frames.truth.shape).copy()


@dataclass(frozen=True, slots=True)
class Mounting:
    """How a camera is turned against its drone: yaw to the left, pitch nose down, radians."""

    yaw: float
    pitch: float
    frames: int
    residual_px: float


def fit_mounting(frames: RealFrames, clip: str, camera: Camera) -> Mounting:
    """The mounting that puts the true heads of a clip on the pixels that were marked by hand.

    It asks no network, so it may be applied to all of them. Needs components named x, y, z (metres,
    FLU) and head pixels. Median over frames of the angle between marked and true direction. Raises
    ConfigurationError when there are fewer than three such frames.
    """
    names = [component.name for component in frames.components]
    if not {"x", "y", "z"} <= set(names):
        raise ConfigurationError("a mounting can only be fitted for networks that give x, y and z")
    position = frames.truth[:, [names.index(name) for name in "xyz"]]
    usable = (
        frames.of_clip(clip) & ~np.isnan(position).any(axis=1) & ~np.isnan(frames.heads).any(axis=1)
    )
    if usable.sum() < 3:
        raise ConfigurationError(
            f"clip {clip} has {int(usable.sum())} frames with truth and {' and '.join(_HEAD)}; "
            "a mounting needs three"
        )
    x, y, z = position[usable].T
    seen = rays_of_pixels(camera, frames.heads[usable])
    yaw = float(np.median(np.arctan2(y, x) + np.arctan(seen[:, 0])))
    elevation = np.arctan2(-seen[:, 1], np.hypot(1.0, seen[:, 0]))
    pitch = float(np.median(elevation - np.arctan2(z, np.hypot(x, y))))
    found = Mounting(yaw, pitch, int(usable.sum()), math.nan)
    turned = position[usable] @ _rotation(found)
    rays = np.stack([-turned[:, 1], -turned[:, 2]], axis=1) / turned[:, :1]
    offset = pixels_of_rays(camera, rays) - frames.heads[usable]
    return replace(found, residual_px=float(np.median(np.hypot(offset[:, 0], offset[:, 1]))))


def apply_mounting(
    estimates: FloatArray, components: Sequence[Component], mounting: Mounting
) -> FloatArray:
    """Estimates (n, k) of a turned camera, in the drone's frame: positions and heading turned."""
    names = [component.name for component in components]
    out = estimates.astype(np.float64)
    place = [names.index(name) for name in "xyz"]
    out[:, place] = out[:, place] @ _rotation(mounting).T
    if "phi" in names:
        k = names.index("phi")
        out[:, k] = _wrapped(out[:, k] + mounting.yaw)
    return out.astype(np.float32)


def _rotation(mounting: Mounting) -> Numbers:
    """(3, 3) from the camera's frame to the drone's, both FLU: pitched, then yawed."""
    c, s = math.cos(mounting.pitch), math.sin(mounting.pitch)
    pitched = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    c, s = math.cos(mounting.yaw), math.sin(mounting.yaw)
    rotation: Numbers = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ pitched
    return rotation


def _wrapped(angles: Numbers) -> Numbers:
    """Angles in radians, in [-pi, pi)."""
    return np.asarray((angles + math.pi) % (2 * math.pi) - math.pi)


def _picture(folder: Path, name: str) -> Path | None:
    """The picture of that name, with any suffix; never one outside of the folder."""
    if "/" in name or name in ("", ".", ".."):
        return None
    candidates = [folder / name, *(folder / f"{name}{suffix}" for suffix in SUFFIXES)]
    return next((path for path in candidates if path.is_file()), None)


def _value(row: Mapping[str, str], component: Component, where: str) -> float:
    for column in (component.name, f"{component.name}_{component.unit}"):
        if column in row:
            return _or_nan(number(row, column, where))
    return math.nan


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value
