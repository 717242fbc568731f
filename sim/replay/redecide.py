"""Deciding a recorded flight again, from the recorded outputs or with the networks run again.

From recorded outputs no network runs, so the result is exact on any machine: what differs was
decided by other code, another calibration or another policy. With the networks run again, what
differs first says whether a network, its kernels or the decision changed. What hung on the clock or
on a fault of the flight (deadlines, failed networks, a moving threshold) is taken as recorded.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from gearshift.runtime.decide.policy import Policy
from gearshift.runtime.decide.policy_registry import find_policy
from gearshift.runtime.engines.engine import Engine
from gearshift.runtime.engines.engine_registry import load_engine
from gearshift.runtime.engines.network import Network
from gearshift.runtime.ensembles.ensemble import Ensemble, with_engines
from gearshift.runtime.ensembles.ensemble_records import EnsembleRecord
from gearshift.runtime.errors import ConfigurationError, EngineError, NetworkError
from gearshift.runtime.recordings.recording_messages import Decision
from gearshift.runtime.scheduling.deadline import RecordedDeadline
from gearshift.runtime.scheduling.description import SchedulerSettings
from gearshift.runtime.types import (
    Component,
    Estimate,
    EstimateFlag,
    FloatArray,
    Frame,
    HeadGrid,
    Image,
    NetworkRole,
    Reason,
)
from gearshift.sim.replay.recorded_flight import RecordedFlight

SHOWN: Final = 5
FRAME_OF_REFERENCE: Final = "as recorded"


@dataclass(frozen=True, slots=True)
class Changes:
    """What to decide with instead of what was flown; None leaves it as it was.

    A change of settings also replaces the recorded thresholds by the settings' one.
    """

    ensemble: EnsembleRecord | None = None
    settings: SchedulerSettings | None = None


@dataclass(frozen=True, slots=True)
class Redecided:
    """How many decisions of a flight came out the same.

    differences: one line for each of the first few that differ. largest: per role of a network that
    was run again, the largest absolute difference of an output from the recorded one.
    """

    flight: str
    decisions: int
    differing: int
    differences: tuple[str, ...]
    largest: Mapping[NetworkRole, float] = field(default_factory=dict)


@dataclass(slots=True)
class _Then:
    """What the flight said of the current frame."""

    outputs: Mapping[NetworkRole, FloatArray] = field(default_factory=dict)
    ran: tuple[NetworkRole, ...] = ()


class _RecordedEngine:
    """Says what a network said on the current frame of a recording."""

    def __init__(self, network: Network, role: NetworkRole, then: _Then) -> None:
        self.network = network
        self._role = role
        self._then = then

    def run(self, _image: Image) -> FloatArray:
        """The recorded output; raises EngineError where the network did not run or failed."""
        output = self._then.outputs.get(self._role)
        if output is None or output.shape != (self.network.output_size,):
            raise EngineError(f"{self.network.name} gave no output on this frame")
        return output

    def close(self) -> None:
        """Nothing is held."""


class _FaultyEngine:
    """Runs a network again, except where it failed in flight: there it fails again."""

    def __init__(self, engine: Engine, role: NetworkRole, then: _Then) -> None:
        self.network = engine.network
        self._engine = engine
        self._role = role
        self._then = then

    def run(self, image: Image) -> FloatArray:
        """The network's output; what it said or did not say in flight where that was a fault."""
        then = self._then
        if self._role in then.ran:
            recorded = then.outputs.get(self._role)
            if recorded is None:
                raise EngineError(f"{self.network.name} failed on this frame in flight")
            if not np.isfinite(recorded).all():
                return recorded
        return self._engine.run(image)

    def close(self) -> None:
        """Close the engine."""
        self._engine.close()


def decide_again(flight: RecordedFlight, changes: Changes = Changes()) -> Redecided:
    """Decide every recorded frame again from the recorded outputs and compare, bit for bit.

    Raises RecordingError, and ConfigurationError when there is no decision, or the policy reads
    ground truth or cannot be found.
    """
    then = _Then()
    record = changes.ensemble or flight.description.ensemble
    frame, first = _first(flight)
    networks = {
        role: _recorded_network(reference.name, role, record, frame, first)
        for role, reference in record.networks.items()
    }
    engines: dict[NetworkRole, Engine] = {
        role: _RecordedEngine(network, role, then) for role, network in networks.items()
    }
    return _decide(flight, changes, engines, then, None)


def infer_again(
    flight: RecordedFlight,
    changes: Changes = Changes(),
    *,
    zoo: Path | None = None,
    engine: str | None = None,
    networks: Ensemble | None = None,
    tolerance: float = 0.0,
) -> Redecided:
    """Run the networks again on every recorded frame and compare outputs and decisions.

    zoo: where the recorded names are looked up. engine: runs them instead of the recorded ones.
    networks: loaded ones to run instead, closed afterwards. tolerance: largest absolute difference
    of an output that counts as equal. Raises what `decide_again` and `load_engine` raise.
    """
    then = _Then()
    record = changes.ensemble or flight.description.ensemble
    engines: dict[NetworkRole, Engine] = {}
    for role, reference in record.networks.items():
        opened = networks.engine(role) if networks is not None else None
        if opened is None:
            chosen = engine or flight.description.engines.get(role)
            try:
                opened = load_engine(reference.name, zoo, engine=chosen)
            except NetworkError as error:
                raise NetworkError(
                    f"{flight.name}: its {role} network is not there ({error}); give --zoo, or "
                    "--ensemble FILE.toml where it was an ensemble of your own"
                ) from error
        engines[role] = _FaultyEngine(opened, role, then)
    try:
        return _decide(flight, changes, engines, then, tolerance)
    finally:
        for each in engines.values():
            each.close()


def _decide(
    flight: RecordedFlight,
    changes: Changes,
    engines: Mapping[NetworkRole, Engine],
    then: _Then,
    tolerance: float | None,
) -> Redecided:
    """tolerance None: the outputs are the recorded ones and need not be compared."""
    record = changes.ensemble or flight.description.ensemble
    settings = changes.settings or flight.description.settings
    policy = _portable_policy(settings)
    ensemble = with_engines(record, engines)
    deadline = RecordedDeadline()
    # Faults of the flight are expected here, and it said so then.
    scheduler = settings.scheduler(
        ensemble, policy, deadline=deadline, replay=True, fault_level=logging.DEBUG
    )
    follows = changes.settings is None and policy.signal is not None
    largest: dict[NetworkRole, float] = {}
    decisions = differing = 0
    differences: list[str] = []
    for frame, decision in flight.decisions():
        recorded = decision.estimate
        then.outputs, then.ran = decision.outputs, recorded.networks
        deadline.forbade = recorded.reason is Reason.DEADLINE
        if follows:
            scheduler.set_threshold(recorded.threshold)
        again = scheduler.process(frame)
        decisions += 1
        different = ""
        if tolerance is not None:
            different = _outputs_differ(decision.outputs, scheduler.outputs, tolerance, largest)
        different = different or _choice_differs(recorded, again, tolerance)
        if different:
            differing += 1
            if len(differences) < SHOWN:
                differences.append(
                    f"frame {frame.sequence} (decision {recorded.index}): {different}"
                )
    return Redecided(flight.name, decisions, differing, tuple(differences), largest)


def _first(flight: RecordedFlight) -> tuple[Frame, Decision]:
    for frame, decision in flight.decisions():
        return frame, decision
    raise ConfigurationError(f"{flight.name} has no decisions; it was cut off before the first")


def _portable_policy(settings: SchedulerSettings) -> Policy:
    policy = find_policy(settings.policy)
    if policy.replay_only:
        raise ConfigurationError(f"policy {policy.name} reads ground truth, not outputs")
    return policy


def _recorded_network(
    name: str, role: NetworkRole, record: EnsembleRecord, frame: Frame, first: Decision
) -> Network:
    """As much of a network's interface as deciding needs."""
    components: tuple[Component, ...] = record.calibration.components
    grid: HeadGrid | None = None
    if role is NetworkRole.AUX:
        output = first.outputs.get(role)
        classes = record.calibration.head_cell_gain.size if output is None else len(output)
        # Only the number of classes matters; where the cells lie is not recorded.
        components, grid = (), HeadGrid(columns=max(classes, 2) - 1, rows=1)
    height, width = frame.image.shape
    return Network(
        name=name,
        height=height,
        width=width,
        components=components,
        grid=grid,
        frame_of_reference=FRAME_OF_REFERENCE,
        camera=frame.camera,
        architecture="",
        parameters=0,
        mac=0,
        training_set="",
        licence="",
    )


def _outputs_differ(
    then: Mapping[NetworkRole, FloatArray],
    now: Mapping[NetworkRole, FloatArray],
    tolerance: float,
    largest: dict[NetworkRole, float],
) -> str:
    """Which network says something else, "" when none does; keeps the largest differences."""
    found = ""
    for role, output in now.items():
        recorded = then.get(role)
        if recorded is None or recorded.shape != output.shape:
            continue
        with np.errstate(invalid="ignore"):
            distance = np.abs(output.astype(np.float64) - recorded)
        distance[~np.isfinite(recorded)] = 0.0
        largest[role] = max(largest.get(role, 0.0), float(distance.max(initial=0.0)))
        if not found and (distance > tolerance).any():
            worst = int(distance.argmax())
            found = f"{role}'s output {worst} was {recorded[worst]:.9g}, is {output[worst]:.9g}"
    return found


def _choice_differs(then: Estimate, now: Estimate, tolerance: float | None) -> str:
    """What differs first, "" when nothing does; numbers to the bit unless there is a tolerance."""
    exact = tolerance is None or tolerance == 0.0
    for name, before, after in _compared(then, now, exact=exact):
        if before != after:
            shown = (getattr(then, name, before), getattr(now, name, after))
            return f"{name} was {shown[0]}, is {shown[1]}"
    return ""


def _compared(
    then: Estimate, now: Estimate, *, exact: bool
) -> Iterator[tuple[str, object, object]]:
    if exact:
        yield "signal", _bits(then.signal), _bits(now.signal)
    yield "reason", then.reason, now.reason
    yield "networks", sorted(then.networks), sorted(now.networks)
    yield "answered", then.answered, now.answered
    if exact:
        yield "values", [_bits(v) for v in then.values], [_bits(v) for v in now.values]
    for flag in (EstimateFlag.LOST, EstimateFlag.HELD, EstimateFlag.DEGRADED):
        yield str(flag.name).lower(), flag in then.flags, flag in now.flags


def _bits(value: float) -> bytes:
    """A float32's bits; every NaN is the same."""
    return b"nan" if math.isnan(value) else np.float32(value).tobytes()
