"""The commands end to end, on tiny networks and recordings that are made for it."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from gearshift.runtime.recordings.recording import RecordingReader

from .conftest import World


@pytest.mark.slow
def test_compare_prints_tables_and_writes_a_report(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = ("--zoo", str(world.zoo), "--traces", str(world.traces))
    assert world.run("compare", *places, "--no-timing", "--out", str(tmp_path / "r")) == 0
    printed = capsys.readouterr().out
    for text in ("D1 op", "D2 aux-hlc", "D1 anchor", "D2 oracle", "paper 28 %", "modelled"):
        assert text in printed
    report = json.loads((tmp_path / "r" / "report.json").read_text())
    assert set(report["splits"]) == {"known", "unseen"}
    assert report["derived_from"].keys() >= {"val.npz", "ensembles.json", "profile-gap8.json"}
    assert report["profiles"]["host"] is None
    assert (tmp_path / "r" / "plane.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(p.name for p in (tmp_path / "r").iterdir()) == ["plane.png", "report.json"]


def test_the_gate_passes_on_what_it_wrote_and_fails_when_it_got_worse(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    baseline = tmp_path / "baseline.json"
    where = [str(baseline), "--zoo", str(world.zoo), "--trace", str(world.traces / "known.npz")]
    assert world.run("gate", *where, "--write") == 0
    assert world.run("gate", *where, "--exact", "--tolerance", "0") == 0
    assert "0 worse" in capsys.readouterr().out
    document = json.loads(baseline.read_text())
    case = document["cases"]["known/D1 op equal-error"]
    case["latency_ms"] *= 0.98
    baseline.write_text(json.dumps(document))
    assert world.run("gate", *where) == 1
    out = capsys.readouterr().out
    assert "| known/D1 op equal-error | worse | same |" in out
    assert world.run("gate", *where, "--tolerance", "3") == 0
    document["cases"]["known/D9 op"] = case
    baseline.write_text(json.dumps(document))
    assert world.run("gate", *where, "--tolerance", "3") == 1
    assert "| known/D9 op | missing |" in capsys.readouterr().out


def test_replay_of_a_constant_policy_is_the_network_alone(world: World, tmp_path: Path) -> None:
    report, frames = tmp_path / "r.json", tmp_path / "r.csv"
    arguments = ["replay", str(world.flights / "known"), "--ensemble", "D1", "--zoo"]
    arguments += [str(world.zoo), "--policy", "always-large"]
    assert world.run(*arguments, "--json", str(report), "--csv", str(frames)) == 0
    document = json.loads(report.read_text())
    assert document["summary"]["shares"] == {"small": 0, "large": 1, "aux": 0}
    with frames.open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 6 * 20
    error = sum(abs(float(r["x"]) - float(r["true_x"])) for r in rows if r["scored"] == "1")
    mean = error / sum(r["scored"] == "1" for r in rows)
    assert document["summary"]["error"]["x"]["value"] == pytest.approx(mean, rel=1e-4)
    assert document["summary"]["error"]["sum"]["low"] < document["summary"]["error"]["sum"]["high"]


def test_replay_agrees_with_the_sweep(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    baseline = tmp_path / "baseline.json"
    trace = str(world.traces / "unseen.npz")
    assert (
        world.run("gate", str(baseline), "--zoo", str(world.zoo), "--trace", trace, "--write") == 0
    )
    cases = json.loads(baseline.read_text())["cases"]
    for policy in ("op", "aux-sm", "anchor", "op-ahead"):
        for point in ("equal-error", "equal-latency"):
            report = tmp_path / f"{policy}.json"
            arguments = ["--ensemble", "D2", "--policy", policy, "--threshold", point]
            arguments += ["--zoo", str(world.zoo), "--json", str(report)]
            assert world.run("replay", str(world.flights / "unseen"), *arguments) == 0
            summary = json.loads(report.read_text())["summary"]
            case = cases[f"unseen/D2 {policy} {point}"]
            assert summary["error"]["sum"]["value"] == pytest.approx(case["error"]["sum"], rel=1e-4)
            assert summary["shares"]["large"] == pytest.approx(case["share_large"], abs=1e-4)


def test_presence_is_scored_where_the_auxiliary_network_ran(world: World, tmp_path: Path) -> None:
    counts = {}
    for policy in ("op", "aux-sm"):
        report = tmp_path / f"{policy}.json"
        arguments = ["--ensemble", "D1", "--policy", policy, "--threshold", "0.5"]
        arguments += ["--zoo", str(world.zoo), "--json", str(report)]
        assert world.run("replay", str(world.flights / "known"), *arguments) == 0
        presence = json.loads(report.read_text())["summary"]["presence"]
        counts[policy] = (presence["frames_without"], presence["frames_with"])
    assert counts == {"op": (0, 0), "aux-sm": (6, 114)}


def test_the_oracle_replays_and_beats_both_networks(world: World, tmp_path: Path) -> None:
    errors = {}
    for policy in ("oracle", "always-small", "always-large"):
        report = tmp_path / f"{policy}.json"
        arguments = ["--ensemble", "D1", "--policy", policy, "--threshold", "0"]
        arguments += ["--zoo", str(world.zoo), "--json", str(report)]
        assert world.run("replay", str(world.flights / "known"), *arguments) == 0
        errors[policy] = json.loads(report.read_text())["summary"]["error"]["sum"]["value"]
    assert errors["oracle"] < min(errors["always-small"], errors["always-large"])


def test_on_the_real_clock_a_slow_network_misses_frames_and_is_late(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = {}
    profile = json.loads((world.zoo / "profile-gap8.json").read_text())
    for entry in profile["networks"].values():
        entry["mean_ms"] *= 8
    slow = tmp_path / "slow.json"
    slow.write_text(json.dumps(profile))
    for policy in ("always-small", "always-large"):
        report = tmp_path / f"{policy}.json"
        arguments = ["--ensemble", "D2", "--policy", policy, "--clock", "real"]
        arguments += ["--profile", str(slow), "--zoo", str(world.zoo), "--json", str(report)]
        assert world.run("replay", str(world.flights / "known"), *arguments) == 0
        results[policy] = json.loads(report.read_text())
    small, large = (results[p]["summary"] for p in ("always-small", "always-large"))
    assert small["processed"] == small["frames"] == 120
    assert large["processed"] < 60
    assert large["age"]["p50_ms"] >= large["latency"]["p50_ms"] == 160
    assert "modelled" in results["always-large"]["latency_source"]


def test_a_replay_can_be_recorded_with_its_decisions(world: World, tmp_path: Path) -> None:
    source, out = world.flights / "known" / "1.mcap", tmp_path / "out.mcap"
    arguments = ["--ensemble", "D1", "--policy", "op", "--threshold", "0.5", "--zoo"]
    assert world.run("replay", str(source), *arguments, str(world.zoo), "--record", str(out)) == 0
    entries = list(RecordingReader(out))
    assert len(entries) == 20
    decisions = [entry.decision for entry in entries]
    assert all(d is not None for d in decisions)
    assert {str(d.estimate.reason) for d in decisions if d} >= {"first-frame", "easy"}
    assert all(entry.truth is not None for entry in entries)


@pytest.mark.parametrize("policy", ["op", "aux-hlc", "anchor", "hold", "op-ahead"])
def test_recorded_decisions_are_recomputed_exactly(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str], policy: str
) -> None:
    source, out = world.flights / "known" / "1.mcap", tmp_path / "out.mcap"
    chosen = ["--ensemble", "D1", "--policy", policy, "--zoo", str(world.zoo)]
    level = ["--threshold", {"hold": "1.5", "op-ahead": "0.7"}.get(policy, "equal-latency")]
    assert world.run("replay", str(source), *chosen, *level, "--record", str(out)) == 0
    capsys.readouterr()
    assert world.run("replay", str(out), "--decisions") == 0
    assert "20 decisions recomputed, 0 differ" in capsys.readouterr().out
    assert world.run("replay", str(out), "--threshold=-inf", "--decisions") == 1
    assert "frame" in capsys.readouterr().out
    assert world.run("replay", str(source), "--decisions") == 1
    assert "has no decisions" in capsys.readouterr().err
    assert world.run("replay", str(out), "--infer", "--zoo", str(world.zoo)) == 0
    assert "20 decisions made with the networks run again, 0 differ" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--decisions", "--json", "-"], "--json does not go with --decisions"),
        (["--infer", "--record", "again.mcap"], "--record does not go with --infer"),
        (["--infer", "--clock", "real"], "--clock real does not go with --infer"),
        (["--decisions", "--tolerance", "0.1"], "--tolerance goes with --infer"),
        (["--infer", "--tolerance", "-1"], "--tolerance is -1, it must be 0 or more"),
        (["--infer", "--tolerance", "nan"], "--tolerance is nan, it must be 0 or more"),
    ],
)
def test_deciding_again_refuses_what_it_would_leave_undone(
    world: World, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as stopped:
        world.run("replay", str(world.flights / "known"), *options)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_trace_make_and_info(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "traces" / "t.npz"
    arguments = ["make", str(world.flights / "known"), "--zoo", str(world.zoo), "--out", str(out)]
    assert world.run("trace", *arguments) == 0
    assert out.read_bytes() == (world.traces / "known.npz").read_bytes()
    assert world.run("trace", "info", str(out)) == 0
    printed = capsys.readouterr().out
    assert "6 flights" in printed
    assert "false present" in printed


def test_without_ground_truth_there_is_latency_only(
    world: World, record: Callable[..., None], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    silent = tmp_path / "silent.mcap"
    record(silent, 3, "", truth=False)
    arguments = ["--ensemble", "D1", "--policy", "op", "--threshold", "1", "--zoo", str(world.zoo)]
    assert world.run("replay", str(silent), *arguments) == 0
    printed = capsys.readouterr().out
    assert "no ground truth in these recordings: latency only" in printed
    assert "MAE" not in printed
    assert "p99" in printed


@pytest.mark.slow
def test_controls_stand_beside_every_claim(world: World, tmp_path: Path) -> None:
    places = ("--zoo", str(world.zoo), "--traces", str(world.traces))
    options = ("--no-timing", "--resamples", "50", "--splits", "unseen", "--out", str(tmp_path))
    assert world.run("compare", *places, *options) == 0
    split = json.loads((tmp_path / "report.json").read_text())["splits"]["unseen"]
    against: dict[str, set[str]] = {}
    cuts: dict[tuple[str, str], dict[str, float]] = {}
    for comparison in split["comparisons"]:
        key = (comparison["system"], comparison["reference"])
        against.setdefault(key[0], set()).add(key[1])
        (chosen,) = (
            h for h in comparison["headlines"] if h["point"] == "equal-error" and not h["swept"]
        )
        cuts.setdefault(key, {})[comparison["end"]] = chosen["latency_cut"]["value"]
    assert against["D1 op"] == {"M1.0"}
    assert against["D1 anchor"] == {"M1.0", "M1.0 + smooth"}
    assert against["D2 aux-hlc"] == {"M1.0", "F1"}
    assert against["D2 anchor"] == {"M1.0", "M1.0 + smooth", "F1"}
    for (_, reference), ends in cuts.items():
        if reference == "M1.0":
            assert ends["favourable"] >= ends["nominal"] >= ends["unfavourable"]
    rows = {(row["system"], row["point"]): row for row in split["rows"]}
    assert rows["D1 random", "equal-latency"]["gains"]["random"]["value"] == pytest.approx(0, abs=8)
    assert rows["M1.0", None]["share_large"] is None
    halfway = {found["system"]: found for found in split["halfway"]}
    assert halfway["D1 oracle"]["gains"]["random"]["low"] > 0
    assert halfway["D1 random"]["gains"]["random"]["value"] == pytest.approx(0, abs=8)
    assert halfway["D2 anchor"]["latency_ms"] == pytest.approx(12)
    assert set(rows["D1 op", "best-error"]["error"]) == {"x", "y", "z", "phi", "sum"}
