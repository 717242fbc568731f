"""Which frames count for errors, and how errors are taken: one definition for all that measures."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from gearshift.runtime.decide.policy import wrap_angle
from gearshift.runtime.types import Component, FloatArray

ANGLE_LIMIT: Final = 1.75
"""Frames whose true angle is larger are not scored (rad; the person shows the back of the head)."""


def angular_mask(components: tuple[Component, ...]) -> NDArray[np.bool_]:
    """(n,) which components are angles."""
    return np.array([c.angular for c in components], dtype=np.bool_)


def absolute_error(values: FloatArray, truth: FloatArray, angular: NDArray[np.bool_]) -> FloatArray:
    """|values - truth| over (..., n), angles wrapped."""
    difference = values - truth
    if angular.any():
        difference = np.where(angular, wrap_angle(difference), difference)
    error: FloatArray = np.abs(difference)
    return error


def scored_frames(
    truth: FloatArray, visible: NDArray[np.bool_], angular: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """(N,) frames whose error counts: the head in view, the truth known, |angles| <= 1.75 rad."""
    known = ~np.isnan(truth).any(axis=-1)
    with np.errstate(invalid="ignore"):
        seen = (np.abs(truth[..., angular]) <= ANGLE_LIMIT).all(axis=-1)
    scored: NDArray[np.bool_] = known & visible & seen
    return scored
