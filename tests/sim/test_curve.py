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
