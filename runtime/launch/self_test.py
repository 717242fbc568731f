"""Five seconds of the real networks at the pace of a flight: whether this machine keeps up."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from gearshift.runtime.decide.policy import Policy
from gearshift.runtime.ensembles.ensemble import Ensemble
from gearshift.runtime.ensembles.profile import NetworkProfile, Profile, ProfileKind, write_profile
from gearshift.runtime.errors import EngineError
from gearshift.runtime.launch.doctor import Finding, failure, ok, warning
from gearshift.runtime.launch.feasibility import networks_per_frame
from gearshift.runtime.launch.setup import warm_up
from gearshift.runtime.machine import this_machine
from gearshift.runtime.scoring.metrics import summarise_latency
from gearshift.runtime.types import NetworkRole

FEWEST_RUNS = 20
MS = 1e6


def time_networks(
    ensemble: Ensemble, rate_hz: float, seconds: float
) -> dict[NetworkRole, list[float]]:
    """Milliseconds of single runs of every network, one after the other on every frame, paced.

    Raises EngineError when one fails.
    """
    warm_up(ensemble)
    engines = {role: e for role in NetworkRole if (e := ensemble.engine(role)) is not None}
    times: dict[NetworkRole, list[float]] = {role: [] for role in engines}
    generator = np.random.default_rng(0)
    network = ensemble.small.network
    images = generator.integers(0, 256, (16, network.height, network.width), dtype=np.uint8)
    period_ns = round(1e9 / rate_hz)
    due_ns = time.monotonic_ns()
    for index in range(max(round(seconds * rate_hz), FEWEST_RUNS)):
        due_ns += period_ns
        time.sleep(max(due_ns - time.monotonic_ns(), 0) / 1e9)
        for role, engine in engines.items():
            before = time.monotonic_ns()
            engine.run(images[index % len(images)])
            times[role].append((time.monotonic_ns() - before) / MS)
    return times


def judge(
    ensemble: Ensemble, policy: Policy, rate_hz: float, times: Mapping[NetworkRole, list[float]]
) -> Iterator[Finding]:
    """Whether the networks fit into a frame."""
    period = 1e3 / rate_hz
    spreads = {role: summarise_latency(np.array(runs)) for role, runs in times.items()}
    for role, runs in times.items():
        engine = ensemble.engine(role)
        name = engine.network.name if engine is not None else ""
        spread = spreads[role]
        text = f"{role} {name}: p50 {spread.p50_ms:.2f}, p99 {spread.p99_ms:.2f}, "
        text += f"max {spread.max_ms:.2f} ms"
        yield ok("self-test", f"{text} ({len(runs)} runs at {rate_hz:g} Hz)")
    easy, hard = networks_per_frame(policy)
    usual = sum(spreads[role].p50_ms for role in easy if role in spreads)
    worst = sum(spreads[role].p99_ms for role in hard if role in spreads)
    if usual > period:
        yield failure(
            "self-test",
            f"easy frames take {usual:.1f} ms, a frame has {period:.1f} ms at {rate_hz:g} Hz; "
            "lower the rate or take smaller networks",
        )
    elif worst > period:
        yield warning(
            "self-test",
            f"hard frames take up to {worst:.1f} ms (p99), a frame has {period:.1f} ms: some will "
            "be missed; set limits.deadline_ms, or a policy.budget",
        )
    else:
        yield ok("self-test", f"hard frames take up to {worst:.1f} of {period:.1f} ms (p99)")


def examine_latency(
    ensemble: Ensemble, policy: Policy, rate_hz: float, seconds: float, profile: Path | None
) -> tuple[list[Finding], dict[str, object]]:
    """Time the networks and judge them; with `profile`, write what was measured to that file."""
    try:
        times = time_networks(ensemble, rate_hz, seconds)
    except EngineError as error:
        return [failure("self-test", str(error))], {}
    found = list(judge(ensemble, policy, rate_hz, times))
    if profile is not None:
        write_profile(profile, measured_profile(ensemble, rate_hz, times))
        found.append(ok("profile", f"written to {profile}; name it in limits.profile"))
    spreads = {role: summarise_latency(np.array(runs)) for role, runs in times.items()}
    return found, {
        str(role): {
            "p50": spread.p50_ms,
            "p99": spread.p99_ms,
            "max": spread.max_ms,
            "runs": len(times[role]),
        }
        for role, spread in spreads.items()
    }


def measured_profile(
    ensemble: Ensemble, rate_hz: float, times: Mapping[NetworkRole, list[float]]
) -> Profile:
    """What was measured, in the format that replay and feasibility read."""
    machine = this_machine()
    networks = {}
    for role, runs in times.items():
        reference = ensemble.networks[role]
        networks[reference.name] = NetworkProfile.timed(reference.sha256, runs)
    engines = ", ".join(f"{role} by {name}" for role, name in ensemble.engines.items())
    return Profile(
        device=machine.processor,
        kind=ProfileKind.MEASURED,
        method=f"gearshift doctor: every network once a frame, paced at {rate_hz:g} Hz; {engines}",
        versions={**machine.versions, "governor": machine.governor, "system": machine.system},
        networks=networks,
    )
