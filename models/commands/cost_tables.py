"""What `gearshift models cost` prints: text tables and JSON, each figure with its source.

Three kinds of figures stand in columns of their own: what follows from shapes alone, what DORY's
rules of tiling give, and what is modelled. Nothing in the layer tables is measured; where a network
was measured on the board, that stands in a line below.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from gearshift.models.commands.model_tables import text_table
from gearshift.models.cost.gap8_deployment import DeployedLayer, DeployedNetwork, Deployment, deploy
from gearshift.models.cost.gap8_model import CLOCK_HZ, L2_BYTES, CostModel, gap8_model
from gearshift.models.cost.gap8_tiling import L1_BUDGET, L1_BYTES, STACK_BYTES, smallest_l1_bytes
from gearshift.models.networks.architecture import Architecture

SOURCES: Final[Mapping[str, str]] = {
    "g": "arithmetic from the layers' shapes (int8 weights with 16 B of requantisation a channel)",
    "t": "DORY's rules of tiling: all input channels in a tile, two sets of buffers where a layer "
    f"is more than one tile, {STACK_BYTES:,} B of L1 for stacks (its Tiler_Conv2D_PULP and "
    "HW_description); of the tiles that fit, the one that moves the fewest bytes",
    "m": "modelled: linear in the layer's work, fitted to DORY's 21 published layers of "
    "MobileNetV1 on GAP8 and to PULP-Frontnet's two frame rates; +-: leave-one-out error of that "
    "kind of layer",
}
_HEADER: Final = (
    *("kind", "input", "window", "output", "MMAC g", "weights B g", "in B g", "out B g"),
    *("tile t", "tiles t", "sets t", "L1 B t", "L2 B g", "L3 B g"),
    *("kcycles m", "ms m", "mJ m", "+- m"),
)


def cost_json(
    architectures: Sequence[Architecture],
    *,
    together: bool = False,
    from_l3: bool = False,
    code_bytes: int = 0,
) -> dict[str, Any]:
    """The document of `cost_table`."""
    model = gap8_model()
    deployments = _deployments(architectures, together, from_l3, code_bytes)
    return {
        "device": "gap8",
        "clock_mhz": CLOCK_HZ / 1e6,
        "sources": {
            "shape": SOURCES["g"],
            "tiling": SOURCES["t"],
            "modelled": SOURCES["m"],
            "published": "end-to-end frame rates, Palossi et al., IEEE IoT J. 2022",
        },
        "l1_bytes": {"available": L1_BYTES, "stacks": STACK_BYTES, "for_tiles": L1_BUDGET},
        "networks": {
            network.architecture.name: _network_document(network, deployment)
            for deployment in deployments
            for network in deployment.networks
        },
        "deployments": [_deployment_document(deployment) for deployment in deployments],
        "fit": {
            "leave_one_out_rms": model.error,
            "residuals": {
                r.measurement.name: {"fitted": r.fitted, "left_out": r.left_out}
                for r in model.residuals
            },
        },
    }


def cost_table(
    architectures: Sequence[Architecture],
    *,
    layers: bool = True,
    together: bool = False,
    from_l3: bool = False,
    code_bytes: int = 0,
) -> str:
    """Fit and modelled cost, on request layer by layer.

    together: the networks are loaded at the same time, as an ensemble's are. from_l3: all weights
    stream from L3. code_bytes: what programs take of L2.
    """
    model = gap8_model()
    deployments = _deployments(architectures, together, from_l3, code_bytes)
    networks = [network for deployment in deployments for network in deployment.networks]
    parts = [_layer_table(network) for network in networks] if layers else []
    parts.append(_summary_table(networks, total=together))
    parts.append("\n".join(line for each in deployments for line in verdicts(each)))
    marks = SOURCES if layers else {"m": SOURCES["m"]}
    legend = [f"{mark}  {text}" for mark, text in marks.items()]
    legend.append(
        f"   at {CLOCK_HZ / 1e6:g} MHz; low and high: the model's leave-one-out error "
        f"({100 * model.error:.1f} % rms overall, --fit shows every row)"
    )
    return "\n\n".join([*parts, "\n".join(legend)])


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


def verdicts(deployment: Deployment) -> list[str]:
    """Whether it fits, one line each on L2, L1, and what was published of it."""
    name = " + ".join(network.name for network in deployment.plan.networks)
    lines = [f"{name} {_fit_in_l2(deployment)}"]
    lines += [
        f"{name}: no tile of {layer.name} fits in L1: one output pixel needs "
        f"{smallest_l1_bytes(layer):,} B of {L1_BUDGET:,}"
        for layer in deployment.untiled
    ]
    for network in deployment.networks:
        if (measured := network.published) is not None:
            lines.append(
                f"{network.architecture.name}, published: {measured.milliseconds:.2f} ms measured "
                f"end to end on the board; one of the {len(gap8_model().residuals)} rows of the fit"
            )
    return lines


def _fit_in_l2(deployment: Deployment) -> str:
    plan = deployment.plan
    available, needed, peak = (
        f"{b:,}" for b in (plan.l2_bytes, plan.needed_bytes, plan.peak_bytes)
    )
    streamed = f"{sum(network.l3_bytes for network in deployment.networks):,} B"
    if plan.all_resident:
        if plan.peak_bytes == plan.needed_bytes:
            left = plan.l2_bytes - plan.needed_bytes
            return f"fits: {needed} of {available} B of L2 with all weights in it, {left:,} B left"
        return (
            f"would fit with all weights in L2 ({needed} of {available} B); streamed, the fullest "
            f"moment has {peak} B and a run reads {streamed} from L3"
        )
    says = f"does not fit: {needed} B, {plan.needed_bytes - plan.l2_bytes:,} more than {available}"
    if plan.runs:
        return (
            f"{says} of L2; with weights streamed it runs in {peak} B and reads {streamed} from L3 "
            "when every network runs once"
        )
    spilled = [m.layer.name for moments in plan.moments for m in moments if m.spilled]
    return (
        f"{says} of L2; nor with every weight streamed: {', '.join(spilled)} are too large "
        f"(up to {peak} B), and {streamed} go through L3 in a run, of which ms and mJ count the "
        "weights alone"
    )


def _deployments(
    architectures: Sequence[Architecture], together: bool, from_l3: bool, code_bytes: int
) -> list[Deployment]:
    groups = [architectures] if together else [[each] for each in architectures]
    available = L2_BYTES - code_bytes
    return [deploy(group, l2_bytes=available, stream_all=from_l3) for group in groups]


def _layer_table(network: DeployedNetwork) -> str:
    rows = [_layer_row(each) for each in network.layers]
    a = network.architecture
    total = ["total", "", "", "", "", f"{a.mac / 1e6:.3f}", f"{a.weight_bytes:,}", "", ""]
    total += ["", str(sum(e.tiling.tiles for e in network.layers if e.tiling)), "", ""]
    total += ["", f"{network.l3_bytes:,}"]
    cost = network.cost
    total += [f"{cost.cycles / 1e3:,.0f}", f"{cost.milliseconds:.3f}", f"{cost.energy_mj:.4f}", ""]
    return text_table([a.name, *_HEADER], [*rows, total])


def _layer_row(each: DeployedLayer) -> list[str]:
    layer, tiling, cost = each.layer, each.tiling, each.cost
    row = [layer.name, str(layer.kind), f"{layer.height}x{layer.width}x{layer.in_channels}"]
    row.append(f"{layer.kernel}x{layer.kernel} s{layer.stride} p{layer.padding}")
    row.append(f"{layer.out_height}x{layer.out_width}x{layer.out_channels}")
    row += [f"{layer.mac / 1e6:.3f}", f"{layer.weight_bytes:,}"]
    row += [f"{layer.input_bytes:,}", f"{layer.output_bytes:,}"]
    if tiling is None:
        row += ["none fits", "", "", f"{smallest_l1_bytes(layer):,}"]
    else:
        row.append(f"{tiling.rows}x{tiling.columns}x{tiling.channels}")
        row += [str(tiling.tiles), str(tiling.buffers), f"{tiling.l1_bytes:,}"]
    row += [f"{each.moment.l2_bytes:,}", f"{each.moment.l3_bytes:,}"]
    row += [f"{cost.cycles / 1e3:,.0f}", f"{cost.milliseconds:.3f}", f"{cost.energy_mj:.4f}"]
    return [*row, f"{100 * cost.relative_error:.0f} %"]


def _summary_table(networks: Sequence[DeployedNetwork], *, total: bool) -> str:
    rows = []
    for network in networks:
        a = network.architecture
        row = [a.name, f"{a.parameters:,}", f"{a.mac / 1e6:.2f}", f"{a.weight_bytes:,}"]
        row.append(f"{network.l3_bytes:,}")
        rows.append([*row, *(f"{getattr(network.cost, key):.2f}" for key in _MODELLED)])
    if total:
        shapes = [network.architecture for network in networks]
        row = ["all, one after the other", f"{sum(a.parameters for a in shapes):,}"]
        row += [f"{sum(a.mac for a in shapes) / 1e6:.2f}"]
        row += [f"{sum(a.weight_bytes for a in shapes):,}"]
        row += [f"{sum(n.l3_bytes for n in networks):,}"]
        row += [f"{sum(getattr(n.cost, key) for n in networks):.2f}" for key in _MODELLED]
        rows.append(row)
    header = ["network", "parameters", "M MAC", "weight B", "L3 B a run"]
    return text_table([*header, "GAP8 ms m", "low m", "high m", "mJ m"], rows)


_MODELLED: Final = ("milliseconds", "low_ms", "high_ms", "energy_mj")


def _network_document(network: DeployedNetwork, deployment: Deployment) -> dict[str, Any]:
    a, cost, published = network.architecture, network.cost, network.published
    return {
        "shape": {
            "mac": a.mac,
            "parameters": a.parameters,
            "weight_bytes": a.weight_bytes,
            "activation_bytes": a.activation_bytes,
            "l3_bytes": network.l3_bytes,
        },
        "modelled": {
            "latency_ms": cost.milliseconds,
            "low_ms": cost.low_ms,
            "high_ms": cost.high_ms,
            "energy_mj": cost.energy_mj,
        },
        "published": None if published is None else {"latency_ms": published.milliseconds},
        "fits": deployment.plan.all_resident and not deployment.untiled,
        "layers": [_layer_document(each) for each in network.layers],
    }


def _layer_document(each: DeployedLayer) -> dict[str, Any]:
    layer, tiling, moment, cost = each.layer, each.tiling, each.moment, each.cost
    tile = None
    if tiling is not None:
        tile = {k: v for k, v in asdict(tiling).items() if k != "layer"}
        tile["l1_bytes"] = tiling.l1_bytes
    return {
        "shape": {
            **asdict(layer),
            "mac": layer.mac,
            "parameters": layer.parameters,
            "weight_bytes": layer.weight_bytes,
            "input_bytes": layer.input_bytes,
            "output_bytes": layer.output_bytes,
            "l2_bytes": moment.l2_bytes,
            "l3_bytes": moment.l3_bytes,
        },
        "tiling": tile,
        "modelled": {
            "cycles": cost.cycles,
            "latency_ms": cost.milliseconds,
            "energy_mj": cost.energy_mj,
            "relative_error": cost.relative_error,
        },
    }


def _deployment_document(deployment: Deployment) -> dict[str, Any]:
    plan = deployment.plan
    return {
        "networks": [network.name for network in plan.networks],
        "l2_bytes": {
            "needed": plan.needed_bytes,
            "fullest_moment": plan.peak_bytes,
            "available": L2_BYTES,
        },
        "fits": plan.all_resident,
        "runs_with_weights_streamed": plan.runs,
        "layers_without_a_tile": [layer.name for layer in deployment.untiled],
        "verdicts": verdicts(deployment),
    }
