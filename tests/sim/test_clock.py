from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearshift.sim.replay.clock import stream, truth_at

ANGULAR = np.array([False, True])


def test_a_busy_scheduler_takes_the_latest_frame() -> None:
    arrivals = np.arange(10, dtype=np.int64) * 10
    slots = list(stream(arrivals, lambda index: 25))
    assert [s.frame for s in slots] == [0, 2, 5, 7, 9]
    assert [s.published_ns for s in slots] == [25, 50, 75, 100, 125]


def test_a_fast_scheduler_misses_nothing_and_waits() -> None:
    arrivals = np.array([0, 10, 30], dtype=np.int64)
    slots = list(stream(arrivals, lambda index: 3))
    assert [s.frame for s in slots] == [0, 1, 2]
    assert [s.published_ns for s in slots] == [3, 13, 33]


def test_without_frames_there_is_nothing_to_process() -> None:
    assert list(stream(np.zeros(0, dtype=np.int64), lambda index: 1)) == []


@pytest.mark.parametrize("start", [-1000, 0, 10**18])
def test_time_may_begin_anywhere(start: int) -> None:
    slots = list(stream(start + np.array([0, 10], dtype=np.int64), lambda index: 3))
    assert [s.published_ns - start for s in slots] == [3, 13]


@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=40),
    st.lists(st.integers(0, 200), min_size=1, max_size=40),
)
def test_frames_are_processed_in_order_and_never_before_they_arrive(
    gaps: list[int], durations: list[int]
) -> None:
    arrivals = np.cumsum(gaps)
    slots = list(stream(arrivals, lambda index: durations[index % len(durations)]))
    frames = [s.frame for s in slots]
    assert frames == sorted(set(frames))
    free = 0
    for slot in slots:
        start = slot.published_ns - durations[slot.frame % len(durations)]
        assert start >= max(free, arrivals[slot.frame])
        # The latest that had arrived when it started, or the scheduler was waiting for it.
        newer = [a for a in arrivals[slot.frame + 1 :] if a <= start]
        assert not newer or free == start == 0 or start == arrivals[slot.frame]
        free = slot.published_ns


def test_the_truth_turns_the_short_way_round() -> None:
    times = np.array([0, 10], dtype=np.int64)
    truth = np.array([[0.0, 3.0], [1.0, -3.0]], dtype=np.float32)
    values, seen = truth_at(times, truth, np.array([True, True]), ANGULAR, np.array([0, 5, 10, 11]))
    assert values[1, 0] == pytest.approx(0.5)
    assert abs(values[1, 1]) == pytest.approx(np.pi, abs=1e-5)
    assert values[[0, 2]] == pytest.approx(truth)
    assert seen.tolist() == [True, True, True, False]
    assert np.isnan(values[3]).all()


def test_in_view_only_between_two_frames_in_view() -> None:
    times = np.array([0, 10, 20], dtype=np.int64)
    truth = np.zeros((3, 2), dtype=np.float32)
    visible = np.array([True, False, True])
    _, seen = truth_at(times, truth, visible, ANGULAR, np.array([0, 1, 10, 15, 20]))
    assert seen.tolist() == [True, False, False, False, True]


@pytest.mark.parametrize("start", [0, 1_700_000_000_000_000_000])
def test_between_two_frames_the_truth_is_on_the_line(start: int) -> None:
    times = start + np.array([0, 1_000_000, 5_000_000], dtype=np.int64)
    truth = np.array([[0.0, 1.0], [1.0, 1.5], [5.0, -0.5]], dtype=np.float32)
    at = start + np.array([250_000, 1_000_000, 2_000_000, 4_999_999], dtype=np.int64)
    values, seen = truth_at(times, truth, np.ones(3, dtype=np.bool_), ANGULAR, at)
    assert values.dtype == np.float32
    np.testing.assert_allclose(
        values, [[0.25, 1.125], [1.0, 1.5], [2.0, 1.0], [5.0, -0.5]], atol=1e-5
    )
    assert seen.all()


def test_frames_that_are_a_nanosecond_apart_are_not_mixed_up() -> None:
    times = np.array([7, 8], dtype=np.int64)
    truth = np.array([[0.0, 0.0], [1.0, 1.0]], dtype=np.float32)
    values, _ = truth_at(times, truth, np.ones(2, dtype=np.bool_), ANGULAR, np.array([7, 8]))
    assert values.tolist() == truth.tolist()


def test_outside_the_flight_nothing_is_known() -> None:
    times = np.array([10, 20], dtype=np.int64)
    truth = np.ones((2, 2), dtype=np.float32)
    visible = np.ones(2, dtype=np.bool_)
    values, seen = truth_at(times, truth, visible, ANGULAR, np.array([9, 10, 20, 21]))
    assert np.isnan(values).all(axis=1).tolist() == [True, False, False, True]
    assert seen.tolist() == [False, True, True, False]
    assert values.dtype == np.float32


def test_only_angles_are_wrapped() -> None:
    times = np.array([0, 10], dtype=np.int64)
    truth = np.array([[-9.0, 3.0], [9.0, -3.0]], dtype=np.float32)
    values, _ = truth_at(times, truth, np.ones(2, dtype=np.bool_), ANGULAR, np.array([0, 2, 5, 9]))
    np.testing.assert_allclose(values[:, 0], [-9.0, -5.4, 0.0, 7.2], atol=1e-5)
    assert (np.abs(values[:, 1]) > 2.9).all()
    assert (np.abs(values[:, 1]) < 3.1416).all()
    lengths = truth[:, :1]
    none = np.array([False])
    values, _ = truth_at(times, lengths, np.ones(2, dtype=np.bool_), none, np.array([0, 5]))
    assert values[:, 0].tolist() == [-9.0, 0.0]
