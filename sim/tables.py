"""The comparison as tables: for the terminal, and as markdown for the README."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gearshift.runtime.profile import Profile
from gearshift.sim.bootstrap import Interval
from gearshift.sim.compare import Comparison, Row, SplitReport
from gearshift.sim.cost import CostEnd
from gearshift.sim.evaluate import Kind
from gearshift.sim.headline import PAPER, Headline, Point

if TYPE_CHECKING:
    from rich.table import Table

PAPER_LABEL = {
    Point.EQUAL_ERROR: "latency cut at equal error",
    Point.EQUAL_LATENCY: "error cut at equal latency",
    Point.BEST_ERROR: "best error cut",
}


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
            padding=(0, 1),
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
        "",
        *(f"MAE\n{name}" for name in names),
        "sum",
        "sum\n95 %",
        "large\n%",
        "vs chance\n%",
        *(("ms mean\nmeasured here", "ms p99\nmeasured here") if measured else ()),
        f"{profile.device} ms\n{profile.kind}",
        f"{profile.device} mJ\n{profile.kind}",
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
            "MAE in m and rad; 95 % intervals over flights grouped by room and person. "
            "vs chance: error lower than that of choosing at random at the same mean latency.",
            *((f"presence, {said}",) if said else ()),
        ),
    )


def headline_table(
    report: SplitReport, profile: Profile, end: CostEnd = CostEnd.NOMINAL
) -> TextTable:
    """The paper's three figures for every system, both ways; the paper's own in the heads."""
    columns = ["system", "against"]
    for point, label in PAPER_LABEL.items():
        columns.append(f"{label}\n(paper {PAPER[point]:.0f} %), chosen")
        if point is Point.EQUAL_ERROR:
            columns.append("error\nthere")
        columns.append("\nswept")
    rows = [
        (comparison.system, comparison.reference, *_headline_cells(comparison.headlines))
        for comparison in report.comparisons
        if comparison.end is end and not comparison.system.endswith("random")
    ]
    return TextTable(
        f"{report.split}: the three headline figures, per cent of {profile.kind} {profile.device} "
        f"latency and of summed MAE, {_END_TEXT[end]}",
        tuple(columns),
        tuple(rows),
        (
            "chosen: threshold from val; swept: this split's own curve, linearly interpolated, as "
            "in the paper. Cuts: positive is better than the network it is held against. Error "
            "there: how much higher (+) or lower (-) its error is at that threshold.",
        ),
    )


def readme_text(reports: Sequence[SplitReport], profile: Profile, host: Profile | None) -> str:
    """The two tables of the README: the systems at equal error, and their headline figures."""
    point = Point.EQUAL_ERROR
    shown = (Kind.BASELINE, Kind.CONTROL, Kind.PAPER, Kind.OURS, Kind.BOUND)
    rows: dict[str, list[str]] = {}
    for report in reports:
        for row in _ordered(report.rows):
            if row.point in (None, point) and row.kind in shown:
                total = row.error["sum"]
                cells = rows.setdefault(row.system, [])
                cells.append(f"{total.value:.3f} [{total.low:.3f}, {total.high:.3f}]")
    last = {row.system: row for row in reports[-1].rows if row.point in (None, point)}
    body = []
    for system, cells in rows.items():
        row = last[system]
        large = "" if math.isnan(row.share_large) else f"{100 * row.share_large:.0f}"
        here = "" if row.host_ms is None else f"{row.host_ms.mean_ms:.3f}"
        body.append((system, *cells, large, here, f"{row.device_ms.mean_ms:.1f}"))
    systems = TextTable(
        "Every system at the threshold that on val keeps always-large's error at least latency",
        (
            "system",
            *(f"MAE {r.split}, x + y + z [m] + phi [rad]" for r in reports),
            f"frames on large, {reports[-1].split}, %",
            "ms, measured" + (f", {host.device}" if host else ""),
            f"ms, {profile.kind}, {profile.device}",
        ),
        tuple(body),
    )
    heads = [
        f"{PAPER_LABEL[p]} (paper {PAPER[p]:.0f} %){way}" for p in Point for way in ("", ", swept")
    ]
    figures = []
    for report in reports:
        kinds = {row.system: row.kind for row in report.rows}
        for comparison in report.comparisons:
            if comparison.end is CostEnd.NOMINAL and kinds[comparison.system] in (
                Kind.PAPER,
                Kind.OURS,
                Kind.BOUND,
            ):
                cells = _headline_cells(comparison.headlines)
                del cells[1]
                figures.append(
                    (f"{comparison.system}, {report.split}", comparison.reference, *cells)
                )
    headlines = TextTable(
        "The paper's three figures, per cent, thresholds chosen on val, then read from the test "
        "split's own curve (swept, the paper's way)",
        ("system", "against", *heads),
        tuple(figures),
    )
    return f"{systems.markdown()}\n\n{headlines.markdown()}\n"


def ends_table(report: SplitReport) -> TextTable:
    """Latency cut at equal error at both ends of the cost model's own error."""
    found: dict[tuple[str, str], dict[CostEnd, Comparison]] = {}
    for comparison in report.comparisons:
        key = (comparison.system, comparison.reference)
        found.setdefault(key, {})[comparison.end] = comparison
    rows = tuple(
        (
            *key,
            *(
                _interval(_pick(ends[end].headlines, Point.EQUAL_ERROR, swept=swept).latency_cut, 0)
                for end in CostEnd
                for swept in (False, True)
            ),
        )
        for key, ends in found.items()
    )
    columns = ["system", "against"]
    for end in CostEnd:
        columns += [f"{end}\nchosen on val", "\nswept"]
    return TextTable(
        f"{report.split}: latency cut at equal error, per cent, at both ends of the cost model's "
        "error",
        tuple(columns),
        rows,
    )


_END_TEXT = {
    CostEnd.NOMINAL: "cost model as fitted",
    CostEnd.FAVOURABLE: "small and aux as cheap, large as dear as the cost model's error allows",
    CostEnd.UNFAVOURABLE: "small and aux as dear, large as cheap as the cost model's error allows",
}
_ORDER = (Kind.BASELINE, Kind.CONTROL, Kind.PAPER, Kind.OURS, Kind.VARIANT, Kind.BOUND)


def _ordered(rows: Iterable[Row]) -> list[Row]:
    """Single networks first, then by ensemble and kind."""
    return sorted(rows, key=lambda r: (r.ensemble, _ORDER.index(r.kind)))


def _cells(row: Row, names: Sequence[str], *, measured: bool) -> tuple[str, ...]:
    total = row.error["sum"]
    cells = [
        row.system,
        str(row.kind),
        *(f"{row.error[name].value:.3f}" for name in names),
        f"{total.value:.3f}",
        f"{total.low:.3f}-{total.high:.3f}",
        "" if math.isnan(row.share_large) else f"{100 * row.share_large:.0f}",
        _interval(row.gains["random"]) if "random" in row.gains else "",
    ]
    if measured and row.host_ms is not None:
        cells += [f"{row.host_ms.mean_ms:.3f}", f"{row.host_ms.p99_ms:.3f}"]
    elif measured:
        cells += ["", ""]
    energy = row.device_mj
    cells += [f"{row.device_ms.mean_ms:.2f}", "" if math.isnan(energy) else f"{energy:.2f}"]
    return tuple(cells)


def _headline_cells(headlines: Sequence[Headline]) -> list[str]:
    cells = []
    for point in Point:
        chosen = _pick(headlines, point, swept=False)
        swept = _pick(headlines, point, swept=True)
        if point is Point.EQUAL_ERROR:
            cells += [
                _interval(chosen.latency_cut, 0),
                f"{-chosen.error_cut.value:+.1f}",
                _interval(swept.latency_cut, 0),
            ]
        else:
            cells += [_interval(chosen.error_cut), _interval(swept.error_cut)]
    return cells


def _pick(headlines: Sequence[Headline], point: Point, *, swept: bool) -> Headline:
    return next(h for h in headlines if h.point is point and h.swept is swept)


def _interval(figure: Interval, digits: int = 1) -> str:
    if math.isnan(figure.value):
        return "not reached"
    value, low, high = (f"{v:+.{digits}f}" for v in (figure.value, figure.low, figure.high))
    return f"{value} [{low}, {high}]"
