"""The gate notices every kind of change, and what it compares is computed over everything."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gearshift.runtime.decide.policy_registry import find_policy
from gearshift.runtime.ensembles.ensemble_records import read_ensembles
from gearshift.runtime.ensembles.profile import read_profile
from gearshift.runtime.errors import TraceError
from gearshift.runtime.scoring.counted_frames import angular_mask
from gearshift.runtime.types import NetworkRole
from gearshift.sim.gate.gate import (
    Baseline,
    Case,
    Verdict,
    baseline_path,
    compute,
    judge,
    markdown,
    read_baseline,
    write_baseline,
)
from gearshift.sim.traces.trace import read_trace
from gearshift.sim.traces.trace_sweep import sweep_trace

ERROR = {"x": 0.1, "y": 0.2, "sum": 0.3}
CASE = Case(0.5, "a" * 64, ERROR, latency_ms=10.0, share_large=0.25)
FIGURES = ("x", "y", "sum", "latency_ms")


def verdict(before: Case, after: Case, tolerance_percent: float = 0.5) -> Verdict:
    old, new = (Baseline("GAP8", {"known/D1 op": case}) for case in (before, after))
    (change,) = judge(old, new, tolerance_percent)
    assert (change.name, change.old, change.new) == ("known/D1 op", before, after)
    return change.verdict


def times(case: Case, figure: str, factor: float) -> Case:
    if figure == "latency_ms":
        return replace(case, latency_ms=case.latency_ms * factor)
    return replace(case, error={**case.error, figure: case.error[figure] * factor})


@pytest.mark.parametrize("figure", FIGURES)
def test_every_figure_is_judged(figure: str) -> None:
    assert verdict(CASE, times(CASE, figure, 1.006)) is Verdict.WORSE
    assert verdict(CASE, times(CASE, figure, 1.004)) is Verdict.CHANGED
    assert verdict(CASE, times(CASE, figure, 0.9)) is Verdict.CHANGED
    assert verdict(CASE, times(CASE, figure, 1.004), tolerance_percent=0) is Verdict.WORSE
    assert verdict(CASE, times(CASE, figure, 1.03), tolerance_percent=4) is Verdict.CHANGED
    # Baselines hold six digits.
    assert verdict(CASE, times(CASE, figure, 1 + 5e-6), tolerance_percent=0) is Verdict.SAME
    assert verdict(CASE, times(CASE, figure, 1 - 5e-6), tolerance_percent=0) is Verdict.SAME
    assert verdict(CASE, times(CASE, figure, 1 - 2e-5), tolerance_percent=0) is Verdict.CHANGED


@pytest.mark.parametrize("figure", FIGURES)
def test_what_is_no_number_is_no_excuse(figure: str) -> None:
    broken = times(CASE, figure, float("nan"))
    assert verdict(CASE, broken) is Verdict.WORSE
    assert verdict(broken, CASE) is Verdict.WORSE
    assert verdict(broken, broken) is Verdict.WORSE


@pytest.mark.parametrize("component", ERROR)
def test_a_component_that_one_side_lacks_is_worse(component: str) -> None:
    without = replace(CASE, error={n: e for n, e in ERROR.items() if n != component})
    assert verdict(CASE, without) is Verdict.WORSE
    assert verdict(without, CASE) is Verdict.WORSE


def test_the_same_figures_by_other_decisions_are_a_change() -> None:
    assert verdict(CASE, replace(CASE)) is Verdict.SAME
    assert verdict(CASE, replace(CASE, decisions="b" * 64)) is Verdict.CHANGED


def test_cases_that_one_side_lacks_are_named() -> None:
    old = Baseline("GAP8", {"known/a": CASE, "known/b": CASE})
    new = Baseline("GAP8", {"known/b": CASE, "known/c": CASE})
    verdicts = {change.name: change.verdict for change in judge(old, new, 0.5)}
    assert verdicts == {
        "known/a": Verdict.MISSING,
        "known/b": Verdict.SAME,
        "known/c": Verdict.NEW,
    }
    with pytest.raises(TraceError, match="the baseline is of GAP8, this is of GAP9"):
        judge(old, Baseline("GAP9", {}), 0.5)


def test_the_markdown_says_how_many_and_what_moved() -> None:
    moved = replace(times(CASE, "sum", 1.1), decisions="b" * 64, share_large=0.5)
    quick = replace(CASE, latency_ms=8.0)
    old = Baseline("GAP8", {"a": CASE, "b": CASE, "c": CASE, "d": CASE})
    new = Baseline("GAP8", {"a": CASE, "b": moved, "c": quick, "e": CASE, "f": CASE})
    lines = markdown(judge(old, new, 0.5), 0.5).splitlines()
    assert lines[0] == ("**gearshift gate**: 6 cases, 1 unchanged, 3 changed within 0.5 %, 2 worse")
    assert lines[1:] == [
        "",
        "| case | verdict | decisions | summed MAE | modelled ms | large % |",
        "|---|---|---|---:|---:|---:|",
        "| b | worse | other | 0.3000 -> 0.3300 | 10.000 -> 10.000 | 25.0 -> 50.0 |",
        "| c | changed | same | 0.3000 -> 0.3000 | 10.000 -> 8.000 | 25.0 -> 25.0 |",
        "| d | missing | | | | |",
        "| e | new | | | | |",
        "| f | new | | | | |",
    ]
    unchanged = markdown(judge(old, old, 0.5), 0.5)
    assert unchanged == (
        "**gearshift gate**: 4 cases, 4 unchanged, 0 changed within 0.5 %, 0 worse"
    )


def test_a_baseline_reads_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    never = replace(CASE, threshold="inf")
    write_baseline(path, Baseline("GAP8", {"known/a": CASE, "known/b": never}))
    assert read_baseline(path) == Baseline("GAP8", {"known/a": CASE, "known/b": never})


def test_damaged_baselines_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    with pytest.raises(TraceError, match=r"there is no baseline .*baseline\.json"):
        read_baseline(path)
    with pytest.raises(TraceError, match="Is a directory"):
        read_baseline(tmp_path)
    write_baseline(path, Baseline("GAP8", {"known/a": CASE}))
    whole = json.loads(path.read_text())

    def refused(message: str, **changes: Any) -> None:
        path.write_text(json.dumps({**whole, **changes}))
        with pytest.raises(TraceError, match=message):
            read_baseline(path)

    refused("schema version 2, this gearshift reads 1", schema_version=2)
    for name, wrong in (
        ("error", {"x": 0.1}),
        ("error", {"sum": "much"}),
        ("error", 3),
        ("latency_ms", "long"),
        ("surplus", 1),
    ):
        case = {**whole["cases"]["known/a"], name: wrong}
        refused("not a baseline", cases={"known/a": case})


@pytest.fixture(scope="module")
def computed(world: Any) -> Baseline:
    traces = [read_trace(world.traces / f"{split}.npz") for split in ("known", "unseen")]
    profile = read_profile(world.zoo / "profile-gap8.json")
    return compute(list(read_ensembles(world.zoo).values()), traces, profile)


def test_no_split_network_ensemble_or_point_is_left_out(world: Any, computed: Baseline) -> None:
    assert computed.device == "GAP8"
    expected = set()
    for split in ("known", "unseen"):
        expected |= {f"{split}/{name}" for name in ("F1", "F2", "M1.0", "M1.0 + smooth")}
        for record in read_ensembles(world.zoo).values():
            expected |= {
                f"{split}/{record.name} {policy} {point}"
                for policy in ("op", "op-ahead", "aux-sm", "aux-hlc", "anchor")
                for point in record.thresholds[policy]
            }
    # An ensemble's own name for always-large is no case: the network stands there already.
    assert set(computed.cases) == expected
    assert len(expected) > 8
    shipped = read_baseline(baseline_path())
    assert {name.partition("/")[0] for name in shipped.cases} == {"known", "unseen"}
    for case in shipped.cases.values():
        assert set(case.error) == {"x", "y", "z", "phi", "sum"}


@pytest.mark.parametrize("split", ["known", "unseen"])
def test_errors_of_a_network_are_means_over_every_flight(
    world: Any, computed: Baseline, split: str
) -> None:
    trace = read_trace(world.traces / f"{split}.npz")
    profile = read_profile(world.zoo / "profile-gap8.json")
    angular = angular_mask(trace.components)
    counted = trace.visible & (np.abs(trace.truth[:, angular]) <= 1.75).all(axis=1)
    for name in ("F1", "F2", "M1.0"):
        off = trace.outputs[name].astype(np.float64) - trace.truth
        off[:, angular] = np.arctan2(np.sin(off[:, angular]), np.cos(off[:, angular]))
        mean = np.abs(off[counted]).mean(axis=0)
        case = computed.cases[f"{split}/{name}"]
        assert list(case.error) == ["x", "y", "z", "phi", "sum"]
        assert list(case.error.values()) == pytest.approx([*mean, mean.sum()], rel=1e-5)
        assert case.latency_ms == pytest.approx(profile.networks[name].mean_ms)
        assert case.share_large == (1 if name == "M1.0" else 0)
        assert case.threshold == "inf"


@pytest.mark.parametrize("policy", ["op", "aux-sm", "op-ahead"])
def test_latency_and_share_of_large_follow_from_the_decisions(
    world: Any, computed: Baseline, policy: str
) -> None:
    trace = read_trace(world.traces / "known.npz")
    profile = read_profile(world.zoo / "profile-gap8.json")
    apart = []
    for record in read_ensembles(world.zoo).values():
        members = {role: reference.name for role, reference in record.networks.items()}
        for point, threshold in record.thresholds[policy].items():
            found = sweep_trace(
                trace, members, find_policy(policy), record.calibration, np.array([threshold])
            )
            decisions = found.decisions[:, :, 0]
            # Bits 1, 2 and 4: small, large and aux ran.
            ran = {r: (decisions & bit) > 0 for r, bit in zip(NetworkRole, (1, 2, 4), strict=True)}
            latency = sum(ran[role] * profile.networks[members[role]].mean_ms for role in members)
            case = computed.cases[f"known/{record.name} {policy} {point}"]
            assert case.latency_ms == pytest.approx(np.mean(latency))
            assert case.share_large == pytest.approx(ran[NetworkRole.LARGE].mean())
            apart.append(abs(case.share_large - ran[NetworkRole.SMALL].mean()))
            digest = hashlib.sha256(np.ascontiguousarray(decisions).tobytes()).hexdigest()
            assert case.decisions == digest
            assert float(case.threshold) == pytest.approx(threshold)
    # Small and large ran differently often somewhere, or one could stand for the other.
    assert max(apart) > 0.1


@pytest.fixture
def gate(world: Any, tmp_path: Path) -> Callable[..., int]:
    """The gate's exit code against a baseline whose one case was changed."""
    path = tmp_path / "baseline.json"
    where = [str(path), "--zoo", str(world.zoo), "--trace", str(world.traces / "known.npz")]
    assert world.run("gate", *where, "--write") == 0
    written = json.loads(path.read_text())

    def run(*options: str, error: dict[str, float] | None = None, **changes: Any) -> int:
        document = json.loads(json.dumps(written))
        case = document["cases"]["known/D1 op equal-error"]
        for name, factor in (error or {}).items():
            case["error"][name] *= factor
        case.update(changes)
        path.write_text(json.dumps(document))
        return int(world.run("gate", *where, *options))

    return run


def test_exact_fails_on_other_decisions(gate: Callable[..., int], capsys: Any) -> None:
    assert gate("--exact") == 0
    capsys.readouterr()
    assert gate(decisions="0" * 64) == 0
    assert "| known/D1 op equal-error | changed | other |" in capsys.readouterr().out
    assert gate("--exact", decisions="0" * 64) == 1


@pytest.mark.parametrize("component", ["x", "y", "z", "phi", "sum"])
def test_a_worse_error_fails_and_a_better_one_only_with_exact(
    gate: Callable[..., int], component: str, capsys: Any
) -> None:
    assert gate(error={component: 0.98}) == 1
    assert "| known/D1 op equal-error | worse | same |" in capsys.readouterr().out
    assert gate("--tolerance", "3", error={component: 0.98}) == 0
    assert gate(error={component: 1.02}) == 0
    assert gate("--exact", error={component: 1.02}) == 1
