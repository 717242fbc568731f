"""What the `gearshift models` commands print: aligned text tables and JSON documents."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gearshift.models.cost.gap8_deployment import source_shape
from gearshift.models.cost.gap8_model import gap8_model
from gearshift.models.evaluating.dataset import Dataset
from gearshift.models.evaluating.evaluation import SUM, mae_interval, scores
from gearshift.runtime.engines.network import (
    MANIFEST_NAME,
    find_network_source,
    read_manifest,
    zoo_folder,
)
from gearshift.runtime.errors import ConfigurationError, NetworkError
from gearshift.runtime.scoring.bootstrap import Interval
from gearshift.runtime.scoring.counted_frames import absolute_error, angular_mask
from gearshift.runtime.types import POSE_COMPONENTS, FloatArray

SCHEMA_VERSION = 1


def as_json(document: Mapping[str, Any]) -> str:
    """A document as the commands print it."""
    return json.dumps({"schema_version": SCHEMA_VERSION, **document}, indent=1)


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns, the first to the left and the others to the right."""
    cells = [list(header), *map(list, rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = []
    for row in cells:
        padded = [row[0].ljust(widths[0])]
        padded += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def zoo_json(zoo: Path | None) -> dict[str, Any]:
    """The manifest's networks with their modelled cost, null where GAP8's kernels lack a layer.

    Raises NetworkError for a manifest that lacks what is listed.
    """
    model = gap8_model()
    networks = {}
    for name, entry in read_manifest(zoo)["networks"].items():
        for key, kind in (("parameters", int), ("mac", int), ("mae", dict)):
            if not isinstance(entry.get(key), kind):
                place = (zoo or zoo_folder()) / MANIFEST_NAME
                raise NetworkError(f"{place}: the entry of {name} is damaged: it has no {key}")
        try:
            cost = model.cost(source_shape(find_network_source(name, zoo)))
        except NetworkError:
            modelled = None
        else:
            modelled = {"latency_ms": cost.milliseconds, "energy_mj": cost.energy_mj}
        networks[name] = {**entry, "modelled_gap8": modelled}
    return {"networks": networks}


def zoo_table(zoo: Path | None) -> str:
    """One row per network: size, modelled cost, int8 error per split (summed MAE, or accuracy)."""
    networks = zoo_json(zoo)["networks"]
    splits = list(dict.fromkeys(split for entry in networks.values() for split in entry["mae"]))
    header = ["network", "parameters", "M MAC", "GAP8 ms *", "GAP8 mJ *"]
    header += [f"{split} int8 (float)" for split in splits]
    rows = []
    for name, entry in sorted(networks.items(), key=lambda item: item[1]["mac"]):
        modelled = entry["modelled_gap8"]
        row = [name, f"{entry['parameters']:,}", f"{entry['mac'] / 1e6:.2f}"]
        costs = [] if modelled is None else [modelled["latency_ms"], modelled["energy_mj"]]
        row += [f"{cost:.2f}" for cost in costs] or ["-", "-"]
        row += [_score(entry["mae"].get(split)) for split in splits]
        rows.append(row)
    note = "* modelled. Errors: MAE of x, y, z [m] and phi [rad] summed; localisers: cell accuracy."
    return text_table(header, rows) + "\n" + note


def evaluation_table(outputs: Mapping[str, FloatArray], data: Dataset) -> str:
    """MAE per component and summed with 95 % intervals; a localiser's accuracies."""
    names = [component.name for component in data.components]
    pose = {name: values for name, values in outputs.items() if values.shape[1] == len(names)}
    parts = []
    if pose:
        rows = []
        for name, values in pose.items():
            intervals = mae_interval(values, data)
            rows.append([name, *(str(intervals[key]) for key in (*names, SUM))])
        parts.append(text_table(["network", *names, SUM], rows))
    for name, values in outputs.items():
        if name not in pose:
            figures = scores(values, data)
            parts.append(f"{name}: " + ", ".join(f"{k} {v:.3f}" for k, v in figures.items()))
    parts.append(f"{data.identity}: {int(data.scored.sum())} scored of {len(data)} frames")
    return "\n".join(parts)


def difference_table(
    first: str, second: str, intervals: Mapping[str, Interval], data: Dataset
) -> str:
    """MAE of the second minus the first, with intervals."""
    rows = [
        [name, str(interval), "yes" if interval.excludes_zero else "no"]
        for name, interval in intervals.items()
    ]
    table = text_table([f"MAE of {second} - {first}", "95 % interval", "certain"], rows)
    return f"{table}\n{data.identity}: {int(data.scored.sum())} scored frames"


def agreement_table(name: str, reference: FloatArray, outputs: Mapping[str, FloatArray]) -> str:
    """Mean absolute difference of each network from a reference, and the reference's own spread.

    Raises ConfigurationError for a network with other outputs.
    """
    names = [component.name for component in POSE_COMPONENTS]
    rows = []
    for network, values in outputs.items():
        if values.shape != reference.shape:
            raise ConfigurationError(
                f"{network} gives {values.shape[1]} numbers, {name} {', '.join(names)}"
            )
        errors = absolute_error(values, reference, angular_mask(POSE_COMPONENTS))
        correlation = [np.corrcoef(values[:, i], reference[:, i])[0, 1] for i in range(len(names))]
        mean = errors.mean(axis=0)
        rows.append(
            [network, *(f"{e:.3f} ({c:+.2f})" for e, c in zip(mean, correlation, strict=True))]
        )
    spread = reference.std(axis=0)
    rows.append([f"{name}: standard deviation", *(f"{value:.3f}" for value in spread)])
    note = f"mean absolute difference from {name} (correlation) over {len(reference)} frames"
    return text_table(["network", *names], rows) + "\n" + note


def _score(formats: Mapping[str, Mapping[str, float]] | None) -> str:
    if formats is None:
        return "-"
    key = SUM if SUM in formats["int8"] else "accuracy"
    return f"{formats['int8'][key]:.3f} ({formats['float'][key]:.3f})"
