from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearshift.sim.compare.curve import lowest_where, value_at

POINTS = st.lists(st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)), min_size=1, max_size=12)


def test_between_two_thresholds_the_curve_is_a_line() -> None:
    latency, error = np.array([4.0, 2.0, 1.0]), np.array([0.2, 0.4, 0.6])
    assert lowest_where(latency, error, np.array(0.3)) == pytest.approx(3.0)
    assert lowest_where(error, latency, np.array(1.5)) == pytest.approx(0.5)
    assert np.isnan(lowest_where(latency, error, np.array(0.1)))
    assert value_at(latency, error, np.array(3.0)) == pytest.approx(0.3)
    assert np.isnan(value_at(latency, error, np.array(5.0)))


@given(POINTS, st.floats(0.1, 10))
def test_interpolation_is_a_fine_sampling_of_the_lines(
    points: list[tuple[float, float]], limit: float
) -> None:
    goal, limited = np.array(points).T
    steps = np.linspace(0, 1, 201)
    fine_goal, fine_limited = [goal[:1]], [limited[:1]]
    for i in range(len(goal) - 1):
        fine_goal.append(goal[i] + steps * (goal[i + 1] - goal[i]))
        fine_limited.append(limited[i] + steps * (limited[i + 1] - limited[i]))
    samples, positions = np.concatenate(fine_goal), np.concatenate(fine_limited)
    best = lowest_where(goal, limited, np.array(limit))
    # Sampling rounds, so what lies on the limit to the last bit may count or not.
    within, around = samples[positions <= limit - 1e-9], samples[positions <= limit + 1e-9]
    if len(within):
        assert best <= within.min() + 1e-9
    if len(around):
        assert np.isnan(best) or best >= around.min() - 0.06
    else:
        assert np.isnan(best)


def test_resamples_are_read_at_once() -> None:
    latency = np.array([[4.0, 2.0], [4.0, 3.0]])
    error = np.array([[0.2, 0.4], [0.2, 0.4]])
    found = lowest_where(latency, error, np.array([0.3, 0.3]))
    assert found.tolist() == pytest.approx([3.0, 3.5])


def test_a_point_on_the_limit_keeps_it() -> None:
    latency, error = np.array([1.0, 4.0, 2.0]), np.array([0.5, 0.3, 0.6])
    assert lowest_where(latency, error, np.array(0.3)) == 4.0
    assert lowest_where(np.array([3.0]), np.array([0.3]), np.array(0.3)) == 3.0
    # Both ends of a level stretch, without a division of nothing by nothing.
    level = np.array([0.3, 0.3, 0.5])
    assert lowest_where(np.array([4.0, 2.0, 9.0]), level, np.array(0.3)) == 2.0
    assert np.isnan(lowest_where(latency, level, np.array(0.2)))


def test_a_curve_is_read_where_it_passes_several_times() -> None:
    latency, error = np.array([1.0, 3.0, 1.0]), np.array([0.8, 0.4, 0.2])
    assert value_at(latency, error, np.array(2.0)) == pytest.approx((0.6 + 0.3) / 2)
    # Two thresholds of one latency: the middle of the step, counted with the lines that end there.
    latency, error = np.array([1.0, 1.0, 3.0]), np.array([0.8, 0.4, 0.2])
    assert value_at(latency, error, np.array(1.0)) == pytest.approx((0.6 + 0.4) / 2)
    assert value_at(latency, error, np.array(2.0)) == pytest.approx(0.3)


def test_the_ends_belong_to_the_curve() -> None:
    latency, error = np.array([1.0, 3.0]), np.array([0.8, 0.4])
    assert value_at(latency, error, np.array(1.0)) == pytest.approx(0.8)
    assert value_at(latency, error, np.array(3.0)) == pytest.approx(0.4)
    assert np.isnan(value_at(latency, error, np.array([0.999]))).all()
    assert np.isnan(value_at(latency, error, np.array([3.001]))).all()


def test_each_resample_has_its_own_lowest_and_its_own_passages() -> None:
    latency = np.array([[4.0, 2.0], [9.0, 8.0]])
    error = np.array([[0.4, 0.2], [0.4, 0.2]])
    assert lowest_where(latency, error, np.array([1.0, 1.0])).tolist() == [2.0, 8.0]
    read = value_at(latency, error, np.array([3.0, 3.0]))
    assert read[0] == pytest.approx(0.3)
    assert np.isnan(read[1])
    both = value_at(latency, error, np.array([3.0, 8.25]))
    assert both.tolist() == pytest.approx([0.3, 0.25])
