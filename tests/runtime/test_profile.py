"""Profiles: round trip, and every way a file can be wrong is one TraceError."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gearshift.runtime.ensembles.profile import (
    NetworkProfile,
    Profile,
    ProfileKind,
    read_profile,
    write_profile,
)
from gearshift.runtime.errors import TraceError

positive = st.floats(1e-3, 1e4)
network_profiles = st.builds(
    NetworkProfile,
    sha256=st.text("0123456789abcdef", min_size=64, max_size=64),
    mean_ms=positive,
    p50_ms=positive,
    p90_ms=positive,
    p99_ms=positive,
    max_ms=positive,
    runs=st.integers(0, 10_000),
    energy_mj=st.none() | positive,
    low_ms=st.none() | positive,
    high_ms=st.none() | positive,
)
profiles = st.builds(
    Profile,
    device=st.text(min_size=1),
    kind=st.sampled_from(ProfileKind),
    method=st.text(),
    versions=st.dictionaries(st.text(), st.text(), max_size=3),
    networks=st.dictionaries(st.text(min_size=1), network_profiles, max_size=3),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(profile=profiles)
def test_round_trip(tmp_path: Path, profile: Profile) -> None:
    path = tmp_path / "profile.json"
    write_profile(path, profile)
    assert read_profile(path) == profile
    assert [p.name for p in tmp_path.iterdir()] == ["profile.json"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 99}, "schema version 99"),
        ({"kind": "guessed"}, "not a profile"),
        ({"networks": {"F1": {"sha256": "0"}}}, "not a profile"),
        ({"networks": []}, "not a profile"),
        ({"extra": 1}, "not a profile"),
    ],
)
def test_damaged_profiles_are_refused(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    path = tmp_path / "profile.json"
    write_profile(path, Profile("board", ProfileKind.MODELLED, "by hand", {}, {}))
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(TraceError, match=message):
        read_profile(path)


def test_missing_and_unreadable(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="No such file"):
        read_profile(tmp_path / "none.json")
    (tmp_path / "text.json").write_text("{")
    with pytest.raises(TraceError, match="not valid JSON"):
        read_profile(tmp_path / "text.json")


def test_a_latency_must_be_positive_and_an_unknown_network_is_named(tmp_path: Path) -> None:
    entry = NetworkProfile("0" * 64, 0.0, 0.0, 0.0, 0.0, 0.0, 1)
    path = tmp_path / "profile.json"
    write_profile(path, Profile("board", ProfileKind.MEASURED, "timed", {}, {"F1": entry}))
    with pytest.raises(TraceError, match=r"latency of F1 is 0\.0 ms"):
        read_profile(path)
    profile = Profile("board", ProfileKind.MEASURED, "timed", {}, {"F1": entry})
    with pytest.raises(TraceError, match=r"no network 'F9' \(it has F1\)"):
        profile.latency_ms("F9")
