"""What `gearshift.replay`, `sweep`, `compare` and `read_trace` give a program."""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gearshift
from gearshift.runtime.decide.policy import PolicyOptions
from gearshift.runtime.ensembles.ensemble_records import read_ensemble
from gearshift.runtime.ensembles.profile import read_profile
from gearshift.runtime.errors import ConfigurationError, MissingExtraError, TraceError
from gearshift.sim.replay.recorded_flight import read_flights
from gearshift.sim.replay.redecide import decide_again

from .conftest import World


@gearshift.policy(probe="small", uses_history=True)
def moved(context: Any, calibration: Any) -> Any:
    """Small's output moved."""
    return gearshift.weighted_distance(context.probe, context.accepted, calibration)


def same(a: Mapping[str, Any], b: Mapping[str, Any]) -> None:
    assert list(a.keys()) == list(b.keys())
    for name in a:
        np.testing.assert_array_equal(np.asarray(a[name]), np.asarray(b[name]), err_msg=name)


@pytest.fixture
def one(world: World) -> Path:
    path: Path = world.flights / "known" / "1.mcap"
    return path


def test_a_replay_says_what_its_csv_says(world: World, one: Path, tmp_path: Path) -> None:
    replayed = gearshift.replay(one, "D1", "op", 0.4, zoo=world.zoo)
    columns = replayed.columns()
    words = ["replay", one, "--ensemble=D1", "--policy=op", "--threshold=0.4", "--zoo", world.zoo]
    assert world.run(*map(str, words), "--csv", str(tmp_path / "r.csv")) == 0
    with (tmp_path / "r.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == list(columns)
    for name in ("recording", "reason", "answered", "networks"):
        assert [row[name] for row in rows] == columns[name].tolist()
    for name in ("x", "phi", "true_z", "signal", "threshold"):
        np.testing.assert_allclose([float(row[name]) for row in rows], columns[name], rtol=1e-5)
    assert {len(column) for column in columns.values()} == {20}
    same(replayed.to_pandas(), columns)


def test_a_policy_of_ones_own_is_replayed_as_the_one_it_equals(world: World, one: Path) -> None:
    ensemble = gearshift.load_ensemble("D1", world.zoo)
    mine = gearshift.replay([one], ensemble, moved, 0.4).columns()
    ours = gearshift.replay([one], ensemble, "op", 0.4).columns()
    for name in ("x", "y", "z", "phi", "signal", "reason"):
        np.testing.assert_array_equal(mine[name], ours[name])
    ensemble.small.run(next(iter(gearshift.RecordingReader(one))).frame.image)  # still open
    ensemble.close()


def test_a_replay_that_is_recorded_can_be_decided_again(
    world: World, one: Path, tmp_path: Path
) -> None:
    target = tmp_path / "again.mcap"
    gearshift.replay(one, "D1", "op", 0.4, zoo=world.zoo, record=target)
    (flight,) = read_flights([target])
    assert decide_again(flight).differing == 0
    with pytest.raises(ConfigurationError, match="'moved' is not found; put it into a file"):
        gearshift.replay(one, "D1", moved, 0.4, zoo=world.zoo, record=target)


def test_a_scheduler_by_hand_decides_as_a_replay(world: World, one: Path) -> None:
    ensemble = gearshift.load_ensemble("D1", world.zoo)
    scheduler = gearshift.make_scheduler(ensemble, "op", "equal-error")
    columns = gearshift.replay(one, ensemble, "op", "equal-error").columns()
    estimates = [
        scheduler.process(gearshift.Frame(e.frame.image, e.frame.capture_time_ns, e.frame.sequence))
        for e in gearshift.RecordingReader(one)
    ]
    np.testing.assert_array_equal([e.values[0] for e in estimates], columns["x"])
    assert [e.reason for e in estimates] == columns["reason"].tolist()
    ensemble.close()


def test_a_deadline_keeps_large_out(world: World, one: Path) -> None:
    ensemble = gearshift.load_ensemble("D1", world.zoo)
    entry = next(iter(gearshift.RecordingReader(one)))
    hasty = gearshift.make_scheduler(ensemble, "always-large", deadline_ms=0)
    assert hasty.process(entry.frame).reason == "deadline"
    ensemble.close()


def test_options_that_choose_nothing_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="max_gap_s is nan"):
        PolicyOptions(max_gap_s=float("nan"))


def test_a_sweep_of_ones_own_policy_is_that_of_the_one_it_equals(world: World) -> None:
    trace = gearshift.read_trace(world.traces / "known.npz")
    record, profile = read_ensemble("D1", world.zoo), read_profile(world.zoo / "profile-gap8.json")
    mine = gearshift.sweep(trace, moved, record, resamples=20)
    ours = gearshift.sweep(world.traces / "known.npz", "op", record, resamples=20)
    same(mine.columns(profile), ours.columns(profile))
    same(mine.to_pandas(profile), mine.columns(profile))
    columns = mine.columns(profile)
    assert columns["threshold"][0] == -np.inf
    assert columns["share_large"][0] == 1
    parts = sum(columns[f"error_{name}"] for name in ("x", "y", "z", "phi"))
    np.testing.assert_allclose(columns["error"], parts)
    assert (columns["error_low"] <= columns["error_high"]).all()
    single = gearshift.sweep(trace, "op", record, [0.4])
    assert "error_low" not in single.columns()
    assert single.columns()["threshold"].tolist() == pytest.approx([0.4])


def test_a_sweep_agrees_with_a_replay(world: World) -> None:
    record = read_ensemble("D1", world.zoo)
    swept = gearshift.sweep(world.traces / "known.npz", "op", record, [0.4]).columns()
    replayed = gearshift.replay(world.flights / "known", "D1", "op", 0.4, zoo=world.zoo)
    assert replayed.summary(0).error["sum"].value == pytest.approx(swept["error"][0], rel=1e-5)


def test_a_profile_of_other_files_is_refused(world: World) -> None:
    record, profile = read_ensemble("D1", world.zoo), read_profile(world.zoo / "profile-gap8.json")
    swept = gearshift.sweep(world.traces / "known.npz", "op", record, [0.4])
    swept.hashes["M1.0"] = "0" * 64  # type: ignore[index]  # as if another file had been traced
    with pytest.raises(TraceError, match=r"of another M1\.0"):
        swept.columns(profile)


def test_a_trace_has_a_row_per_frame(world: World) -> None:
    trace = gearshift.read_trace(world.traces / "known.npz")
    columns = trace.columns()
    assert {len(column) for column in columns.values()} == {trace.frames}
    np.testing.assert_array_equal(columns["M1.0_y"], trace.outputs["M1.0"][:, 1])
    np.testing.assert_array_equal(columns["true_phi"], trace.truth[:, 3])
    last = trace.flights[trace.flight[-1]]
    assert (columns["recording"][-1], columns["room"][-1]) == (last.recording, last.room)
    same(trace.to_pandas(), columns)


def test_shipped_traces_have_names() -> None:
    assert gearshift.read_trace("val").split == "val"
    with pytest.raises(TraceError, match="there is no trace 'test'; known, unseen, val ship"):
        gearshift.read_trace("test")


def test_a_comparison_with_a_policy_of_ones_own(world: World) -> None:
    compared = gearshift.compare(
        ["D1"],
        policies=[moved],
        zoo=world.zoo,
        traces=world.traces,
        splits=["known"],
        timing=False,
        resamples=10,
    )
    table = compared.to_pandas()
    same(table, compared.columns())
    mine, ours = (
        table[table.system == f"D1 {name}"].drop(columns=["system", "kind", "policy"])
        for name in ("moved", "op")
    )
    assert len(mine) == 3
    same(mine, ours)
    assert set(table[table.system == "D1 moved"].kind) == {"yours"}
    assert table.host_ms.isna().all()
    assert set(table.split) == {"known"}


def test_a_comparison_draws_and_names_what_was_brought(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text(
        "import gearshift\n\n\n"
        '@gearshift.policy(probe="small", uses_history=True)\n'
        "def mine(context, calibration):\n"
        "    return gearshift.weighted_distance(context.probe, context.accepted, calibration)\n"
    )
    places = ["--zoo", world.zoo, "--traces", world.traces, "--out", tmp_path / "report"]
    words = [*places, "--no-timing", "--resamples=5", "--policy", f"{tmp_path / 'mine.py'}:mine"]
    assert world.run("compare", *map(str, words)) == 0
    printed = capsys.readouterr().out
    assert "D1 mine" in printed
    assert "D2 mine" in printed
    assert (tmp_path / "report" / "plane.png").stat().st_size > 0


def test_two_policies_of_one_name_are_told_apart_by_nobody(world: World) -> None:
    with pytest.raises(ConfigurationError, match="two policies of the name 'op'"):
        gearshift.compare(["D1"], policies=["op"], zoo=world.zoo, traces=world.traces)
    with pytest.raises(ConfigurationError, match="two policies of the name 'moved'"):
        gearshift.compare(["D1"], policies=[moved, moved], zoo=world.zoo, traces=world.traces)


def test_without_pandas_one_line_says_what_to_do(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    trace = gearshift.read_trace(world.traces / "known.npz")
    with pytest.raises(MissingExtraError, match="pip install pandas; columns"):
        trace.to_pandas()
