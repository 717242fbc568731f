from __future__ import annotations

import numpy as np
import pytest

from gearshift.runtime.ensembles.profile import NetworkProfile, Profile, ProfileKind
from gearshift.runtime.errors import TraceError
from gearshift.runtime.types import NetworkRole
from gearshift.sim.traces.run_cost import (
    CostEnd,
    check_profile,
    combination,
    energy_per_combination,
    latency_per_combination,
    roles_of,
)

S, L, A = NetworkRole.SMALL, NetworkRole.LARGE, NetworkRole.AUX


def entry(ms: float, energy: float | None = None) -> NetworkProfile:
    return NetworkProfile("0" * 64, ms, ms, ms, ms, ms, 0, energy, 0.9 * ms, 1.1 * ms)


PROFILE = Profile(
    "board",
    ProfileKind.MODELLED,
    "made up",
    {},
    {"F1": entry(2.0, 1.0), "M1.0": entry(10.0, 4.0), "aux": entry(0.5)},
)


def test_latencies_of_what_ran_add_up() -> None:
    cost = latency_per_combination(PROFILE, {S: "F1", L: "M1.0", A: "aux"})
    assert cost.tolist() == [0, 2, 10, 12, 0.5, 2.5, 10.5, 12.5]
    assert np.isnan(latency_per_combination(PROFILE, {S: "F1"})[2])
    assert all(combination(roles_of(n)) == n for n in range(8))


def test_the_ends_let_the_model_err_against_and_for_us() -> None:
    members = {S: "F1", L: "M1.0"}
    favourable = latency_per_combination(PROFILE, members, CostEnd.FAVOURABLE)
    unfavourable = latency_per_combination(PROFILE, members, CostEnd.UNFAVOURABLE)
    assert favourable[1:3].tolist() == pytest.approx([1.8, 11.0])
    assert unfavourable[1:3].tolist() == pytest.approx([2.2, 9.0])


def test_unknown_energy_is_no_number() -> None:
    energy = energy_per_combination(PROFILE, {S: "F1", L: "M1.0", A: "aux"})
    assert energy[3] == 5
    assert np.isnan(energy[4])


def test_a_profile_of_another_file_is_refused() -> None:
    check_profile(PROFILE, {"F1": "0" * 64, "F9": "1" * 64})
    with pytest.raises(TraceError, match="another F1"):
        check_profile(PROFILE, {"F1": "1" * 64})
    with pytest.raises(TraceError, match="no network 'F2'"):
        latency_per_combination(PROFILE, {S: "F2"})
