from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearshift.runtime.scoring.bootstrap import Interval, interval, ratio_of_sums, resample_weights
from gearshift.runtime.scoring.counted_frames import absolute_error, angular_mask, scored_frames
from gearshift.runtime.scoring.metrics import presence, summarise_latency
from gearshift.runtime.types import POSE_COMPONENTS, HeadGrid

ANGULAR = angular_mask(POSE_COMPONENTS)


def test_angles_are_compared_around_the_circle() -> None:
    values = np.array([[1.0, 0.0, 0.0, 3.1]], dtype=np.float32)
    truth = np.array([[1.5, 0.0, 0.0, -3.1]], dtype=np.float32)
    error = absolute_error(values, truth, ANGULAR)
    assert error[0, 0] == pytest.approx(0.5)
    assert error[0, 3] == pytest.approx(2 * np.pi - 6.2, abs=1e-5)


def test_only_frames_with_a_head_that_faces_us_are_scored() -> None:
    truth = np.array(
        [[1, 0, 0, 0], [1, 0, 0, 1.76], [np.nan] * 4, [1, 0, 0, -1.7]], dtype=np.float32
    )
    visible = np.array([True, True, False, False])
    assert scored_frames(truth, visible, ANGULAR).tolist() == [True, False, False, False]


def test_presence_is_scored_apart() -> None:
    grid = HeadGrid(2, 1)
    aux = np.eye(3, dtype=np.float32)[[0, 2, 2, 0, 1]]
    cells = np.array([0, 1, 2, 2, -1], dtype=np.int16)
    result = presence(aux, cells, grid)
    assert (result.frames_with, result.frames_without) == (2, 2)
    assert (result.false_present, result.false_absent) == (0.5, 0.5)


@given(st.lists(st.tuples(st.floats(0.01, 100), st.integers(0, 5)), min_size=1, max_size=20))
def test_counted_latencies_are_the_same_as_repeated_ones(pairs: list[tuple[float, int]]) -> None:
    values = np.array([v for v, _ in pairs])
    counts = np.array([c for _, c in pairs])
    counted = summarise_latency(values, counts)
    repeated = summarise_latency(np.repeat(values, counts))
    if counts.sum() == 0:
        assert np.isnan(counted.mean_ms)
        return
    assert counted.mean_ms == pytest.approx(repeated.mean_ms)
    assert (counted.p50_ms, counted.p99_ms) == (repeated.p50_ms, repeated.p99_ms)
    assert counted.p50_ms <= counted.p90_ms <= counted.p99_ms <= counted.max_ms
    assert counted.p50_ms == np.quantile(np.repeat(values, counts), 0.5, method="inverted_cdf")


def test_a_mean_is_no_median() -> None:
    spread = summarise_latency(np.array([10.0, 1.0, 1.0, 1.0]))
    assert spread.mean_ms == pytest.approx(13 / 4)
    assert (spread.p50_ms, spread.p90_ms, spread.p99_ms, spread.max_ms) == (1.0, 10.0, 10.0, 10.0)
    counted = summarise_latency(np.array([1.0, 5.0, 10.0]), np.array([7, 2, 1]))
    assert counted.mean_ms == pytest.approx(27 / 10)
    assert (counted.p50_ms, counted.p90_ms, counted.p99_ms, counted.max_ms) == (1, 5, 10, 10)


def test_an_interval_is_the_first_value_between_quantiles_of_the_others() -> None:
    found = interval(np.array([70.0, *range(101), np.nan]))
    assert (found.value, found.low, found.high) == pytest.approx((70.0, 2.5, 97.5))
    assert str(found) == "70.0000 [2.5000, 97.5000]"
    alone = interval(np.array([3.0]))
    assert alone.value == 3.0
    assert np.isnan([alone.low, alone.high]).all()
    assert [Interval(0, low, high).excludes_zero for low, high in ((1, 2), (-2, -1), (-1, 1))] == [
        True,
        True,
        False,
    ]


def test_groups_are_drawn_whole() -> None:
    groups = np.array([0, 0, 1, 2, 2, 2])
    weights = resample_weights(groups, resamples=200, seed=1)
    assert weights.shape == (201, 6)
    assert (weights[0] == 1).all()
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 3] == weights[:, 5]).all()
    assert (weights[:, [0, 2, 3]].sum(axis=1) == 3).all()


def test_an_interval_covers_the_mean_it_estimates() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        group_mean = rng.standard_normal(25)
        groups = np.repeat(np.arange(25), 4)
        values = group_mean[groups] + 0.5 * rng.standard_normal(100)
        weights = resample_weights(groups, resamples=200)
        result = interval(ratio_of_sums(weights, values, np.ones(100)))
        hits += result.low <= 0 <= result.high
    assert hits > 175


def test_an_empty_resample_is_no_number() -> None:
    quotient = ratio_of_sums(
        np.array([[1.0, 1.0], [0.0, 2.0]]), np.ones((2, 3)), np.array([1.0, 0])
    )
    assert quotient.shape == (2, 3)
    assert quotient[0].tolist() == [2, 2, 2]
    assert np.isnan(quotient[1]).all()
