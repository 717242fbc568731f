"""The mean weighted by inverse variance, and what it refuses."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from gearshift.runtime.decide.calibration import Calibration
from gearshift.runtime.decide.combination import Fusion
from gearshift.runtime.errors import ConfigurationError
from gearshift.runtime.scheduling.scripted import scripted_calibration
from gearshift.runtime.types import FloatArray, NetworkRole

SMALL, LARGE = NetworkRole.SMALL, NetworkRole.LARGE
GOOD = np.array([0.1, 0.2, 0.3, 0.4], dtype=np.float32)


def with_deviations(**deviations: FloatArray) -> Calibration:
    by_role = {NetworkRole(name): values for name, values in deviations.items()}
    return dataclasses.replace(
        scripted_calibration(),
        standard_deviation=by_role,
        angular=np.array([False, False, False, True]),
    )


def test_each_component_is_weighted_by_the_variance_of_its_own_errors() -> None:
    fusion = Fusion(with_deviations(small=GOOD, large=GOOD[::-1].copy()))
    small = np.array([[1.0, 1.0, 1.0, 3.0], [0.0, 0.0, 0.0, 0.0]], dtype=np.float32)
    large = np.array([[2.0, 2.0, 2.0, -3.0], [1.0, 1.0, 1.0, 1.0]], dtype=np.float32)
    share = GOOD[::-1] ** 2 / (GOOD**2 + GOOD[::-1] ** 2)
    np.testing.assert_allclose(fusion.share, share, rtol=1e-6)
    np.testing.assert_allclose(
        fusion.standard_deviation, GOOD * GOOD[::-1] / np.hypot(GOOD, GOOD[::-1]), rtol=1e-6
    )
    fused = fusion.combine(small, large)
    assert fused.dtype == fusion.share.dtype == np.float32
    np.testing.assert_allclose(fused[:, :3], (large + share * (small - large))[:, :3], rtol=1e-6)
    # From -3 a step of 2 pi - 6 backwards, of which small gets its share; wrapped.
    turned = math.remainder(-3 - share[3] * (2 * math.pi - 6), 2 * math.pi)
    assert fused[0, 3] == pytest.approx(turned, abs=1e-5)


def test_a_fused_angle_stays_within_half_a_turn() -> None:
    fusion = Fusion(with_deviations(small=GOOD, large=GOOD))
    small = np.array([0, 0, 0, 3.1], dtype=np.float32)
    large = np.array([0, 0, 0, -2.9], dtype=np.float32)
    # Between the two, the short way: a little beyond pi, which is a little above -pi.
    assert fusion.combine(small, large)[3] == pytest.approx(0.1 - math.pi, abs=1e-5)


@pytest.mark.parametrize(
    "deviations",
    [
        {},
        {"small": GOOD},
        {"large": GOOD},
        {"small": GOOD[:3], "large": GOOD},
        {"small": GOOD, "large": GOOD[:3]},
        {"small": GOOD[:3], "large": GOOD[:3]},
    ],
)
def test_deviations_of_both_networks_are_needed(deviations: dict[str, FloatArray]) -> None:
    message = "^fusion needs the standard deviation of both networks; calibrate the ensemble$"
    with pytest.raises(ConfigurationError, match=message):
        Fusion(with_deviations(**deviations))


@pytest.mark.parametrize("bad", [0.0, -0.1, math.nan])
@pytest.mark.parametrize("role", ["small", "large"])
def test_deviations_must_be_above_zero(role: str, bad: float) -> None:
    wrong = GOOD.copy()
    wrong[2] = bad
    deviations = {"small": GOOD, "large": GOOD} | {role: wrong}
    with pytest.raises(ConfigurationError, match=r"^fusion needs standard deviations above zero$"):
        Fusion(with_deviations(**deviations))
