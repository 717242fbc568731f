"""Replaying as one call: from names and files to flights that were flown again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from gearshift.runtime.decide.combination import Combination
from gearshift.runtime.decide.policy import Policy, PolicyOptions
from gearshift.runtime.decide.policy_registry import find_policy
from gearshift.runtime.ensembles.ensemble import Ensemble
from gearshift.runtime.ensembles.ensemble_records import EnsembleRecord
from gearshift.runtime.ensembles.loading import load_ensemble
from gearshift.runtime.ensembles.profile import find_profile, read_profile
from gearshift.runtime.ensembles.thresholds import resolve_threshold
from gearshift.runtime.errors import ConfigurationError
from gearshift.runtime.machine import processor_name
from gearshift.runtime.scheduling.description import FlightDescription, SchedulerSettings
from gearshift.runtime.scoring.data_frame import data_frame
from gearshift.runtime.types import Component
from gearshift.sim.replay.clock import Clock
from gearshift.sim.replay.replay_report import ReplaySummary, replay_columns, summarise
from gearshift.sim.replay.replaying import ReplayedFlight, ReplaySettings, replay_recording
from gearshift.sim.traces.make_trace import find_recordings
from gearshift.sim.traces.run_cost import check_profile, latency_per_combination

if TYPE_CHECKING:
    from pandas import DataFrame

Progress = Callable[[Sequence[Path]], Iterable[Path]]


@dataclass(frozen=True, slots=True, eq=False)
class Replay:
    """Recordings that were flown again, and how.

    engines: what ran each network, by role. threshold: None for a policy without a signal.
    latency_source: where the latencies are from. flights: one per recording, with every estimate.
    """

    ensemble: str
    engines: Mapping[str, str]
    policy: str
    threshold: float | None
    filter_name: str
    clock: Clock
    latency_source: str
    components: tuple[Component, ...]
    flights: tuple[ReplayedFlight, ...]

    def summary(self, resamples: int = 1000) -> ReplaySummary:
        """Errors with intervals over flights, latency, and what ran how often."""
        return summarise(self.flights, self.components, resamples)

    def columns(self) -> dict[str, NDArray[Any]]:
        """A row per processed frame, (m,) each.

        recording, sequence, capture_time_ns, publish_time_ns, latency_ms; each component by its
        name, in its unit, NaN when lost; true_NAME: the truth of the moment the estimate is scored
        at, NaN where unknown; scored: it counts for errors; answered: whose output it is, "" when
        held or lost; networks: all that ran, joined by "+"; signal, threshold, reason.
        """
        return replay_columns(self.flights, self.components)

    def to_pandas(self) -> DataFrame:
        """`columns` as a DataFrame; raises MissingExtraError where pandas is missing."""
        return data_frame(self.columns())


def replay(
    recordings: Path | str | Iterable[Path | str],
    ensemble: Ensemble | str | Path,
    policy: Policy | str,
    threshold: float | str | None = None,
    *,
    engine: str | None = None,
    zoo: Path | None = None,
    combination: Combination | str = Combination.LARGE,
    filter_name: str | None = None,
    options: PolicyOptions | None = None,
    clock: Clock | str = Clock.FRAME,
    profile: str | None = None,
    record: Path | str | None = None,
    loop_on_board: bool = False,
    allow_truncated: bool = False,
    progress: Progress = lambda paths: paths,
) -> Replay:
    """Fly recorded flights again through the real scheduler and engines.

        replayed = replay("flights/", "D2", "anchor", "equal-error")
        replayed.summary().error["sum"]            # mean absolute error with its interval
        replayed.to_pandas()                       # a row per frame

    recordings: files, and folders of them. ensemble, policy, threshold, engine, combination,
    filter_name: as of `make_scheduler`; an ensemble that is loaded here is closed. zoo: the folder
    to look names up in. clock: "frame", every frame is processed and timed here; "real", frames
    come when they were captured and those are missed for which the device of `profile` (a name such
    as "gap8", or a file) has no time. record: writes the one recording anew with every decision, so
    that it can be decided again. loop_on_board: the board that runs the networks makes the choices
    too. allow_truncated: read a recording that was cut off up to its last whole frame. progress:
    goes through the recordings.

    Raises RecordingError for what is no recording, FrameError for frames that do not fit the
    networks, ConfigurationError for what does not exist or does not fit together.
    """
    given = [recordings] if isinstance(recordings, Path | str) else recordings
    paths = find_recordings([Path(each) for each in given])
    if record is not None and len(paths) != 1:
        raise ConfigurationError(
            f"one recording at a time can be written anew, but {len(paths)} are replayed"
        )
    chosen = find_policy(policy) if isinstance(policy, str) else policy
    with ExitStack() as stack:
        if isinstance(ensemble, Ensemble):
            loaded = ensemble
        else:
            loaded = load_ensemble(ensemble, zoo, engine=engine)
            stack.callback(loaded.close)
        scheduler = SchedulerSettings(
            policy=policy if isinstance(policy, str) else policy.name,
            threshold=resolve_threshold(threshold, loaded.record, chosen),
            options=options or PolicyOptions(),
            combination=Combination(combination),
            filter_name=filter_name,
        )
        latency, source = _latency(Clock(clock), profile, loaded.record, zoo)
        settings = ReplaySettings(
            policy=chosen,
            scheduler=scheduler,
            clock=Clock(clock),
            loop_on_board=loop_on_board,
            latency_ms=latency,
            allow_truncated=allow_truncated,
        )
        engines = {str(role): name for role, name in loaded.engines.items()}
        record_to = None
        if record is not None:
            _check_findable(policy)
            flown = FlightDescription("", 0, loaded.record, scheduler, engines)
            record_to = (Path(record), flown)
        flights = [replay_recording(path, loaded, settings, record_to) for path in progress(paths)]
    return Replay(
        ensemble=loaded.name,
        engines=engines,
        policy=chosen.name,
        threshold=scheduler.threshold,
        filter_name=filter_name or chosen.filter_name,
        clock=settings.clock,
        latency_source=source,
        components=loaded.small.network.components,
        flights=tuple(flights),
    )


def _latency(
    clock: Clock, profile: str | None, record: EnsembleRecord, zoo: Path | None
) -> tuple[tuple[float, ...] | None, str]:
    """What each combination of networks takes (None: to be measured), and where that is from."""
    if clock is Clock.FRAME:
        if profile is not None:
            raise ConfigurationError("a profile is for the real clock; the frame clock measures")
        return None, f"measured on this machine ({processor_name()}), networks and scheduler"
    if profile is None:
        raise ConfigurationError(
            "the real clock needs the profile of a device: a name like gap8, or a file"
        )
    device = read_profile(find_profile(profile, zoo))
    check_profile(device, {ref.name: ref.sha256 for ref in record.networks.values()})
    members = {role: reference.name for role, reference in record.networks.items()}
    latency = tuple(latency_per_combination(device, members).tolist())
    return latency, f"{device.kind}, {device.device}: {device.method}"


def _check_findable(policy: Policy | str) -> None:
    """A recording names its policy, so that its choices can be made again from the file alone."""
    if isinstance(policy, str):
        return
    try:
        found = find_policy(policy.name)
    except ConfigurationError:
        found = None
    if found is not policy:
        raise ConfigurationError(
            f"a recording says by what name its policy is found, and {policy.name!r} is not found; "
            "put it into a file and give 'FILE.py:NAME'"
        )
