"""Staying alive: every fault is injected into a real flight, which has to go on."""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from typing import Any

import numpy as np
import pytest

from gearshift.runtime.decide.policies import ALWAYS_LARGE, ALWAYS_SMALL, AUX_SM, HOLD
from gearshift.runtime.errors import FrameError, SinkError, SinkStoppedError, SourceError
from gearshift.runtime.flight.pipeline import REPEAT_S
from gearshift.runtime.flight.state import PresenceRule
from gearshift.runtime.scheduling.scripted import Script
from gearshift.runtime.sinks.sink import FlightInfo, FlightState, Report
from gearshift.runtime.types import EstimateFlag, Frame, NetworkRole, Reason

from ...waiting import PATIENCE_S, wait_until
from .conftest import (
    FRAMES,
    LIMITS,
    LIVE_FRAMES,
    MS,
    FaultyCamera,
    FaultySink,
    MakeRig,
    no_errors_logged,
)


def is_fresh(report: Report) -> bool:
    """What every report has to be that says `tracking` or `absent` with an estimate."""
    estimate = report.estimate
    if estimate is None or report.state not in (FlightState.TRACKING, FlightState.ABSENT):
        return True
    age = report.age_ns
    return (
        bool(np.isfinite(estimate.values).all())
        and age is not None
        and 0 <= age <= LIMITS.max_estimate_age_ns
    )


@pytest.mark.parametrize("mode", ["raise", "nan"])
def test_small_answers_for_a_large_network_that_fails_and_it_recovers(
    make_rig: MakeRig, mode: str
) -> None:
    rig = make_rig(policy=ALWAYS_LARGE, threshold=None)
    rig.until_tracking()
    rig.large.mode = mode
    degraded = rig.until(
        lambda r: r.estimate is not None and bool(r.estimate.flags & EstimateFlag.DEGRADED)
    )
    assert degraded.estimate is not None
    assert degraded.state is FlightState.TRACKING
    assert degraded.estimate.answered is NetworkRole.SMALL
    assert degraded.estimate.reason is Reason.LARGE_FAILED
    rig.large.mode = "good"
    rig.until(lambda r: r.estimate is not None and r.estimate.answered is NetworkRole.LARGE)


def test_large_answers_for_a_small_network_that_fails(make_rig: MakeRig) -> None:
    rig = make_rig(policy=ALWAYS_SMALL, threshold=None)
    rig.until_tracking()
    rig.small.mode = "raise"
    report = rig.until(
        lambda r: r.estimate is not None and r.estimate.reason is Reason.SMALL_FAILED
    )
    assert report.estimate is not None
    assert report.estimate.answered is NetworkRole.LARGE


def test_both_networks_fail_and_nothing_old_passes_as_fresh(
    make_rig: MakeRig, caplog: pytest.LogCaptureFixture
) -> None:
    rig = make_rig()
    rig.until_tracking()
    rig.small.mode, rig.large.mode = "raise", "nan"
    lost = rig.until(lambda r: rig.flight.state is FlightState.LOST)
    said = f"lost: no valid estimate for {LIMITS.max_estimate_age_ns // MS} ms"
    wait_until(lambda: said in caplog.messages)
    position = rig.reports.index(lost)
    rig.until(lambda r: r.estimate is not None, after=position)
    for report in rig.reports[position:]:
        assert report.state is FlightState.LOST
        assert report.estimate is None or np.isnan(report.estimate.values).all()
    rig.small.mode = rig.large.mode = "good"
    rig.until_tracking()
    assert all(map(is_fresh, rig.reports))


def test_large_is_skipped_while_the_processor_throttles(make_rig: MakeRig) -> None:
    rig = make_rig(policy=ALWAYS_LARGE, threshold=None, deadline_ns=20 * MS)
    rig.until(lambda r: r.estimate is not None and r.estimate.answered is NetworkRole.LARGE)
    rig.large.mode = "slow"
    late = rig.until(lambda r: r.estimate is not None and r.estimate.reason is Reason.DEADLINE)
    assert late.estimate is not None
    assert late.estimate.answered is NetworkRole.SMALL
    assert late.estimate.flags & EstimateFlag.DEGRADED
    rig.large.mode = "good"
    # The expectation fades, so that large is tried again.
    rig.until(lambda r: r.estimate is not None and r.estimate.answered is NetworkRole.LARGE)


def test_a_network_that_never_returns_is_left_behind_and_taken_back(
    make_rig: MakeRig, caplog: pytest.LogCaptureFixture
) -> None:
    rig = make_rig(policy=ALWAYS_LARGE, threshold=None)
    rig.until_tracking()
    with no_errors_logged(caplog):
        rig.large.mode = "stall"
        assert rig.large.inside.wait(PATIENCE_S)
        # It is still inside, and yet the other one answers.
        report = rig.until(
            lambda r: r.estimate is not None and r.estimate.answered is NetworkRole.SMALL
        )
        assert not rig.large.released.is_set()
        assert report.state is FlightState.TRACKING
        assert report.estimate is not None
        assert report.estimate.flags & EstimateFlag.DEGRADED
        assert rig.flight.counts.stalls >= 1
        assert rig.flight.healthy
        before = len(rig.reports)
        rig.large.mode = "good"
        rig.large.released.set()
        rig.until(lambda r: r.estimate is not None and r.estimate.answered is NetworkRole.LARGE)
    # What the left-behind run finally brought is nowhere among the reports.
    captured = [r.frame.capture_time_ns for r in rig.reports if r.frame is not None]
    assert captured == sorted(set(captured))
    assert len(rig.reports) > before


def test_a_network_is_left_behind_while_the_other_thread_reads(make_rig: MakeRig) -> None:
    """With a slow probe, reading is handed over; the thread that hangs then does not hold it."""
    rig = make_rig()
    rig.until_tracking()
    rig.small.mode = "slow"
    rig.until(lambda r: rig.flight.capture.counts.replaced > 2)
    for _ in range(2):  # also with the thread that was started for the first one
        rig.large.released.clear()
        rig.large.inside.clear()
        rig.large.mode = "stall"
        assert rig.large.inside.wait(PATIENCE_S)
        rig.until(lambda r: r.estimate is not None and r.estimate.answered is NetworkRole.SMALL)
        rig.large.mode = "good"
        rig.large.released.set()
        rig.until(lambda r: r.estimate is not None and r.estimate.answered is NetworkRole.LARGE)
    assert rig.flight.counts.stalls >= 2
    captured = [r.frame.capture_time_ns for r in rig.reports if r.frame is not None]
    assert captured == sorted(set(captured))
    assert rig.flight.stop()


def test_lost_goes_out_while_both_networks_hang(make_rig: MakeRig) -> None:
    rig = make_rig(policy=ALWAYS_LARGE, threshold=None)
    rig.until_tracking()
    rig.small.mode = rig.large.mode = "stall"
    lost = rig.until_lost()
    assert not rig.large.released.is_set()
    captured = [
        r.frame.capture_time_ns
        for r in rig.reports
        if r.frame is not None and r.state is FlightState.TRACKING
    ]
    # Once both are left behind, the next frame's estimate says by itself that nothing answered.
    unanswered = lost.estimate is not None and bool(lost.estimate.flags & EstimateFlag.LOST)
    assert unanswered or lost.time_ns > captured[-1] + LIMITS.max_estimate_age_ns
    for engine in (rig.small, rig.large):
        engine.mode = "good"
        engine.released.set()
    rig.until_tracking()


def test_an_estimate_that_took_too_long_does_not_pass_as_fresh(make_rig: MakeRig) -> None:
    patient = dataclasses.replace(LIMITS, stall_ns=60_000 * MS)
    rig = make_rig(policy=ALWAYS_LARGE, threshold=None, limits=patient)
    rig.until_tracking()
    rig.large.mode = "stall"
    rig.until_lost()
    position = rig.reports.index(rig.until_lost())  # said again, half a second later
    rig.large.mode = "good"
    rig.large.released.set()
    stale = rig.until(lambda r: r.estimate is not None, after=position)
    assert stale.state is FlightState.LOST
    assert stale.age_ns is not None
    assert stale.age_ns > LIMITS.max_estimate_age_ns
    rig.until_tracking()
    assert rig.flight.counts.stale >= 1


def test_a_held_value_grows_old(make_rig: MakeRig) -> None:
    # Large answers the first frame, and is held for ever after.
    rig = make_rig(policy=HOLD, threshold=1e9)
    rig.until_tracking()
    rig.until_lost()
    held = rig.until(lambda r: r.estimate is not None)
    assert held.estimate is not None
    assert held.estimate.flags & EstimateFlag.HELD
    assert held.state is FlightState.LOST


@pytest.mark.parametrize("fault", ["freezes", "repeats", "stands still"])
def test_a_camera_that_stops_giving_new_frames(make_rig: MakeRig, fault: str) -> None:
    rig = make_rig()
    rig.until_tracking()
    given: list[Frame] = []

    def freeze(frame: Frame) -> Frame | None:
        if fault == "freezes":
            time.sleep(0.01)
            return None
        if fault == "repeats":
            # What it gave last: an older one would be garbage, whose time went back.
            given.append(frame)
            return given[0]
        return dataclasses.replace(frame, image=last_image)

    last_image = scripted_like(rig.camera)
    rig.camera.fault = freeze
    rig.until_lost()
    rig.until_lost()  # said again, half a second later: nothing that came before can be new now
    position = len(rig.reports)
    if fault != "freezes":
        repeated = rig.flight.capture.counts.repeated
        wait_until(lambda: rig.flight.capture.counts.repeated > repeated + 3)
    rig.until_lost()
    assert all(r.state is FlightState.LOST for r in rig.reports[position:])
    # At most the run that was under way comes out, late.
    assert sum(r.estimate is not None for r in rig.reports[position:]) <= 1
    rig.camera.fault = lambda frame: frame
    rig.until_tracking()


def scripted_like(camera: FaultyCamera) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """One picture, the same for ever."""
    del camera
    image = np.zeros((8, 8), dtype=np.uint8)
    image[0, 0] = 7
    return image


def test_a_camera_that_disconnects_and_comes_back(
    make_rig: MakeRig, caplog: pytest.LogCaptureFixture
) -> None:
    rig = make_rig()
    rig.until_tracking()

    def gone(_frame: Frame) -> Frame:
        raise SourceError("the device is gone")

    rig.camera.fault, rig.camera.can_open = gone, False
    with caplog.at_level(logging.WARNING):
        rig.until_lost()
        away = rig.flight.capture.away
        assert away
        rig.camera.fault, rig.camera.can_open = (lambda frame: frame), True
        rig.until_tracking()
        wait_until(lambda: "the source works again" in caplog.messages)
    assert not rig.flight.capture.away
    assert rig.flight.capture.counts.outages == 1
    # Told once when it went and once when it was back, however often it was tried.
    said = [r.message for r in caplog.records if "the source" in r.message]
    assert said == ["the source failed: the device is gone", "the source works again"]


def test_a_driver_that_raises_anything(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.until_tracking()
    calls: list[Frame] = []

    def broken(frame: Frame) -> Frame:
        if len(calls) < 3:
            calls.append(frame)
            raise ZeroDivisionError("in a driver")
        return frame

    rig.camera.fault = broken
    rig.until(lambda r: r.estimate is not None and len(calls) == 3)
    assert rig.flight.capture.counts.outages >= 1


GARBAGE: dict[str, Any] = {
    "another size": np.zeros((9, 8), dtype=np.uint8),
    "floats": np.zeros((8, 8), dtype=np.float64),
    "colour": np.zeros((8, 8, 3), dtype=np.uint8),
    "nothing": np.zeros((0, 0), dtype=np.uint8),
}


@pytest.mark.parametrize("kind", [*GARBAGE, "from the past", "from the future"])
def test_garbage_is_dropped_and_counted(make_rig: MakeRig, kind: str) -> None:
    rig = make_rig()
    rig.until_tracking()

    def spoil(frame: Frame) -> Frame:
        if frame.sequence % 3:
            return frame
        if kind == "from the past":
            return dataclasses.replace(frame, capture_time_ns=frame.capture_time_ns - 10**9)
        if kind == "from the future":
            return dataclasses.replace(frame, capture_time_ns=frame.capture_time_ns + 10**9)
        return dataclasses.replace(frame, image=GARBAGE[kind])

    rig.camera.fault = spoil
    rig.until(lambda r: rig.flight.capture.counts.garbage >= 3)
    report = rig.until_tracking()
    assert report.frame is not None
    assert report.frame.image.shape == (8, 8)
    assert not rig.flight.counts.failed


def test_frames_that_never_came_are_counted(make_rig: MakeRig) -> None:
    """Every third number is skipped, and every fifth of the rest is garbage."""
    camera = FaultyCamera(live=False, frames=100)

    def skips(frame: Frame) -> Frame:
        number = frame.sequence + frame.sequence // 2
        if frame.sequence % 5 == 4:
            raise FrameError(f"frame {number} is torn")
        return dataclasses.replace(frame, sequence=number)

    camera.fault = skips
    rig = make_rig(camera=camera)
    assert rig.flight.wait(PATIENCE_S)
    counts = rig.flight.capture.counts
    assert (counts.frames, counts.garbage) == (100, 20)
    assert rig.flight.counts.estimates == 80
    # Of the numbers 0 to 148; garbage is not missed as well.
    assert counts.missed == 49


def test_old_frames_are_dropped_and_counted(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.until_tracking()
    rig.camera.fault = lambda frame: dataclasses.replace(
        frame, capture_time_ns=frame.capture_time_ns - LIMITS.max_age_ns
    )
    # The first of them lie before those that came already.
    rig.until_lost()
    rig.until(lambda r: rig.flight.counts.too_old > 0)


def test_no_frame_above_the_age_limit_is_let_in_and_none_below_it_is_dropped(
    make_rig: MakeRig,
) -> None:
    """The limit is so far from the younger ones that no busy machine makes them old."""
    limit_ns = 60_000 * MS
    age_ns = limit_ns + MS
    camera = FaultyCamera()
    camera.fault = lambda frame: dataclasses.replace(
        frame, capture_time_ns=frame.capture_time_ns - age_ns
    )
    limits = dataclasses.replace(LIMITS, max_age_ns=limit_ns, max_estimate_age_ns=2 * limit_ns)
    rig = make_rig(camera=camera, limits=limits)
    rig.until(lambda r: rig.flight.counts.too_old >= 5, after=0)
    assert rig.flight.counts.estimates == 0
    assert all(r.state is FlightState.WAITING and r.frame is None for r in rig.reports)
    age_ns = limit_ns // 2
    rig.until_tracking()
    too_old = rig.flight.counts.too_old
    for _ in range(5):
        rig.until_tracking()
    assert rig.flight.counts.too_old == too_old


def test_the_watchdog_never_says_tracking_by_itself(make_rig: MakeRig) -> None:
    """`tracking` vouches for an estimate: it is not repeated in the long wait for the next one."""
    long = dataclasses.replace(LIMITS, max_estimate_age_ns=round(3 * REPEAT_S * 1000) * MS)
    rig = make_rig(limits=long)
    rig.until_tracking()
    rig.camera.fault = lambda frame: None
    rig.until_lost()
    rig.until_lost()  # said again
    assert {r.state for r in rig.reports if r.estimate is None} <= {
        FlightState.WAITING,
        FlightState.LOST,
    }


def test_the_newest_frame_wins_while_a_network_is_slow(make_rig: MakeRig) -> None:
    rig = make_rig(policy=ALWAYS_LARGE, threshold=None)
    rig.until_tracking()
    rig.large.mode = "slow"
    rig.until(lambda r: rig.flight.capture.counts.replaced > 5)
    ages = [r.age_ns for r in rig.reports[-3:] if r.age_ns is not None]
    # A queue would have grown by two frames of 10 ms with every slow run.
    assert max(ages) < LIMITS.max_estimate_age_ns
    assert all(map(is_fresh, rig.reports))


def test_nobody_in_view_by_the_policys_own_network(make_rig: MakeRig) -> None:
    script = Script.random(LIVE_FRAMES)
    away = script.aux.copy()
    away[:] = 0
    away[:, -1] = 9
    rig = make_rig(policy=AUX_SM, threshold=0.5, script=dataclasses.replace(script, aux=away))
    absent = rig.until(lambda r: r.state is FlightState.ABSENT)
    assert absent.estimate is not None
    assert absent.estimate.presence is not None
    assert absent.estimate.presence < 0.4


def test_nobody_in_view_by_a_look_now_and_then(make_rig: MakeRig) -> None:
    script = Script.random(LIVE_FRAMES)
    aux = script.aux.copy()
    aux[:] = 0
    aux[100:, -1] = 9
    rig = make_rig(
        script=dataclasses.replace(script, aux=aux),
        limits=dataclasses.replace(LIMITS, presence_every=2, presence=PresenceRule(frames=2)),
    )
    rig.until_tracking()
    absent = rig.until(lambda r: r.state is FlightState.ABSENT)
    assert absent.frame is not None
    assert absent.frame.sequence >= 100
    assert absent.estimate is not None
    assert absent.estimate.presence is None  # it was not asked about this frame


def test_presence_is_unknown_while_its_network_fails(make_rig: MakeRig) -> None:
    rig = make_rig(limits=dataclasses.replace(LIMITS, presence_every=1))
    rig.aux.mode = "raise"
    for _ in range(5):
        rig.until_tracking()
    rig.aux.mode = "nan"
    for _ in range(5):
        rig.until_tracking()


@pytest.mark.parametrize("mode", ["raise", "crash"])
def test_a_sink_that_fails_delays_nobody_and_comes_back(make_rig: MakeRig, mode: str) -> None:
    bad = FaultySink()
    rig = make_rig(sinks=(bad,))
    rig.until_tracking()
    bad.mode = mode
    rig.until(lambda r: bool(rig.flight.outboxes[1].problem))
    rig.until_tracking()
    bad.mode = "good"
    written = bad.written
    rig.until(lambda r: bad.written > written)
    assert not rig.flight.outboxes[1].problem
    assert rig.flight.outboxes[1].counts.errors >= 1


def test_a_sink_that_blocks_delays_nobody_and_loses_the_oldest(make_rig: MakeRig) -> None:
    bad = FaultySink()
    bad.mode = "block"
    rig = make_rig(sinks=(bad,))
    assert bad.inside.wait(PATIENCE_S)
    rig.until(lambda r: rig.flight.outboxes[1].counts.dropped > 0)
    assert rig.flight.outboxes[0].counts.dropped == 0
    assert all(map(is_fresh, rig.reports))
    # It holds up the end no longer than its share of a second.
    assert not rig.flight.stop()
    bad.released.set()


def test_a_sink_that_stops_for_good_is_left_alone(make_rig: MakeRig) -> None:
    class Stops(FaultySink):
        def write(self, report: Report) -> None:
            raise SinkStoppedError("the disk is full; recording stopped, the flight goes on")

    bad = Stops()
    rig = make_rig(sinks=(bad,))
    rig.until(lambda r: rig.flight.outboxes[1].stopped)
    rig.until_tracking()
    assert bad.opened == 1


@pytest.mark.parametrize("required", [True, False])
def test_a_sink_that_does_not_open(make_rig: MakeRig, required: bool) -> None:
    bad = FaultySink()
    bad.mode = "closed"
    rig = make_rig(sinks=(bad,), required=required, start=False)
    rig.camera.open()
    if required:
        with pytest.raises(SinkError, match="nobody answers"):
            rig.flight.start()
        return
    rig.flight.start()
    rig.until_tracking()
    bad.mode = "good"
    rig.until(lambda r: bad.written > 0)


def test_take_off_waits_for_no_sink_that_is_not_required(make_rig: MakeRig) -> None:
    class Hangs(FaultySink):
        def open(self, info: FlightInfo) -> None:
            self.inside.set()
            self.released.wait(PATIENCE_S)

    bad = Hangs()
    rig = make_rig(sinks=(bad,), required=False)
    assert bad.inside.wait(PATIENCE_S)
    rig.until_tracking()
    assert not bad.released.is_set()
    assert bad.written == 0
    bad.released.set()
    rig.until(lambda r: bad.written > 0)


def test_a_state_is_repeated_while_no_frame_comes(make_rig: MakeRig) -> None:
    camera = FaultyCamera()

    def nothing(_frame: Frame) -> None:
        time.sleep(0.05)

    camera.fault = nothing
    rig = make_rig(camera=camera)
    rig.until(lambda r: r.state is FlightState.WAITING)
    rig.until(lambda r: r.state is FlightState.WAITING)
    assert all(r.estimate is None for r in rig.reports)


def test_the_wall_clock_does_not_matter(make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock is set by years, back and forth, at every look at it."""
    jumps = iter(range(10**6))

    def jumping() -> float:
        return 1e9 * (next(jumps) % 2) + 7e8

    monkeypatch.setattr(time, "time", jumping)
    monkeypatch.setattr(time, "time_ns", lambda: int(jumping() * 1e9))
    rig = make_rig()
    for _ in range(20):
        rig.until_tracking()
    assert not [r for r in rig.reports if r.state is FlightState.LOST]
    assert all(map(is_fresh, rig.reports))
    times = [r.time_ns for r in rig.reports]
    assert times == sorted(times)


def test_every_thread_ends(make_rig: MakeRig) -> None:
    before = threading.enumerate()
    rig = make_rig(sinks=(FaultySink(),))
    rig.until_tracking()
    assert rig.flight.stop()
    assert rig.camera.closed >= 1
    count = len(rig.reports)
    assert not [t for t in threading.enumerate() if t not in before]
    assert len(rig.reports) == count


def test_a_recording_that_waits_is_flown_whole(make_rig: MakeRig) -> None:
    rig = make_rig(camera=FaultyCamera(live=False, frames=500))
    assert rig.flight.wait(PATIENCE_S)
    assert rig.flight.stop()
    sequences = [r.frame.sequence for r in rig.reports if r.frame is not None]
    assert sequences == list(range(500))
    assert rig.flight.counts.estimates == 500
    assert rig.flight.error is None


@pytest.mark.parametrize("mode", ["raise", "closed"])
def test_a_recording_that_waits_waits_for_no_sink_that_fails_for_good(
    make_rig: MakeRig, mode: str
) -> None:
    bad = FaultySink()
    bad.mode = mode
    rig = make_rig(
        camera=FaultyCamera(live=False, frames=FRAMES), sinks=(bad,), required=False, start=False
    )
    rig.camera.open()
    rig.flight.start()
    assert rig.flight.wait(PATIENCE_S)
    assert rig.flight.stop()
    assert rig.flight.outboxes[0].counts.written == FRAMES
    counts = rig.flight.outboxes[1].counts
    assert (counts.written, counts.dropped) == (0, FRAMES)


def test_a_recording_that_waits_loses_one_report_to_a_sink_that_fails_once(
    make_rig: MakeRig,
) -> None:
    class Fails(FaultySink):
        def write(self, report: Report) -> None:
            if report.frame is not None and report.frame.sequence == 100 and self.opened == 1:
                raise SinkError("the peer is gone")
            super().write(report)

    rig = make_rig(camera=FaultyCamera(live=False, frames=500), sinks=(Fails(),))
    assert rig.flight.wait(PATIENCE_S)
    assert rig.flight.stop()
    counts = rig.flight.outboxes[1].counts
    assert (counts.written, counts.dropped) == (499, 1)


def test_a_recording_that_fails_ends_the_flight_with_its_error(make_rig: MakeRig) -> None:
    camera = FaultyCamera(live=False)

    def damaged(frame: Frame) -> Frame:
        if frame.sequence == 10:
            raise SourceError("damaged at frame 10")
        return frame

    camera.fault = damaged
    rig = make_rig(camera=camera)
    assert rig.flight.wait(PATIENCE_S)
    assert isinstance(rig.flight.error, SourceError)
    assert rig.flight.counts.estimates == 10


def test_info_reaches_the_sinks(make_rig: MakeRig) -> None:
    class Nosy(FaultySink):
        info: FlightInfo | None = None

        def open(self, info: FlightInfo) -> None:
            self.info = info

    sink = Nosy()
    make_rig(sinks=(sink,))
    assert sink.info is not None
    assert [c.name for c in sink.info.components] == ["x", "y", "z", "phi"]
