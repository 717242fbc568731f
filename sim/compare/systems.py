"""Which systems are compared: the paper's six, ours, baselines, controls and the bound."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from gearshift.runtime.decide.calibration import Calibration
from gearshift.runtime.decide.policies import ALWAYS_LARGE, ALWAYS_SMALL, HOLD
from gearshift.runtime.decide.policy import Policy
from gearshift.runtime.decide.policy_registry import find_policy
from gearshift.runtime.ensembles.ensemble_records import EnsembleRecord
from gearshift.runtime.errors import TraceError
from gearshift.runtime.types import NetworkRole
from gearshift.sim.compare.evaluation import Kind, System
from gearshift.sim.traces.oracle import ORACLE
from gearshift.sim.traces.trace import Trace

POLICIES: Final = {
    "op": Kind.PAPER,
    "aux-sm": Kind.PAPER,
    "aux-hlc": Kind.PAPER,
    "anchor": Kind.OURS,
    "op-ahead": Kind.VARIANT,
    "random": Kind.BASELINE,
    "every": Kind.BASELINE,
}
"""What every ensemble is run with, beside the oracle."""
SMOOTH: Final = "smooth"
"""The filter over time that always-large gets as the control for systems that filter."""
HELD_SMOOTH: Final = "hold.smooth"
"""Prefix of that filter's gains where outputs are held in between."""


def ensemble_systems(record: EnsembleRecord, more: Iterable[Policy] = ()) -> list[System]:
    """Every policy on one ensemble; without an auxiliary network those that need none.

    more: policies of the user's.
    """
    systems = [
        policy_system(record, find_policy(name), kind)
        for name, kind in POLICIES.items()
        if not name.startswith("aux") or NetworkRole.AUX in record.networks
    ]
    own = [policy_system(record, policy, Kind.YOURS) for policy in more]
    return [*systems, *own, policy_system(record, ORACLE, Kind.BOUND)]


def policy_system(
    record: EnsembleRecord,
    policy: Policy,
    kind: Kind = Kind.YOURS,
    *,
    filter_name: str | None = None,
) -> System:
    """An ensemble with a policy; filter_name: default the policy's own."""
    return System(
        name=f"{record.name} {policy.name}",
        kind=kind,
        ensemble=record.name,
        members={role: reference.name for role, reference in record.networks.items()},
        policy=policy,
        calibration=record.calibration,
        filter_name=filter_name or policy.filter_name,
    )


def static_systems(records: Iterable[EnsembleRecord], trace: Trace) -> list[System]:
    """One system for every regression network of the trace, run alone on every frame.

    A network that is small or large somewhere is a baseline, any other a control. Controls for what
    filters over time: every ensemble's large with the `smooth` filter.
    """
    calibrations: dict[str, Calibration] = {}
    larges: dict[str, Calibration] = {}
    for record in records:
        small, large = (record.networks[r].name for r in (NetworkRole.SMALL, NetworkRole.LARGE))
        calibrations[small] = calibrations[large] = record.calibration
        larges.setdefault(large, record.calibration)
    some = next(iter(calibrations.values()))
    systems = []
    for name, entry in trace.networks.items():
        if entry.network.grid is None:
            kind = Kind.BASELINE if name in calibrations else Kind.CONTROL
            policy = ALWAYS_LARGE if name in larges else ALWAYS_SMALL
            systems.append(_alone(name, kind, policy, calibrations.get(name, some)))
    systems += [
        System(
            f"{name} + {SMOOTH}",
            Kind.CONTROL,
            "",
            {NetworkRole.SMALL: name, NetworkRole.LARGE: name},
            ALWAYS_LARGE,
            calibration,
            SMOOTH,
        )
        for name, calibration in larges.items()
    ]
    return systems


def hold_systems(records: Iterable[EnsembleRecord]) -> list[System]:
    """Large on every n-th frame, its output held in between, without and with the filter.

    What a user would pick instead of two networks, so a control for every policy.
    """
    systems: dict[str, System] = {}
    for record in records:
        large, calibration = record.networks[NetworkRole.LARGE].name, record.calibration
        members = {NetworkRole.SMALL: large, NetworkRole.LARGE: large}
        plain = System(f"{large} hold", Kind.CONTROL, "", members, HOLD, calibration)
        held = {
            name.replace(HELD_SMOOTH, SMOOTH, 1): values
            for name, values in calibration.parameters.items()
            if name.startswith(HELD_SMOOTH)
        }
        tuned = replace(calibration, parameters={**calibration.parameters, **held})
        smooth = replace(
            plain, name=f"{plain.name} + {SMOOTH}", calibration=tuned, filter_name=SMOOTH
        )
        systems.setdefault(plain.name, plain)
        systems.setdefault(smooth.name, smooth)
    return list(systems.values())


def check_hashes(records: Iterable[EnsembleRecord], trace: Trace) -> None:
    """Raise TraceError unless the trace was made with the networks that the ensembles name."""
    for record in records:
        for reference in record.networks.values():
            trace.require(reference.name)
            actual = trace.networks[reference.name].sha256
            if actual != reference.sha256:
                raise TraceError(
                    f"the {trace.split} trace was made with another {reference.name} "
                    f"({actual[:12]}, ensemble {record.name} has {reference.sha256[:12]}); "
                    "run 'make figures'"
                )


def _alone(name: str, kind: Kind, policy: Policy, calibration: Calibration) -> System:
    members = {NetworkRole.SMALL: name, NetworkRole.LARGE: name}
    return System(name, kind, "", members, policy, calibration)
