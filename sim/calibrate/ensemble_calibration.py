"""What ensembles learn on `val`: their calibration, and the thresholds of every policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from gearshift.runtime.ensembles.ensemble_records import EnsembleRecord, NetworkReference
from gearshift.runtime.ensembles.profile import Profile
from gearshift.runtime.scoring.counted_frames import angular_mask, scored_frames
from gearshift.runtime.types import NetworkRole
from gearshift.sim.calibrate.fitting import calibrate
from gearshift.sim.compare.comparison import choose_on_val
from gearshift.sim.traces.trace import Trace
from gearshift.sim.traces.trace_sweep import Members


def calibrate_ensembles(
    val: Trace,
    profile: Profile,
    ensembles: Mapping[str, Members],
    say: Callable[[str], None] = lambda _what: None,
) -> list[EnsembleRecord]:
    """Ensembles of the networks of `val`, by name, with their tables and thresholds per policy.

    profile: the device whose latencies make the operating points. Raises TraceError when the trace
    or the profile lacks a network.
    """
    records = []
    for name, members in ensembles.items():
        say(f"{name}: calibrating on val")
        references = {
            role: NetworkReference(network, val.networks[network].sha256)
            for role, network in members.items()
        }
        records.append(EnsembleRecord(name, references, calibrate(val, members)))
    thresholds: dict[str, dict[str, dict[str, float]]] = {name: {} for name in ensembles}
    for choice in choose_on_val(records, val, profile, lambda name: say(f"{name}: choosing")):
        system = choice.system
        if not choice.points or system.policy.replay_only:
            continue
        points = {str(p): float(choice.thresholds[index]) for p, index in choice.points.items()}
        if system.ensemble:
            thresholds[system.ensemble][system.policy.name] = points
        elif system.filter_name == system.policy.filter_name:
            # `hold` does not depend on small: it is the same in every ensemble with this large.
            for name, members in ensembles.items():
                if members[NetworkRole.LARGE] == system.members[NetworkRole.LARGE]:
                    thresholds[name][system.policy.name] = points
    return [replace(record, thresholds=thresholds[record.name]) for record in records]


def with_measured_scales(trace: Trace) -> Trace:
    """The trace with each component's scale the standard deviation of its own ground truth.

    For networks that do not know that of their training set: it makes the weights of distances.
    Where the truth does not vary, the scale stays.
    """
    scored = scored_frames(trace.truth, trace.visible, angular_mask(trace.components))
    deviations = trace.truth[scored].astype(np.float64).std(axis=0)
    return replace(
        trace,
        components=tuple(
            replace(component, scale=float(deviation)) if deviation > 0 else component
            for component, deviation in zip(trace.components, deviations, strict=True)
        ),
    )
