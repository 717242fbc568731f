"""Replaying recorded flights through the real scheduler with real engines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from gearshift.runtime.decide.policy import Policy, Signal
from gearshift.runtime.ensembles.ensemble import Ensemble
from gearshift.runtime.errors import ConfigurationError, FrameError, RecordingError
from gearshift.runtime.recordings.recording import RecordedFrame, RecordingReader
from gearshift.runtime.recordings.recording_messages import Decision
from gearshift.runtime.recordings.recording_writer import RecordingWriter
from gearshift.runtime.scheduling.description import ATTRIBUTE, FlightDescription, SchedulerSettings
from gearshift.runtime.scoring.counted_frames import absolute_error, angular_mask, scored_frames
from gearshift.runtime.types import (
    Component,
    Estimate,
    FloatArray,
    Frame,
    GroundTruth,
    NetworkRole,
    interfaces,
)
from gearshift.sim.replay.clock import Clock, stream, truth_at
from gearshift.sim.traces.oracle import bind_oracle, true_gain
from gearshift.sim.traces.run_cost import combination

NS_PER_MS: Final = 1e6


@dataclass(frozen=True, slots=True)
class ReplaySettings:
    """How to fly again.

    policy: what stands behind `scheduler.policy`. clock: on the real one, latency_ms (8,) gives
    each combination of networks its latency on a device. loop_on_board: choices too are made on the
    board that runs the networks.
    """

    policy: Policy
    scheduler: SchedulerSettings
    clock: Clock = Clock.FRAME
    loop_on_board: bool = False
    latency_ms: tuple[float, ...] | None = None
    allow_truncated: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class ReplayedFlight:
    """What came out for one recording: m processed of `frames` recorded frames.

    values, truth: (m, n) float32; truth is that of the moment the estimate is scored at, NaN where
    unknown. scored: (m,) bool. latency_ms: (m,) from a frame's arrival at a free scheduler to its
    estimate: measured on the frame clock, of the device profile on the real one. age_ms: (m,) from
    capture to estimate. seen: (m,) int8, whether the head was in view then: 1, 0, or -1 unknown.
    """

    recording: str
    room: str
    person: str
    frames: int
    estimates: tuple[Estimate, ...]
    values: FloatArray
    truth: FloatArray
    scored: NDArray[np.bool_]
    latency_ms: NDArray[np.float64]
    age_ms: NDArray[np.float64]
    seen: NDArray[np.int8]

    @property
    def missed(self) -> int:
        """Frames for which a busy scheduler had no time."""
        return self.frames - len(self.estimates)


def replay_recording(
    path: Path,
    ensemble: Ensemble,
    settings: ReplaySettings,
    record_to: tuple[Path, FlightDescription] | None = None,
) -> ReplayedFlight:
    """Fly one recording again; with `record_to`, write it anew with every decision and what those
    hang on.

    Raises RecordingError, FrameError (which names the frame) and ConfigurationError.
    """
    reader = RecordingReader(path, allow_truncated=settings.allow_truncated)
    components = ensemble.small.network.components
    if interfaces(reader.header.components) != interfaces(components):
        raise ConfigurationError(
            f"{path} holds {', '.join(c.name for c in reader.header.components)}; ensemble "
            f"{ensemble.name} gives {', '.join(c.name for c in components)}"
        )
    scheduler = _loop(path, ensemble, settings, reader)
    if record_to is None:
        return _fly(path, scheduler, settings, reader, None)
    target, description = record_to
    if target.resolve() == path.resolve():
        raise ConfigurationError(f"{target} is the recording that is replayed")
    header = reader.header
    attributes = {**header.attributes, "replayed": path.name, ATTRIBUTE: description.to_json()}
    with RecordingWriter(
        target, camera=header.camera, components=header.components, attributes=attributes
    ) as writer:
        return _fly(path, scheduler, settings, reader, writer)


class Loop(Protocol):
    """What flies: a `Scheduler` here, or the adaptive loop of a board."""

    @property
    def components(self) -> tuple[Component, ...]:
        """What its estimates say."""

    @property
    def outputs(self) -> Mapping[NetworkRole, FloatArray]:
        """What the networks said of the last frame."""

    def process(self, frame: Frame) -> Estimate:
        """The estimate for one frame."""


def _loop(
    path: Path, ensemble: Ensemble, settings: ReplaySettings, reader: RecordingReader
) -> Loop:
    if settings.loop_on_board:
        from gearshift.firmware_bridge.board.board_loop import loop_of_ensemble

        return loop_of_ensemble(ensemble, settings.policy, settings.scheduler, replay=True)
    signal: Signal | None = None
    if settings.policy.replay_only:
        if settings.clock is Clock.REAL:
            raise ConfigurationError(
                f"policy {settings.policy.name} knows the truth per frame: use the frame clock"
            )
        signal = _oracle(path, ensemble, reader)
    return settings.scheduler.scheduler(ensemble, settings.policy, replay=True, signal=signal)


def _oracle(path: Path, ensemble: Ensemble, reader: RecordingReader) -> Signal:
    """Both networks run over the flight first, to know which would have been right."""
    small, large, truths = [], [], []
    for entry in reader:
        small.append(ensemble.small.run(entry.frame.image).copy())
        large.append(ensemble.large.run(entry.frame.image).copy())
        truths.append(entry.truth)
    if not any(truths):
        raise ConfigurationError(f"{path} has no ground truth, which the oracle needs")
    components = ensemble.small.network.components
    truth, visible = _columns(truths, len(components))
    return bind_oracle(true_gain(components, truth, visible, np.array(small), np.array(large)))


def _fly(
    path: Path,
    scheduler: Loop,
    settings: ReplaySettings,
    reader: RecordingReader,
    writer: RecordingWriter | None,
) -> ReplayedFlight:
    components = scheduler.components
    angular = angular_mask(components)
    flown = _real_clock if settings.clock is Clock.REAL else _frame_clock
    times: list[int] = []
    truths: list[GroundTruth | None] = []
    estimates: list[Estimate] = []
    latency: list[float] = []
    try:
        for entry, estimate, milliseconds in flown(scheduler, settings, reader):
            times.append(entry.frame.capture_time_ns)
            truths.append(entry.truth)
            if estimate is not None:
                estimates.append(estimate)
                latency.append(milliseconds)
            if writer is not None:
                decision = None if estimate is None else Decision(estimate, scheduler.outputs)
                writer.write_frame(entry.frame, entry.truth, decision)
    except FrameError as error:
        raise FrameError(f"{path}, frame {len(times)}: {error}") from error
    if not times:
        raise RecordingError(f"{path} has no frames")
    truth, visible = _columns(truths, len(components))
    time_ns = np.array(times, dtype=np.int64)
    captured = np.array([e.capture_time_ns for e in estimates], dtype=np.int64)
    published = np.array([e.publish_time_ns for e in estimates], dtype=np.int64)
    at = published if settings.clock is Clock.REAL else captured
    then, seen = truth_at(time_ns, truth, visible, angular, at)
    values = np.array([e.values for e in estimates], dtype=np.float32)
    attributes = reader.header.attributes
    return ReplayedFlight(
        recording=path.name,
        room=attributes.get("room", ""),
        person=attributes.get("person", ""),
        frames=len(times),
        estimates=tuple(estimates),
        values=values,
        truth=then,
        scored=scored_frames(then, seen, angular) & ~np.isnan(values).any(axis=-1),
        latency_ms=np.array(latency, dtype=np.float64),
        age_ms=(published - captured) / NS_PER_MS,
        seen=np.where(_known(time_ns, truths, at), seen, -1).astype(np.int8),
    )


def _known(
    time_ns: NDArray[np.int64], truths: Sequence[GroundTruth | None], at_ns: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """(m,) whether the frame before each moment, within the flight, has ground truth."""
    before = np.searchsorted(time_ns, at_ns, side="right") - 1
    has = np.array([truth is not None for truth in truths], dtype=np.bool_)
    known: NDArray[np.bool_] = has[before] & (at_ns <= time_ns[-1])
    return known


Flown = Iterator[tuple[RecordedFrame, Estimate | None, float]]


def _frame_clock(scheduler: Loop, _settings: ReplaySettings, reader: RecordingReader) -> Flown:
    """Every frame, timed here."""
    for entry in reader:
        estimate = scheduler.process(entry.frame)
        yield entry, estimate, estimate.times.total / NS_PER_MS


def _real_clock(scheduler: Loop, settings: ReplaySettings, reader: RecordingReader) -> Flown:
    """Those frames for which the device has time; the others come without an estimate.

    Reads twice: the times first, then the images, which do not all fit into memory.
    """
    if settings.latency_ms is None:
        raise ConfigurationError("the real clock needs the profile of a device")
    arrivals = np.array([entry.frame.capture_time_ns for entry in reader], dtype=np.int64)
    entries = enumerate(reader)
    skipped: list[RecordedFrame] = []
    current: list[tuple[RecordedFrame, Estimate, float]] = []

    def process(wanted: int) -> int:
        for index, entry in entries:
            if index == wanted:
                estimate = scheduler.process(entry.frame)
                milliseconds = latency_ms[combination(estimate.networks)]
                current.append((entry, estimate, milliseconds))
                return round(milliseconds * NS_PER_MS)
            skipped.append(entry)
        raise RecordingError(f"{reader.path} changed while it was read")

    latency_ms = settings.latency_ms
    for slot in stream(arrivals, process):
        entry, estimate, milliseconds = current.pop()
        for missed in skipped:
            yield missed, None, 0.0
        skipped.clear()
        yield entry, replace(estimate, publish_time_ns=slot.published_ns), milliseconds
    for _, entry in entries:
        yield entry, None, 0.0


def _columns(truths: Sequence[GroundTruth | None], n: int) -> tuple[FloatArray, NDArray[np.bool_]]:
    """(N, n) values, NaN where unknown, and (N,) visibility."""
    unknown = (float("nan"),) * n
    values = np.array([unknown if t is None else t.values for t in truths], dtype=np.float32)
    visible = np.array([t is not None and t.visible for t in truths], dtype=np.bool_)
    return values.reshape(-1, n), visible


def component_errors(flight: ReplayedFlight, components: tuple[Component, ...]) -> FloatArray:
    """(scored, n) absolute errors of a flight."""
    return absolute_error(
        flight.values[flight.scored], flight.truth[flight.scored], angular_mask(components)
    )


def network_shares(flights: Sequence[ReplayedFlight]) -> Mapping[NetworkRole, float]:
    """Share of the processed frames on which each network ran."""
    estimates = [e for flight in flights for e in flight.estimates]
    return {
        role: sum(role in e.networks for e in estimates) / max(len(estimates), 1)
        for role in NetworkRole
    }
