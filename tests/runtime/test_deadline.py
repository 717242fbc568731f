"""What a deadline expects of large: learnt from what it took, to the nanosecond."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearshift.runtime.scheduling.deadline import DeadlineMonitor, RecordedDeadline


def test_on_time_is_not_late() -> None:
    monitor = DeadlineMonitor(10_000)
    assert not monitor.missed(10_000)
    assert monitor.missed(10_001)


def test_large_may_run_when_it_is_expected_to_end_on_the_deadline() -> None:
    monitor = DeadlineMonitor(10_000)
    # Before its first run nothing is expected of it.
    assert not monitor.forbids_large(10_000)
    assert monitor.forbids_large(10_001)
    monitor.large_took(6000)
    assert not monitor.forbids_large(4000)
    assert monitor.forbids_large(4001)


def test_the_expectation_moves_an_eighth_of_the_way() -> None:
    monitor = DeadlineMonitor(100_000)
    monitor.large_took(8000)
    monitor.large_took(16_000)
    # 9000 are expected now.
    assert not monitor.forbids_large(91_000)
    monitor.large_took(1000)
    # And 8000 after a quicker run.
    assert not monitor.forbids_large(92_000)
    assert monitor.forbids_large(92_001)


def test_the_expectation_fades_while_large_is_skipped() -> None:
    monitor = DeadlineMonitor(10_000)
    monitor.large_took(64_000)
    skipped = 0
    while monitor.forbids_large(0):
        skipped += 1
    # 64,000 (63 / 64)^n <= 10,000 for the first time.
    assert skipped == 118
    # A frame on which it may run takes nothing off.
    assert not any(monitor.forbids_large(0) for _ in range(100))
    assert monitor.forbids_large(100)


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=30))
def test_what_is_expected_lies_between_what_was_seen(times: list[int]) -> None:
    monitor = DeadlineMonitor(2 * 10**9)
    for time in times:
        monitor.large_took(time)
    assert not monitor.forbids_large(2 * 10**9 - max(times) - 1)
    assert monitor.forbids_large(2 * 10**9 - min(times) + 1)


@pytest.mark.parametrize("forbade", [True, False])
def test_a_recorded_deadline_repeats_what_was_said(forbade: bool) -> None:
    recorded = RecordedDeadline()
    assert recorded.forbids_large(10**12) is False
    recorded.forbade = forbade
    recorded.large_took(10**12)
    assert recorded.forbids_large(0) is forbade
    assert recorded.missed(10**12) is False
