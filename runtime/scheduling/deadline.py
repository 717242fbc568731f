"""The deadline override: large is not started when it is expected to be late.

It hangs on the clock, so a recording's decisions are recomputed with what it said in flight.
"""

from __future__ import annotations

from typing import Protocol

FOLLOWS = 1 / 8
"""Share of a new run in the expectation: follows slow changes of the clock rate."""
FADES = 63 / 64
"""The expectation fades while large is skipped, or one slow run would lock it out for good."""


class Deadline(Protocol):
    """Says before large would run whether it may, and after a frame whether it was late."""

    def forbids_large(self, elapsed_ns: int) -> bool:
        """Whether large, started `elapsed_ns` after the frame was taken up, must not run."""

    def large_took(self, time_ns: int) -> None:
        """Large ran for so long."""

    def missed(self, total_ns: int) -> bool:
        """Whether an estimate that took so long is late."""


class DeadlineMonitor:
    """A deadline in nanoseconds from the moment a frame is taken up; learns what large takes."""

    def __init__(self, deadline_ns: int) -> None:
        self.deadline_ns = deadline_ns
        self._expected_ns = 0.0

    def forbids_large(self, elapsed_ns: int) -> bool:
        """See `Deadline.forbids_large`."""
        if elapsed_ns + self._expected_ns <= self.deadline_ns:
            return False
        self._expected_ns *= FADES
        return True

    def large_took(self, time_ns: int) -> None:
        """See `Deadline.large_took`."""
        before = self._expected_ns or time_ns
        self._expected_ns = before + (time_ns - before) * FOLLOWS

    def missed(self, total_ns: int) -> bool:
        """See `Deadline.missed`."""
        return total_ns > self.deadline_ns


class RecordedDeadline:
    """Repeats what a deadline said in flight; set `forbade` before every frame."""

    def __init__(self) -> None:
        self.forbade = False

    def forbids_large(self, _elapsed_ns: int) -> bool:
        """See `Deadline.forbids_large`."""
        return self.forbade

    def large_took(self, time_ns: int) -> None:
        """Nothing is learnt."""

    def missed(self, _total_ns: int) -> bool:
        """Lateness is a matter of the flight's clock."""
        return False
