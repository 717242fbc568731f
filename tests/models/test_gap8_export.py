"""Networks written as GAP8 deployments, and read back."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from gearshift.models.commands import format_command  # noqa: E402
from gearshift.models.evaluating.inference import run_frames  # noqa: E402
from gearshift.models.formats.gap8_conversion import integers_of_onnx  # noqa: E402
from gearshift.models.formats.gap8_export import measure_integers, quantise_to_integers  # noqa: E402
from gearshift.models.formats.gap8_writer import (  # noqa: E402
    golden_image,
    run_integer_frames,
    write_gap8_folder,
)
from gearshift.models.formats.onnx_graph import (  # noqa: E402
    float_model,
    quantised_model,
    with_metadata,
)
from gearshift.models.networks.architecture import (  # noqa: E402
    Architecture,
    Conv,
    LayerKind,
    Pool,
    Separable,
    chain,
)
from gearshift.models.networks.folding import FoldedLayer, FoldedNetwork  # noqa: E402
from gearshift.runtime.engines.engine_conformance import engine_checks  # noqa: E402
from gearshift.runtime.engines.gap8_folder import load_gap8_engine, read_gap8_folder  # noqa: E402
from gearshift.runtime.engines.integer_network import IntegerKind, IntegerNetwork  # noqa: E402
from gearshift.runtime.engines.network import Network  # noqa: E402
from gearshift.runtime.errors import GearshiftError, NetworkError  # noqa: E402
from gearshift.runtime.scheduling.scripted import scripted_network  # noqa: E402
from gearshift.runtime.types import Component  # noqa: E402


def random_network(architecture: Architecture, seed: int) -> FoldedNetwork:
    rng = np.random.default_rng(seed)
    layers = []
    for layer in architecture.layers:
        if layer.kind is LayerKind.POOL:
            layers.append(FoldedLayer(layer, None, None))
            continue
        shape: tuple[int, ...] = (layer.out_channels, layer.input_bytes)
        if layer.kind is not LayerKind.FULLY_CONNECTED:
            inputs = 1 if layer.kind is LayerKind.DEPTHWISE else layer.in_channels
            shape = (layer.out_channels, inputs, layer.kernel, layer.kernel)
        # Channels of very different scales, as a folded batch normalisation leaves them.
        gain = rng.lognormal(0, 1, layer.out_channels).reshape(-1, *[1] * (len(shape) - 1))
        spread = np.sqrt(2 / np.prod(shape[1:])) / (1 if layers else 100)
        weight = rng.normal(0, spread, shape) * gain
        bias = rng.normal(0.3, 0.5, layer.out_channels)
        layers.append(FoldedLayer(layer, weight.astype(np.float32), bias.astype(np.float32)))
    return FoldedNetwork(architecture, tuple(layers))


def description(architecture: Architecture) -> Network:
    components = tuple(Component(f"c{i}", "m") for i in range(architecture.outputs))
    return scripted_network(architecture.name, components, None, (architecture.height, 24))


SMALL = chain(
    "small",
    "test",
    (Conv(6, 5, 2), Pool(), Separable(8), Separable(12, 2), Conv(10)),
    3,
    (20, 24),
)


def scales(architecture: Architecture) -> dict[str, float]:
    return {layer.name: 0.03 for layer in architecture.layers}


def int8_content(seed: int = 0, architecture: Architecture = SMALL) -> bytes:
    model = quantised_model(random_network(architecture, seed), scales(architecture))
    return with_metadata(model, description(architecture).to_json())


def frames(count: int, seed: int = 0) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, 20, 24), dtype=np.uint8)


def assert_same(first: IntegerNetwork, second: IntegerNetwork) -> None:
    assert first.network == second.network
    np.testing.assert_array_equal(first.output_scale, second.output_scale)
    for one, two in zip(first.layers, second.layers, strict=True):
        assert (one.name, one.geometry) == (two.name, two.geometry)
        for field in ("weight", "kappa", "lambda_", "bias"):
            np.testing.assert_array_equal(getattr(one, field), getattr(two, field))


@st.composite
def architectures(draw: st.DrawFn) -> Architecture:
    block = st.one_of(
        st.builds(Conv, st.integers(1, 6), st.sampled_from((1, 3, 5)), st.integers(1, 2)),
        st.builds(Separable, st.integers(1, 6), st.integers(1, 2)),
        st.just(Pool()),
    )
    blocks = draw(st.lists(block, max_size=4))
    try:
        return chain("random", "test", tuple(blocks), draw(st.integers(1, 5)), (20, 24))
    except GearshiftError:
        return chain("random", "test", (), 2, (20, 24))


@settings(max_examples=25)
@given(architectures(), st.integers(0, 99))
def test_export_then_import_is_the_identity(architecture: Architecture, seed: int) -> None:
    content = int8_content(seed, architecture)
    network = integers_of_onnx(content, "random")
    image = frames(1, seed)[0]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "exported"
        run = write_gap8_folder(folder, network, image)
        read, read_run = read_gap8_folder(folder)
        assert_same(read, network)
        assert read_run is not None
        assert read_run.sums == run.sums
        np.testing.assert_array_equal(read_run.outputs, run.outputs)
        np.testing.assert_array_equal(read_run.image, image)
        # A second round changes no byte.
        again = Path(place) / "again"
        write_gap8_folder(again, read, image)
        for path in folder.iterdir():
            assert (again / path.name).read_bytes() == path.read_bytes()
        assert len(list(again.iterdir())) == len(list(folder.iterdir()))


def test_a_larger_shift_has_a_finer_kappa() -> None:
    content = int8_content()
    usual, fine = (integers_of_onnx(content, "small", shift=shift) for shift in (24, 40))
    coarser = 0
    for one, two in zip(usual.layers, fine.layers, strict=True):
        if one.kappa.size:
            assert (one.geometry.shift, two.geometry.shift) == (24, 40)
            distance = np.abs(one.kappa - two.kappa / 2**16)
            assert distance.max() <= 0.5 + 2**-17
            coarser += int(np.count_nonzero(distance))
            assert np.abs(one.lambda_ - two.lambda_ / 2**16).max() <= 1
    assert coarser
    expected = run_frames(content, frames(32))
    near, nearer = (
        np.abs(run_integer_frames(network, frames(32)) - expected) for network in (usual, fine)
    )
    assert nearer.max() <= near.max()
    with pytest.raises(NetworkError, match="int64"):
        integers_of_onnx(content, "small", shift=58)


@pytest.mark.parametrize("seed", range(4))
def test_the_integers_follow_the_int8_graph(seed: int) -> None:
    content = int8_content(seed)
    network = integers_of_onnx(content, "small")
    kinds = [layer.geometry.kind for layer in network.layers]
    assert kinds.count(IntegerKind.DEPTHWISE) == 2
    images = frames(16, seed)
    expected = run_frames(content, images)
    outputs = run_integer_frames(network, images)
    # Ties round differently and kappa is rounded: a byte may differ by one here and there.
    assert np.abs(outputs - expected).max() < 0.05 * expected.std()


def test_a_float_network_is_quantised_on_frames() -> None:
    folded = random_network(SMALL, 3)
    images = frames(64, 1)
    network = quantise_to_integers(folded, images, description(SMALL))
    expected = run_frames(float_model(folded), images)
    outputs = run_integer_frames(network, images)
    for component in range(3):
        assert np.corrcoef(outputs[:, component], expected[:, component])[0, 1] > 0.99


def test_the_written_folder_is_an_engine(tmp_path: Path) -> None:
    write_gap8_folder(tmp_path / "net", integers_of_onnx(int8_content(), "small"), frames(1)[0])
    for check in engine_checks():
        check(lambda: load_gap8_engine(tmp_path / "net"))


def test_a_folder_is_written_whole_and_never_over_other_things(tmp_path: Path) -> None:
    network, image = integers_of_onnx(int8_content(), "small"), frames(1)[0]
    folder = tmp_path / "deep" / "net"
    write_gap8_folder(folder, network, image)
    other = integers_of_onnx(int8_content(1), "small")
    write_gap8_folder(folder, other, image)
    assert_same(read_gap8_folder(folder)[0], other)
    assert [path.name for path in folder.parent.iterdir()] == ["net"]
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(NetworkError, match=r"holds notes\.txt"):
        write_gap8_folder(folder, network, image)
    (folder / "notes.txt").unlink()
    (folder / "gap8.json").unlink()
    with pytest.raises(NetworkError, match="not exported here"):
        write_gap8_folder(folder, network, image)
    with pytest.raises(NetworkError, match="is a file"):
        write_gap8_folder(folder / "inputs.hex", network, image)


def test_what_is_no_int8_model_of_ours_is_refused() -> None:
    folded = random_network(SMALL, 0)
    with pytest.raises(NetworkError, match="no readable ONNX model"):
        integers_of_onnx(b"not a model", "x.onnx")
    with pytest.raises(NetworkError, match=r"x\.onnx: no 'gearshift' metadata"):
        integers_of_onnx(quantised_model(folded, scales(SMALL)).SerializeToString(), "x.onnx")
    in_float = with_metadata(float_model(folded), description(SMALL).to_json())
    with pytest.raises(NetworkError, match=r"Cast 'image\.float' is none of the layers"):
        integers_of_onnx(in_float, "x.onnx")


@pytest.mark.parametrize(
    ("kind", "attribute", "value"),
    [
        ("Conv", "strides", [1, 2]),
        ("Conv", "pads", [2, 2, 1, 1]),
        ("Conv", "dilations", [2, 2]),
        ("Conv", "auto_pad", "SAME_UPPER"),
        ("MaxPool", "ceil_mode", 1),
        ("Gemm", "alpha", 2.0),
    ],
)
def test_layers_without_a_kernel_are_refused(kind: str, attribute: str, value: object) -> None:
    model = onnx.load_model_from_string(int8_content())
    node = next(node for node in model.graph.node if node.op_type == kind)
    kept = [a for a in node.attribute if a.name != attribute]
    del node.attribute[:]
    node.attribute.extend([*kept, onnx.helper.make_attribute(attribute, value)])
    with pytest.raises(NetworkError, match=f"{kind} .* is none of the layers"):
        integers_of_onnx(model.SerializeToString(), "x.onnx")


def test_other_quantisations_are_refused() -> None:
    for name, value, message in (
        ("conv1.zero", np.array(3, np.uint8), "zero point 0"),
        ("pool1.scale", np.array(0.5, np.float32), "changes the scale"),
        ("pool1.read.scale", np.array(0.5, np.float32), "another scale than they have"),
        ("conv2.weight.zero", np.ones(10, np.int8), "not symmetric int8"),
    ):
        model = onnx.load_model_from_string(int8_content())
        for tensor in model.graph.initializer:
            if tensor.name == name:
                tensor.CopyFrom(onnx.numpy_helper.from_array(value, name))
        with pytest.raises(NetworkError, match=message):
            integers_of_onnx(model.SerializeToString(), "x.onnx")


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    actions = parser.add_subparsers()
    format_command.register_import(actions)
    format_command.register_export(actions.add_parser("export").add_subparsers())
    options = parser.parse_args(arguments)
    code: int = options.run(options)
    return code


def test_the_zoos_networks_go_to_gap8_and_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("export", "gap8", "M1.0", "aux", "--out", str(tmp_path)) == 0
    shown = capsys.readouterr().out
    assert "depthwise" in shown
    assert run("import", "gap8", str(tmp_path / "M1.0"), "--out", str(tmp_path / "copy")) == 0
    assert capsys.readouterr().out.splitlines()[:5] == shown.splitlines()[1:6]
    assert_same(read_gap8_folder(tmp_path / "copy")[0], read_gap8_folder(tmp_path / "M1.0")[0])
    assert load_gap8_engine(tmp_path / "aux").network.grid is not None


def test_a_network_of_smaller_images_can_take_larger_frames(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = integers_of_onnx(int8_content(), "small")
    run_before = write_gap8_folder(tmp_path / "small", network, frames(1)[0])
    assert (
        run("import", "gap8", str(tmp_path / "small"), "--halve", "--out", str(tmp_path / "b")) == 0
    )
    shown = capsys.readouterr().out
    halving, run_after = read_gap8_folder(tmp_path / "b")
    assert (halving.network.height, halving.network.width) == (40, 48)
    assert run_after is not None
    assert run_after.sums == run_before.sums
    assert run("import", "gap8", str(tmp_path / "small")) == 0
    assert capsys.readouterr().out.splitlines()[:6] == shown.splitlines()[:6]


def test_outputs_of_frames_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image_module = pytest.importorskip("PIL.Image")
    network = integers_of_onnx(int8_content(), "small")
    write_gap8_folder(tmp_path / "net", network, frames(1)[0])
    seen = frames(3, 5)
    (tmp_path / "frames").mkdir()
    for index, frame in enumerate(seen):
        image_module.fromarray(frame).save(tmp_path / "frames" / f"{index}.png")
    arguments = ("import", "gap8", str(tmp_path / "net"), "--frames", str(tmp_path / "frames"))
    assert run(*arguments, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    expected = run_integer_frames(network, seen)
    np.testing.assert_array_equal(np.array(document["frames"], np.float32), expected)
    assert [layer["kind"] for layer in document["layers"]][-1] == "fully connected"
    assert run(*arguments) == 0
    assert f"{expected[2, 1]:.5f}" in capsys.readouterr().out.splitlines()[-1]


def test_wrong_scales_and_names_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(GearshiftError, match="separated by commas"):
        run("import", "gap8", str(tmp_path), "--output-scales", "a,b")
    with pytest.raises(GearshiftError, match="the zoo has"):
        run("export", "gap8", "no-such-network")
    with pytest.raises(GearshiftError, match="No such file"):
        run("export", "gap8", str(tmp_path / "none.onnx"))


def test_errors_are_measured_on_recordings(flights: Path) -> None:
    from gearshift.models.evaluating.inference import find_model

    content = find_model("F2")
    assert isinstance(content, bytes)
    line = measure_integers(integers_of_onnx(content, "F2"), content, flights / "val")
    assert "int8 ONNX -> integers: x " in line
    assert "32 frames); outputs " in line
    assert line.endswith(" at most")


def test_the_golden_image_is_the_same_everywhere() -> None:
    assert int(golden_image(96, 160).sum()) == 1561182


@pytest.mark.slow
def test_neither_direction_needs_torch(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "import argparse; from gearshift.models.commands import format_command\n"
        "parser = argparse.ArgumentParser(); actions = parser.add_subparsers()\n"
        "format_command.register_import(actions); format_command.register_export(actions)\n"
        f"for line in ('gap8 F2 --out {tmp_path}', 'import gap8 {tmp_path}/F2'):\n"
        "    options = parser.parse_args(line.split()); assert options.run(options) == 0\n"
    )
    shown = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert shown.returncode == 0, shown.stderr
