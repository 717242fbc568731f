"""The networks of a zoo as markdown: size, cost, errors per split, and which is really better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gearshift.models.formats import format_comparison as formats
from gearshift.runtime.ensembles.profile import Profile
from gearshift.runtime.scoring.bootstrap import Interval, interval, ratio_of_sums, resample_weights
from gearshift.runtime.scoring.counted_frames import absolute_error, angular_mask, scored_frames
from gearshift.runtime.scoring.metrics import presence
from gearshift.sim.compare.comparison_tables import TextTable
from gearshift.sim.traces.trace import Trace


def networks_text(manifest: Mapping[str, Any], profile: Profile, traces: Sequence[Trace]) -> str:
    """Tables of every network of the manifest; errors per component are those of the last trace."""
    entries: dict[str, dict[str, Any]] = manifest["networks"]
    regression = sorted(
        (name for name, e in traces[-1].networks.items() if e.network.grid is None),
        key=lambda name: -int(entries[name]["mac"]),
    )
    tables = [
        _sizes(entries, profile),
        _errors(entries, regression, traces),
        _differences(regression, traces),
        _localisers(traces),
    ]
    return "\n\n".join(table.markdown() for table in tables if table.rows)


def formats_table(report: formats.FormatReport) -> TextTable:
    """Every format of every network: agreement, error, size, time."""
    heads, rows, notes = formats.formats_text(report)
    return TextTable("Formats", tuple(heads), tuple(map(tuple, rows)), tuple(notes))


def error_ratio(trace: Trace, network: str, reference: str, resamples: int = 1000) -> Interval:
    """How much higher the summed MAE of one network is than another's, in per cent; paired."""
    weights = resample_weights(trace.groups, resamples)
    first, second = (
        ratio_of_sums(weights, *_flight_errors(trace, name)).sum(axis=-1)
        for name in (network, reference)
    )
    return interval(100 * (first / second - 1))


def _flight_errors(trace: Trace, network: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(F, n) summed errors and (F,) counts over the scored frames of each flight."""
    angular = angular_mask(trace.components)
    scored = scored_frames(trace.truth, trace.visible, angular)
    error = absolute_error(trace.outputs[network], trace.truth, angular)
    total = np.zeros((len(trace.flights), len(trace.components)))
    np.add.at(total, trace.flight[scored], error[scored].astype(np.float64))
    count = np.bincount(trace.flight[scored], minlength=len(trace.flights))
    return total, count.astype(np.float64)


def _sizes(entries: Mapping[str, Mapping[str, Any]], profile: Profile) -> TextTable:
    rows = []
    for name, entry in sorted(entries.items(), key=lambda item: -int(item[1]["mac"])):
        known = profile.networks.get(name)
        energy = None if known is None else known.energy_mj
        rows.append(
            (
                name,
                str(entry["architecture"]),
                f"{entry['mac'] / 1e6:.2f}",
                f"{entry['parameters'] / 1e3:.0f}",
                "" if known is None else f"{known.mean_ms:.2f}",
                "" if energy is None else f"{energy:.2f}",
            )
        )
    heads = ("network", "kind", "M MAC", "k parameters", f"ms, {profile.kind}, {profile.device}")
    return TextTable("Size and cost", (*heads, f"mJ, {profile.kind}"), tuple(rows))


def _errors(
    entries: Mapping[str, Mapping[str, Any]], names: Sequence[str], traces: Sequence[Trace]
) -> TextTable:
    last = traces[-1]
    rows = []
    for name in names:
        row = [name]
        for trace in traces:
            formats = entries[name].get("mae", {}).get(trace.split)
            if formats is None:
                total, count = _flight_errors(trace, name)
                row.append(f"{(total.sum(axis=0) / count.sum()).sum():.3f}")
            else:
                row.append(f"{formats['int8']['sum']:.3f} ({formats['float']['sum']:.3f})")
        total, count = _flight_errors(last, name)
        row += [f"{value:.3f}" for value in total.sum(axis=0) / count.sum()]
        rows.append(tuple(row))
    return TextTable(
        "Mean absolute error, int8 (float)",
        (
            "network",
            *(f"sum, {trace.split}" for trace in traces),
            *(f"{c.name} [{c.unit}], {last.split}" for c in last.components),
        ),
        tuple(rows),
    )


def _differences(names: Sequence[str], traces: Sequence[Trace]) -> TextTable:
    """Every network against the next larger one."""
    rows = []
    for larger, smaller in pairwise(names):
        cells = []
        for trace in traces:
            found = error_ratio(trace, smaller, larger)
            cells.append(f"{found.value:+.1f} [{found.low:+.1f}, {found.high:+.1f}]")
        rows.append((f"{smaller} above {larger}", *cells))
    return TextTable(
        "How much higher the smaller network's summed error is, per cent, with 95 % intervals",
        ("", *(trace.split for trace in traces)),
        tuple(rows),
    )


def _localisers(traces: Sequence[Trace]) -> TextTable:
    rows = []
    for name, entry in traces[-1].networks.items():
        grid = entry.network.grid
        if grid is None:
            continue
        for trace in traces:
            output, cell = trace.outputs[name], trace.head_cell
            seen = (cell >= 0) & (cell != grid.no_head)
            right = (output.argmax(axis=-1) == cell)[seen].mean() if seen.any() else float("nan")
            said = presence(output, cell, grid)
            shares = (right, said.false_present, said.false_absent)
            rows.append((f"{name}, {trace.split}", *(f"{100 * share:.1f}" for share in shares)))
    heads = ("localiser", "right cell, %", "false present, %", "false absent, %")
    return TextTable("Head localisation", heads, tuple(rows))
