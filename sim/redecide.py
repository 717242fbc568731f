"""Recomputing the decisions of a recording from the network outputs that were recorded with them.

No network runs, so the result is exact on any machine: what differs was decided by other code,
another calibration or another policy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from gearshift.runtime.engine import Engine
from gearshift.runtime.ensemble import Ensemble
from gearshift.runtime.errors import ConfigurationError, EngineError
from gearshift.runtime.network import Network
from gearshift.runtime.recording import RecordingReader
from gearshift.runtime.scheduler import Scheduler
from gearshift.runtime.types import (
    Estimate,
    EstimateFlag,
    FloatArray,
    Image,
    NetworkRole,
    Reason,
)
from gearshift.sim.replay import ReplaySettings

SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class Recomputed:
    """How many decisions of a recording came out the same.

    timed: those that hung on the clock of the flight (a deadline) and cannot be recomputed; they
    are left out. differences: one line for each of the first few that differ.
    """

    recording: str
    decisions: int
    timed: int
    differing: int
    differences: tuple[str, ...]


class _RecordedEngine:
    """Says what a network said on the current frame of a recording."""

    def __init__(self, network: Network, role: NetworkRole) -> None:
        self.network = network
        self._role = role
        self.outputs: Mapping[NetworkRole, FloatArray] = {}

    def run(self, _image: Image) -> FloatArray:
        """The recorded output; raises EngineError where the network did not run or failed."""
        output = self.outputs.get(self._role)
        if output is None or output.shape != (self.network.output_size,):
            raise EngineError(f"{self.network.name} gave no output on this frame")
        return output

    def close(self) -> None:
        """Nothing is held."""


def recompute(path: Path, ensemble: Ensemble, settings: ReplaySettings) -> Recomputed:
    """Decide every recorded frame again and compare, bit for bit.

    Raises RecordingError, and ConfigurationError when the recording has no decisions or the policy
    reads ground truth.
    """
    if settings.policy.replay_only:
        raise ConfigurationError(f"policy {settings.policy.name} reads ground truth, not outputs")
    engines: dict[NetworkRole, _RecordedEngine] = {}

    def recorded(role: NetworkRole) -> Engine | None:
        engine = ensemble.engine(role)
        if engine is None:
            return None
        engines[role] = _RecordedEngine(engine.network, role)
        return engines[role]

    small, large = recorded(NetworkRole.SMALL), recorded(NetworkRole.LARGE)
    if small is None or large is None:
        raise ConfigurationError(f"{ensemble.name} has no small or no large network")
    scheduler = Scheduler(
        replace(ensemble, small=small, large=large, aux=recorded(NetworkRole.AUX)),
        settings.policy,
        settings.threshold,
        settings.options,
        combination=settings.combination,
        filter_name=settings.filter_name,
        replay=True,
    )
    decisions = timed = 0
    differences: list[str] = []
    for entry in RecordingReader(path, allow_truncated=settings.allow_truncated):
        if entry.decision is None:
            continue
        decisions += 1
        for engine in engines.values():
            engine.outputs = entry.decision.outputs
        again = scheduler.process(entry.frame)
        if entry.decision.estimate.reason is Reason.DEADLINE:
            timed += 1
            continue
        different = _difference(entry.decision.estimate, again)
        if different:
            differences.append(f"{path}, frame {entry.frame.sequence}: {different}")
    if not decisions:
        raise ConfigurationError(
            f"{path} has no decisions; 'gearshift replay --record' writes some"
        )
    return Recomputed(
        recording=path.name,
        decisions=decisions,
        timed=timed,
        differing=len(differences),
        differences=tuple(differences[:SHOWN]),
    )


def _difference(then: Estimate, now: Estimate) -> str:
    """What differs first, "" when nothing does."""
    pairs: tuple[tuple[str, object, object], ...] = (
        ("reason", then.reason, now.reason),
        ("networks", sorted(then.networks), sorted(now.networks)),
        ("answered", then.answered, now.answered),
        ("signal", _bits(then.signal), _bits(now.signal)),
        ("values", [_bits(v) for v in then.values], [_bits(v) for v in now.values]),
        ("lost", EstimateFlag.LOST in then.flags, EstimateFlag.LOST in now.flags),
    )
    for name, before, after in pairs:
        if before != after:
            shown = (getattr(then, name, before), getattr(now, name, after))
            return f"{name} was {shown[0]}, is {shown[1]}"
    return ""


def _bits(value: float) -> bytes:
    """A float32's bits; every NaN is the same."""
    return b"nan" if math.isnan(value) else np.float32(value).tobytes()
