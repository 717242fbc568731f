"""Measuring networks on the machine at hand, and composing a system's latency from them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from gearshift.runtime.ensembles.profile import NetworkProfile, Profile, ProfileKind
from gearshift.runtime.machine import this_machine
from gearshift.runtime.scoring.metrics import LatencySummary, summarise_latency
from gearshift.runtime.types import Image
from gearshift.sim.traces.make_trace import Engines
from gearshift.sim.traces.run_cost import roles_of
from gearshift.sim.traces.trace_sweep import Members

Samples = Mapping[str, NDArray[np.float64]]
"""Milliseconds of every timed run, by network name."""
WARM_UP = 20
DRAWS = 20_000


def time_networks(engines: Engines, images: Sequence[Image]) -> Samples:
    """Time every network on every image, one after the other as a scheduler runs them (hot)."""
    samples = {name: np.zeros(len(images)) for name in engines}
    for engine, _ in engines.values():
        for image in images[:WARM_UP]:
            engine.run(image)
    for index, image in enumerate(images):
        for name, (engine, _) in engines.items():
            started = time.perf_counter_ns()
            engine.run(image)
            samples[name][index] = (time.perf_counter_ns() - started) * 1e-6
    return samples


def measured_profile(engines: Engines, samples: Samples, what: str) -> Profile:
    """The timed runs as a profile of this machine; what: the images they ran on."""
    networks = {
        name: NetworkProfile.timed(engines[name][1], milliseconds.tolist())
        for name, milliseconds in samples.items()
    }
    machine = this_machine()
    return Profile(
        device=machine.processor,
        kind=ProfileKind.MEASURED,
        method=f"every network in turn, back to back, on {what}; one thread",
        versions={**machine.versions, "system": machine.system},
        networks=networks,
    )


def compose(
    samples: Samples, members: Members, counts: NDArray[np.int64], seed: int = 0
) -> LatencySummary:
    """Latency of a system that ran each combination of networks counts (8,) times.

    Sums of independently drawn runs, since the frames timed are not those of the trace.
    """
    generator = np.random.default_rng(seed)
    share = counts / max(int(counts.sum()), 1)
    drawn = []
    for number in np.flatnonzero(counts):
        total = np.zeros(max(1, round(DRAWS * float(share[number]))))
        for role in roles_of(int(number)):
            total += generator.choice(samples[members[role]], len(total))
        drawn.append(total)
    return summarise_latency(np.concatenate(drawn) if drawn else np.zeros(0))
