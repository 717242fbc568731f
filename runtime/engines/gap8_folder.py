"""Reading GAP8 deployments: weight files in DORY's layout, with or without our geometry file.

A folder holds one file of bytes per layer that has weights (DORY calls them `.hex`):

    convolution      int8 W[out][row][column][in], int64 LE kappa[out], int64 LE lambda[out]
    fully connected  int8 W[out][row][column][in], int32 LE bias[out]

Ours also has `gap8.json`, which gives the geometry, the metadata, the output scales and what an
exact run of `inputs.hex` gives; reading checks all of it. A deployment's own folder has none, so
its geometry is recognised (`recognise`). Nothing that is read is executed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from gearshift.runtime.engines.engine import takes_no_argument
from gearshift.runtime.engines.gap8_recognition import is_known, output_scales_of, recognise
from gearshift.runtime.engines.integer_engine import IntegerEngine, golden
from gearshift.runtime.engines.integer_network import (
    SHIFT,
    Geometry,
    Golden,
    IntegerKind,
    IntegerLayer,
    IntegerNetwork,
    connected_layer,
    convolution_layer,
    pool_layer,
)
from gearshift.runtime.engines.network import INTEGER, Network, NetworkSource
from gearshift.runtime.errors import NetworkError

GEOMETRY_NAME = "gap8.json"
INPUT_NAME = "inputs.hex"
SCHEMA_VERSION = 1
MAX_FILE = 1 << 26
"""Bytes; GAP8's external memory has 2**23."""


def read_gap8_folder(
    folder: Path,
    output_scale: Sequence[float] | None = None,
    shifts: Sequence[int] | None = None,
) -> tuple[IntegerNetwork, Golden | None]:
    """The network of a deployment, and its golden run where the folder has an input.

    output_scale: unit per int32 step of each output; shifts: right shift of each convolution in
    order (DORY's out_shift). Both stand in a deployment's source code and are needed where there is
    no `gap8.json` and the deployment is not a known one: with wrong shifts everything runs and
    every number is wrong. Raises NetworkError, in one line, naming the file or layer that does
    not fit: a weight file of another size or content, a geometry that does not follow, sums that
    an exact run does not give.
    """
    if not folder.is_dir():
        raise NetworkError(f"{folder}: no such folder")
    described = (folder / GEOMETRY_NAME).exists()
    if described and (output_scale is not None or shifts is not None):
        raise NetworkError(f"{folder}: its {GEOMETRY_NAME} has output scales and shifts; give none")
    try:
        return _read_described(folder) if described else _read_bare(folder, output_scale, shifts)
    except NetworkError as error:
        if str(folder) in str(error):
            raise
        # Layers and networks do not know which folder they came from.
        raise NetworkError(f"{folder}: {error}") from error


def load_gap8_engine(folder: Path) -> IntegerEngine:
    """An integer engine for the network of a folder; raises NetworkError."""
    network, _ = read_gap8_folder(folder)
    return IntegerEngine(network)


def open_integer(source: NetworkSource, argument: str | None) -> IntegerEngine:
    """The engine `integer`; raises NetworkError, and ConfigurationError for an argument."""
    takes_no_argument(INTEGER, argument)
    return load_gap8_engine(source.form(INTEGER).verified_folder())


def layer_bytes(layer: IntegerLayer) -> bytes:
    """The content of a layer's weight file; empty for pooling."""
    numbers = (layer.kappa.astype("<i8"), layer.lambda_.astype("<i8"), layer.bias.astype("<i4"))
    return b"".join([layer.weight.tobytes(), *(array.tobytes() for array in numbers)])


def layer_from_bytes(name: str, geometry: Geometry, content: bytes, where: str) -> IntegerLayer:
    """The layer of a weight file; raises NetworkError when its size is not the geometry's."""
    geometry.check(where)
    count = int(np.prod(geometry.weight_shape, dtype=np.int64))
    out = geometry.out_channels
    connected = geometry.kind is IntegerKind.FULLY_CONNECTED
    expected = count + (4 if connected else 16) * out
    if len(content) != expected:
        raise NetworkError(
            f"{where}: {len(content)} bytes, its {geometry.kind} layer of {count} weights and "
            f"{out} outputs has {expected}; restore the file"
        )
    weight = np.frombuffer(content, np.int8, count).reshape(geometry.weight_shape)
    if connected:
        bias = np.frombuffer(content, "<i4", out, count).astype(np.int32)
        return connected_layer(name, geometry, weight, bias)
    kappa = np.frombuffer(content, "<i8", out, count).astype(np.int64)
    lambda_ = np.frombuffer(content, "<i8", out, count + 8 * out).astype(np.int64)
    return convolution_layer(name, geometry, weight, kappa, lambda_)


def check_golden(network: IntegerNetwork, expected: Golden, where: str) -> None:
    """Raise NetworkError naming the first layer whose sum is not what an exact run gives."""
    actual = golden(network, expected.image)
    if len(expected.sums) != len(network.layers):
        raise NetworkError(
            f"{where}: {len(expected.sums)} byte sums for {len(network.layers)} layers"
        )
    for layer, promised, found in zip(network.layers, expected.sums, actual.sums, strict=True):
        if promised != found:
            raise NetworkError(
                f"{where}: the output of {layer.name} sums to {found}, not the promised "
                f"{promised}; its weights, geometry or input are damaged"
            )
    if not np.array_equal(expected.outputs, actual.outputs):
        raise NetworkError(
            f"{where}: the outputs are {actual.outputs.tolist()}, not the promised "
            f"{expected.outputs.tolist()}"
        )


def _read_bare(
    folder: Path, output_scale: Sequence[float] | None, shifts: Sequence[int] | None
) -> tuple[IntegerNetwork, Golden | None]:
    files = {path.name: _read(path) for path in sorted(folder.glob("*_weights.hex"))}
    path = folder / INPUT_NAME
    image = _read(path) if path.exists() else None
    sizes = {name: len(content) for name, content in files.items()}
    recognised = recognise(folder, sizes, shifts)
    layers = [
        layer_from_bytes(name, geometry, files[file], str(folder / file))
        if file is not None
        else pool_layer(name, geometry)
        for name, geometry, file in recognised.layers
    ]
    if shifts is None and not is_known(files):
        raise NetworkError(
            f"{folder}: by how much each convolution shifts right is not in the folder and its "
            "weights are no known deployment's; give --shifts (out_shift in the deployment's layer "
            f"sources; {SHIFT} is usual, but not the same for every layer)"
        )
    scale = output_scale if output_scale is not None else output_scales_of(folder, files)
    network = IntegerNetwork(recognised.network, tuple(layers), np.array(scale, np.float64))
    if image is None:
        return network, None
    return network, golden(network, _image(image, network.network, path))


def _read_described(folder: Path) -> tuple[IntegerNetwork, Golden]:
    path = folder / GEOMETRY_NAME
    where = str(path)
    try:
        document = json.loads(_read(path))
        version = document.get("schema_version")
        if version != SCHEMA_VERSION:
            raise NetworkError(
                f"{where}: schema version {version}, this gearshift reads {SCHEMA_VERSION}; "
                "export the network again"
            )
        description = Network.from_json(json.dumps(document["network"]), where)
        layers = tuple(_described_layer(folder, entry) for entry in document["layers"])
        scale = np.array(document["output_scale"], np.float64)
        network = IntegerNetwork(description, layers, scale)
        promised = document["golden"]
        image = _image(_read(folder / INPUT_NAME), description, folder / INPUT_NAME)
        total = int(image.sum(dtype=np.int64))
        if total != promised["input_sum"]:
            raise NetworkError(
                f"{folder / INPUT_NAME}: its bytes sum to {total}, not the promised "
                f"{promised['input_sum']}; restore the file"
            )
        outputs = np.array(promised["outputs"], np.int64).astype(np.int32)
        expected = Golden(image, tuple(int(value) for value in promised["sums"]), outputs)
    except (
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        ArithmeticError,
        RecursionError,
    ) as error:
        raise NetworkError(f"{where}: damaged ({type(error).__name__}: {error})") from error
    check_golden(network, expected, where)
    return network, expected


def _described_layer(folder: Path, entry: dict[str, Any]) -> IntegerLayer:
    name = entry["name"]
    fields = {key: entry[key] for key in Geometry.__dataclass_fields__}
    for key, value in fields.items():
        if key != "kind" and type(value) is not int:
            raise TypeError(f"{name}: {key} is {value!r}, not a whole number")
    geometry = Geometry(**{**fields, "kind": IntegerKind(fields["kind"])})
    if geometry.kind is IntegerKind.POOL:
        return pool_layer(name, geometry)
    file = entry["file"]
    if not re.fullmatch(r"[\w.-]+\.hex", file):
        raise NetworkError(f"{folder / GEOMETRY_NAME}: {file!r} is no name of a weight file")
    content = _read(folder / file)
    layer = layer_from_bytes(name, geometry, content, str(folder / file))
    digest = hashlib.sha256(content).hexdigest()
    if digest != entry["sha256"]:
        raise NetworkError(
            f"{folder / file}: sha256 {digest[:12]} is not {GEOMETRY_NAME}'s "
            f"{str(entry['sha256'])[:12]}; restore the file or export the network again"
        )
    return layer


def describe(network: IntegerNetwork, run: Golden) -> tuple[str, dict[str, bytes]]:
    """The `gap8.json` of a network and the files that go beside it, by name."""
    files = {INPUT_NAME: run.image.tobytes()}
    layers = []
    for index, layer in enumerate(network.layers):
        entry: dict[str, Any] = {"name": layer.name, **asdict(layer.geometry)}
        content = layer_bytes(layer)
        if content:
            connected = layer.geometry.kind is IntegerKind.FULLY_CONNECTED
            kind = "FullyConnected" if connected else "BNReluConvolution"
            file = f"layer{index}_{kind}_weights.hex"
            files[file] = content
            entry |= {"file": file, "sha256": hashlib.sha256(content).hexdigest()}
        layers.append(entry)
    document = {
        "schema_version": SCHEMA_VERSION,
        "network": json.loads(network.network.to_json()),
        "layers": layers,
        "output_scale": network.output_scale.tolist(),
        "golden": {
            "input_sum": int(run.image.sum(dtype=np.int64)),
            "sums": list(run.sums),
            "outputs": run.outputs.tolist(),
        },
    }
    return json.dumps(document, indent=1) + "\n", files


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_FILE:
            raise NetworkError(f"{path}: larger than {MAX_FILE} bytes")
        return path.read_bytes()
    except OSError as error:
        raise NetworkError(f"{path}: {error.strerror}") from error


def _image(content: bytes, network: Network, path: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    if len(content) != network.height * network.width:
        raise NetworkError(
            f"{path}: {len(content)} bytes, an image of {network.width}x{network.height} has "
            f"{network.height * network.width}"
        )
    return np.frombuffer(content, np.uint8).reshape(network.height, network.width)
