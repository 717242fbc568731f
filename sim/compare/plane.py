"""The accuracy-latency plane: one panel per ensemble and split."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gearshift.runtime.ensembles.profile import Profile
from gearshift.runtime.files.whole_file import WholeFile
from gearshift.sim.compare.comparison import Curve, Row, SplitReport
from gearshift.sim.compare.evaluation import Kind
from gearshift.sim.compare.headline import Point
from gearshift.sim.compare.systems import SMOOTH

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Colours of Okabe and Ito, which colour-blind readers tell apart.
STYLES: Final[dict[str, dict[str, Any]]] = {
    "op": {"color": "#0072B2", "linewidth": 1.8},
    "aux-sm": {"color": "#009E73", "linewidth": 1.8},
    "aux-hlc": {"color": "#CC79A7", "linewidth": 1.8},
    "anchor": {"color": "#D55E00", "linewidth": 2.4},
    "op-ahead": {"color": "#56B4E9", "linewidth": 1.2, "linestyle": (0, (5, 1.5))},
    "random": {"color": "#555555", "linewidth": 1.2, "linestyle": "--"},
    "every": {"color": "#999999", "linewidth": 1.2, "linestyle": "-."},
    "oracle": {"color": "#E69F00", "linewidth": 1.2, "linestyle": (0, (1, 1))},
}
# Without an ensemble: large on every n-th frame, its output held in between.
HELD_STYLES: Final[dict[str, dict[str, Any]]] = {
    " hold": {"color": "#777777", "linewidth": 1.4, "linestyle": ":"},
    " hold + smooth": {"color": "black", "linewidth": 1.4, "linestyle": (0, (4, 1, 1, 1))},
}
LEGEND: Final = {
    "op": "op (paper)",
    "aux-sm": "aux-sm (paper)",
    "aux-hlc": "aux-hlc (paper)",
    "anchor": "anchor with its filter (ours)",
    "op-ahead": "op-ahead",
    "random": "random (control)",
    "every": "every n-th",
    " hold": "hold (control)",
    " hold + smooth": "hold, filtered (control)",
    "oracle": "oracle (bound)",
}
# Of different size, since two points may be one threshold.
SIZES: Final = {Point.EQUAL_ERROR: 60, Point.EQUAL_LATENCY: 34, Point.BEST_ERROR: 12}
MARKED: Final = (Kind.PAPER, Kind.OURS, Kind.YOURS)
YOURS: Final = ("#882255", "#117733", "#332288", "#AA4499")
MARKERS: Final = {Point.EQUAL_ERROR: "o", Point.EQUAL_LATENCY: "s", Point.BEST_ERROR: "D"}


def draw_plane(path: Path, reports: Sequence[SplitReport], profile: Profile) -> None:
    """Draw the panels into a PNG, whole or not at all; raises OutputError."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    ensembles = sorted({c.ensemble for r in reports for c in r.curves if c.ensemble})
    figure = Figure(
        figsize=(5.8 * max(len(reports), 1) + 0.4, 4.2 * max(len(ensembles), 1) + 1.5), dpi=110
    )
    panels = figure.subplots(
        len(ensembles), len(reports), squeeze=False, sharey="row", sharex="row"
    )
    handles: dict[str, Any] = {}
    for line, ensemble in zip(panels, ensembles, strict=True):
        for panel, report in zip(line, reports, strict=True):
            handles |= _draw_panel(panel, report, ensemble)
            panel.set_title(
                f"{ensemble} on {report.split} ({report.flights} flights)", fontsize=11, loc="left"
            )
        _set_limits(line, reports, ensemble)
        line[0].set_ylabel("MAE summed over components (m, rad)")
    for panel in panels[-1]:
        panel.set_xlabel(f"mean latency per frame, {profile.kind}, {profile.device} (ms)")
    handles |= {
        label: Line2D(
            [],
            [],
            linestyle="",
            marker=MARKERS[point],
            markersize=SIZES[point] ** 0.5,
            markerfacecolor="white",
            markeredgecolor="0.3",
            markeredgewidth=1.6,
        )
        for point, label in zip(Point, _point_labels(), strict=True)
    }
    fixed = (*LEGEND.values(), *_point_labels())
    own = [name for name in handles if name not in fixed]
    order = [name for name in (*own, *fixed) if name in handles]
    figure.legend(
        [handles[name] for name in order],
        order,
        loc="lower center",
        ncols=5,
        fontsize=9,
        frameon=False,
    )
    figure.suptitle(
        "Accuracy against latency: adaptive policies, single networks and controls", fontsize=13
    )
    figure.tight_layout(rect=(0, 0.105, 1, 1))
    with WholeFile(path) as stream:
        figure.savefig(stream, format="png", metadata={"Software": "gearshift"})


def _draw_panel(panel: Axes, report: SplitReport, ensemble: str) -> dict[str, Any]:
    """Curves, chosen points and single networks; returns the legend's handles by label."""
    curves = {c.system: c for c in report.curves}
    handles: dict[str, Any] = {}
    for name, style in {**STYLES, **_yours(report, ensemble)}.items():
        curve = curves.get(f"{ensemble} {name}")
        if curve is None:
            continue
        label = LEGEND.get(name, name)
        (handles[label],) = panel.plot(
            curve.latency_ms, curve.error, label=label, zorder=3, **style
        )
        for row in report.rows:
            if row.system == curve.system and row.kind in MARKED and row.point:
                at = int(np.flatnonzero(curve.thresholds == np.float32(row.threshold))[0])
                panel.scatter(
                    curve.latency_ms[at],
                    curve.error[at],
                    marker=MARKERS[row.point],
                    s=SIZES[row.point],
                    facecolor="white",
                    edgecolor=style["color"],
                    linewidth=1.6,
                    zorder=5,
                )
    for curve in report.curves:
        for name, style in HELD_STYLES.items():
            if not curve.ensemble and len(curve.error) > 1 and curve.system.endswith(name):
                (handles[LEGEND[name]],) = panel.plot(
                    curve.latency_ms, curve.error, zorder=2.5, **style
                )
    single = [c for c in report.curves if len(c.error) == 1]
    _draw_networks(panel, single, [r for r in report.rows if r.ensemble == ensemble])
    panel.locator_params(axis="x", nbins=6)
    panel.grid(visible=True, color="0.92", linewidth=0.8)
    panel.set_axisbelow(True)
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)
    return handles


def _yours(report: SplitReport, ensemble: str) -> dict[str, dict[str, Any]]:
    """Styles for the policies that the user brought."""
    names = [
        curve.system.removeprefix(f"{ensemble} ")
        for curve in report.curves
        if curve.kind is Kind.YOURS and curve.ensemble == ensemble
    ]
    return {
        name: {"color": color, "linewidth": 2.4}
        for name, color in zip(names, cycle(YOURS), strict=False)
    }


def _draw_networks(panel: Axes, single: Sequence[Curve], rows: Sequence[Row]) -> None:
    from matplotlib.patheffects import withStroke

    for curve in single:
        x, y = float(curve.latency_ms[0]), float(curve.error[0])
        filtered = SMOOTH in curve.system
        panel.scatter(
            x,
            y,
            marker="^" if filtered else "*",
            s=50 if filtered else 110,
            color="black" if curve.kind is Kind.BASELINE else "0.45",
            zorder=6,
        )
        panel.annotate(
            curve.system,
            (x, y),
            xytext=(7, -11 if filtered else 6),
            textcoords="offset points",
            fontsize=9,
            color="black" if curve.kind is Kind.BASELINE else "0.35",
            zorder=7,
            annotation_clip=True,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
        )
    large = max((c for c in single if SMOOTH not in c.system), key=lambda c: float(c.latency_ms[0]))
    if rows:
        panel.axhline(float(large.error[0]), color="0.75", linewidth=0.9, zorder=1)
        panel.axvline(float(large.latency_ms[0]), color="0.75", linewidth=0.9, zorder=1)


def _set_limits(panels: Sequence[Axes], reports: Sequence[SplitReport], ensemble: str) -> None:
    """Show what lies around the two networks on any split; `hold` may run out of the picture."""
    curves = [c for r in reports for c in r.curves]
    inside = [c for c in curves if c.ensemble == ensemble]
    cheap = min(float(c.latency_ms.min()) for c in inside)
    right = max(float(c.latency_ms.max()) for c in inside)
    shown = [c for c in curves if len(c.error) == 1 and float(c.latency_ms[0]) >= 0.98 * cheap]
    low = min(float(np.nanmin(c.error)) for c in [*inside, *shown])
    high = max(float(c.error[0]) for c in shown)
    span = high - low
    for panel in panels:
        panel.set_ylim(low - 0.06 * span, high + 0.12 * span)
        panel.set_xlim(cheap - 0.06 * (right - cheap), right + 0.06 * (right - cheap))


def _point_labels() -> list[str]:
    return [f"chosen on val: {point}" for point in Point]
