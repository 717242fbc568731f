"""What a flight remembers between frames: the accepted outputs and when large last answered.

The state machine exists twice: `History` steps any number of flights at once (a sweep over flights
and thresholds), `FlightHistory` one flight without allocating. A property test holds them equal.

Rules, in float32: a time difference is float32(nanoseconds) * float32(1e-9). A frame whose output
is accepted more than `max_gap_s` after the last accepted one starts a new history: it has no
previous. Held and lost frames count as frames, but accept nothing.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from gearshift.runtime.decide.policy import PolicyOptions, SignalContext
from gearshift.runtime.types import FloatArray

BoolArray = NDArray[np.bool_]
TimeArray = NDArray[np.int64]

NANOSECOND = np.float32(1e-9)
NO_VALUES: FloatArray = np.empty(0, dtype=np.float32)
"""The probe output of a policy that probes nothing."""
_INFINITY = np.float32(np.inf)
_NAN = np.float32(np.nan)


class History:
    """Histories of many flights, one per cell of `leading_shape`; n components."""

    def __init__(self, leading_shape: tuple[int, ...], n: int, options: PolicyOptions) -> None:
        self.leading_shape = leading_shape
        self.n = n
        self._max_gap = np.float32(options.max_gap_s)
        self.reset()

    def reset(self) -> None:
        """Forget everything, as before the first frame."""
        shape, vector = self.leading_shape, (*self.leading_shape, self.n)
        self._index: TimeArray = np.zeros(shape, dtype=np.int64)
        self._accepted: FloatArray = np.full(vector, np.nan, dtype=np.float32)
        self._previous: FloatArray = self._accepted.copy()
        self._small_at_large: FloatArray = self._accepted.copy()
        self._any_accepted: BoolArray = np.zeros(shape, dtype=np.bool_)
        self._accepted_time: TimeArray = np.zeros(shape, dtype=np.int64)
        self._interval: FloatArray = np.full(shape, np.inf, dtype=np.float32)
        self._large_time: TimeArray = np.zeros(shape, dtype=np.int64)
        self._frames_since_large: FloatArray = self._interval.copy()

    @property
    def any_accepted(self) -> BoolArray:
        """(...) whether there is an accepted output, which could be held."""
        return self._any_accepted

    @property
    def accepted(self) -> FloatArray:
        """(..., n) the last accepted output, NaN before there is one; do not write to it."""
        return self._accepted

    def context(self, time_ns: TimeArray | int, probe: FloatArray = NO_VALUES) -> SignalContext:
        """What a signal may read of the frame captured at `time_ns`, whose probe gave `probe`.

        time_ns: int64 broadcastable to (...). probe: (..., k) float32, NaN rows where it failed.
        """
        age = np.where(self._any_accepted, self._elapsed(time_ns, self._accepted_time), _INFINITY)
        frames: FloatArray = self._frames_since_large + np.float32(1)
        seconds = np.where(np.isposinf(frames), _INFINITY, self._elapsed(time_ns, self._large_time))
        return SignalContext(
            index=self._index,
            probe=probe,
            accepted=self._accepted,
            previous=self._previous,
            age=age,
            interval=self._interval,
            small_at_large=self._small_at_large,
            frames_since_large=frames,
            seconds_since_large=seconds,
        )

    def update(
        self,
        time_ns: TimeArray | int,
        *,
        values: FloatArray,
        accepted: BoolArray,
        answered_large: BoolArray,
        small: FloatArray,
        both_ran: BoolArray,
        active: BoolArray | None = None,
    ) -> None:
        """Take in one processed frame.

        values: (..., n) what the combination gave, read where `accepted` (...). answered_large:
        large answered. small: (..., n) small's output, read where `both_ran`: both networks gave a
        valid output. active: lanes that processed this frame (default all); the others do not
        change.
        """
        if active is not None:
            accepted = accepted & active
            answered_large = answered_large & active
            both_ran = both_ran & active
        now = np.broadcast_to(np.asarray(time_ns, dtype=np.int64), self.leading_shape)
        age = np.where(self._any_accepted, self._elapsed(now, self._accepted_time), _INFINITY)
        gap = age > self._max_gap
        before = np.where(gap[..., None], _NAN, self._accepted)
        self._previous = np.where(accepted[..., None], before, self._previous)
        self._interval = np.where(accepted, np.where(gap, _INFINITY, age), self._interval)
        self._accepted = np.where(accepted[..., None], values, self._accepted)
        self._accepted_time = np.where(accepted, now, self._accepted_time)
        self._any_accepted = self._any_accepted | accepted
        self._small_at_large = np.where(both_ran[..., None], small, self._small_at_large)
        self._large_time = np.where(answered_large, now, self._large_time)
        frames = np.where(answered_large, np.float32(0), self._frames_since_large + np.float32(1))
        if active is None:
            self._frames_since_large = frames
            self._index = self._index + 1
        else:
            self._frames_since_large = np.where(active, frames, self._frames_since_large)
            self._index = self._index + active

    @staticmethod
    def _elapsed(now: TimeArray | int, before: TimeArray) -> FloatArray:
        elapsed: FloatArray = np.subtract(now, before).astype(np.float32) * NANOSECOND
        return elapsed


class FlightHistory:
    """The history of one flight, kept in preallocated arrays; see `History` for the meaning.

    `context` is one object whose arrays are overwritten by the next `look` and `update`.
    """

    def __init__(self, n: int, options: PolicyOptions) -> None:
        self._max_gap = float(np.float32(options.max_gap_s))
        self._times = np.empty(2, dtype=np.float32)
        self.context = SignalContext(
            index=0,
            probe=NO_VALUES,
            accepted=np.empty(n, dtype=np.float32),
            previous=np.empty(n, dtype=np.float32),
            age=self._times[0:1].reshape(()),
            interval=np.empty((), dtype=np.float32),
            small_at_large=np.empty(n, dtype=np.float32),
            frames_since_large=np.empty((), dtype=np.float32),
            seconds_since_large=self._times[1:2].reshape(()),
        )
        self.reset()

    def reset(self) -> None:
        """Forget everything, as before the first frame."""
        context = self.context
        context.index = 0
        for array in (context.accepted, context.previous, context.small_at_large):
            array.fill(np.nan)
        self._times.fill(np.inf)
        context.interval.fill(np.inf)
        context.frames_since_large.fill(np.inf)
        self._frames_since_large: float = math.inf
        self._accepted_time: int | None = None
        self._large_time: int | None = None
        self.has_previous = False

    @property
    def any_accepted(self) -> bool:
        """Whether there is an accepted output, which could be held."""
        return self._accepted_time is not None

    def look(self, time_ns: int, probe: FloatArray) -> SignalContext:
        """The context of the frame captured at `time_ns`; it shares the arrays of this history."""
        context = self.context
        context.probe = probe
        times = self._times
        accepted, large = self._accepted_time, self._large_time
        times[0] = math.inf if accepted is None else time_ns - accepted
        times[1] = math.inf if large is None else time_ns - large
        np.multiply(times, NANOSECOND, out=times)
        context.frames_since_large[()] = self._frames_since_large + 1
        return context

    def update(
        self,
        time_ns: int,
        *,
        values: FloatArray,
        answered_large: bool,
        small: FloatArray,
        both_ran: bool,
    ) -> None:
        """Take in a frame whose output is accepted; arguments as of `History.update`."""
        context = self.context
        context.index += 1
        before = self._accepted_time
        age = math.inf
        if before is not None:
            age = float(np.float32(time_ns - before) * NANOSECOND)
        # A gap ends the history, so what follows it has no previous output.
        self.has_previous = before is not None and age <= self._max_gap
        context.accepted, context.previous = context.previous, context.accepted
        if self.has_previous:
            context.interval[()] = age
        else:
            context.previous.fill(np.nan)
            context.interval.fill(np.inf)
        context.accepted[:] = values
        self._accepted_time = time_ns
        if both_ran:
            context.small_at_large[:] = small
        if answered_large:
            self._frames_since_large = 0
            self._large_time = time_ns
        else:
            self._frames_since_large += 1

    def skip(self) -> None:
        """Take in a frame that brought no new output: it was held or lost."""
        self.context.index += 1
        self._frames_since_large += 1
