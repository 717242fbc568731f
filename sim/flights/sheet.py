"""Contact sheets: frames of flights as one picture, beside real ones, labelled if wanted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from gearshift.runtime.errors import ConfigurationError
from gearshift.runtime.recordings.recording import RecordingReader
from gearshift.runtime.types import GroundTruth, Image

_SCALE = 2


@dataclass(frozen=True, slots=True)
class Picture:
    """One frame of a sheet and its truth, if known."""

    image: Image
    truth: GroundTruth | None


def recordings(paths: Sequence[Path]) -> list[Path]:
    """The recordings among files and folders, in order of name within a folder."""
    files: list[Path] = []
    for path in paths:
        files += sorted(path.rglob("*.mcap")) if path.is_dir() else [path]
    if not files:
        raise ConfigurationError(f"no recordings in {', '.join(map(str, paths))}")
    return files


def sample_pictures(files: Sequence[Path], count: int) -> list[Picture]:
    """`count` frames spread evenly over recordings and over the time within them."""
    chosen = [files[k * len(files) // count] for k in range(count)]
    pictures: list[Picture] = []
    for file in dict.fromkeys(chosen):
        frames = [Picture(r.frame.image, r.truth) for r in RecordingReader(file)]
        wanted = chosen.count(file)
        if frames:
            pictures += [frames[(2 * k + 1) * len(frames) // (2 * wanted)] for k in range(wanted)]
    return pictures


def real_pictures(folder: Path) -> list[Picture]:
    """Every PNG of a folder as a grey frame."""
    images = [cv2.imread(str(p), cv2.IMREAD_GRAYSCALE) for p in sorted(folder.glob("*.png"))]
    if not images:
        raise ConfigurationError(f"no PNG files in {folder}")
    return [Picture(np.asarray(image, dtype=np.uint8), None) for image in images]


def draw_picture(picture: Picture, *, labels: bool) -> Image:
    """The frame enlarged, with head and pose written on it if wanted."""
    height, width = picture.image.shape
    size = (width * _SCALE, height * _SCALE)
    out = cv2.resize(picture.image, size, interpolation=cv2.INTER_NEAREST)
    truth = picture.truth
    if labels and truth is not None and not math.isnan(truth.values[0]):
        text = " ".join(f"{v:+.2f}" for v in truth.values)
        for colour, weight in ((0, 3), (255, 1)):
            cv2.putText(out, text, (4, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, colour, weight)
        if truth.head_pixel is not None:
            u, v = (round((c + 0.5) * _SCALE - 0.5) for c in truth.head_pixel)
            cv2.drawMarker(out, (u, v), 0, cv2.MARKER_CROSS, 13, 3)
            cv2.drawMarker(out, (u, v), 255, cv2.MARKER_CROSS, 11, 1)
    return np.asarray(out, dtype=np.uint8)


def make_sheet(pictures: Sequence[Picture], columns: int, *, labels: bool = False) -> Image:
    """All pictures on one grey sheet, row by row."""
    tiles = [draw_picture(p, labels=labels) for p in pictures]
    height, width = (max(t.shape[k] for t in tiles) + 2 for k in (0, 1))
    rows = -(-len(tiles) // columns)
    sheet = np.zeros((rows * height, columns * width), np.uint8)
    for k, tile in enumerate(tiles):
        top, left = k // columns * height, k % columns * width
        sheet[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return sheet
