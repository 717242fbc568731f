"""The two threads of a flight: one at a time runs inference, whatever else happens."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest

from gearshift.runtime.errors import GearshiftError
from gearshift.runtime.flight.capture import Available
from gearshift.runtime.flight.counts import CaptureCounts
from gearshift.runtime.flight.guard import AbandonedError
from gearshift.runtime.flight.workers import Workers
from gearshift.runtime.sources.source import SourceEnded
from gearshift.runtime.types import Frame

LONG_S = 60.0
"""Only a hang reaches it."""


class Frames:
    """A capture that gives frames as they are asked for, until it is stopped or they are used up.

    They come a nanosecond apart: from the second one on, nobody is back in time for the next.
    """

    def __init__(self, *, live: bool, count: int) -> None:
        self.live = live
        self.counts = CaptureCounts()
        self.closed = 0
        self.given = 0
        self._left = count
        self._stopped = threading.Event()

    def next(self) -> Available | None:
        if self._stopped.is_set():
            return None
        if self.given == self._left:
            raise SourceEnded
        self.given += 1
        frame = Frame(np.zeros((1, 1), np.uint8), self.given, self.given, "frames", None)
        return Available(frame, self.given)

    def stop(self) -> None:
        self._stopped.set()

    def close(self) -> None:
        self.closed += 1


class Inference:
    """Notes which frames were processed, and whether two threads ever were at it at once."""

    def __init__(self, during: Callable[[int], None] = lambda number: None) -> None:
        self.numbers: list[int] = []
        self.overlapped = False
        self._during = during
        self._inside = threading.Lock()

    def __call__(self, available: Available) -> None:
        if not self._inside.acquire(blocking=False):
            self.overlapped = True
            return
        try:
            self.numbers.append(available.frame.sequence)
            self._during(available.frame.sequence)
        finally:
            self._inside.release()


def started(frames: Frames, inference: Callable[[Available], None]) -> SimpleNamespace:
    ended: list[GearshiftError | None] = []
    over = threading.Event()

    def on_end(error: GearshiftError | None) -> None:
        ended.append(error)
        over.set()

    workers = Workers(frames, inference, on_end)  # type: ignore[arg-type]
    workers.start()
    return SimpleNamespace(workers=workers, ended=ended, over=over)


@pytest.mark.parametrize("live", [True, False])
def test_a_stop_lets_nobody_run_inference_who_has_not_the_role(live: bool) -> None:
    """The network is slow; its thread is inside while the other one holds the next frame."""
    inside, leave = threading.Event(), threading.Event()

    def slow(number: int) -> None:
        if number >= 2:
            inside.set()
            assert leave.wait(LONG_S)

    frames, inference = Frames(live=live, count=10**9), Inference(slow)
    flight = started(frames, inference)
    assert inside.wait(LONG_S)
    stopping = threading.Thread(target=flight.workers.stop, args=(LONG_S,))
    stopping.start()
    # The flight's other thread ends on its own, without waiting for the network.
    assert flight.over.wait(LONG_S)
    leave.set()
    stopping.join(LONG_S)
    assert not stopping.is_alive()
    assert not inference.overlapped
    assert inference.numbers == [1, 2]
    assert flight.ended == [None]


@pytest.mark.parametrize("live", [True, False])
def test_stops_at_any_moment(live: bool) -> None:
    chance = random.Random(5)
    for _ in range(200):
        moment = chance.randrange(1, 30)
        reached = threading.Event()

        def during(number: int, moment: int = moment, reached: threading.Event = reached) -> None:
            if number >= moment:
                reached.set()

        frames, inference = Frames(live=live, count=10**9), Inference(during)
        flight = started(frames, inference)
        assert reached.wait(LONG_S)
        assert flight.workers.stop(LONG_S)
        assert not inference.overlapped
        assert inference.numbers == sorted(set(inference.numbers))
        assert flight.ended == [None]
        assert flight.workers.busy_s == 0


def test_a_recording_loses_no_frame_and_ends_once() -> None:
    frames, inference = Frames(live=False, count=500), Inference()
    flight = started(frames, inference)
    assert flight.over.wait(LONG_S)
    assert flight.workers.stop(LONG_S)
    assert inference.numbers == list(range(1, 501))
    assert flight.ended == [None]
    assert frames.counts.replaced == 0
    assert frames.closed == 1


def test_of_the_frames_that_wait_the_newest_is_next() -> None:
    inside, leave, enough = threading.Event(), threading.Event(), threading.Event()

    def slow(number: int) -> None:
        if number == 2:
            inside.set()
            assert leave.wait(LONG_S)

    frames, inference = Frames(live=True, count=10), Inference(slow)
    whole = frames.next

    def noticed() -> Available | None:
        if frames.given == 10:
            enough.set()
            assert leave.wait(LONG_S)
        return whole()

    frames.next = noticed  # type: ignore[method-assign]
    flight = started(frames, inference)
    assert inside.wait(LONG_S)
    assert enough.wait(LONG_S)
    leave.set()
    assert flight.over.wait(LONG_S)
    flight.workers.stop(LONG_S)
    assert inference.numbers == [1, 2, 10]
    assert frames.counts.replaced == 7


@pytest.mark.parametrize("live", [True, False])
def test_a_thread_that_is_left_behind_comes_back_to_nothing(live: bool) -> None:
    inside, leave, others = threading.Event(), threading.Event(), threading.Event()
    numbers: list[int] = []

    def process(available: Available) -> None:
        number = available.frame.sequence
        if number == 1:
            inside.set()
            assert leave.wait(LONG_S)
            raise AbandonedError
        numbers.append(number)
        if len(numbers) == 20:
            others.set()

    flight = started(Frames(live=live, count=10**9), process)
    assert inside.wait(LONG_S)
    flight.workers.leave_behind()
    assert others.wait(LONG_S)
    leave.set()
    assert flight.workers.stop(LONG_S)
    assert numbers == sorted(set(numbers))
    assert flight.ended == [None]


def test_what_process_raises_ends_the_flight_with_it() -> None:
    def process(available: Available) -> None:
        raise ValueError("no such luck")

    flight = started(Frames(live=True, count=10**9), process)
    assert flight.over.wait(LONG_S)
    assert flight.workers.stop(LONG_S)
    (error,) = flight.ended
    assert "the flight failed: no such luck" in str(error)
