"""What a comparison says is computed over every flight and component, and signs mean what they say.

Figures are computed a second time here from outputs, truth and decisions, the plain way.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gearshift.runtime.ensembles.ensemble_records import read_ensembles
from gearshift.runtime.ensembles.profile import ProfileKind, read_profile
from gearshift.runtime.scoring.bootstrap import Interval
from gearshift.runtime.types import NetworkRole
from gearshift.sim.compare.comparison import (
    Choice,
    Comparison,
    Halfway,
    SplitReport,
    choose_on_val,
    compare_split,
)
from gearshift.sim.compare.comparison_tables import latency_table, verdicts
from gearshift.sim.compare.evaluation import Kind, evaluate
from gearshift.sim.compare.headline import Headline, Point
from gearshift.sim.traces.run_cost import CostEnd
from gearshift.sim.traces.trace import Trace, read_trace

NAMES = ("x", "y", "z", "phi")


@dataclasses.dataclass(frozen=True)
class Compared:
    """A report on `known`, and what it was made of."""

    trace: Trace
    milliseconds: dict[str, float]
    choices: list[Choice]
    report: SplitReport


@pytest.fixture(scope="module")
def compared(world: Any) -> Compared:
    records = list(read_ensembles(world.zoo).values())
    profile = read_profile(world.zoo / "profile-gap8.json")
    val, trace = (read_trace(world.traces / f"{split}.npz") for split in ("val", "known"))
    choices = choose_on_val(records, val, profile)
    report = compare_split(choices, records, trace, profile, resamples=60)
    return Compared(trace, {n: e.mean_ms for n, e in profile.networks.items()}, choices, report)


def counted_frames(trace: Trace) -> np.ndarray:
    return np.asarray(trace.visible & (np.abs(trace.truth[:, 3]) <= 1.75))


def test_a_split_is_described_by_all_of_its_frames(compared: Compared) -> None:
    report, trace = compared.report, compared.trace
    assert (report.split, report.flights, report.frames) == ("known", 6, 120)
    assert report.scored == counted_frames(trace).sum()
    assert 0 < report.scored < report.frames
    assert report.groups == len({(f.room, f.person) for f in trace.flights})


@pytest.mark.parametrize("name", ["F1", "F2", "M1.0"])
def test_errors_of_a_network_alone_are_plain_means(compared: Compared, name: str) -> None:
    trace = compared.trace
    off = np.abs(trace.outputs[name] - trace.truth)[counted_frames(trace)].astype(np.float64)
    (row,) = (row for row in compared.report.rows if row.system == name)
    assert list(row.error) == [*NAMES, "sum"]
    for i, component in enumerate(NAMES):
        assert row.error[component].value == pytest.approx(off[:, i].mean(), rel=1e-4)
    assert row.error["sum"].value == pytest.approx(off.sum(axis=1).mean(), rel=1e-4)
    for figure in row.error.values():
        assert figure.low < figure.value < figure.high
    assert row.device_ms.mean_ms == row.device_ms.p50_ms == compared.milliseconds[name]


def test_rows_of_a_policy_follow_from_what_ran_on_each_frame(compared: Compared) -> None:
    rows = {(row.system, row.point): row for row in compared.report.rows}
    apart = spread = 0.0
    for choice in compared.choices:
        system = choice.system
        if not choice.points or system.kind not in (Kind.PAPER, Kind.OURS, Kind.VARIANT):
            continue
        found = evaluate(system, compared.trace, choice.thresholds, np.ones((1, 6)))
        for point, index in choice.points.items():
            decisions = found.result.decisions[:, :, index].ravel()
            ran = {r: (decisions & b) > 0 for r, b in zip(NetworkRole, (1, 2, 4), strict=True)}
            ms = np.sum(
                [ran[r] * compared.milliseconds[n] for r, n in system.members.items()], axis=0
            )
            row = rows[system.name, point]
            assert row.threshold == choice.thresholds[index]
            assert row.share_large == pytest.approx(ran[NetworkRole.LARGE].mean())
            assert row.device_ms.mean_ms == pytest.approx(ms.mean())
            assert row.device_ms.p50_ms == np.quantile(ms, 0.5, method="inverted_cdf")
            assert row.device_ms.max_ms == ms.max()
            assert row.device_mj == pytest.approx(0.1 * ms.mean())
            apart = max(apart, abs(row.share_large - ran[NetworkRole.SMALL].mean()))
            spread = max(spread, abs(ms.mean() - np.median(ms)))
    # Shares that differ and means that are no medians, or one could stand for the other.
    assert apart > 0.1
    assert spread > 1


def test_large_counts_where_it_ran_whether_or_not_it_answered(compared: Compared) -> None:
    (choice,) = (c for c in compared.choices if c.system.name == "D1 op")
    outputs = {name: output.copy() for name, output in compared.trace.outputs.items()}
    outputs["M1.0"][::2] = np.nan
    trace = dataclasses.replace(compared.trace, outputs=outputs)
    always = np.array([-np.inf], dtype=np.float32)
    found = evaluate(choice.system, trace, always, np.ones((1, 6)))
    assert found.result.large.sum() == 60
    assert found.share_large.tolist() == [[1.0]]


def test_cuts_are_against_the_large_network_of_the_same_split(compared: Compared) -> None:
    rows = {(row.system, row.point): row for row in compared.report.rows}
    large = rows["M1.0", None]
    checked = 0
    for comparison in compared.report.comparisons:
        if comparison.reference != "M1.0" or comparison.end is not CostEnd.NOMINAL:
            continue
        for headline in comparison.headlines:
            if headline.swept:
                continue
            row = rows[comparison.system, headline.point]
            latency = 100 * (1 - row.device_ms.mean_ms / large.device_ms.mean_ms)
            error = 100 * (1 - row.error["sum"].value / large.error["sum"].value)
            assert headline.latency_cut.value == pytest.approx(latency)
            assert headline.error_cut.value == pytest.approx(error)
            checked += 1
    assert checked > 20


def test_every_system_has_a_row_for_every_point_and_a_curve(compared: Compared) -> None:
    report = compared.report
    names = [choice.system.name for choice in compared.choices]
    assert [curve.system for curve in report.curves] == names
    expected = {
        (choice.system.name, point)
        for choice in compared.choices
        for point in choice.points or (None,)
    }
    assert {(row.system, row.point) for row in report.rows} == expected
    assert {c.end for c in report.comparisons} == set(CostEnd)
    for comparison in report.comparisons:
        assert {(h.point, h.swept) for h in comparison.headlines} == {
            (point, swept) for point in Point for swept in (False, True)
        }


def test_a_report_holds_every_split_that_was_asked_for(world: Any, tmp_path: Path) -> None:
    places = ("--zoo", str(world.zoo), "--traces", str(world.traces))
    options = ("--no-timing", "--resamples", "20", "--splits", "known", "unseen")
    assert world.run("compare", *places, *options, "--out", str(tmp_path)) == 0
    splits = json.loads((tmp_path / "report.json").read_text())["splits"]
    assert list(splits) == ["known", "unseen"]
    assert splits["known"]["rows"] != splits["unseen"]["rows"]
    for name, split in splits.items():
        assert split["split"] == name
        assert split["flights"] == 6
        assert all(list(row["error"]) == [*NAMES, "sum"] for row in split["rows"])


def halfway(system: str, kind: Kind, low: float, high: float) -> Halfway:
    gain = Interval((low + high) / 2, low, high)
    flat = Interval(0.0, -1.0, 1.0)
    return Halfway(system, kind, 5.0, flat, {"random": gain, "hold": flat})


def test_verdicts_say_better_only_where_the_whole_interval_is(compared: Compared) -> None:
    report = dataclasses.replace(
        compared.report,
        halfway=(
            halfway("wins", Kind.OURS, 1.0, 3.0),
            halfway("ties", Kind.PAPER, -1.0, 3.0),
            halfway("loses", Kind.VARIANT, -3.0, -1.0),
            halfway("chance", Kind.BASELINE, 1.0, 3.0),
        ),
    )
    assert verdicts(report) == [
        "known, better than chance: wins",
        "known, no different from chance: ties",
        "known, worse than chance: loses",
        "known, no different from large held in between: wins, ties, loses",
    ]


def test_the_table_of_cuts_turns_no_sign_round(world: Any, compared: Compared) -> None:
    def headlines(latency: float) -> tuple[Headline, ...]:
        return tuple(
            Headline(
                Point.EQUAL_ERROR,
                swept,
                None if swept else 0.5,
                Interval(latency + swept, latency - 2, latency + 3),
                Interval(-2.0, -3.0, -1.0),
            )
            for swept in (False, True)
        )

    ends = {CostEnd.NOMINAL: 20.0, CostEnd.FAVOURABLE: 30.0, CostEnd.UNFAVOURABLE: 10.0}
    report = dataclasses.replace(
        compared.report,
        comparisons=tuple(
            Comparison("mine", "M1.0", end, headlines(cut)) for end, cut in ends.items()
        ),
    )
    profile = read_profile(world.zoo / "profile-gap8.json")
    assert profile.kind is ProfileKind.MODELLED
    # Its error there is higher, so the cut of -2 % is written as +2.0.
    assert latency_table(report, profile).rows == (
        (
            *("mine", "M1.0", "+20 [+18, +23]", "+2.0", "+21 [+18, +23]"),
            *("+30 [+28, +33]", "+10 [+8, +13]"),
        ),
    )
