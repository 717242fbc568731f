"""The comparison as tables: for the terminal, and as markdown for the README."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gearshift.runtime.ensembles.profile import Profile
from gearshift.runtime.scoring.bootstrap import Interval
from gearshift.sim.compare.comparison import Comparison, Row, SplitReport
from gearshift.sim.compare.evaluation import Kind
from gearshift.sim.compare.headline import PAPER, Headline, Point
from gearshift.sim.traces.run_cost import CostEnd

if TYPE_CHECKING:
    from rich.table import Table

PAPER_LABEL = {
    Point.EQUAL_ERROR: "latency cut at equal error",
    Point.EQUAL_LATENCY: "error cut at equal latency",
    Point.BEST_ERROR: "best error cut",
}


VERDICTS = (
    "Halfway between small's and large's latency, by 95 % intervals (held: large on every n-th "
    "frame, filtered for what filters):"
)


@dataclass(frozen=True, slots=True)
class TextTable:
    """Rows of text under column heads; notes are printed below."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def markdown(self) -> str:
        """As a markdown table, numbers to the right."""
        head = "| " + " | ".join(c.replace("\n", " ") for c in self.columns) + " |"
        rule = "|---|" + "---:|" * (len(self.columns) - 1)
        body = ["| " + " | ".join(row) + " |" for row in self.rows]
        notes = ["", *self.notes] if self.notes else []
        return "\n".join([f"**{self.title}**", "", head, rule, *body, *notes])

    def rich(self) -> Table:
        """For the terminal."""
        from rich import box
        from rich.table import Table

        table = Table(
            title=self.title,
            title_justify="left",
            caption="\n".join(self.notes) or None,
            caption_justify="left",
            box=box.SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
        )
        for index, column in enumerate(self.columns):
            table.add_column(column, justify="left" if index == 0 else "right", no_wrap=True)
        for row in self.rows:
            table.add_row(*row)
        return table


def split_table(report: SplitReport, point: Point, profile: Profile) -> TextTable:
    """One row per system at one operating point; the best-known first within its kind."""
    names = [name for name in report.rows[0].error if name != "sum"]
    measured = any(row.host_ms is not None for row in report.rows)
    columns = (
        "system",
        *(f"MAE\n{name}" for name in names),
        "\nsum",
        "\n95 %",
        "large\n%",
        "against\nchance, %",
        "against\nhold, %",
        *(("measured\nms mean", "measured\nms p99") if measured else ()),
        f"{profile.kind}\n{profile.device} ms",
        f"{profile.kind}\n{profile.device} mJ",
    )
    rows = [
        _cells(row, names, measured=measured)
        for row in _ordered(report.rows)
        if row.point in (None, point)
    ]
    said = "; ".join(
        f"{name}: false present {p.false_present:.1%}, false absent {p.false_absent:.1%}"
        for name, p in report.presence.items()
    )
    return TextTable(
        f"{report.split}: {report.flights} flights, {report.scored} of {report.frames} frames "
        f"scored, thresholds chosen on val for {point}",
        columns,
        tuple(rows),
        (
            "MAE in m and rad; intervals by bootstrap over flights grouped by room and person. "
            "Against chance, hold: how much",
            "lower (+) or higher (-) the error is than at the same mean latency that of choosing "
            "at random, and of large on every",
            "n-th frame with its output held (filtered likewise, for what filters).",
            *((f"presence, {said}",) if said else ()),
        ),
    )


def latency_table(report: SplitReport, profile: Profile) -> TextTable:
    """The first headline figure for every system, both ways and at both ends of the cost model."""
    rows = []
    for key, ends in _by_system(report).items():
        nominal = ends[CostEnd.NOMINAL].headlines
        chosen = _pick(nominal, Point.EQUAL_ERROR, swept=False)
        swept = _pick(nominal, Point.EQUAL_ERROR, swept=True)
        others = (
            _pick(ends[end].headlines, Point.EQUAL_ERROR, swept=False).latency_cut
            for end in (CostEnd.FAVOURABLE, CostEnd.UNFAVOURABLE)
        )
        rows.append(
            (
                *key,
                _interval(chosen.latency_cut, 0),
                f"{-chosen.error_cut.value:+.1f}",
                _interval(swept.latency_cut, 0),
                *(_interval(cut, 0) for cut in others),
            )
        )
    return TextTable(
        f"{report.split}: latency cut at equal error, % of {profile.kind} {profile.device} latency "
        f"(paper {PAPER[Point.EQUAL_ERROR]:.0f} %)",
        (
            "system",
            "against",
            "chosen\non val",
            "its error\nthere",
            "\nswept",
            "chosen, small cheap\nand large dear",
            "chosen, small dear\nand large cheap",
        ),
        tuple(rows),
        (
            "swept: this split's own curve, linearly interpolated, as in the paper. Its error "
            "there: above (+) or below (-) the other's, %.",
            "Cheap and dear: as far as the cost model's own error allows, small and aux one way, "
            "large the other.",
        ),
    )


def error_table(report: SplitReport, profile: Profile) -> TextTable:
    """The second and third headline figure for every system, both ways."""
    rows = []
    for key, ends in _by_system(report).items():
        cells = []
        for point in (Point.EQUAL_LATENCY, Point.BEST_ERROR):
            for swept in (False, True):
                cut = _pick(ends[CostEnd.NOMINAL].headlines, point, swept=swept).error_cut
                cells.append(_interval(cut))
        rows.append((*key, *cells))
    return TextTable(
        f"{report.split}: cut of summed MAE, %, thresholds chosen on val or swept on this split",
        (
            "system",
            "against",
            f"equal latency\n(paper {PAPER[Point.EQUAL_LATENCY]:.0f} %), chosen",
            f"({profile.kind})\nswept",
            f"best error\n(paper {PAPER[Point.BEST_ERROR]:.0f} %), chosen",
            "\nswept",
        ),
        tuple(rows),
    )


def halfway_table(report: SplitReport, profile: Profile) -> TextTable:
    """Is the choice any good: halfway between the two networks' latencies, against controls."""
    rows = tuple(
        (
            found.system,
            f"{found.latency_ms:.1f}",
            f"{found.error.value:.3f} [{found.error.low:.3f}, {found.error.high:.3f}]",
            *(_interval(found.gains[control]) for control in ("random", "hold")),
        )
        for found in report.halfway
        if not found.system.endswith(" random")
    )
    return TextTable(
        f"{report.split}: is the choice any good? Halfway between small's and large's latency, "
        "read from this split's curve",
        (
            "system",
            f"{profile.kind}\n{profile.device} ms",
            "\nsummed MAE",
            "lower than\nby chance, %",
            "lower than\nheld, %",
        ),
        rows,
        (
            "by chance: choosing at random; held: large on every n-th frame, held in between "
            "(filtered, for what filters).",
        ),
    )


def verdicts(report: SplitReport) -> list[str]:
    """In words, which systems beat the controls halfway between the two networks' latencies."""
    lines = []
    for control, text in (("random", "chance"), ("hold", "large held in between")):
        found: dict[str, list[str]] = {"better than": [], "no different from": [], "worse than": []}
        for row in report.halfway:
            if row.kind not in (Kind.PAPER, Kind.OURS, Kind.VARIANT, Kind.YOURS):
                continue
            gain = row.gains[control]
            word = "better than" if gain.low > 0 else "no different from"
            found["worse than" if gain.high < 0 else word].append(row.system)
        lines += [
            f"{report.split}, {word} {text}: {', '.join(systems)}"
            for word, systems in found.items()
            if systems
        ]
    return lines


def _by_system(report: SplitReport) -> dict[tuple[str, str], dict[CostEnd, Comparison]]:
    """Comparisons by (system, reference), without those that are no more than a yardstick."""
    found: dict[tuple[str, str], dict[CostEnd, Comparison]] = {}
    for comparison in report.comparisons:
        if not comparison.system.endswith(" random"):
            key = (comparison.system, comparison.reference)
            found.setdefault(key, {})[comparison.end] = comparison
    return found


def readme_text(reports: Sequence[SplitReport], profile: Profile, host: Profile | None) -> str:
    """The two tables of the README, without intervals: docs/results.md has those.

    The networks alone, and what adapting between them gives; a cell has one figure per split.
    """
    splits = " / ".join(report.split for report in reports)
    alone: dict[str, list[str]] = {}
    for report in reports:
        for row in report.rows:
            if row.point is None:
                alone.setdefault(row.system, []).append(f"{row.error['sum'].value:.3f}")
    last = {row.system: row for row in reports[-1].rows if row.point is None}
    networks = TextTable(
        "The networks alone",
        (
            "network",
            f"summed MAE (m, rad), {splits}",
            "ms, measured" + (f" on {host.device}" if host else ""),
            f"ms, {profile.kind}, {profile.device}",
        ),
        tuple(
            (
                system,
                " / ".join(cells),
                _number(row.host_ms.mean_ms if row.host_ms else math.nan, 3),
                _number(row.device_ms.mean_ms, 1),
            )
            for system, cells in alone.items()
            for row in (last[system],)
        ),
    )
    adaptive = TextTable(
        f"Adapting, against the large network alone, %, {splits}; thresholds chosen on val",
        (
            "system",
            *(
                PAPER_LABEL[p] + (" (change of error)" if p is Point.EQUAL_ERROR else "")
                for p in Point
            ),
        ),
        (
            ("the paper's best", *(f"+{PAPER[p]:.0f}" for p in Point)),
            *((system, *cells) for system, cells in _brief(reports).items()),
        ),
    )
    return f"{networks.markdown()}\n\n{adaptive.markdown()}"


def verdicts_text(report: SplitReport) -> str:
    """Which systems beat chance and holding on this split, in words."""
    return "\n".join([VERDICTS, "", *(f"- {line}" for line in verdicts(report))])


def _brief(reports: Sequence[SplitReport]) -> dict[str, list[str]]:
    """The three figures of each system against always-large on every split, without variants."""
    kinds = {row.system: row.kind for report in reports for row in report.rows}
    against: list[dict[str, Sequence[Headline]]] = []
    for report in reports:
        found: dict[str, Sequence[Headline]] = {}
        for (system, _), ends in _by_system(report).items():
            # Always-large is the first that a system is held against.
            found.setdefault(system, ends[CostEnd.NOMINAL].headlines)
        against.append(found)
    rows: dict[str, list[str]] = {}
    for kind in (Kind.PAPER, Kind.OURS, Kind.YOURS, Kind.CONTROL, Kind.BOUND):
        for system in against[0]:
            if kinds[system] is kind:
                rows[system] = [
                    " / ".join(_cut(found[system], point) for found in against) for point in Point
                ]
    return rows


def _cut(headlines: Sequence[Headline], point: Point) -> str:
    headline = _pick(headlines, point, swept=False)
    if point is Point.EQUAL_ERROR:
        # What was equal on val is not quite equal here: say by how much.
        return f"{headline.latency_cut.value:+.0f} ({0.0 - headline.error_cut.value:+.1f})"
    return f"{headline.error_cut.value:+.1f}"


_ORDER = (Kind.BASELINE, Kind.CONTROL, Kind.PAPER, Kind.OURS, Kind.YOURS, Kind.VARIANT, Kind.BOUND)


def _ordered(rows: Iterable[Row]) -> list[Row]:
    """Single networks first, then by ensemble and kind."""
    return sorted(rows, key=lambda r: (r.ensemble, _ORDER.index(r.kind)))


def _cells(row: Row, names: Sequence[str], *, measured: bool) -> tuple[str, ...]:
    total = row.error["sum"]
    cells = [
        row.system,
        *(f"{row.error[name].value:.3f}" for name in names),
        f"{total.value:.3f}",
        f"{total.low:.3f}-{total.high:.3f}",
        "" if math.isnan(row.share_large) else f"{100 * row.share_large:.0f}",
        *(_interval(row.gains[c], 0) if c in row.gains else "" for c in ("random", "hold")),
    ]
    if measured and row.host_ms is not None:
        cells += [f"{row.host_ms.mean_ms:.3f}", f"{row.host_ms.p99_ms:.3f}"]
    elif measured:
        cells += ["", ""]
    energy = row.device_mj
    cells += [f"{row.device_ms.mean_ms:.2f}", "" if math.isnan(energy) else f"{energy:.2f}"]
    return tuple(cells)


def _pick(headlines: Sequence[Headline], point: Point, *, swept: bool) -> Headline:
    return next(h for h in headlines if h.point is point and h.swept is swept)


def _number(value: float, digits: int) -> str:
    return "" if math.isnan(value) else f"{value:.{digits}f}"


def _interval(figure: Interval, digits: int = 1) -> str:
    if math.isnan(figure.value):
        return "not reached"
    value, low, high = (f"{v:+.{digits}f}" for v in (figure.value, figure.low, figure.high))
    return f"{value} [{low}, {high}]"
