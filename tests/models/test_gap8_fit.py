"""Tiles in L1, weights in L2 or L3: laws that hold for any layer, and the real deployment."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearshift.models.commands.cost_tables import cost_json, cost_table, verdicts
from gearshift.models.cost.gap8_deployment import architecture_of, deploy, find_shape
from gearshift.models.cost.gap8_memory import plan_memory
from gearshift.models.cost.gap8_model import L2_BYTES, gap8_model
from gearshift.models.cost.gap8_tiling import (
    L1_BUDGET,
    Tiling,
    smallest_l1_bytes,
    tile_layer,
    tile_spans,
)
from gearshift.models.formats.gap8_conversion import integers_of_onnx
from gearshift.models.networks.architecture import (
    Architecture,
    Conv,
    Layer,
    LayerKind,
    Separable,
    chain,
)
from gearshift.models.networks.catalogue import architectures, find_architecture
from gearshift.models.networks.published import frontnet
from gearshift.runtime.engines.network import find_network, zoo_folder
from gearshift.runtime.errors import ConfigurationError, NetworkError

from .test_command import run

DEPLOYMENT = Path(__file__).parents[2].parent / "shared/data/gap8-frontnet-160x32"
BY_CHANNEL = (LayerKind.DEPTHWISE, LayerKind.POOL)


@st.composite
def layers(draw: st.DrawFn) -> Layer:
    kind = draw(st.sampled_from(list(LayerKind)))
    kernel = 1 if kind is LayerKind.POINTWISE else draw(st.sampled_from([1, 2, 3, 5]))
    padding = 0 if kind is LayerKind.POOL else draw(st.integers(0, kernel - 1))
    channels = draw(st.integers(1, 96))
    out = channels if kind in BY_CHANNEL else draw(st.integers(1, 96))
    height, width = draw(st.integers(kernel, 60)), draw(st.integers(kernel, 60))
    if kind is LayerKind.FULLY_CONNECTED:
        kernel, padding, height, width = 1, 0, min(height, 6), min(width, 6)
    stride = draw(st.integers(1, 3)) if kind is not LayerKind.FULLY_CONNECTED else 1
    return Layer("l", kind, channels, height, width, out, kernel, stride, padding)


def inputs_of(layer: Layer, output: int, size: int) -> range:
    """Inputs that one row or column of outputs reads, by the definition of a convolution."""
    first = output * layer.stride - layer.padding
    return range(max(first, 0), min(first + layer.kernel, size))


def check_tiles(tiling: Tiling, budget: int) -> None:
    layer = tiling.layer
    done = np.zeros((layer.out_channels, layer.out_height, layer.out_width), dtype=int)
    read = moved = tiles = 0
    loaded: tuple[object, ...] | None = None
    weights: object = None
    for channels, rows, columns in tile_spans(tiling):
        tiles += 1
        done[
            channels.start : channels.stop, rows.start : rows.stop, columns.start : columns.stop
        ] += 1
        if layer.kind is not LayerKind.FULLY_CONNECTED:
            for span, size in ((rows, layer.height), (columns, layer.width)):
                needed = [
                    i for o in range(span.start, span.stop) for i in inputs_of(layer, o, size)
                ]
                assert (span.in_start, span.in_stop) == (min(needed), max(needed) + 1)
        deep, outputs = channels.in_stop - channels.in_start, channels.stop - channels.start
        halo = deep * (rows.in_stop - rows.in_start) * (columns.in_stop - columns.in_start)
        number = 4 if layer.kind is LayerKind.FULLY_CONNECTED else 1
        out = number * outputs * (rows.stop - rows.start) * (columns.stop - columns.start)
        share = layer.weight_bytes * outputs // layer.out_channels
        tile = tiling.buffers * (halo + share + out) + tiling.scratch_bytes
        assert tile <= tiling.l1_bytes <= budget
        if (key := (channels.in_start, rows, columns)) != loaded:
            read, loaded = read + halo, key
        if channels != weights:
            moved, weights = moved + share, channels
        moved += out
    assert (done == 1).all()
    assert tiles == tiling.tiles
    assert read + moved == tiling.traffic_bytes


@pytest.mark.slow
@given(layers(), st.sampled_from([4_000, 12_000, L1_BUDGET]))
def test_tiles_fit_with_their_halo_and_cover_the_layer_once(layer: Layer, budget: int) -> None:
    tiling = tile_layer(layer, budget)
    if tiling is None:
        assert smallest_l1_bytes(layer) > budget
        return
    check_tiles(tiling, budget)
    assert (tiling.buffers == 2) <= (tiling.tiles > 1)


def test_every_layer_of_ours_has_double_buffered_tiles() -> None:
    for network in architectures().values():
        for layer in network.layers:
            tiling = tile_layer(layer)
            assert tiling is not None
            check_tiles(tiling, L1_BUDGET)
            assert tiling.buffers == 2 or tiling.tiles == 1


def test_a_layer_without_a_tile_is_named() -> None:
    wide = chain("wide", "", (Conv(8, 3, 2), Conv(4096, 3, 2), Conv(8)), 1, (8, 8))
    deployment = deploy([wide])
    assert [layer.name for layer in deployment.untiled] == ["conv3"]
    assert any(
        "no tile of conv3 fits in L1: one output pixel needs" in v for v in verdicts(deployment)
    )


@st.composite
def networks(draw: st.DrawFn) -> Architecture:
    conv = st.builds(Conv, st.integers(1, 160), st.sampled_from([1, 3, 5]), st.integers(1, 2))
    separable = st.builds(Separable, st.integers(1, 160), st.integers(1, 2))
    blocks = draw(st.lists(st.one_of(conv, separable), min_size=1, max_size=6))
    return chain("n", "", tuple(blocks), draw(st.integers(1, 8)), (draw(st.integers(8, 200)), 160))


@pytest.mark.slow
@given(st.lists(networks(), min_size=1, max_size=3), st.integers(20_000, 600_000))
def test_memory_is_planned_within_bounds(members: list[Architecture], l2_bytes: int) -> None:
    plan = plan_memory(members, l2_bytes)
    weights = sum(member.weight_bytes for member in members)
    largest = max(m.activation_bytes for m in members)
    frame = members[0].height * members[0].width
    assert (
        weights + largest
        <= plan.needed_bytes
        <= weights + largest + max(frame, *(m.height * m.width for m in members))
    )
    streamed = sum(m.streamed_bytes for each in plan.moments for m in each)
    assert (streamed == 0) == plan.all_resident
    for moments in plan.moments:
        for moment in moments:
            assert moment.resident_bytes + streamed == weights
            assert moment.spilled == (moment.l2_bytes > l2_bytes)
    if not plan.runs:
        assert streamed == weights
    everything = plan_memory(members, l2_bytes, stream_all=True)
    assert sum(m.streamed_bytes for each in everything.moments for m in each) == weights
    assert everything.peak_bytes <= plan.needed_bytes + max(m.weight_bytes for m in members)


def test_the_frame_stays_while_a_later_network_needs_it() -> None:
    first = chain("first", "", (Conv(4, 3, 2), Conv(4)), 2, (40, 60))
    plan = plan_memory([first, replace(first, name="second")])
    frames = [[moment.frame_bytes for moment in moments] for moments in plan.moments]
    # The first layer's own input is the frame; the last network gives it up.
    assert frames == [[0, 2400, 2400], [0, 0, 0]]


def test_what_does_not_fit_is_said_and_by_how_much() -> None:
    members = [find_architecture("Frontnet160x32"), find_architecture("M1.0")]
    plan = plan_memory(members)
    over = plan.needed_bytes - L2_BYTES
    table = cost_table(members, together=True)
    assert over > 0
    assert (
        f"Frontnet160x32 + M1.0 does not fit: {plan.needed_bytes:,} B, {over:,} more than" in table
    )
    huge = chain("huge", "", (Conv(64), Conv(64)), 1, (96, 160))
    document = cost_json([huge])
    assert document["networks"]["huge"]["fits"] is False
    assert document["deployments"][0]["runs_with_weights_streamed"] is False
    assert "conv1, conv2, head are too large" in document["deployments"][0]["verdicts"][0]
    spilled = document["networks"]["huge"]["layers"][1]["shape"]
    assert spilled["l3_bytes"] >= spilled["input_bytes"] + spilled["output_bytes"]


def test_the_real_deployments_buffer_lies_between_streamed_and_resident() -> None:
    """DORY gave that build 352 000 B: more than streaming layer by layer needs, less than all."""
    network = frontnet(96, 160)
    resident, streamed = plan_memory([network]), plan_memory([network], stream_all=True)
    assert network.weight_bytes == 311_088
    assert streamed.peak_bytes <= 352_000 < resident.needed_bytes <= L2_BYTES


def test_streamed_layers_cost_what_the_model_says() -> None:
    model, network = gap8_model(), find_architecture("M1.0")
    for stream_all in (False, True):
        deployment = deploy([network], stream_all=stream_all)
        cost = model.cost(network, from_l3=stream_all)
        # A pooling has no weights to stream.
        pools = sum(
            model.cycles(layer, from_l3=True) - model.cycles(layer)
            for layer in network.layers
            if stream_all and layer.kind is LayerKind.POOL
        )
        cycles = sum(each.cost.cycles for each in deployment.networks[0].layers)
        assert cycles == pytest.approx(sum(each.cycles for each in cost.layers) - pools)


@pytest.mark.parametrize("name", ["F1", "M1.0", "aux"])
def test_an_int8_file_has_the_shapes_of_its_architecture(name: str) -> None:
    pytest.importorskip("onnx")
    found = architecture_of(integers_of_onnx(find_network(name).verified_bytes(), name))
    named = find_architecture(name)
    ignoring_names = [(e.kind, e.weight_bytes, e.mac, e.input_bytes) for e in named.layers]
    assert [(e.kind, e.weight_bytes, e.mac, e.input_bytes) for e in found.layers] == ignoring_names
    assert find_shape(str(zoo_folder() / f"{name}.onnx")).mac == named.mac


@pytest.mark.skipif(not DEPLOYMENT.is_dir(), reason="needs ../shared/data")
def test_a_deployments_folder_has_the_cost_of_frontnet(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("cost", str(DEPLOYMENT), "--device", "gap8", "--json") == 0
    (network,) = json.loads(capsys.readouterr().out)["networks"].values()
    named = cost_json([frontnet(96, 160)])["networks"]["Frontnet160x32"]
    assert network["modelled"] == named["modelled"]
    assert network["published"]["latency_ms"] == pytest.approx(1e3 / 48)


def test_an_ensemble_is_placed_together(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("cost", "--ensemble", "D1") == 0
    shown = capsys.readouterr().out
    assert "F1 + M1.0 + aux fits: " in shown
    assert run("cost", "--ensemble", "D1", "--code", "87000") == 0
    assert "F1 + M1.0 + aux does not fit: " in capsys.readouterr().out


def test_an_ensemble_of_ones_own_is_placed_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('schema_version = 1\nsmall.network = "F2"\nlarge.network = "F1"\n')
    assert run("cost", "--ensemble", str(file)) == 0
    assert "F2 + F1 fits: " in capsys.readouterr().out
    file.write_text('schema_version = 1\nsmall.network = "F2"\nlarge.network = "F9"\n')
    with pytest.raises(NetworkError, match=r"mine\.toml:3: unknown network 'F9'"):
        run("cost", "--ensemble", str(file))


def test_unknown_networks_and_sizes_are_named() -> None:
    with pytest.raises(NetworkError, match=r"unknown network 'F9'.*M1\.0"):
        run("cost", "F9")
    with pytest.raises(NetworkError, match=r"none\.onnx: No such file"):
        run("cost", "none.onnx")
    with pytest.raises(ConfigurationError, match=r"unknown ensemble 'D9'"):
        run("cost", "--ensemble", "D9")
    with pytest.raises(ConfigurationError, match=r"--code -1 is not in 0\.\."):
        run("cost", "F1", "--code", "-1")
