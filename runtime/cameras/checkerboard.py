"""Intrinsics of a camera from views of a checkerboard, and how far they can be trusted.

Corners, solver and uncertainties are OpenCV's (Zhang's method); which views are worth taking, which
are thrown out, and what to tell the user is decided here.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from gearshift.runtime.cameras.lens import pixels_of_rays, rays_of_pixels
from gearshift.runtime.errors import ConfigurationError
from gearshift.runtime.files.opencv import load_opencv
from gearshift.runtime.types import Camera, Image

logger = logging.getLogger(__name__)

Corners = NDArray[np.float32]
LensModel = Literal["pinhole", "fisheye"]

FEWEST_VIEWS: Final = 4
ENOUGH_VIEWS: Final = 10
_COLUMNS, _ROWS = 8, 6
_ENOUGH_COVERAGE: Final = 0.7
_GOOD_ERROR: Final = 0.5
_UNCERTAIN: Final = 0.01
_ENOUGH_TILT: Final = math.radians(25)
_DISTINCT: Final = 0.04
_OUTLIER: Final = 3.0


@dataclass(frozen=True, slots=True)
class Board:
    """A checkerboard. columns, rows: inner corners; square: side of one square in metres."""

    columns: int
    rows: int
    square: float

    def __post_init__(self) -> None:
        if min(self.columns, self.rows) < 3 or max(self.columns, self.rows) > 60:
            raise ConfigurationError(
                f"a board of {self.columns}x{self.rows} inner corners; 3 to 60 a side are known"
            )
        if not 0 < self.square < 10:
            raise ConfigurationError(f"squares of {self.square:g} m; measure one, in metres")

    @property
    def points(self) -> Corners:
        """Corners (columns * rows, 3) on the board [m], in the order in which they are found."""
        points = np.zeros((self.rows * self.columns, 3), np.float32)
        grid = np.mgrid[0 : self.columns, 0 : self.rows]
        points[:, :2] = grid.T.reshape(-1, 2) * self.square
        return points


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a calibration found.

    error: root mean square distance between corners and their reprojection, in pixels. coverage:
    share of an 8 x 6 grid over the image in which corners were seen. focal_deviation: standard
    deviation of the focal length relative to it, NaN where OpenCV does not say. used: indices of
    the views that it rests on. warnings: what is wrong with it, one line each.
    """

    camera: Camera
    error: float
    coverage: float
    focal_deviation: float
    used: tuple[int, ...]
    warnings: tuple[str, ...]


def find_corners(image: Image, board: Board) -> Corners | None:
    """The board's inner corners (columns * rows, 2) in pixels; None unless all are in view."""
    cv2 = load_opencv()
    size = (board.columns, board.rows)
    found, rough = cv2.findChessboardCornersSB(image, size, flags=cv2.CALIB_CB_NORMALIZE_IMAGE)
    if not found:
        return None
    rough = np.asarray(rough, np.float32).reshape(board.rows, board.columns, 2)
    # The detector stands much, the refinement is the more exact: it looks as far as it may without
    # seeing a second corner.
    steps = (np.linalg.norm(np.diff(rough, axis=axis), axis=-1).min() for axis in (0, 1))
    reach = int(np.clip(min(steps) / 3, 2, 11))
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_MAX_ITER, 40, 1e-3)
    exact = cv2.cornerSubPix(image, rough.reshape(-1, 1, 2), (reach, reach), (-1, -1), stop)
    return np.asarray(exact, np.float32).reshape(-1, 2)


@dataclass(slots=True)
class ViewCollector:
    """Views that differ: of a video or a live camera most frames say what the last one said."""

    size: tuple[int, int]
    corners: list[Corners] = field(default_factory=list)

    def offer(self, corners: Corners) -> bool:
        """Keep a view unless one like it is there; whether it was kept."""
        least = _DISTINCT * self.size[0]
        for known in self.corners:
            # A board seen upside down lists its corners in the opposite order.
            for order in (corners, corners[::-1]):
                if np.abs(order - known).mean() < least:
                    return False
        self.corners.append(corners)
        return True

    @property
    def coverage(self) -> float:
        """Share of the image's cells in which corners were seen."""
        return coverage_of(self.corners, self.size)


def coverage_of(views: Sequence[Corners], size: tuple[int, int]) -> float:
    """Share of an 8 x 6 grid over an image of size (width, height) that corners fall into."""
    seen = np.zeros((_ROWS, _COLUMNS), bool)
    for corners in views:
        column = np.clip(((corners[:, 0] + 0.5) * _COLUMNS / size[0]).astype(int), 0, _COLUMNS - 1)
        row = np.clip(((corners[:, 1] + 0.5) * _ROWS / size[1]).astype(int), 0, _ROWS - 1)
        seen[row, column] = True
    return float(seen.mean())


def calibrate(
    name: str, views: Sequence[Corners], size: tuple[int, int], board: Board, lens: LensModel
) -> Calibration:
    """Intrinsics from the corners of several views of images of size (width, height).

    Views whose corners lie far off the result (blurred, or not the board) are left out and the rest
    is solved again. Raises ConfigurationError when there are too few views or no solution.
    """
    used = list(range(len(views)))
    for _ in range(3):
        if len(used) < FEWEST_VIEWS:
            raise ConfigurationError(
                f"{len(used)} views of the board are too few: take {ENOUGH_VIEWS} or more, tilted "
                "different ways, near and far, up to the corners of the image"
            )
        solution = _solve([views[i] for i in used], size, board, lens)
        limit = max(_OUTLIER * float(np.median(solution.view_errors)), _GOOD_ERROR)
        kept = [i for i, error in zip(used, solution.view_errors, strict=True) if error <= limit]
        if len(kept) == len(used):
            break
        logger.info("left out %d views whose corners fit the rest badly", len(used) - len(kept))
        used = kept
    share = coverage_of([views[i] for i in used], size)
    camera = solution.camera(name, size, fisheye=lens == "fisheye")
    warnings = tuple(_worries(solution, camera, share, len(used), len(views)))
    return Calibration(
        camera, solution.error, share, solution.focal_deviation, tuple(used), warnings
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Solution:
    matrix: NDArray[np.float64]
    distortion: NDArray[np.float64]
    error: float
    view_errors: NDArray[np.float64]
    focal_deviation: float
    tilt: float
    """The largest angle between the boards of any two views [rad]."""

    def camera(self, name: str, size: tuple[int, int], *, fisheye: bool) -> Camera:
        return Camera(
            name,
            *size,
            fx=float(self.matrix[0, 0]),
            fy=float(self.matrix[1, 1]),
            cx=float(self.matrix[0, 2]),
            cy=float(self.matrix[1, 2]),
            distortion=tuple(float(value) for value in self.distortion),
            fisheye=fisheye,
        )


def _solve(
    views: Sequence[Corners], size: tuple[int, int], board: Board, lens: LensModel
) -> _Solution:
    cv2 = load_opencv()
    points = [board.points] * len(views)
    try:
        if lens == "fisheye":
            return _solve_fisheye(cv2, points, views, size)
        images = [corners.reshape(-1, 1, 2) for corners in views]
        error, matrix, distortion, turns, _, spread, _, view_errors = cv2.calibrateCameraExtended(
            points, images, size, None, None
        )
    except cv2.error as caught:
        raise ConfigurationError(
            f"no {lens} lens explains these views ({caught.err}); take more, tilted further"
        ) from caught
    return _Solution(
        matrix,
        distortion.reshape(-1)[:5],
        float(error),
        np.asarray(view_errors, np.float64).reshape(-1),
        float(spread.reshape(-1)[0] / matrix[0, 0]),
        _largest_tilt(cv2, turns),
    )


def _solve_fisheye(
    cv2: Any, points: Sequence[Corners], views: Sequence[Corners], size: tuple[int, int]
) -> _Solution:
    # OpenCV 4 has numbers of its own for a fisheye's flags.
    names = cv2.fisheye if hasattr(cv2.fisheye, "CALIB_FIX_SKEW") else cv2
    flags = names.CALIB_RECOMPUTE_EXTRINSIC | names.CALIB_FIX_SKEW
    objects = [p.reshape(1, -1, 3).astype(np.float64) for p in points]
    images = [corners.reshape(1, -1, 2).astype(np.float64) for corners in views]
    matrix, distortion = np.zeros((3, 3)), np.zeros((4, 1))
    error, matrix, distortion, turns, moves = cv2.fisheye.calibrate(
        objects, images, size, matrix, distortion, flags=flags
    )
    errors = []
    for known, seen, turn, move in zip(objects, images, turns, moves, strict=True):
        again, _ = cv2.fisheye.projectPoints(known, turn, move, matrix, distortion)
        errors.append(float(np.sqrt(np.square(again.reshape(-1, 2) - seen[0]).sum(1).mean())))
    return _Solution(
        matrix,
        distortion.reshape(-1),
        float(error),
        np.array(errors),
        math.nan,
        _largest_tilt(cv2, turns),
    )


def _largest_tilt(cv2: Any, turns: Sequence[NDArray[np.float64]]) -> float:
    normals = np.array([cv2.Rodrigues(np.asarray(turn))[0][:, 2] for turn in turns])
    return float(np.arccos(np.clip((normals @ normals.T).min(), -1.0, 1.0)))


def _worries(
    solution: _Solution, camera: Camera, coverage: float, used: int, taken: int
) -> list[str]:
    worries = []
    if used < ENOUGH_VIEWS:
        worries.append(f"{used} views are few: take {ENOUGH_VIEWS} or more")
    if used < taken:
        worries.append(f"{taken - used} of {taken} views fit badly (blurred?) and were left out")
    if solution.error > _GOOD_ERROR:
        worries.append(
            f"a reprojection error of {solution.error:.2f} pixels is large: is the board flat and "
            "sharp, and does --lens fit?"
        )
    if coverage < _ENOUGH_COVERAGE:
        worries.append(
            f"the board was seen in {coverage:.0%} of the image only: distortion is a guess "
            "elsewhere; move it into the corners"
        )
    if solution.tilt < _ENOUGH_TILT:
        worries.append(
            f"the views differ in tilt by {math.degrees(solution.tilt):.0f} degrees only, too "
            "little to tell the focal length from, or distances: tilt the board 30 degrees each way"
        )
    elif solution.focal_deviation > _UNCERTAIN:
        worries.append(
            f"the focal length is known to {solution.focal_deviation:.1%} only, and distances with "
            "it: take more views, tilted further"
        )
    if not _shows_its_corners(camera):
        worries.append(
            "the distortion that was found folds within the image, as no lens does: take views "
            "that reach the corners"
        )
    return worries


def _shows_its_corners(camera: Camera) -> bool:
    """Whether every corner of the image is where its ray is shown."""
    right, bottom = camera.width - 1.0, camera.height - 1.0
    corners = np.array([[0.0, 0.0], [right, 0.0], [0.0, bottom], [right, bottom]])
    again = pixels_of_rays(camera, rays_of_pixels(camera, corners))
    return bool(np.abs(again - corners).max() < 0.1)


def draw_corners(image: Image, views: Sequence[Corners], board: Board) -> NDArray[np.uint8]:
    """(h, w, 3) BGR: one image, dimmed, with the corners of every view over it."""
    cv2 = load_opencv()
    canvas = cv2.cvtColor(image // 2, cv2.COLOR_GRAY2BGR)
    for corners in views:
        cv2.drawChessboardCorners(
            canvas, (board.columns, board.rows), corners.reshape(-1, 1, 2), patternWasFound=True
        )
    return np.asarray(canvas, dtype=np.uint8)
