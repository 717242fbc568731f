"""A flight full of faults, deadlines and moving thresholds is decided again exactly."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gearshift.runtime.decide.policy import PolicyOptions
from gearshift.runtime.decide.policy_registry import find_policy
from gearshift.runtime.ensembles.ensemble_records import EnsembleRecord, NetworkReference
from gearshift.runtime.errors import RecordingError
from gearshift.runtime.scheduling.deadline import DeadlineMonitor
from gearshift.runtime.scheduling.description import FlightDescription, SchedulerSettings
from gearshift.runtime.scheduling.scripted import GRID, Script, scripted_calibration
from gearshift.runtime.sinks.recorder import Recorder, RecorderOptions
from gearshift.runtime.sinks.sink import FlightInfo, FlightState, Report
from gearshift.runtime.types import (
    POSE_COMPONENTS,
    Estimate,
    EstimateFlag,
    NetworkRole,
    Reason,
)
from gearshift.sim.replay.recorded_flight import read_flights
from gearshift.sim.replay.redecide import Changes, decide_again

FRAMES = 60
SMALL, LARGE, AUX = NetworkRole.SMALL, NetworkRole.LARGE, NetworkRole.AUX
RECORD = EnsembleRecord(
    "script",
    {role: NetworkReference(str(role), "0" * 64) for role in NetworkRole},
    scripted_calibration(),
)


class _JumpyClock:
    """A clock on which networks take as long as a seed says."""

    def __init__(self, seed: int) -> None:
        self._generator = np.random.default_rng(seed)
        self.now = 0

    def __call__(self) -> int:
        self.now += int(self._generator.integers(0, 4_000))
        return self.now


def _fly(
    folder: Path,
    script: Script,
    flown: SchedulerSettings,
    failing: dict[NetworkRole, frozenset[int]],
    clock_seed: int,
    *,
    options: RecorderOptions | None = None,
) -> list[Estimate]:
    ensemble = script.ensemble(failing)
    policy = find_policy(flown.policy)
    scheduler = flown.scheduler(ensemble, policy, deadline=DeadlineMonitor(9_000))
    scheduler._clock = clock = _JumpyClock(clock_seed)
    for stage in (scheduler._small, scheduler._large, scheduler._aux):
        if stage is not None:
            stage.clock = clock
    recorder = Recorder(options or RecorderOptions(folder=str(folder)))
    recorder.open(
        FlightInfo(POSE_COMPONENTS, None, 0, 0, flight=FlightDescription("", 0, RECORD, flown, {}))
    )
    estimates = []
    thresholds = np.random.default_rng(clock_seed).normal(0.5, 0.5, FRAMES)
    for frame, threshold in zip(script.frames(), thresholds, strict=True):
        if policy.signal is not None:
            scheduler.set_threshold(float(threshold))
        estimate = scheduler.process(frame)
        estimates.append(estimate)
        state = FlightState.LOST if EstimateFlag.LOST in estimate.flags else FlightState.TRACKING
        recorder.write(Report(frame.capture_time_ns, state, frame, estimate, scheduler.outputs))
    recorder.close()
    return estimates


frame_sets = st.frozensets(st.integers(0, FRAMES - 1), max_size=15)


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(
    policy=st.sampled_from(
        [
            *("op", "op-ahead", "aux-sm", "aux-hlc", "random", "every", "hold", "anchor"),
            *("always-small", "always-large"),
        ]
    ),
    seed=st.integers(0, 2**16),
    failing=st.fixed_dictionaries(dict.fromkeys(NetworkRole, frame_sets)),
    nan=st.fixed_dictionaries(dict.fromkeys(NetworkRole, frame_sets)),
    gap=st.booleans(),
)
def test_every_choice_and_pose_is_reproduced(
    tmp_path_factory: pytest.TempPathFactory,
    *,
    policy: str,
    seed: int,
    failing: dict[NetworkRole, frozenset[int]],
    nan: dict[NetworkRole, frozenset[int]],
    gap: bool,
) -> None:
    script = Script.random(FRAMES, seed)
    for role, frames in nan.items():
        script = script.with_nan(role, sorted(frames))
    if gap:
        script = script.with_times(script.times + np.where(np.arange(FRAMES) > 30, 10**9, 0))
    has_signal = find_policy(policy).signal is not None
    flown = SchedulerSettings(policy, 0.5 if has_signal else None, PolicyOptions(max_gap_s=0.4))
    folder = tmp_path_factory.mktemp("flight")
    estimates = _fly(folder, script, flown, failing, seed)
    (flight,) = read_flights(sorted(folder.iterdir()))
    found = decide_again(flight)
    assert found.decisions == len(estimates)
    assert found.differences == ()
    assert found.differing == 0


def test_deadlines_and_faults_really_happen_in_that_flight(tmp_path: Path) -> None:
    flown = SchedulerSettings("op", 0.5)
    estimates = _fly(
        tmp_path, Script.random(FRAMES, 3), flown, {LARGE: frozenset(range(0, FRAMES, 2))}, 3
    )
    reasons = {estimate.reason for estimate in estimates}
    assert {Reason.DEADLINE, Reason.EASY, Reason.HARD, Reason.LARGE_FAILED} <= reasons


def test_another_policy_or_calibration_differs_and_names_the_frame(tmp_path: Path) -> None:
    flown = SchedulerSettings("op", 0.5)
    _fly(tmp_path, Script.random(FRAMES), flown, {}, 1)
    (flight,) = read_flights(list(tmp_path.iterdir()))
    never = dataclasses.replace(flown, threshold=float("inf"))
    found = decide_again(flight, Changes(settings=never))
    assert found.differing > 0
    assert found.differences[0].startswith("frame ")
    calibration = dataclasses.replace(RECORD.calibration, weights=2 * RECORD.calibration.weights)
    changed = dataclasses.replace(RECORD, calibration=calibration)
    assert "signal was" in decide_again(flight, Changes(ensemble=changed)).differences[0]


def test_a_flight_in_parts_is_one_flight(tmp_path: Path) -> None:
    options = RecorderOptions(folder=str(tmp_path), split_mb=0.001, sync_s=0.2)
    flown = SchedulerSettings("anchor", 0.5)
    _fly(tmp_path, Script.random(FRAMES), flown, {}, 1, options=options)
    parts = sorted(tmp_path.iterdir())
    assert len(parts) > 3
    (flight,) = read_flights(parts[::-1])
    found = decide_again(flight)
    assert (found.decisions, found.differing) == (FRAMES, 0)
    with pytest.raises(RecordingError, match="part 1 of flight"):
        read_flights([parts[0], *parts[2:]])


def test_missing_decisions_end_the_comparison_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    flown = SchedulerSettings("op", 0.5)
    options = RecorderOptions(folder=str(tmp_path))
    recorder = Recorder(options)
    recorder.open(
        FlightInfo(POSE_COMPONENTS, None, 0, 0, flight=FlightDescription("", 0, RECORD, flown, {}))
    )
    script = Script.random(FRAMES)
    scheduler = flown.scheduler(script.ensemble(), find_policy("op"))
    for number, frame in enumerate(script.frames()):
        estimate = scheduler.process(frame)
        if number not in (20, 21):
            report = Report(0, FlightState.TRACKING, frame, estimate, scheduler.outputs)
            recorder.write(report)
    recorder.close()
    (flight,) = read_flights(list(tmp_path.iterdir()))
    assert decide_again(flight).decisions == 20
    assert "2 decisions before frame 22 were not recorded" in caplog.text


def test_a_flown_recording_says_how_it_was_flown(tmp_path: Path) -> None:
    flown = SchedulerSettings("op", float("-inf"), PolicyOptions(0.3, per_second=True, seed=4))
    description = FlightDescription("f", 2, RECORD, flown, {"small": "integer"})
    again = FlightDescription.from_json(description.to_json(), "x.mcap")
    assert again.settings == flown
    assert again.machine == description.machine
    assert again.ensemble.networks == RECORD.networks
    assert again.ensemble.calibration.head_cell_gain.size == GRID.classes
    with pytest.raises(RecordingError, match=r"x\.mcap: .* damaged"):
        FlightDescription.from_json('{"schema_version": 1}', "x.mcap")
    with pytest.raises(RecordingError, match="schema version 9"):
        FlightDescription.from_json('{"schema_version": 9}', "x.mcap")
