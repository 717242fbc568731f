"""From a validated `flight.toml` to a flight that is ready for take-off."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType

import numpy as np

from gearshift.runtime.cameras.camera_file import read_camera
from gearshift.runtime.cameras.rectifier import View, network_view
from gearshift.runtime.decide.policy import Policy
from gearshift.runtime.decide.policy_registry import find_policy
from gearshift.runtime.engines.engine_registry import find_engine
from gearshift.runtime.engines.network import find_network_source
from gearshift.runtime.ensembles.ensemble import Ensemble, assemble
from gearshift.runtime.ensembles.ensemble_records import read_ensemble
from gearshift.runtime.ensembles.loading import is_ensemble_file, load_ensemble
from gearshift.runtime.ensembles.thresholds import resolve_threshold
from gearshift.runtime.errors import ConfigurationError, EngineError, GearshiftError
from gearshift.runtime.files.toml_lines import Key
from gearshift.runtime.flight.budget import ThresholdController
from gearshift.runtime.flight.outbox import NamedSink
from gearshift.runtime.flight.pipeline import Flight, FlightLimits, Observer, guarded
from gearshift.runtime.flight.view import Viewer
from gearshift.runtime.launch.configuration import FlightConfig
from gearshift.runtime.scheduling.deadline import DeadlineMonitor
from gearshift.runtime.scheduling.description import FlightDescription, SchedulerSettings
from gearshift.runtime.sinks.sink import FlightInfo
from gearshift.runtime.sources.source import Source
from gearshift.runtime.types import Camera, NetworkRole

logger = logging.getLogger(__name__)

NS_PER_MS = 1e6
WARM_UP_RUNS = 3


@dataclass(frozen=True, slots=True)
class ReadyFlight:
    """A flight with what has to be given back after it.

        with ready as flight:             # takes off: sinks open, frames come in
            while not flight.wait(0.05):
                steer(flight.last)        # the latest `Report`, or None

    At the end of the block the flight lands and gives everything back; a source that failed for
    good raises its SourceError there.
    """

    flight: Flight
    ensemble: Ensemble
    policy: Policy

    def close(self) -> None:
        """Close the networks that are not held up."""
        self.ensemble.close()

    def __enter__(self) -> Flight:
        try:
            self.flight.start()
        except BaseException:
            self.close()
            raise
        return self.flight

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Networks that a thread is still stuck in are not closed under it, see `guarded`.
        self.flight.stop()
        self.close()
        if error is None and self.flight.error is not None:
            raise self.flight.error


def build_flight(
    config: FlightConfig,
    *,
    more_sinks: Sequence[NamedSink] = (),
    observer: Observer | None = None,
    on_end: Callable[[], None] = lambda: None,
    on_phase: Callable[[str], None] = lambda _: None,
) -> ReadyFlight:
    """Load the networks, open the source, and put the flight together; `Flight.start` begins it.

    more_sinks: beside those of the file. on_phase: told "networks" when they are loaded and warm,
    and "source" when it is open.
    Raises GearshiftError: ConfigurationError with the line of the file where one is to blame,
    SourceError when the source cannot be opened.
    """
    policy = flown_policy(config)
    source = flown_source(config)
    ensemble = flown_ensemble(config)
    try:
        warm_up(ensemble)
        on_phase("networks")
        source.open()
        on_phase("source")
        try:
            flight = _put_together(
                config,
                policy,
                guarded(ensemble),
                source,
                more_sinks=more_sinks,
                observer=observer,
                on_end=on_end,
            )
        except GearshiftError:
            source.close()
            raise
    except GearshiftError:
        ensemble.close()
        raise
    return ReadyFlight(flight, flight.scheduler.ensemble, policy)


def flown_source(config: FlightConfig) -> Source:
    """The source of a flight, not yet open; raises ConfigurationError."""
    try:
        return config.source.plugin.make(config.source.options)
    except ConfigurationError as error:
        raise config.document.error(("source",), str(error)) from error


def flown_policy(config: FlightConfig) -> Policy:
    """The policy of a flight; raises ConfigurationError for one that cannot fly."""
    section = config.sections.policy
    try:
        policy = find_policy(section.name)
    except ConfigurationError as error:
        raise config.document.error(("policy", "name"), str(error)) from error
    if policy.replay_only:
        raise config.document.error(
            ("policy", "name"), f"policy {policy.name} reads ground truth; it works in replay only"
        )
    if policy.signal is None and config.budget is not None:
        raise config.document.error(
            ("policy", "budget"), f"policy {policy.name} has no threshold that a budget could move"
        )
    return policy


def flown_ensemble(config: FlightConfig) -> Ensemble:
    """The ensemble of a flight with its networks loaded, each by the engine it is to have."""
    section = config.sections.ensemble
    chosen = {role: section.engine_of(role) for role in NetworkRole}
    try:
        if is_ensemble_file(section.name):
            if any(getattr(section.engines, role) for role in NetworkRole):
                raise ConfigurationError(
                    f"{section.name} says itself which engine runs which network; "
                    "leave out 'ensemble.engines'"
                )
            return load_ensemble(section.name, engine=section.engine)
        record = read_ensemble(section.name)
    except ConfigurationError as error:
        raise config.document.error(("ensemble", "name"), str(error)) from error
    for role, engine in chosen.items():
        if engine is not None:
            try:
                find_engine(engine)
            except ConfigurationError as error:
                raise config.document.error(engine_key(config, role), str(error)) from error
    sources = {r: (find_network_source(n.name), chosen[r]) for r, n in record.networks.items()}
    try:
        return assemble(record, sources)
    except ConfigurationError as error:
        raise config.document.error(("ensemble",), str(error)) from error


def engine_key(config: FlightConfig, role: NetworkRole) -> Key:
    """Where the file says what runs a network."""
    if getattr(config.sections.ensemble.engines, role) is not None:
        return ("ensemble", "engines", str(role))
    return ("ensemble", "engine")


def flown_threshold(config: FlightConfig, policy: Policy, ensemble: Ensemble) -> float | None:
    """The threshold to begin with; None for a policy without one."""
    given = config.sections.policy.threshold
    if given is None and policy.signal is not None and config.budget is not None:
        # Found from the first signals; large answers until then.
        return -math.inf
    try:
        return resolve_threshold(
            given, ensemble.record, policy, wanted="a threshold or a policy.budget"
        )
    except ConfigurationError as error:
        raise config.document.error(("policy", "threshold"), str(error)) from error


def flown_view(ensemble: Ensemble) -> View:
    """What the ensemble's networks expect to see."""
    engines = (ensemble.small, ensemble.large, ensemble.aux)
    return network_view(engine.network for engine in engines if engine is not None)


def source_camera(config: FlightConfig, source: Source) -> Camera | None:
    """The intrinsics of an open source: those of the file that is named, or its own."""
    if config.source.calibration is None:
        return source.camera
    try:
        return read_camera(config.source.calibration)
    except ConfigurationError as error:
        raise config.document.error(("source", "calibration"), str(error)) from error


def warm_up(ensemble: Ensemble) -> None:
    """Run every network a few times: the first run allocates and is many times slower."""
    for engine in (ensemble.small, ensemble.large, ensemble.aux):
        if engine is None:
            continue
        blank = np.zeros((engine.network.height, engine.network.width), dtype=np.uint8)
        try:
            for _ in range(WARM_UP_RUNS):
                engine.run(blank)
        except EngineError as error:
            logger.warning("%s; the flight begins without it", error)


def scheduler_settings(
    config: FlightConfig, threshold: float | None, deadline_ms: float | None
) -> SchedulerSettings:
    """What the decisions hang on."""
    section = config.sections.policy
    return SchedulerSettings(
        policy=section.name,
        threshold=threshold,
        options=section.options(),
        combination=config.combination,
        filter_name=section.filter,
        deadline_ms=deadline_ms,
    )


def _put_together(
    config: FlightConfig,
    policy: Policy,
    ensemble: Ensemble,
    source: Source,
    *,
    more_sinks: Sequence[NamedSink],
    observer: Observer | None,
    on_end: Callable[[], None],
) -> Flight:
    threshold = flown_threshold(config, policy, ensemble)
    deadline_ms = _deadline_ms(config, source)
    settings = scheduler_settings(config, threshold, deadline_ms)
    deadline = None if deadline_ms is None else DeadlineMonitor(round(deadline_ms * NS_PER_MS))
    try:
        scheduler = settings.scheduler(
            ensemble, policy, deadline=deadline, replay=not source.live, clock=time.monotonic_ns
        )
    except ConfigurationError as error:
        raise config.document.error(("policy",), str(error)) from error
    view = flown_view(ensemble)
    info = FlightInfo(
        components=ensemble.small.network.components,
        camera=view.camera,
        start_unix_ns=time.time_ns(),
        start_monotonic_ns=time.monotonic_ns(),
        flight=FlightDescription(
            flight="",
            part=0,
            ensemble=ensemble.record,
            settings=settings,
            engines={str(role): name for role, name in ensemble.engines.items()},
        ),
        attributes={"source": config.source.kind, "configuration": _as_text(config)},
    )
    budget = config.budget
    return Flight(
        source,
        scheduler,
        [
            *(
                NamedSink(c.name, c.plugin.make(c.options), c.required, c.plugin.patience_s)
                for c in config.sinks
            ),
            *more_sinks,
        ],
        info,
        limits=flight_limits(config),
        prepare=Viewer(view, source_camera(config, source)),
        controller=None if budget is None else ThresholdController(budget, threshold),
        observer=observer,
        on_end=on_end,
    )


def flight_limits(config: FlightConfig) -> FlightLimits:
    """The limits in the pipeline's units."""
    limits = config.sections.limits
    return FlightLimits(
        max_age_ns=round(config.source.max_age_ms * NS_PER_MS),
        max_estimate_age_ns=round(limits.max_estimate_age_s * 1e9),
        stall_ns=round(limits.stall_ms * NS_PER_MS),
        presence_every=config.sections.presence.every,
        presence=config.presence_rule,
    )


def _deadline_ms(config: FlightConfig, source: Source) -> float | None:
    """As it was given, or else one frame period of a live source."""
    limits = config.sections.limits
    if limits.deadline_ms is not None:
        return limits.deadline_ms or None
    rate = limits.rate_hz or source.rate_hz
    return 1000 / rate if rate and source.live else None


def _as_text(config: FlightConfig) -> str:
    import json

    return json.dumps(config.resolved(), sort_keys=True, default=str)
