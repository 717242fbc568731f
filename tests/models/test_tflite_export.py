"""TFLite networks against exact integer arithmetic, and the command that writes them."""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

pytest.importorskip("onnx")
pytest.importorskip("ai_edge_litert")

from gearshift.models.commands import tflite_command
from gearshift.models.evaluating.agreement import agreement
from gearshift.models.evaluating.inference import run_engine, run_frames
from gearshift.models.formats.qdq_chain import QuantisedChain, QuantisedLayer, read_chain
from gearshift.models.formats.tflite_writer import tflite_model
from gearshift.models.zoo_making.tflite_export import export_tflite, load_splits
from gearshift.runtime.engines.engine_registry import load_engine
from gearshift.runtime.engines.integer_network import Geometry, IntegerKind
from gearshift.runtime.engines.litert_engine import LiteRtEngine
from gearshift.runtime.engines.litert_metadata import read_document
from gearshift.runtime.engines.network import Network, read_manifest, zoo_folder
from gearshift.runtime.errors import (
    ConfigurationError,
    GearshiftError,
    MissingExtraError,
    NetworkError,
)
from gearshift.runtime.installation import install_line
from gearshift.runtime.scheduling.scripted import scripted_network
from gearshift.runtime.types import Component

Bytes = NDArray[np.int64]


def chain_of(
    layers: list[QuantisedLayer], size: tuple[int, int], *, halved: bool = False
) -> QuantisedChain:
    components = tuple(Component(f"c{i}", "m") for i in range(layers[-1].geometry.out_channels))
    network = scripted_network("random", components, None, size)
    return QuantisedChain(network, halved, tuple(layers))


def power_of_two(draw: st.DrawFn, low: int, high: int) -> float:
    """A scale by which float32 and float64 multiply exactly, so that every tie is one in both."""
    return 2.0 ** draw(st.integers(low, high))


@st.composite
def chains(draw: st.DrawFn) -> QuantisedChain:
    halved = draw(st.booleans())
    height, width = draw(st.integers(5, 15)), draw(st.integers(5, 15))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size = (2 * height, 2 * width) if halved else (height, width)
    layers: list[QuantisedLayer] = []
    channels, scale = 1, 1.0
    for index in range(draw(st.integers(0, 4))):
        kind = draw(st.sampled_from((IntegerKind.CONV, IntegerKind.DEPTHWISE, IntegerKind.POOL)))
        kernel = draw(st.integers(1, 5))
        stride = draw(st.integers(1, 3))
        padding = 0 if kind is IntegerKind.POOL else draw(st.integers(0, kernel - 1))
        out = draw(st.integers(1, 9)) if kind is IntegerKind.CONV else channels
        geometry = Geometry(kind, channels, height, width, out, kernel, stride, padding)
        if geometry.out_height < 1 or geometry.out_width < 1:
            continue
        sums = kind is not IntegerKind.POOL
        after = scale * power_of_two(draw, 1, 4) if sums else scale
        steps = np.array([power_of_two(draw, -7, -4) for _ in range(out if sums else 0)])
        layers.append(
            QuantisedLayer(
                f"layer{index}",
                geometry,
                rng.integers(-127, 128, geometry.weight_shape if sums else 0).astype(np.int8),
                steps,
                rng.integers(-2000, 2000, len(steps)) * steps * scale,
                scale,
                after,
            )
        )
        channels, height, width, scale = out, geometry.out_height, geometry.out_width, after
    outputs = draw(st.integers(1, 5))
    head = Geometry(IntegerKind.FULLY_CONNECTED, channels, height, width, outputs)
    steps = np.array([power_of_two(draw, -9, -3) for _ in range(outputs)])
    weight = rng.integers(-127, 128, head.weight_shape).astype(np.int8)
    bias = rng.integers(-500, 500, outputs) * steps * scale
    layers.append(QuantisedLayer("head", head, weight, steps, bias, scale, None))
    return chain_of(layers, size, halved=halved)


def windows(values: Bytes, kernel: int, stride: int) -> Bytes:
    """(rows, columns, channels, kernel, kernel) of (height, width, channels)."""
    views = np.lib.stride_tricks.sliding_window_view(values, (kernel, kernel), axis=(0, 1))
    return views[::stride, ::stride]


def exact(chain: QuantisedChain, image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The outputs in integer sums, requantised to the nearest byte, ties to even."""
    values = image[:, :, None].astype(np.int64)
    if chain.halved:
        values = np.rint(windows(values, 2, 2).mean(axis=(3, 4))).astype(np.int64)
    for layer in chain.layers[:-1]:
        geometry = layer.geometry
        if geometry.kind is IntegerKind.POOL:
            values = windows(values, geometry.kernel, geometry.stride).max(axis=(3, 4))
            continue
        around = (geometry.padding, geometry.padding)
        seen = windows(np.pad(values, (around, around, (0, 0))), geometry.kernel, geometry.stride)
        how = "rcikl,okli->rco" if geometry.kind is IntegerKind.CONV else "rcokl,okl->rco"
        weight = layer.weight.astype(np.int64)
        sums = np.einsum(how, seen, weight if geometry.kind is IntegerKind.CONV else weight[..., 0])
        assert layer.output_scale is not None
        real = (sums * layer.sum_scale + layer.bias) / layer.output_scale
        values = np.clip(np.rint(real), 0, 255).astype(np.int64)
    head = chain.layers[-1]
    sums = head.weight.astype(np.int64) @ values.reshape(-1)
    result: NDArray[np.float64] = sums * head.sum_scale + head.bias
    return result


def written(chain: QuantisedChain) -> LiteRtEngine:
    return LiteRtEngine(tflite_model(chain, chain.network.to_json()), "random.tflite")


@settings(max_examples=60)
@given(chains(), st.integers(0, 99))
def test_every_geometry_computes_what_the_integers_say(chain: QuantisedChain, seed: int) -> None:
    engine = written(chain)
    shape = (chain.network.height, chain.network.width)
    for image in (
        np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8),
        np.full(shape, 255, np.uint8),
    ):
        expected = exact(chain, image)
        # The head sums float32 products; everything before it is exact.
        slack = 1e-5 * (np.abs(chain.layers[-1].weight) * 255.0).sum(axis=1)
        slack = slack * chain.layers[-1].sum_scale + 1e-5 * np.abs(chain.layers[-1].bias)
        assert (np.abs(engine.run(image) - expected) <= slack).all()


@settings(max_examples=20)
@given(chains())
def test_writing_is_deterministic(chain: QuantisedChain) -> None:
    document = chain.network.to_json()
    assert tflite_model(chain, document) == tflite_model(chain, document)


@settings(max_examples=20)
@given(chains(), st.data())
def test_every_constant_is_aligned(chain: QuantisedChain, data: st.DataObject) -> None:
    assume(len(chain.layers) > 1)
    content = tflite_model(chain, chain.network.to_json())
    weights = [layer.weight for layer in chain.layers if layer.weight.size > 20]
    assume(weights)
    weight = data.draw(st.sampled_from(weights))
    stored = (weight, weight.transpose(3, 1, 2, 0)) if weight.ndim == 4 else (weight,)
    places = [content.find(np.ascontiguousarray(form).tobytes()) for form in stored]
    assert any(place > 0 and place % 16 == 0 for place in places)


def test_a_bias_beyond_int32_is_refused() -> None:
    geometry = Geometry(IntegerKind.CONV, 1, 6, 6, 1)
    weight = np.ones(geometry.weight_shape, np.int8)
    one = np.ones(1)
    layer = QuantisedLayer("layer0", geometry, weight, one * 1e-9, one * 10.0, 1.0, 1.0)
    last = Geometry(IntegerKind.FULLY_CONNECTED, 1, 6, 6, 1)
    head = QuantisedLayer("head", last, np.ones((1, 36), np.int8), one, one, 1.0, None)
    with pytest.raises(NetworkError, match="a bias of layer0 does not fit int32"):
        tflite_model(chain_of([layer, head], (6, 6)), "{}")


def test_outputs_keep_steps_of_their_own() -> None:
    """Outputs of very different sizes are all exact; one step for all would lose the small one."""
    geometry = Geometry(IntegerKind.FULLY_CONNECTED, 1, 6, 6, 2)
    weight = np.tile(np.arange(36, dtype=np.int8), (2, 1))
    head = QuantisedLayer("h", geometry, weight, np.array([1.0, 1e-6]), np.zeros(2), 1.0, None)
    engine = written(chain_of([head], (6, 6)))
    image = np.arange(36, dtype=np.uint8).reshape(6, 6)
    expected = float((np.arange(36) ** 2).sum())
    np.testing.assert_allclose(engine.run(image), [expected, expected * 1e-6], rtol=1e-5)


def test_the_zoos_files_are_what_its_networks_convert_to() -> None:
    """The committed files follow the committed networks; only the measured errors are beside."""
    for name, entry in read_manifest()["networks"].items():
        assert "litert" in entry["formats"], f"run gearshift models export tflite {name}"
        content = (zoo_folder() / entry["formats"]["litert"]["file"]).read_bytes()
        document = read_document(content, name)
        chain = read_chain((zoo_folder() / entry["file"]).read_bytes(), name)
        assert content == tflite_model(chain, document)
        described = Network.from_json(document, name)
        assert replace(described, mae={}) == replace(chain.network, mae={})


def copied_zoo(place: Path) -> Path:
    shutil.copytree(zoo_folder(), place / "zoo", ignore=shutil.ignore_patterns("gap8", "*.py"))
    for path in (place / "zoo").glob("*.tflite"):
        path.unlink()
    return place / "zoo"


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    tflite_command.register(parser.add_subparsers())
    options = parser.parse_args(("tflite", *arguments))
    code: int = options.run(options)
    return code


def test_the_command_writes_measures_and_notes(
    tmp_path: Path, flights: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    zoo = copied_zoo(tmp_path)
    assert run("F2", "aux", "--zoo", str(zoo), "--data", str(flights)) == 0
    shown = capfd.readouterr().out
    assert f"{zoo / 'F2.tflite'}: " in shown
    rows = [line.split() for line in shown.splitlines() if line.startswith(("F2 ", "aux "))]
    assert [row[3] for row in rows] == ["x", "y", "z", "phi", "49"]
    assert {row[1] for row in rows} == {"val"}
    engine = load_engine("F2", zoo, engine="litert")
    data = load_splits(flights)["val"]
    expected = np.abs(run_engine(engine, data.images) - data.values)[data.scored].mean(axis=0)
    assert engine.network.mae["val"]["x"] == pytest.approx(expected[0], rel=1e-5)
    reference = run_frames(zoo / "F2.onnx", data.images)
    assert agreement(reference, run_engine(engine, data.images)).largest.max() < 2
    # The integer form of the manifest stays; a network that was not named keeps its entry.
    entries = read_manifest(zoo)["networks"]
    assert set(entries["F2"]["formats"]) == {"litert", "integer"}
    assert entries["F1"] == read_manifest()["networks"]["F1"]


def test_without_names_every_network_is_written(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    zoo = copied_zoo(tmp_path)
    assert run("--zoo", str(zoo)) == 0
    names = {path.stem for path in zoo.glob("*.tflite")}
    assert names == set(read_manifest(zoo)["networks"])
    assert not load_engine("F1", zoo, engine="litert").network.mae
    assert len(capfd.readouterr().out.splitlines()) == len(names)


def test_a_folder_of_recordings_is_a_split_of_its_own(flights: Path) -> None:
    assert list(load_splits(flights / "train")) == ["train"]
    assert list(load_splits(flights)) == ["val"]


def test_what_cannot_be_converted_is_one_line(tmp_path: Path) -> None:
    zoo = copied_zoo(tmp_path)
    with pytest.raises(NetworkError, match="unknown network 'F9'"):
        export_tflite("F9", zoo, {})
    (zoo / "F1.onnx").write_bytes(b"")
    with pytest.raises(NetworkError, match="is not the manifest's"):
        export_tflite("F1", zoo, {})
    manifest = json.loads((zoo / "manifest.json").read_text())
    assert manifest == json.loads((zoo_folder() / "manifest.json").read_text())
    with pytest.raises(GearshiftError, match="holds no recordings"):
        load_splits(tmp_path / "none")


def test_without_its_packages_the_command_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in [name for name in sys.modules if name.startswith("gearshift.models.")]:
        if name.rpartition(".")[2] in ("tflite_export", "tflite_writer"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    with pytest.raises(MissingExtraError, match=re.escape(install_line("tflite"))):
        run("F1", "--zoo", str(tmp_path))


def test_agreement_counts_in_each_outputs_own_steps() -> None:
    reference = np.array([[0, 0, 1], [255, 2.55, 1]], np.float32)
    outputs = reference + np.array([[1, 0.02, 0], [0, 0, 0]], np.float32)
    found = agreement(reference, outputs)
    np.testing.assert_allclose(found.step, [1, 0.01, 0], rtol=1e-6)
    np.testing.assert_allclose(found.largest, [1, 2, 0], rtol=1e-5)
    np.testing.assert_allclose(found.mean, [0.5, 1, 0], rtol=1e-5)
    assert found.frames == 2
    with pytest.raises(ConfigurationError, match="cannot be compared"):
        agreement(reference, outputs[:1])
