from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import ArrayLike

from gearshift.sim.compare.headline import (
    Line,
    Point,
    choose,
    chosen_headline,
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
