"""An integer network as the commands show it: its layers, its golden run, its outputs."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from gearshift.models.commands.model_tables import as_json, text_table
from gearshift.runtime.engines.integer_network import Golden, IntegerNetwork


def layer_table(network: IntegerNetwork, run: Golden) -> str:
    """Layers with their bounds, and what the golden run gave."""
    rows = []
    for layer, total in zip(network.layers, run.sums, strict=True):
        g = layer.geometry
        rows.append(
            [
                layer.name,
                g.kind.value,
                f"{g.height}x{g.width}x{g.in_channels}",
                f"{g.kernel}x{g.kernel} s{g.stride} p{g.padding}",
                f"{g.out_height}x{g.out_width}x{g.out_channels}",
                str(layer.weight.size),
                f"{layer.accumulator_bound / 2**24:.3f}",
                str(total),
            ]
        )
    header = ["layer", "kind", "input", "window", "output", "weights", "bound/2^24", "byte sum"]
    outputs = run.outputs.tolist()
    values = (run.outputs * network.output_scale).astype("float32").tolist()
    shown = ", ".join(f"{value:.4f}" for value in values[:8])
    more = ", ..." if len(values) > 8 else ""
    return (
        text_table(header, rows)
        + f"\ninput sum {int(run.image.sum(dtype='int64'))}, int32 outputs {outputs[:8]}{more}, "
        f"values {shown}{more}"
    )


def output_table(network: IntegerNetwork, outputs: NDArray[np.float32]) -> str:
    """Outputs (n, k), one row a frame."""
    names = [component.name for component in network.network.components]
    header = ["frame", *(names or [str(index) for index in range(outputs.shape[1])])]
    rows = [[str(i), *(f"{value:.5f}" for value in row)] for i, row in enumerate(outputs)]
    return text_table(header, rows)


def network_json(network: IntegerNetwork, run: Golden, outputs: NDArray[np.float32] | None) -> str:
    """The same for machines."""
    layers = [
        {
            "name": layer.name,
            **asdict(layer.geometry),
            "accumulator_bound": layer.accumulator_bound,
            "requantisation_bound": layer.requantisation_bound,
            "byte_sum": total,
        }
        for layer, total in zip(network.layers, run.sums, strict=True)
    ]
    document: dict[str, object] = {
        "name": network.network.name,
        "layers": layers,
        "output_scale": network.output_scale.tolist(),
        "input_sum": int(run.image.sum(dtype="int64")),
        "outputs": run.outputs.tolist(),
    }
    if outputs is not None:
        document["frames"] = outputs.astype("float64").tolist()
    return as_json(document)
