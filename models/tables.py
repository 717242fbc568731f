"""What the `gearshift models` commands print: aligned text tables and JSON documents."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from gearshift.models.architecture import Architecture
from gearshift.models.bootstrap import Interval
from gearshift.models.catalogue import find_architecture
from gearshift.models.dataset import Dataset
from gearshift.models.evaluation import SUM, mae_interval, scores
from gearshift.models.gap8 import CLOCK_HZ, L2_BYTES, CostModel, NetworkCost, gap8_model
from gearshift.models.gap8 import ensemble_bytes as ensemble_bytes_of
from gearshift.runtime.network import read_manifest
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
    """The manifest's networks with their modelled cost."""
    model = gap8_model()
    networks = {}
    for name, entry in read_manifest(zoo)["networks"].items():
        cost = model.cost(find_architecture(name))
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
        row += [f"{modelled['latency_ms']:.2f}", f"{modelled['energy_mj']:.2f}"]
        row += [_score(entry["mae"].get(split)) for split in splits]
        rows.append(row)
    note = "* modelled. Errors: MAE of x, y, z [m] and phi [rad] summed; localisers: cell accuracy."
    return text_table(header, rows) + "\n" + note


def cost_json(architectures: Sequence[Architecture], *, from_l3: bool) -> dict[str, Any]:
    """Modelled cost per layer and network, the ensemble's memory, and the model's error."""
    model = gap8_model()
    costs = [model.cost(architecture, from_l3=from_l3) for architecture in architectures]
    return {
        "device": "gap8",
        "kind": "modelled",
        "clock_mhz": CLOCK_HZ / 1e6,
        "networks": {cost.architecture.name: _cost_document(cost) for cost in costs},
        "l2_bytes": {
            "needed_together": ensemble_bytes_of(tuple(architectures)),
            "available": L2_BYTES,
        },
        "fit": {
            "leave_one_out_rms": model.error,
            "residuals": {
                r.measurement.name: {"fitted": r.fitted, "left_out": r.left_out}
                for r in model.residuals
            },
        },
    }


def cost_table(architectures: Sequence[Architecture], *, layers: bool, from_l3: bool) -> str:
    """Modelled cost per network, on request layer by layer, and the L2 that they need together."""
    model = gap8_model()
    costs = [model.cost(architecture, from_l3=from_l3) for architecture in architectures]
    parts = [_layer_table(cost) for cost in costs] if layers else []
    parts.append(_summary_table(costs))
    together = ensemble_bytes_of(tuple(architectures))
    parts.append(
        f"Modelled at {CLOCK_HZ / 1e6:g} MHz, weights in {'L3' if from_l3 else 'L2'}; "
        f"low and high: the model's leave-one-out error ({100 * model.error:.1f} % rms overall).\n"
        f"Together in L2: {together:,} of {L2_BYTES:,} bytes"
        + ("" if together <= L2_BYTES else " - too much: weights must come from L3 (--from-l3)")
    )
    return "\n\n".join(parts)


def fit_table(model: CostModel | None = None) -> str:
    """Relative error of the model on each published measurement."""
    model = model or gap8_model()
    rows = [
        [
            r.measurement.name,
            str(r.measurement.kind),
            f"{r.measurement.milliseconds:.2f}",
            f"{100 * r.fitted:+.1f} %",
            f"{100 * r.left_out:+.1f} %",
        ]
        for r in model.residuals
    ]
    rows.append(["root mean square", "", "", "", f"{100 * model.error:.1f} %"])
    return text_table(["published", "kind", "ms", "fitted", "left out"], rows)


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
    """Mean absolute difference of each network from a reference, and the reference's own spread."""
    names = [component.name for component in POSE_COMPONENTS]
    rows = []
    for network, values in outputs.items():
        errors = np.abs(values - reference)
        for index, component in enumerate(POSE_COMPONENTS):
            if component.angular:
                errors[:, index] = np.abs(np.mod(errors[:, index] + np.pi, 2 * np.pi) - np.pi)
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


def _cost_document(cost: NetworkCost) -> dict[str, Any]:
    layers = [
        {
            **asdict(layer.layer),
            "mac": layer.layer.mac,
            "parameters": layer.layer.parameters,
            "cycles": layer.cycles,
            "latency_ms": layer.milliseconds,
            "energy_mj": layer.energy_mj,
        }
        for layer in cost.layers
    ]
    return {
        "mac": cost.architecture.mac,
        "parameters": cost.architecture.parameters,
        "weight_bytes": cost.architecture.weight_bytes,
        "activation_bytes": cost.architecture.activation_bytes,
        "latency_ms": cost.milliseconds,
        "low_ms": cost.low_ms,
        "high_ms": cost.high_ms,
        "energy_mj": cost.energy_mj,
        "layers": layers,
    }


def _layer_table(cost: NetworkCost) -> str:
    rows = []
    for each in cost.layers:
        layer = each.layer
        output = f"{layer.out_channels}x{layer.out_height}x{layer.out_width}"
        row = [layer.name, f"{layer.kernel}x{layer.kernel}/{layer.stride}", output]
        row += [f"{layer.mac / 1e6:.3f}", f"{layer.weight_bytes:,}", f"{layer.output_bytes:,}"]
        row += [f"{each.milliseconds:.3f}", f"{each.energy_mj:.4f}"]
        rows.append(row)
    header = [cost.architecture.name, "kernel", "output", "M MAC", "weight B", "output B"]
    return text_table([*header, "GAP8 ms *", "GAP8 mJ *"], rows)


def _summary_table(costs: Sequence[NetworkCost]) -> str:
    rows = []
    for cost in costs:
        a = cost.architecture
        row = [a.name, f"{a.parameters:,}", f"{a.mac / 1e6:.2f}", f"{a.weight_bytes:,}"]
        row += [f"{cost.milliseconds:.2f}", f"{cost.low_ms:.2f}", f"{cost.high_ms:.2f}"]
        rows.append([*row, f"{cost.energy_mj:.2f}"])
    header = ["network", "parameters", "M MAC", "weight B", "GAP8 ms *", "low", "high", "mJ *"]
    return text_table(header, rows)
