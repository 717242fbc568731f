"""The integer engine is exact: against plain int64 loops, and against a real GAP8 deployment."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gearshift.runtime.engines.engine_conformance import EngineCheck, engine_checks
from gearshift.runtime.engines.gap8_folder import read_gap8_folder
from gearshift.runtime.engines.integer_engine import IntegerEngine, golden, layer_outputs
from gearshift.runtime.engines.integer_network import (
    Geometry,
    IntegerKind,
    IntegerLayer,
    IntegerNetwork,
    connected_layer,
    convolution_layer,
    halve,
    pool_layer,
)
from gearshift.runtime.errors import NetworkError
from gearshift.runtime.scheduling.scripted import scripted_network
from gearshift.runtime.types import Component

DEPLOYMENT = Path(__file__).parents[3] / "shared" / "data" / "gap8-frontnet-160x32"
needs_deployment = pytest.mark.skipif(
    not DEPLOYMENT.is_dir(), reason="../shared/data/gap8-frontnet-160x32 is not there"
)
Array = NDArray[Any]


def random_layer(rng: np.random.Generator, geometry: Geometry, extreme: int) -> IntegerLayer:
    """Numbers that keep the bytes of the next layer busy; the more extreme, the larger."""
    name = f"{geometry.kind} {geometry.kernel}"
    if geometry.kind is IntegerKind.POOL:
        return pool_layer(name, geometry)
    shape, out = geometry.weight_shape, geometry.out_channels
    weight = rng.integers(-128, 128, shape, dtype=np.int8)
    if geometry.kind is IntegerKind.FULLY_CONNECTED:
        return connected_layer(name, geometry, weight, rng.integers(-(10**6), 10**6, out, np.int32))
    reach = 255 * 128 * np.sqrt(weight[0].size) / 2
    scale = 2.0**geometry.shift * 255 / reach
    kappa = (scale * rng.uniform(-0.3, 1, out) * 2.0**extreme).astype(np.int64)
    lambda_ = rng.integers(-(2**55), 2**55, out) if extreme else rng.integers(-(2**31), 2**31, out)
    return convolution_layer(name, geometry, weight, kappa, lambda_)


@st.composite
def networks(draw: st.DrawFn, extremes: tuple[int, ...] = (0,)) -> IntegerNetwork:
    """Random small networks of every kind of layer, sometimes with enormous kappa."""
    height, width = draw(st.integers(3, 16)), draw(st.integers(3, 16))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (height, width, 1)
    layers = []
    kinds = (IntegerKind.CONV, IntegerKind.DEPTHWISE, IntegerKind.POOL)
    for _ in range(draw(st.integers(0, 4))):
        kind = draw(st.sampled_from(kinds))
        kernel, stride = draw(st.integers(1, 5)), draw(st.integers(1, 3))
        padding = 0 if kind is IntegerKind.POOL else draw(st.integers(0, kernel - 1))
        out = draw(st.integers(1, 9)) if kind is IntegerKind.CONV else shape[2]
        if min(shape[:2]) + 2 * padding < kernel:
            continue
        shift = draw(st.sampled_from((24, 24, 10)))
        geometry = Geometry(kind, shape[2], shape[0], shape[1], out, kernel, stride, padding, shift)
        layers.append(random_layer(rng, geometry, draw(st.sampled_from(extremes))))
        shape = (geometry.out_height, geometry.out_width, out)
    outputs = draw(st.integers(1, 5))
    head = Geometry(IntegerKind.FULLY_CONNECTED, shape[2], shape[0], shape[1], outputs)
    layers.append(random_layer(rng, head, 0))
    components = tuple(Component(f"c{index}", "m") for index in range(outputs))
    description = scripted_network("random", components, size=(height, width))
    return IntegerNetwork(description, tuple(layers), rng.uniform(1e-7, 1e-3, outputs))


def reference(network: IntegerNetwork, image: Array) -> list[Array]:
    """Every layer's output by plain loops over positions, in int64 throughout."""
    value = image[..., None].astype(np.int64)
    outputs = []
    for layer in network.layers:
        g = layer.geometry
        if g.kind is IntegerKind.FULLY_CONNECTED:
            outputs.append(layer.weight.astype(np.int64) @ value.reshape(-1) + layer.bias)
            break
        padded = np.pad(value, ((g.padding, g.padding), (g.padding, g.padding), (0, 0)))
        value = np.zeros((g.out_height, g.out_width, g.out_channels), np.int64)
        for y, x in np.ndindex(g.out_height, g.out_width):
            top, left = y * g.stride, x * g.stride
            window = padded[top : top + g.kernel, left : left + g.kernel]
            if g.kind is IntegerKind.POOL:
                value[y, x] = window.max(axis=(0, 1))
                continue
            for channel in range(g.out_channels):
                one = slice(channel, channel + 1)
                seen = window[..., one] if g.kind is IntegerKind.DEPTHWISE else window
                acc = int((seen * layer.weight[channel].astype(np.int64)).sum())
                z = int(layer.kappa[channel]) * acc + int(layer.lambda_[channel])
                value[y, x, channel] = min(max(z >> g.shift, 0), 255)
        outputs.append(value)
    return outputs


def any_image(network: IntegerNetwork, seed: int) -> Array:
    shape = (network.network.height, network.network.width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@settings(max_examples=60)
@given(networks(extremes=(0, 0, 14)), st.integers(0, 99))
def test_every_layer_is_exact(network: IntegerNetwork, seed: int) -> None:
    image = any_image(network, seed)
    expected = reference(network, image)
    for layer, ours, theirs in zip(
        network.layers, layer_outputs(network, image), expected, strict=True
    ):
        np.testing.assert_array_equal(ours, theirs, err_msg=layer.name)
    engine = IntegerEngine(network)
    engine.run(any_image(network, seed + 1))
    np.testing.assert_array_equal(engine.run_integers(image), expected[-1])
    values = (expected[-1] * network.output_scale).astype(np.float32)
    np.testing.assert_array_equal(engine.run(image), values)


def wide_network(weight: int, kappa: int = 1 << 12) -> IntegerNetwork:
    """800 equal weights per output: the sums reach 800 * 255 * |weight|."""
    conv = Geometry(IntegerKind.CONV, 1, 30, 20, 2, 1)
    middle = Geometry(IntegerKind.CONV, 2, 30, 20, 3, 20, 20, 0)
    head = Geometry(IntegerKind.FULLY_CONNECTED, 3, 1, 1, 1)
    full = np.int8(weight)
    layers = (
        convolution_layer(
            "first",
            conv,
            np.array([127, 126], np.int8).reshape(2, 1, 1, 1),
            np.full(2, 1 << 18, np.int64),
            np.zeros(2, np.int64),
        ),
        convolution_layer(
            "wide",
            middle,
            np.full(middle.weight_shape, full),
            np.full(3, kappa, np.int64),
            np.full(3, 12345, np.int64),
        ),
        connected_layer("head", head, np.array([[1, 2, 3]], np.int8), np.zeros(1, np.int32)),
    )
    description = scripted_network("wide", (Component("c", "m"),), size=(30, 20))
    return IntegerNetwork(description, layers, np.ones(1))


@pytest.mark.parametrize(("weight", "kappa"), [(79, 1), (83, 1), (127, 1), (83, (1 << 35) + 1)])
def test_sums_beyond_a_float32_mantissa_are_exact(weight: int, kappa: int) -> None:
    """The last bit of an odd sum shows in the output: nothing is shifted out or clipped."""
    network = wide_network(weight)
    image = np.full((30, 20), 255, np.uint8)
    image[0, 0] = 64  # 127 and 126 behind the first layer, which makes the sum odd
    total = weight * int(reference(network, image)[0][:20].sum())
    assert total % 2 == 1
    assert (total < 1 << 24) == (weight < 83)
    assert (int(np.float32(total)) == total) == (weight < 83)
    first, wide, head = network.layers
    exact = convolution_layer(
        "wide",
        replace(wide.geometry, shift=0),
        wide.weight,
        np.full(3, kappa, np.int64),
        np.arange(127, 130) - kappa * total,
    )
    assert exact.accumulator_bound == 800 * 255 * weight
    assert (exact.accumulator_bound <= 1 << 24) == (weight < 83)
    assert (exact.requantisation_bound <= 1 << 53) == (kappa == 1)
    network = replace(network, layers=(first, exact, head))
    assert layer_outputs(network, image)[1].reshape(-1).tolist() == [127, 128, 129]
    assert reference(network, image)[1].reshape(-1).tolist() == [127, 128, 129]


def test_a_pooled_negative_kappa_is_not_pooled_first() -> None:
    conv = Geometry(IntegerKind.CONV, 1, 4, 4, 1)
    pool = Geometry(IntegerKind.POOL, 1, 4, 4, 1, 2, 2)
    head = Geometry(IntegerKind.FULLY_CONNECTED, 1, 2, 2, 1)
    layers = (
        convolution_layer(
            "falls",
            conv,
            np.ones((1, 1, 1, 1), np.int8),
            np.array([-1 << 24]),
            np.array([255 << 24]),
        ),
        pool_layer("pool", pool),
        connected_layer("head", head, np.array([[1, 2, 3, 4]], np.int8), np.zeros(1, np.int32)),
    )
    description = scripted_network("falls", (Component("c", "m"),), size=(4, 4))
    network = IntegerNetwork(description, layers, np.ones(1))
    image = any_image(network, 0)
    np.testing.assert_array_equal(
        IntegerEngine(network).run_integers(image), reference(network, image)[-1]
    )


@pytest.mark.parametrize("check", engine_checks(), ids=lambda check: check.__name__)
def test_conformance(check: EngineCheck) -> None:
    check(lambda: IntegerEngine(wide_network(83)))


def test_what_could_overflow_on_the_board_is_refused() -> None:
    with pytest.raises(NetworkError, match="wide: kappa \\* acc \\+ lambda can leave int64"):
        wide_network(83, kappa=1 << 40)
    head = Geometry(IntegerKind.FULLY_CONNECTED, 1, 300, 300, 1)
    with pytest.raises(NetworkError, match="head: its sums can leave int32"):
        connected_layer("head", head, np.full((1, 90000), 127, np.int8), np.zeros(1, np.int32))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kernel": 0}, "sizes must be positive"),
        ({"padding": 3}, "padding below the kernel's size"),
        ({"kernel": 50}, "kernel is larger than its input"),
        ({"height": 1 << 20, "width": 1 << 20}, "input is larger than"),
        ({"height": 2000, "width": 2000, "kernel": 31}, "its output or its patches exceed"),
        ({"out_channels": 1 << 30}, "its output or its patches exceed"),
        ({"shift": 63}, "a shift of 63"),
        ({"kind": IntegerKind.DEPTHWISE}, "keeps its channels"),
    ],
)
def test_impossible_geometry_is_refused(changes: dict[str, Any], message: str) -> None:
    geometry = Geometry(IntegerKind.CONV, 4, 8, 8, 5, 3, 1, 1)
    geometry.check("layer")
    with pytest.raises(NetworkError, match=message):
        replace(geometry, **changes).check("layer")


def test_layers_that_do_not_follow_are_refused() -> None:
    network = wide_network(3)
    with pytest.raises(NetworkError, match=r"wide reads 30x20x2 .* gives 30x20x1"):
        replace(network, layers=network.layers[1:])
    with pytest.raises(NetworkError, match="must end in its only fully connected layer"):
        replace(network, layers=network.layers[:1])
    with pytest.raises(NetworkError, match="2 output scales for 1 outputs"):
        replace(network, output_scale=np.ones(2))
    with pytest.raises(NetworkError, match="weights are int8"):
        replace(network.layers[0], weight=np.zeros(2, np.int8))


@needs_deployment
def test_a_real_deployment_gives_its_golden_values() -> None:
    network, run = read_gap8_folder(DEPLOYMENT)
    assert run is not None
    assert int(run.image.sum()) == 810934
    assert run.sums == (141585, 51732, 20816, 19410, 5783, 7242, 1511, 12249, 1322)
    assert run.outputs.tolist() == [335499, 41994, 74053, -78690]
    values = IntegerEngine(network).run(run.image)
    assert values == pytest.approx([2.4690, 0.5593, 0.3808, -0.7479], abs=5e-5)
    assert [component.name for component in network.network.components] == ["x", "y", "z", "phi"]
    assert network.network.parameters == 303396
    assert network.network.mac == 14138880


@needs_deployment
def test_a_real_deployment_is_exact_on_other_images() -> None:
    network, _ = read_gap8_folder(DEPLOYMENT)
    # Proof per layer: float32 holds every sum of this network.
    assert max(layer.accumulator_bound for layer in network.layers) < 1 << 24
    image = any_image(network, 7)
    for ours, theirs in zip(
        layer_outputs(network, image), fast_reference(network, image), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def fast_reference(network: IntegerNetwork, image: Array) -> list[Array]:
    """As `reference`, by einsum over windows, still in int64."""
    value = image[..., None].astype(np.int64)
    outputs = []
    for layer in network.layers:
        g = layer.geometry
        if g.kind is IntegerKind.FULLY_CONNECTED:
            outputs.append(layer.weight.astype(np.int64) @ value.reshape(-1) + layer.bias)
            break
        padded = np.pad(value, ((g.padding, g.padding), (g.padding, g.padding), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (g.kernel, g.kernel), (0, 1))
        windows = windows[:: g.stride, :: g.stride]
        if g.kind is IntegerKind.POOL:
            value = windows.max(axis=(3, 4))
        else:
            acc = np.einsum("yxcij,oijc->yxo", windows, layer.weight.astype(np.int64))
            value = np.clip((layer.kappa * acc + layer.lambda_) >> g.shift, 0, 255)
        outputs.append(value)
    return outputs


def test_the_golden_run_is_the_engines() -> None:
    network = wide_network(50)
    image = any_image(network, 3)
    run = golden(network, image)
    assert run.sums[0] == int(reference(network, image)[0].sum())
    assert run.outputs.dtype == np.int32
    np.testing.assert_array_equal(run.outputs, IntegerEngine(network).run_integers(image))
    assert run.sums[-1] == sum(run.outputs.astype("<i4").tobytes())


def test_frames_of_twice_the_size_are_halved() -> None:
    network = wide_network(50)
    halving = replace(network, network=replace(network.network, height=60, width=40))
    assert halving.halves
    image = any_image(halving, 1)
    means = image.reshape(30, 2, 20, 2).astype(np.float64).mean(axis=(1, 3))
    small = np.rint(means).astype(np.uint8)
    np.testing.assert_array_equal(halve(image), small)
    expected = IntegerEngine(network).run_integers(small)
    np.testing.assert_array_equal(IntegerEngine(halving).run_integers(image), expected)
    for check in engine_checks():
        check(lambda: IntegerEngine(halving))
