"""A scheduler in one call, from names as they stand on a command line or from loaded objects."""

from __future__ import annotations

from pathlib import Path

from gearshift.runtime.decide.combination import Combination
from gearshift.runtime.decide.policy import Policy, PolicyOptions
from gearshift.runtime.decide.policy_registry import find_policy
from gearshift.runtime.ensembles.ensemble import Ensemble
from gearshift.runtime.ensembles.loading import load_ensemble
from gearshift.runtime.ensembles.thresholds import resolve_threshold
from gearshift.runtime.scheduling.deadline import DeadlineMonitor
from gearshift.runtime.scheduling.description import SchedulerSettings
from gearshift.runtime.scheduling.scheduler import Scheduler

NS_PER_MS = 1e6


def make_scheduler(
    ensemble: Ensemble | str | Path,
    policy: Policy | str,
    threshold: float | str | None = None,
    *,
    engine: str | None = None,
    combination: Combination | str = Combination.LARGE,
    filter_name: str | None = None,
    options: PolicyOptions | None = None,
    deadline_ms: float | None = None,
) -> Scheduler:
    """A scheduler whose `process` takes one `Frame` and gives one `Estimate`.

        scheduler = make_scheduler("D2", "anchor", "equal-error")
        for number, image in enumerate(images):          # (96, 160) uint8 each
            frame = Frame(image, time.monotonic_ns(), number)
            estimate = scheduler.process(frame)

    ensemble: one of the zoo by name, a TOML file, or a loaded one; `scheduler.ensemble.close()`
    gives its networks back. policy: its name, `FILE.py:NAME`, or one made with `@policy`.
    threshold: a number (-inf: always large), or the name of an operating point of the ensemble;
    policies without a signal go without. engine: what runs every network of an ensemble that is
    loaded here. combination: "large" or "fusion", what is accepted when both ran. filter_name:
    "none", "anchor" or "smooth", default the policy's own. deadline_ms: large is not started when
    it is expected to come later than this.

    `process` wants images of the networks' size, and capture times that grow, in nanoseconds of
    one clock: distances, gaps and filters go by them. Call `scheduler.reset()` between flights. Not
    thread-safe. Raises ConfigurationError for what does not exist or does not fit together,
    NetworkError for a network that is damaged.
    """
    chosen = find_policy(policy) if isinstance(policy, str) else policy
    loaded = ensemble
    if not isinstance(loaded, Ensemble):
        loaded = load_ensemble(loaded, engine=engine)
    settings = SchedulerSettings(
        policy=policy if isinstance(policy, str) else policy.name,
        threshold=resolve_threshold(threshold, loaded.record, chosen),
        options=options or PolicyOptions(),
        combination=Combination(combination),
        filter_name=filter_name,
        deadline_ms=deadline_ms,
    )
    deadline = None if deadline_ms is None else DeadlineMonitor(round(deadline_ms * NS_PER_MS))
    return settings.scheduler(loaded, chosen, deadline=deadline)
