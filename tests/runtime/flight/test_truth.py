"""A real flight full of faults, recorded, is decided again exactly."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from gearshift.runtime.decide.policy_registry import find_policy
from gearshift.runtime.ensembles.ensemble_records import EnsembleRecord, NetworkReference
from gearshift.runtime.flight.budget import Budget, ThresholdController
from gearshift.runtime.flight.outbox import NamedSink
from gearshift.runtime.flight.pipeline import Flight, guarded
from gearshift.runtime.scheduling.deadline import DeadlineMonitor
from gearshift.runtime.scheduling.description import FlightDescription, SchedulerSettings
from gearshift.runtime.scheduling.scripted import Script, scripted_calibration
from gearshift.runtime.sinks.recorder import Recorder, RecorderOptions
from gearshift.runtime.sinks.sink import FlightInfo
from gearshift.runtime.types import POSE_COMPONENTS, EstimateFlag, NetworkRole, Reason
from gearshift.sim.replay.recorded_flight import read_flights
from gearshift.sim.replay.redecide import decide_again

from ...waiting import PATIENCE_S
from .conftest import LIMITS, LIVE_FRAMES, MS, FaultyCamera, FaultyEngine, ListSink, Rig, faulty

RECORD = EnsembleRecord(
    "script",
    {role: NetworkReference(str(role), "0" * 64) for role in NetworkRole},
    scripted_calibration(),
)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["op", "anchor", "aux-sm"])
def test_a_flight_full_of_faults_is_decided_again_exactly(tmp_path: Path, name: str) -> None:
    settings = SchedulerSettings(policy=name, threshold=0.5, deadline_ms=20.0)
    ensemble = faulty(Script.random(LIVE_FRAMES, seed=3).ensemble())
    scheduler = settings.scheduler(
        guarded(ensemble), find_policy(name), deadline=DeadlineMonitor(20 * MS)
    )
    camera, listed = FaultyCamera(), ListSink()
    recorder = Recorder(RecorderOptions(folder=str(tmp_path)))
    flight = Flight(
        camera,
        scheduler,
        [NamedSink("list", listed), NamedSink("recording", recorder, patience_s=0.1)],
        FlightInfo(
            POSE_COMPONENTS,
            None,
            time.time_ns(),
            time.monotonic_ns(),
            flight=FlightDescription("", 0, RECORD, settings, {}),
        ),
        limits=LIMITS,
        controller=ThresholdController(Budget(large_share=0.5), 0.5),
    )
    small, large, aux = ensemble.small, ensemble.large, ensemble.aux
    assert isinstance(small, FaultyEngine)
    assert isinstance(large, FaultyEngine)
    assert isinstance(aux, FaultyEngine)
    rig = Rig(flight, camera, small, large, aux, listed)
    camera.open()
    flight.start()
    try:
        rig.until_tracking()
        for engine in (large, small, aux):
            for mode in ("raise", "nan", "slow"):
                engine.mode = mode
                before = len(rig.reports)
                rig.until_reported(before + 16)
            engine.mode = "good"
        small.mode = large.mode = "nan"
        rig.until(lambda r: r.estimate is not None and r.estimate.reason is Reason.BOTH_FAILED)
        small.mode = large.mode = "good"
        rig.until_tracking()
        large.mode = "stall"
        assert large.inside.wait(PATIENCE_S)
        rig.until_tracking()
        large.mode = "good"
        large.released.set()
        rig.until(lambda r: r.estimate is not None and r.estimate.answered is NetworkRole.LARGE)
        before = len(rig.reports)
        rig.until(lambda r: len(rig.reports) > before + 30)
    finally:
        large.released.set()
        assert flight.stop()

    estimates = [r.estimate for r in listed.reports if r.estimate is not None]
    assert flight.counts.stalls >= 1
    assert any(e.flags & EstimateFlag.DEGRADED for e in estimates)
    assert len({e.threshold for e in estimates}) > 10
    (flown,) = read_flights(sorted(tmp_path.glob("*.mcap")))
    found = decide_again(flown)
    assert found.decisions == len(estimates)
    assert found.differing == 0, found.differences
