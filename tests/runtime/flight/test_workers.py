"""The two roles: one thread reads, one infers, whatever is slow, fails, hangs or ends them."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

import pytest

from gearshift.runtime.errors import GearshiftError, SourceError
from gearshift.runtime.flight.capture import Available, Capture
from gearshift.runtime.flight.guard import AbandonedError
from gearshift.runtime.flight.workers import Workers
from gearshift.runtime.types import Frame

from ...waiting import PATIENCE_S
from .conftest import FaultyCamera

BUSY_S = 0.03
"""Long beside the 10 ms between two frames."""


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.001)


class Bench:
    """Workers over a real capture, and what came of every frame."""

    def __init__(self, camera: FaultyCamera, infer: Callable[[Frame], None]) -> None:
        self.camera = camera
        self.begun: list[int] = []
        self.done: list[int] = []
        self.ends: list[tuple[GearshiftError | None, int]] = []
        self.inside = self.most_inside = 0
        self._infer = infer
        self._counting = threading.Lock()
        self.threads: list[threading.Thread] = []
        self.capture = Capture(camera, lambda frame: frame)
        self.workers = Workers(self.capture, self._process, self._on_end)

    def start(self) -> None:
        before = set(threading.enumerate())
        self.camera.open()
        self.workers.start()
        self.threads = [t for t in threading.enumerate() if t not in before]

    def _process(self, available: Available) -> None:
        sequence = available.frame.sequence
        with self._counting:
            self.begun.append(sequence)
            self.inside += 1
            self.most_inside = max(self.most_inside, self.inside)
        try:
            self._infer(available.frame)
            self.done.append(sequence)
        finally:
            with self._counting:
                self.inside -= 1

    def _on_end(self, error: GearshiftError | None) -> None:
        self.ends.append((error, self.inside))

    def is_ahead(self, frame: Frame) -> bool:
        """In inference: whether the other thread has taken over reading, and has the next one.

        It does once inference takes its time.
        """
        time.sleep(BUSY_S)
        return self.capture.counts.frames > frame.sequence + 1

    @property
    def alive(self) -> int:
        return sum(thread.is_alive() for thread in self.threads)


@pytest.mark.parametrize("live", [False, True])
def test_stopped_beside_a_slow_network_nothing_more_begins(live: bool) -> None:
    """A board on a slow line: it is at a frame when the flight is stopped, and the next one waits.

    The thread with the next frame has to end without inference, which it has not.
    """
    reached, release = threading.Event(), threading.Event()

    def infer(frame: Frame) -> None:
        if bench.is_ahead(frame):
            reached.set()
            release.wait(PATIENCE_S)

    camera = FaultyCamera(live=live)
    bench = Bench(camera, infer)
    bench.start()
    stopping = threading.Thread(target=lambda: bench.workers.stop(PATIENCE_S))
    try:
        assert reached.wait(PATIENCE_S)
        begun = list(bench.begun)
        stopping.start()
        until(lambda: bench.alive == 1 or len(bench.begun) > len(begun))
    finally:
        release.set()
        stopping.join(PATIENCE_S)
    assert bench.begun == begun
    assert bench.most_inside == 1
    assert bench.alive == 0
    assert camera.closed == 1


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_stopped_at_any_moment(live: bool, seed: int) -> None:
    """One at a time, in order, closed once, told once, and every thread ends."""
    generator = random.Random(seed)
    camera = FaultyCamera(live=live)
    camera.rate_hz = generator.choice([200.0, 2000.0])
    slowest_s = generator.choice([0.0, 0.002, 0.02])

    def infer(frame: Frame) -> None:
        time.sleep(slowest_s * generator.random())

    bench = Bench(camera, infer)
    bench.start()
    time.sleep(0.05 * generator.random())
    assert bench.workers.stop(PATIENCE_S)
    assert bench.most_inside <= 1
    assert bench.begun == sorted(set(bench.begun))
    assert bench.done == bench.begun
    if not live:
        assert bench.begun == list(range(len(bench.begun)))
    assert camera.closed == 1
    assert [error for error, _ in bench.ends] == [None]
    assert not bench.workers.busy_s


def test_of_the_frames_that_wait_the_newest_is_next() -> None:
    passed: list[int] = []

    def infer(frame: Frame) -> None:
        if not passed and bench.is_ahead(frame):
            until(lambda: bench.capture.counts.replaced >= 3)
            passed.append(frame.sequence)

    camera = FaultyCamera()
    bench = Bench(camera, infer)
    bench.start()
    until(lambda: bool(passed) and bench.begun[-1] > passed[0])
    following = bench.begun[bench.begun.index(passed[0]) + 1]
    # Three were replaced, and the one that replaced the last of them is taken, or one after it.
    assert following >= passed[0] + 4
    assert bench.workers.stop(PATIENCE_S)


@pytest.mark.parametrize("slow_s", [0.0, 0.003])
@pytest.mark.parametrize("live", [False, True])
def test_the_end_is_told_after_the_last_frame_is_through(live: bool, slow_s: float) -> None:
    camera = FaultyCamera(live=live, frames=40)
    camera.rate_hz = 1000.0
    bench = Bench(camera, lambda frame: time.sleep(slow_s))
    bench.start()
    until(lambda: bool(bench.ends))
    assert bench.ends == [(None, 0)]
    assert bench.done[-1] == 39
    assert len(bench.done) + bench.capture.counts.replaced == 40
    assert bench.workers.stop(PATIENCE_S)
    assert (len(bench.ends), camera.closed) == (1, 1)


def test_a_source_that_fails_lets_inference_finish() -> None:
    failed, release = threading.Event(), threading.Event()

    def damaged(frame: Frame) -> Frame:
        if bench.inside:
            failed.set()
            raise SourceError("damaged")
        return frame

    def infer(frame: Frame) -> None:
        time.sleep(BUSY_S)
        if failed.is_set():
            release.wait(PATIENCE_S)

    camera = FaultyCamera(live=False)
    camera.fault = damaged
    bench = Bench(camera, infer)
    bench.start()
    until(lambda: camera.closed == 1)
    assert bench.ends == []
    release.set()
    until(lambda: bool(bench.ends))
    ((error, inside),) = bench.ends
    assert isinstance(error, SourceError)
    assert inside == 0
    assert bench.done == bench.begun
    assert bench.workers.stop(PATIENCE_S)


@pytest.mark.parametrize("live", [False, True])
def test_inference_that_fails_ends_the_flight_beside_a_reader(
    live: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def infer(frame: Frame) -> None:
        if bench.is_ahead(frame):
            raise ZeroDivisionError("a plug-in's mistake")

    camera = FaultyCamera(live=live)
    bench = Bench(camera, infer)
    bench.start()
    until(lambda: bench.alive == 0)
    ((error, _),) = bench.ends
    assert str(error) == "the flight failed: a plug-in's mistake"
    assert "the flight failed" in caplog.text
    assert camera.closed == 1
    assert len(bench.begun) == len(bench.done) + 1


@pytest.mark.parametrize("when", ["while it hangs", "after it returned"])
@pytest.mark.parametrize("reads_too", [False, True])
def test_only_the_thread_that_hangs_is_left_behind(when: str, reads_too: bool) -> None:
    """Whenever the watchdog comes to it: who goes on has both roles, each of them once.

    While it hangs it may also come back without a word.
    """
    raises = when != "while it hangs" or reads_too
    hanging, release = threading.Event(), threading.Event()

    def infer(frame: Frame) -> None:
        if not hanging.is_set() and (reads_too or bench.is_ahead(frame)):
            hanging.set()
            release.wait(PATIENCE_S)
            if raises:
                raise AbandonedError

    camera = FaultyCamera(live=False, frames=400)
    bench = Bench(camera, infer)
    bench.start()
    assert hanging.wait(PATIENCE_S)
    (hung,) = set(bench.begun) - set(bench.done)
    if when == "after it returned":
        release.set()
        until(lambda: bench.alive == 1)
    bench.workers.leave_behind()
    until(lambda: bool(bench.ends))
    release.set()
    assert bench.workers.stop(PATIENCE_S)
    assert [n for n in bench.done if n != hung] == [n for n in range(400) if n != hung]
    # The one that hangs is inside until it has returned.
    assert bench.most_inside == (2 if when == "while it hangs" else 1)
    assert (len(bench.ends), camera.closed) == (1, 1)
