from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import ArrayLike

from gearshift.sim.compare.headline import (
    PAPER,
    Line,
    Point,
    choose,
    chosen_headline,
    cut,
    error_at,
    gain_over,
    random_error,
    swept_headline,
)

LATENCY = np.array([12.0, 8.0, 6.0, 2.0])
ERROR = np.array([1.0, 0.94, 1.02, 1.4])


def line(latency: ArrayLike, error: ArrayLike) -> Line:
    return Line(np.tile(latency, (3, 1)).astype(float), np.tile(error, (3, 1)).astype(float))


def test_points_keep_their_promises() -> None:
    points = choose(LATENCY, ERROR, limit_latency=7.0, limit_error=1.0)
    assert points == {Point.EQUAL_ERROR: 1, Point.EQUAL_LATENCY: 2, Point.BEST_ERROR: 1}


def test_a_promise_nobody_keeps_gives_the_closest() -> None:
    points = choose(LATENCY, ERROR, limit_latency=1.0, limit_error=0.1)
    assert points == {Point.EQUAL_ERROR: 1, Point.EQUAL_LATENCY: 3, Point.BEST_ERROR: 1}


def test_of_equals_the_fastest() -> None:
    points = choose(np.array([9.0, 7.0, 8.0]), np.ones(3), 10.0, 1.0)
    assert set(points.values()) == {1}


def test_headlines_are_cuts_against_the_reference() -> None:
    reference = line([10.0], [1.0])
    chosen = chosen_headline(Point.EQUAL_ERROR, line(LATENCY, ERROR), 2, 0.5, reference)
    assert chosen.latency_cut.value == pytest.approx(40)
    assert chosen.error_cut.value == pytest.approx(-2)
    swept = swept_headline(Point.EQUAL_ERROR, line(LATENCY, ERROR), reference)
    assert swept.latency_cut.value == pytest.approx(100 * (1 - (8 - 2 * 0.75) / 10))
    assert swept_headline(
        Point.EQUAL_LATENCY, line(LATENCY, ERROR), reference
    ).error_cut.value == pytest.approx(6)
    best = swept_headline(Point.BEST_ERROR, line(LATENCY, ERROR), reference)
    assert best.error_cut.value == pytest.approx(6)
    assert best.latency_cut.value == pytest.approx(20)


def test_chance_lies_on_the_line_between_the_two_networks() -> None:
    small, large = line([2.0], [1.4]), line([10.0], [1.0])
    at = np.array([2.0, 6.0, 12.0])
    assert random_error(at, small, large).tolist() == pytest.approx([1.4, 1.2, 1.0])


def test_what_equals_the_limit_keeps_the_promise() -> None:
    latency, error = np.array([1.0, 2.0, 3.0]), np.array([1.5, 1.0, 0.5])
    points = choose(latency, error, limit_latency=2.0, limit_error=1.0)
    assert points == {Point.EQUAL_ERROR: 1, Point.EQUAL_LATENCY: 1, Point.BEST_ERROR: 2}


def test_equal_error_is_the_fastest_that_is_as_good_not_the_best() -> None:
    latency, error = np.array([5.0, 4.0, 3.0, 2.0]), np.array([0.7, 0.8, 0.9, 1.2])
    points = choose(latency, error, limit_latency=4.5, limit_error=1.0)
    assert points == {Point.EQUAL_ERROR: 2, Point.EQUAL_LATENCY: 1, Point.BEST_ERROR: 0}


def test_a_headline_says_which_point_at_which_threshold_and_how() -> None:
    reference = line([10.0], [1.0])
    chosen = chosen_headline(Point.BEST_ERROR, line(LATENCY, ERROR), 1, 0.5, reference)
    assert (chosen.point, chosen.swept, chosen.threshold) == (Point.BEST_ERROR, False, 0.5)
    for point in Point:
        swept = swept_headline(point, line(LATENCY, ERROR), reference)
        assert (swept.point, swept.swept, swept.threshold) == (point, True, None)


def test_a_cut_is_positive_where_it_is_less() -> None:
    assert cut(np.array([8.0, 10.0, 12.0]), np.array(10.0)).tolist() == pytest.approx([20, 0, -20])
    gain = gain_over(np.array([0.9, 0.8, 1.0]), np.array([1.0, 1.0, 1.0]))
    assert gain.value == pytest.approx(10)
    assert gain.low < gain.value < gain.high
    # Paired: each resample is held against its own control.
    paired = gain_over(np.array([0.9, 1.8, 4.5]), np.array([1.0, 2.0, 5.0]))
    assert (paired.value, paired.low, paired.high) == pytest.approx((10, 10, 10))


def test_what_is_never_reached_is_no_number_on_either_axis() -> None:
    reference = line([1.0], [0.1])
    for point in (Point.EQUAL_ERROR, Point.EQUAL_LATENCY):
        swept = swept_headline(point, line(LATENCY, ERROR), reference)
        assert np.isnan([swept.latency_cut.value, swept.error_cut.value]).all()
    # Reached, the other axis is equal by name.
    reference = line([10.0], [1.0])
    swept = swept_headline(Point.EQUAL_ERROR, line(LATENCY, ERROR), reference)
    assert swept.error_cut.value == pytest.approx(0)
    swept = swept_headline(Point.EQUAL_LATENCY, line(LATENCY, ERROR), reference)
    assert swept.latency_cut.value == pytest.approx(0)


def test_every_resample_is_read_from_its_own_curve() -> None:
    own = Line(
        np.array([[4.0, 2.0], [8.0, 1.0], [3.0, 6.0]]),
        np.array([[0.5, 0.9], [0.6, 0.4], [0.9, 0.7]]),
    )
    reference = Line(np.array([[10.0], [10.0], [10.0]]), np.array([[1.0], [1.0], [1.0]]))
    best = swept_headline(Point.BEST_ERROR, own, reference)
    assert best.error_cut.value == pytest.approx(50)
    # The most accurate of each resample: 0.4 at 1 ms and 0.7 at 6 ms.
    assert (best.error_cut.low, best.error_cut.high) == pytest.approx((30.75, 59.25))
    assert best.latency_cut.value == pytest.approx(60)
    assert (best.latency_cut.low, best.latency_cut.high) == pytest.approx((41.25, 88.75))
    assert error_at(own, np.array([3.0, 4.5, 4.5])).tolist() == pytest.approx([0.7, 0.5, 0.8])


def test_a_curve_is_read_at_its_ends_outside() -> None:
    curve = Line(np.array([[4.0, 2.0], [9.0, 7.0]]), np.array([[0.5, 0.9], [0.4, 0.8]]))
    assert error_at(curve, np.array([1.0, 1.0])).tolist() == pytest.approx([0.9, 0.8])
    assert error_at(curve, np.array([99.0, 99.0])).tolist() == pytest.approx([0.5, 0.4])


def test_chance_is_no_better_than_large_and_no_worse_than_small() -> None:
    small, large = line([2.0], [1.4]), line([10.0], [1.0])
    at = np.array([1.0, 4.0, 11.0])
    assert random_error(at, small, large).tolist() == pytest.approx([1.4, 1.3, 1.0])


def test_what_the_paper_claims() -> None:
    """arXiv 2401.15236: a cut of latency at equal error, and two of the error."""
    assert PAPER == {Point.EQUAL_ERROR: 28, Point.EQUAL_LATENCY: 3, Point.BEST_ERROR: 6}
