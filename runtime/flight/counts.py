"""What a flight counts. Every number is written by one thread at a time, so none needs a lock."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class CaptureCounts:
    """Frames by what became of them before inference.

    frames: read from the source. missed: numbers that it skipped, for images that were torn on the
    way or that a newer one overtook before they were read. replaced: a newer one came before
    inference took it. repeated: the same time stamp or the same bytes as the one before. garbage:
    wrong size or type, or a time stamp that went back or lies in the future. outages: times the
    source failed or fell silent.
    """

    frames: int = 0
    missed: int = 0
    replaced: int = 0
    repeated: int = 0
    garbage: int = 0
    outages: int = 0


@dataclass(slots=True)
class InferenceCounts:
    """Frames by what became of them in inference.

    too_old: dropped because their age was above `max_age`. estimates: processed. large: of these,
    those on which the large network ran. late, degraded, held, failed: by the estimate's flags;
    failed has no values. stale: estimates that came out too old to be used. stalls: times a network
    did not return in time and was left behind.
    """

    too_old: int = 0
    estimates: int = 0
    large: int = 0
    late: int = 0
    degraded: int = 0
    held: int = 0
    failed: int = 0
    stale: int = 0
    stalls: int = 0


@dataclass(slots=True)
class SinkCounts:
    """Reports of one sink. dropped: it was too slow, or away. errors: times it failed."""

    written: int = 0
    dropped: int = 0
    errors: int = 0
