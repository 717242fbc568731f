"""Folders of weight files: what was written is what is read; what was damaged is refused."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gearshift.runtime.engines.gap8_folder import (
    GEOMETRY_NAME,
    INPUT_NAME,
    describe,
    load_gap8_engine,
    read_gap8_folder,
)
from gearshift.runtime.engines.integer_engine import golden
from gearshift.runtime.engines.integer_network import (
    Geometry,
    IntegerKind,
    IntegerLayer,
    IntegerNetwork,
    connected_layer,
    convolution_layer,
    pool_layer,
)
from gearshift.runtime.errors import NetworkError
from gearshift.runtime.scheduling.scripted import scripted_network

DEPLOYMENT = Path(__file__).parents[3] / "shared" / "data" / "gap8-frontnet-160x32"


def frontnet(channels: int, height: int, width: int) -> IntegerNetwork:
    """A PULP-Frontnet with random integers."""
    rng = np.random.default_rng(channels)
    layers: list[IntegerLayer] = []
    shape = (height, width, 1)

    def convolution(out: int, kernel: int, stride: int) -> None:
        nonlocal shape
        geometry = Geometry(
            IntegerKind.CONV, shape[2], *shape[:2], out, kernel, stride, kernel // 2
        )
        layers.append(
            convolution_layer(
                f"layer{len(layers)}",
                geometry,
                rng.integers(-128, 128, geometry.weight_shape, dtype=np.int8),
                rng.integers(1, 1 << 18, out),
                rng.integers(0, 1 << 28, out),
            )
        )
        shape = (geometry.out_height, geometry.out_width, out)

    convolution(channels, 5, 2)
    pool = Geometry(IntegerKind.POOL, channels, *shape[:2], channels, 2, 2)
    layers.append(pool_layer("layer1", pool))
    shape = (pool.out_height, pool.out_width, channels)
    for factor in (1, 2, 4):
        convolution(factor * channels, 3, 2)
        convolution(factor * channels, 3, 1)
    head = Geometry(IntegerKind.FULLY_CONNECTED, shape[2], *shape[:2], 4)
    weight = rng.integers(-128, 128, head.weight_shape, dtype=np.int8)
    layers.append(connected_layer("layer8", head, weight, rng.integers(-99, 99, 4, dtype=np.int32)))
    description = scripted_network("frontnet", size=(height, width))
    return IntegerNetwork(description, tuple(layers), np.array([1e-5, 2e-5, 3e-6, 1 / 3]))


def write(folder: Path, network: IntegerNetwork) -> Path:
    image = np.random.default_rng(0).integers(
        0, 256, (network.network.height, network.network.width), dtype=np.uint8
    )
    document, files = describe(network, golden(network, image))
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (folder / GEOMETRY_NAME).write_text(document)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "exported", frontnet(2, 48, 80))


def edit(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / GEOMETRY_NAME
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def refusal(folder: Path, *arguments: Any) -> str:
    with pytest.raises(NetworkError) as error:
        read_gap8_folder(folder, *arguments)
    text = str(error.value)
    assert "\n" not in text
    assert str(folder) in text
    return text


def assert_same(first: IntegerNetwork, second: IntegerNetwork) -> None:
    assert first.network == second.network
    np.testing.assert_array_equal(first.output_scale, second.output_scale)
    assert len(first.layers) == len(second.layers)
    for one, two in zip(first.layers, second.layers, strict=True):
        assert (one.name, one.geometry) == (two.name, two.geometry)
        for field in ("weight", "kappa", "lambda_", "bias"):
            np.testing.assert_array_equal(getattr(one, field), getattr(two, field))


def test_what_was_written_is_what_is_read(folder: Path) -> None:
    network, run = read_gap8_folder(folder)
    assert_same(network, frontnet(2, 48, 80))
    assert run is not None
    np.testing.assert_array_equal(
        load_gap8_engine(folder).run(run.image),
        (run.outputs * network.output_scale).astype(np.float32),
    )


@pytest.mark.parametrize(("channels", "height", "width"), [(3, 48, 80), (2, 96, 160)])
def test_a_deployments_own_folder_is_recognised(
    tmp_path: Path, channels: int, height: int, width: int
) -> None:
    expected = frontnet(channels, height, width)
    folder = write(tmp_path / "deployed", expected)
    (folder / GEOMETRY_NAME).unlink()
    shifts = [24] * 7
    assert "output scales are not in the folder" in refusal(folder, None, shifts)
    assert "give --shifts" in refusal(folder, expected.output_scale.tolist())
    network, run = read_gap8_folder(folder, expected.output_scale.tolist(), shifts)
    for one, two in zip(network.layers, expected.layers, strict=True):
        assert one.geometry == two.geometry
        np.testing.assert_array_equal(one.weight, two.weight)
    assert run is not None
    assert run.sums == golden(expected, run.image).sums
    (folder / INPUT_NAME).unlink()
    assert read_gap8_folder(folder, [1, 1, 1, 1], shifts)[1] is None
    with pytest.raises(NetworkError, match="3 output scales for 4 outputs"):
        read_gap8_folder(folder, [1, 1, 1], shifts)
    with pytest.raises(NetworkError, match="must be positive"):
        read_gap8_folder(folder, [1, 1, 1, -1], shifts)


def test_newer_names_of_weight_files_and_shifts_per_layer(tmp_path: Path) -> None:
    expected = frontnet(2, 96, 160)
    folder = write(tmp_path / "deployed", expected)
    (folder / GEOMETRY_NAME).unlink()
    for path in sorted(folder.glob("layer*_weights.hex")):
        index, kind = path.name.removeprefix("layer").split("_")[:2]
        path.rename(folder / f"{kind}{index}_weights.hex")
    scale = expected.output_scale.tolist()
    shifts = [24, 23, 22, 21, 20, 24, 23]
    network, _ = read_gap8_folder(folder, scale, shifts)
    found = [g.shift for g in (layer.geometry for layer in network.layers) if g.kind == "conv"]
    assert found == shifts
    assert "6 shifts for 7 convolutions" in refusal(folder, scale, shifts[1:])
    (folder / "layer0_BNReluConvolution_weights.hex").write_bytes(b"")
    assert "is layer 0 already" in refusal(folder, scale, shifts)


def test_damaged_bytes_are_named(folder: Path) -> None:
    path = folder / "layer3_BNReluConvolution_weights.hex"
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    text = refusal(folder)
    assert path.name in text
    assert f"{len(content) - 1} bytes" in text
    path.write_bytes(content + b"\0")
    assert path.name in refusal(folder)
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    assert f"{path.name}: sha256" in refusal(folder)
    path.unlink()
    assert f"{path.name}: No such file" in refusal(folder)


def test_a_layer_that_would_wrap_on_the_board_is_named(folder: Path) -> None:
    (folder / GEOMETRY_NAME).unlink()
    path = folder / "layer2_BNReluConvolution_weights.hex"
    content = bytearray(path.read_bytes())
    kappa = frontnet(2, 48, 80).layers[2].weight.size
    content[kappa : kappa + 8] = (1 << 62).to_bytes(8, "little")
    path.write_bytes(content)
    assert "layer2: kappa * acc + lambda can leave int64" in refusal(folder, [1.0] * 4)


def test_a_damaged_input_is_named(folder: Path) -> None:
    path = folder / INPUT_NAME
    content = path.read_bytes()
    path.write_bytes(content[1:])
    assert f"{INPUT_NAME}: 3839 bytes, an image of 80x48 has 3840" in refusal(folder)
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    assert f"{INPUT_NAME}: its bytes sum to" in refusal(folder)
    swapped = bytearray(content)
    swapped[100], swapped[2000] = swapped[2000], swapped[100]
    path.write_bytes(bytes(swapped))
    assert "sums to" in refusal(folder) or "outputs are" in refusal(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(schema_version=9), "schema version 9"),
        (lambda d: d.pop("layers"), "damaged (KeyError"),
        (lambda d: d["golden"]["sums"].__setitem__(3, 1), "the output of layer3 sums to"),
        (lambda d: d["golden"]["sums"].pop(), "8 byte sums for 9 layers"),
        (lambda d: d["golden"]["outputs"].__setitem__(0, 7), "not the promised [7,"),
        (lambda d: d["golden"]["outputs"].__setitem__(0, "x"), "damaged"),
        (lambda d: d.update(output_scale=[1, 2]), "2 output scales for 4 outputs"),
        (lambda d: d.update(output_scale=[1, 2, 3, "nan"]), "positive"),
        (lambda d: d["layers"].pop(1), "layer2 reads 12x20x2"),
        (lambda d: d.update(layers=[]), "must end in its only fully connected layer"),
        (lambda d: d["layers"][0].update(stride=1), "layer1 reads 24x40x2"),
        (lambda d: d["layers"][0].update(kernel=3), "layer0_BNReluConvolution_weights.hex: 82"),
        (lambda d: d["layers"][0].update(kernel="5"), "kernel is '5', not a whole number"),
        (lambda d: d["layers"][0].update(kind="magic"), "damaged (ValueError"),
        (lambda d: d["layers"][0].update(file="../../etc/passwd"), "is no name of a weight file"),
        (lambda d: d["layers"][0].update(width=1 << 40), "input is larger than"),
        (lambda d: d["layers"][0].update(shift=-1), "a shift of -1"),
        (lambda d: d["network"].update(width=160), "layer0 reads 48x80x1"),
        (lambda d: d["network"].update(schema_version=7), "schema version 7"),
    ],
)
def test_a_damaged_geometry_is_named(
    folder: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    edit(folder, change)
    assert message in refusal(folder)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '"text"', '{"schema_version": 1}'])
def test_a_geometry_that_is_no_document_is_refused(folder: Path, content: str) -> None:
    (folder / GEOMETRY_NAME).write_text(content)
    assert "damaged" in refusal(folder)


def test_other_folders_are_refused(tmp_path: Path, folder: Path) -> None:
    assert "no such folder" in refusal(tmp_path / "none")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no gap8.json and no layer0_BNReluConvolution_weights.hex" in refusal(empty)
    (folder / GEOMETRY_NAME).unlink()
    (folder / "layer9_FullyConnected_weights.hex").write_bytes(b"12345")
    assert "the Frontnet family has no such layer" in refusal(folder)
    (folder / "layer9_FullyConnected_weights.hex").rename(folder / "layer9_Softmax_weights.hex")
    assert "no layer of the Frontnet family has this name" in refusal(folder)


def test_output_scales_are_not_given_twice(folder: Path) -> None:
    assert "has output scales and shifts; give none" in refusal(folder, [1.0] * 4)


@pytest.mark.skipif(
    not DEPLOYMENT.is_dir(), reason="../shared/data/gap8-frontnet-160x32 is not there"
)
def test_a_damaged_deployment_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(DEPLOYMENT, folder)
    folder.chmod(0o755)
    for path in folder.iterdir():
        path.chmod(0o644)
    read_gap8_folder(folder)
    first = folder / "layer0_BNReluConvolution_weights.hex"
    content = first.read_bytes()
    for damaged in (content[:-16], content + b"\0"):
        first.write_bytes(damaged)
        assert first.name in refusal(folder)
    first.write_bytes(content[: 25 * 16] + content[800 : 800 + 256])
    assert "fit no 4 outputs of a Frontnet with 16 channels" in refusal(folder)
    # One flipped bit: there are no sums to compare with, but it is no longer the known deployment.
    first.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    assert "no known deployment's" in refusal(folder)
    first.unlink()
    assert "no layer0_BNReluConvolution_weights.hex" in refusal(folder)


@pytest.mark.slow
@settings(max_examples=150)
@given(st.data())
def test_any_damage_to_the_geometry_is_a_network_error(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = write(Path(place) / "exported", frontnet(1, 48, 80))
        path = folder / GEOMETRY_NAME
        text = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 3))):
            position = data.draw(st.integers(0, len(text) - 1))
            text[position] = data.draw(st.sampled_from(b'0129-"[]{},.eEnN \x00\xff'))
        path.write_bytes(text)
        # Names, descriptions and output scales may change unnoticed; nothing else may be raised.
        with suppress(NetworkError):
            assert len(read_gap8_folder(folder)[0].layers) == 9
