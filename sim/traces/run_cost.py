"""What a run of a system costs on a device: which networks ran on a frame, times a profile."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gearshift.runtime.ensembles.profile import Profile
from gearshift.runtime.errors import TraceError
from gearshift.runtime.types import NetworkRole

ROLE_BIT: Final = {NetworkRole.SMALL: 1, NetworkRole.LARGE: 2, NetworkRole.AUX: 4}
"""A combination of networks that ran on one frame is the sum of their bits."""
COMBINATIONS: Final = 8


class CostEnd(StrEnum):
    """Which end of a modelled latency's own error is taken.

    A model that errs on all networks alike cancels out of every comparison with always-large, so
    the two ends let it err on large one way and on the probes the other.
    """

    NOMINAL = "nominal"
    FAVOURABLE = "favourable"
    """Small and aux as cheap, large as dear as the model's error allows."""
    UNFAVOURABLE = "unfavourable"
    """Small and aux as dear, large as cheap as the model's error allows."""


def combination(roles: Iterable[NetworkRole]) -> int:
    """The number of a set of networks."""
    return sum(ROLE_BIT[role] for role in set(roles))


def roles_of(number: int) -> tuple[NetworkRole, ...]:
    """The networks of a combination."""
    return tuple(role for role, bit in ROLE_BIT.items() if number & bit)


def latency_per_combination(
    profile: Profile, members: Mapping[NetworkRole, str], end: CostEnd = CostEnd.NOMINAL
) -> NDArray[np.float64]:
    """(8,) milliseconds of every combination; NaN where a network is not in the ensemble.

    Networks run one after the other, so latencies add. Raises TraceError when the profile lacks a
    member.
    """
    single = {role: _latency(profile, role, name, end) for role, name in members.items()}
    return _add_up(single)


def energy_per_combination(
    profile: Profile, members: Mapping[NetworkRole, str]
) -> NDArray[np.float64]:
    """(8,) millijoules of every combination; NaN where unknown."""
    single = {role: profile.energy_mj(name) for role, name in members.items()}
    return _add_up({role: float("nan") if e is None else e for role, e in single.items()})


def check_profile(profile: Profile, hashes: Mapping[str, str]) -> None:
    """Raise TraceError when a profile is of other network files than these (name to sha256)."""
    for name, sha256 in hashes.items():
        entry = profile.networks.get(name)
        if entry is not None and entry.sha256 != sha256:
            raise TraceError(
                f"the profile of {profile.device} is of another {name} "
                f"({entry.sha256[:12]}, not {sha256[:12]}); profile it again"
            )


def _latency(profile: Profile, role: NetworkRole, name: str, end: CostEnd) -> float:
    nominal = profile.latency_ms(name)
    entry = profile.networks[name]
    if end is CostEnd.NOMINAL:
        return nominal
    cheap = (end is CostEnd.FAVOURABLE) != (role is NetworkRole.LARGE)
    bound = entry.low_ms if cheap else entry.high_ms
    return nominal if bound is None else bound


def _add_up(single: Mapping[NetworkRole, float]) -> NDArray[np.float64]:
    nan = float("nan")
    return np.array(
        [sum(single.get(role, nan) for role in roles_of(n)) for n in range(COMBINATIONS)],
        dtype=np.float64,
    )
