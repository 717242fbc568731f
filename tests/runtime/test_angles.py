"""Angles at the places where wrapping decides: half turns, and where the quick way begins."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearshift.runtime.decide.angles import AngleWrapper, WeightedDistance
from gearshift.runtime.decide.policy import weighted_distance, wrap_angle
from gearshift.runtime.scheduling.scripted import scripted_calibration
from gearshift.runtime.types import FloatArray

ANGULAR = np.array([False, True])
PI = np.float32(math.pi)


def around(value: float) -> list[float]:
    """The value and its neighbours in float32."""
    middle = np.float32(value)
    ends = [np.nextafter(middle, np.float32(x)) for x in (-np.inf, np.inf)]
    return [float(v) for v in (*ends, middle)]


EDGES = [v for turns in (-5, -3, -2, -1, 1, 2, 3, 5) for v in around(turns * math.pi)] + [
    v for limit in (-4.0, -3.5, -3.0, 0.0, 3.0, 3.5, 4.0) for v in around(limit)
]
angles = st.one_of(st.sampled_from(EDGES), st.floats(-40, 40, width=32))


@given(st.lists(st.tuples(st.floats(-40, 40, width=32), angles), min_size=1, max_size=6))
def test_wrapping_in_place_is_the_plain_way_to_the_bit(pairs: list[tuple[float, float]]) -> None:
    values = np.array(pairs, dtype=np.float32)
    expected = np.where(ANGULAR, wrap_angle(values), values)
    wrapper = AngleWrapper(ANGULAR)
    together = values.copy()
    wrapper.wrap_in_place(together, np.empty_like(together))
    assert together.tobytes() == expected.tobytes()
    for row, plain in zip(values.copy(), expected, strict=True):
        wrapper.wrap_in_place(row, np.empty_like(row))
        assert row.tobytes() == plain.tobytes()


@pytest.mark.parametrize("edge", EDGES)
def test_what_is_wrapped_lies_within_half_a_turn_and_points_the_same_way(edge: float) -> None:
    values = np.array([edge, edge], dtype=np.float32)
    AngleWrapper(ANGULAR).wrap_in_place(values, np.empty_like(values))
    assert values[0] == np.float32(edge)
    assert abs(values[1]) <= np.nextafter(PI, np.float32(4))
    assert abs(math.remainder(float(values[1]) - edge, 2 * math.pi)) < 3e-6


def test_half_a_turn_is_minus_half_a_turn() -> None:
    below, pi, above = np.nextafter(PI, np.float32(0)), PI, np.nextafter(PI, np.float32(4))
    found = wrap_angle(np.array([-PI, below, pi, above], dtype=np.float32))
    assert found.dtype == np.float32
    expected = [-math.pi, math.pi, -math.pi, -math.pi]
    assert [float(v) for v in found] == pytest.approx(expected, abs=1e-6)


@given(
    st.lists(st.tuples(angles, angles, angles, angles), min_size=2, max_size=2),
    st.tuples(*[st.floats(0.25, 8, width=32)] * 2),
)
def test_distances_weigh_every_component(
    rows: list[tuple[float, ...]], weights: tuple[float, float]
) -> None:
    calibration = dataclasses.replace(
        scripted_calibration(),
        weights=np.array([*weights, 3, 0.5], dtype=np.float32),
        angular=np.array([False, True, False, True]),
    )
    a, b = np.array(rows, dtype=np.float32)
    distance = WeightedDistance(calibration)
    found = distance(a, b)
    assert np.asarray(found).dtype == np.float32
    assert found == weighted_distance(a, b, calibration)
    assert distance(np.array([a, a]), np.array([b, b])).tolist() == [found, found]
    off = np.abs(a.astype(np.float64) - b)
    off[[1, 3]] = np.abs([math.remainder(x, 2 * math.pi) for x in off[[1, 3]]])
    exact = float((off * calibration.weights).sum())
    assert float(found) == pytest.approx(exact, rel=1e-5, abs=1e-4)


def test_distances_are_summed_in_the_order_of_the_components() -> None:
    calibration = dataclasses.replace(
        scripted_calibration(),
        weights=np.ones(4, dtype=np.float32),
        angular=np.zeros(4, dtype=np.bool_),
    )
    a: FloatArray = np.array([2.0**24, 1, 1, -(2.0**24)], dtype=np.float32)
    b = np.zeros(4, dtype=np.float32)
    # 1 is lost on 2^24 each time; in any other order it would not be.
    for distance in (WeightedDistance(calibration)(a, b), weighted_distance(a, b, calibration)):
        assert float(distance) == 2.0**25


def test_differences_go_the_short_way_round() -> None:
    wrapper = AngleWrapper(ANGULAR)
    a = np.array([[3.0, 3.0], [3.0, 0.5]], dtype=np.float32)
    b = np.array([[-3.0, -3.0], [1.0, 0.25]], dtype=np.float32)
    found = wrapper.difference(a, b)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [[6.0, 6 - 2 * math.pi], [2.0, 0.25]], atol=1e-6)
    assert a[0, 0] == 3.0
