"""When an image was taken, by the host's clock, from the deck's time stamp and its arrival."""

from __future__ import annotations

from typing import Final

_WRAP: Final = 1 << 32
DRIFT: Final = 200e-6
"""How much faster or slower than the host's the deck's clock may run."""
JUMP_NS: Final = 2_000_000_000
"""A stamp that is so far ahead of its arrival, or behind it for so long, is of a deck that was
reset: what waits on the way after a stall is gone much sooner."""


class StampClock:
    """Turns stamps of 32 bits in microseconds into monotonic nanoseconds.

    The radio delays images by what it likes, but never less than some smallest delay: the smallest
    difference between arrival and stamp, which may grow by the clocks' drift, is what joins the
    two clocks. So times are late by that smallest delay and free of the jitter on top of it, and an
    image that was held up for seconds is known to be old. They never lie after the arrival.
    """

    def __init__(self) -> None:
        self._last_stamp: int | None = None
        self._deck_ns = 0
        self._offset_ns = 0
        self._late_since_ns: int | None = None

    def time_ns(self, stamp_us: int, arrived_ns: int) -> int:
        """Monotonic time of a stamp that arrived then."""
        if self._last_stamp is None:
            return self._restart(stamp_us, arrived_ns)
        advance_ns = (stamp_us - self._last_stamp) % _WRAP * 1000
        deck_ns = self._deck_ns + advance_ns
        offset_ns = self._offset_ns + round(advance_ns * DRIFT)
        late_ns = arrived_ns - deck_ns - offset_ns
        if late_ns < JUMP_NS:
            self._late_since_ns = None
        elif self._late_since_ns is None:
            self._late_since_ns = arrived_ns
        stays_late = self._late_since_ns is not None and arrived_ns - self._late_since_ns > JUMP_NS
        if late_ns < -JUMP_NS or stays_late:
            return self._restart(stamp_us, arrived_ns)
        self._last_stamp, self._deck_ns = stamp_us, deck_ns
        self._offset_ns = min(offset_ns, arrived_ns - deck_ns)
        return self._deck_ns + self._offset_ns

    def _restart(self, stamp_us: int, arrived_ns: int) -> int:
        self._last_stamp = stamp_us
        self._deck_ns = 0
        self._offset_ns = arrived_ns
        self._late_since_ns = None
        return arrived_ns
