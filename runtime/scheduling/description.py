"""What a flight's decisions hang on besides its frames and network outputs.

It stands in the recording's metadata, so that a recorded flight can be decided again from the file
alone, and so that a scheduler is made in one way wherever one is needed.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from gearshift.runtime.decide.combination import Combination
from gearshift.runtime.decide.policy import Policy, PolicyOptions, Signal
from gearshift.runtime.ensembles.ensemble import Ensemble
from gearshift.runtime.ensembles.ensemble_records import (
    EnsembleRecord,
    ensemble_document,
    json_number,
    parse_ensemble,
)
from gearshift.runtime.errors import RecordingError
from gearshift.runtime.machine import Machine, this_machine
from gearshift.runtime.scheduling.deadline import Deadline
from gearshift.runtime.scheduling.scheduler import Clock, Scheduler

SCHEMA_VERSION = 1
ATTRIBUTE = "flight"
"""The attribute of a recording that holds the document."""


@dataclass(frozen=True, slots=True)
class SchedulerSettings:
    """How an ensemble is flown.

    policy: its name, or FILE.py:NAME. threshold: None for a policy without a signal; where it moves
    in flight, the one at the start. filter_name: None for the policy's own.
    """

    policy: str
    threshold: float | None = None
    options: PolicyOptions = field(default_factory=PolicyOptions)
    combination: Combination = Combination.LARGE
    filter_name: str | None = None
    deadline_ms: float | None = None

    def scheduler(
        self,
        ensemble: Ensemble,
        policy: Policy,
        *,
        deadline: Deadline | None = None,
        replay: bool = False,
        signal: Signal | None = None,
        clock: Clock = time.perf_counter_ns,
        fault_level: int = logging.WARNING,
    ) -> Scheduler:
        """A scheduler for `policy`, which is what stands behind the name here.

        The other arguments are those of `Scheduler`. Raises ConfigurationError when ensemble and
        settings do not fit together.
        """
        return Scheduler(
            ensemble,
            policy,
            self.threshold,
            self.options,
            combination=self.combination,
            filter_name=self.filter_name,
            deadline=deadline,
            replay=replay,
            signal=signal,
            clock=clock,
            fault_level=fault_level,
        )


@dataclass(frozen=True, slots=True, eq=False)
class FlightDescription:
    """One flight: which networks, calibrated how, flown how, on what machine.

    engines: what ran each network, by role. part: recordings are split; parts of one flight have
    one `flight` and count from 0.
    """

    flight: str
    part: int
    ensemble: EnsembleRecord
    settings: SchedulerSettings
    engines: Mapping[str, str]
    machine: Machine = field(default_factory=this_machine)

    def to_json(self) -> str:
        """The document that a recording carries."""
        settings = asdict(self.settings)
        if self.settings.threshold is not None:
            settings["threshold"] = json_number(self.settings.threshold)
        return json.dumps(
            {
                "schema_version": SCHEMA_VERSION,
                "flight": self.flight,
                "part": self.part,
                "ensemble": {"name": self.ensemble.name, **ensemble_document(self.ensemble)},
                "settings": settings,
                "engines": dict(self.engines),
                "machine": asdict(self.machine),
            }
        )

    @classmethod
    def from_json(cls, text: str, where: str) -> FlightDescription:
        """Inverse of `to_json`; `where` names the recording in errors. Raises RecordingError."""
        try:
            document = json.loads(text)
            version = document["schema_version"]
            if version != SCHEMA_VERSION:
                raise RecordingError(
                    f"{where}: its flight has schema version {version}, this gearshift reads "
                    f"{SCHEMA_VERSION}; decide it again with the gearshift that flew it"
                )
            ensemble, settings = document["ensemble"], document["settings"]
            threshold = settings["threshold"]
            machine = document["machine"]
            return cls(
                flight=document["flight"],
                part=int(document["part"]),
                ensemble=parse_ensemble(ensemble.pop("name"), ensemble),
                settings=SchedulerSettings(
                    policy=settings["policy"],
                    threshold=None if threshold is None else float(threshold),
                    options=PolicyOptions(**settings["options"]),
                    combination=Combination(settings["combination"]),
                    filter_name=settings["filter_name"],
                    deadline_ms=settings["deadline_ms"],
                ),
                engines=document["engines"],
                machine=Machine(**{**machine, "features": tuple(machine["features"])}),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RecordingError(
                f"{where}: what it says about its flight is damaged "
                f"({type(error).__name__}: {error})"
            ) from error
