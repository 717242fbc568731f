"""Arithmetic that the firmware repeats: known answers pin it to the bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gearshift.runtime.decide.angles import AngleWrapper, WeightedDistance
from gearshift.runtime.decide.policy import weighted_distance, wrap_angle
from gearshift.runtime.decide.portable import counter_uniform, exponentials, softmax, softmax_margin
from gearshift.runtime.scheduling.scripted import scripted_calibration
from gearshift.runtime.types import FloatArray

finite = st.floats(-50, 50, width=32)
scores = hnp.arrays(np.float32, (3, 9), elements=finite)
poses = hnp.arrays(np.float32, (2, 3, 4), elements=finite)


@given(scores)
def test_softmax_is_a_softmax(x: FloatArray) -> None:
    exact = np.exp(x.astype(np.float64) - x.max(axis=-1, keepdims=True))
    exact /= exact.sum(axis=-1, keepdims=True)
    probabilities = softmax(x)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities, exact, rtol=3e-5, atol=1e-30)
    two = np.sort(exact, axis=-1)[..., -2:]
    np.testing.assert_allclose(softmax_margin(x), two[..., 1] - two[..., 0], atol=3e-6)


@given(scores)
def test_one_row_at_a_time_gives_the_same_bits(x: FloatArray) -> None:
    rows = np.stack([np.asarray(softmax_margin(row)) for row in x])
    assert rows.tobytes() == softmax_margin(x).tobytes()


def test_failed_rows_stay_nan_and_quiet() -> None:
    x = np.array([[1, np.nan, 2], [1, 2, 3]], dtype=np.float32)
    margin = softmax_margin(x)
    assert np.isnan(margin[0])
    assert np.isfinite(margin[1])


def test_known_answers() -> None:
    x = np.array([0.5, -1.25, 3.0, 2.875, -200.0], dtype=np.float32)
    assert [value.hex() for value in exponentials(x).tolist()] == EXPONENTIALS
    assert float(softmax_margin(x)).hex() == MARGIN
    uniform = counter_uniform(7, np.arange(4))
    assert [value.hex() for value in uniform.tolist()] == UNIFORM


EXPONENTIALS = [
    "0x1.50385c0000000p-4",
    "0x1.d369100000000p-7",
    "0x1.0000000000000p+0",
    "0x1.c3d6a00000000p-1",
    "0x1.0000000000000p-126",
]
MARGIN = "0x1.e670100000000p-5"
UNIFORM = [
    "0x1.7803500000000p-2",
    "0x1.6416160000000p-1",
    "0x1.845b080000000p-1",
    "0x1.e552400000000p-6",
]


@given(st.integers(0, 2**63 - 1), st.lists(st.integers(0, 2**40), min_size=1, max_size=9))
def test_uniform_numbers_are_the_same_one_by_one(seed: int, indices: list[int]) -> None:
    together = counter_uniform(seed, np.array(indices, dtype=np.int64))
    single = [counter_uniform(seed, index) for index in indices]
    assert together.dtype == np.float32
    assert together.tolist() == [float(value) for value in single]
    assert ((together >= 0) & (together < 1)).all()


def test_uniform_numbers_are_uniform_and_differ_between_seeds() -> None:
    index = np.arange(20_000)
    first, second = counter_uniform(1, index), counter_uniform(2, index)
    counts = np.histogram(first, bins=20, range=(0, 1))[0]
    assert counts.min() > 850
    assert counts.max() < 1150
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.03
    assert abs(np.corrcoef(first[1:], first[:-1])[0, 1]) < 0.03


@given(poses, poses)
def test_fast_distances_and_wraps_are_the_plain_ones(a: FloatArray, b: FloatArray) -> None:
    calibration = scripted_calibration()
    wrapper = AngleWrapper(calibration.angular)
    wrapped = wrapper.difference(a, b)
    expected = np.where(calibration.angular, wrap_angle(a - b), a - b)
    np.testing.assert_array_equal(wrapped, expected)
    distance = WeightedDistance(calibration)(a, b)
    assert distance.tobytes() == weighted_distance(a, b, calibration).tobytes()
    assert (
        np.asarray(distance[0, 0]).tobytes()
        == np.asarray(WeightedDistance(calibration)(a[0, 0], b[0, 0])).tobytes()
    )


@pytest.mark.parametrize("turns", [-2, -1, 0, 1, 2])
def test_angles_wrap(turns: int) -> None:
    angle = np.linspace(-3.1, 3.1, 50, dtype=np.float32)
    np.testing.assert_allclose(wrap_angle(angle + np.float32(turns * 2 * np.pi)), angle, atol=2e-6)


@pytest.mark.parametrize("classes", [3, 49, 5000])
def test_the_margin_is_between_the_two_largest_of_many(classes: int) -> None:
    """Many, because a partial sort of few sorts everything."""
    x = np.random.default_rng(classes).normal(0, 2, (4, classes)).astype(np.float32)
    probabilities = np.sort(softmax(x), axis=-1)
    expected = probabilities[..., -1] - probabilities[..., -2]
    assert softmax_margin(x).tolist() == expected.tolist()


def test_one_uniform_number_is_a_float32() -> None:
    for index in (0, 1, 2**32 + 5):
        assert counter_uniform(3, index).dtype == np.float32
    assert counter_uniform(3, 2**32 + 5) == counter_uniform(3, 5)
    assert counter_uniform(2**32 + 3, 5) == counter_uniform(3, 5)
