"""A user's own ONNX regression network, wrapped to the interface that the engines expect.

Taken: one image input of shape (1 or symbolic, 1, height, width), float32 or uint8, and float32
outputs that hold as many numbers as there are named components. The wrapper casts the frame's
bytes, maps them to what the network was trained on (gain and offset) and joins the outputs to one
vector. The network itself stays as it is; an int8 version is made by ONNX Runtime's static
quantisation on the user's frames.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, compose, helper, numpy_helper, shape_inference

from gearshift.models.formats.onnx_graph import INPUT, IR_VERSION, OUTPUT, with_metadata
from gearshift.runtime.cameras.lens import check_size
from gearshift.runtime.engines.network import Network
from gearshift.runtime.engines.onnx_engine import OnnxEngine
from gearshift.runtime.errors import ConfigurationError, GearshiftError, NetworkError, named
from gearshift.runtime.types import Camera, Component

PREFIX = "network/"
OLDEST_OPSET = 13
MAX_PIXELS = 1 << 24
"""Of a frame; a damaged size must not ask for all memory."""
ANGULAR_UNIT = "rad"


def parse_components(text: str) -> tuple[Component, ...]:
    """Components from `x:m,y:m,phi:rad`; those in radians are angles.

    A third part is the standard deviation on the training split: `x:m:0.8`. Raises
    ConfigurationError.
    """
    components = []
    for item in text.split(","):
        name, _, rest = item.strip().partition(":")
        unit, _, scale = rest.partition(":")
        try:
            number = float(scale or 1)
        except ValueError:
            number = math.nan
        if not name or not unit or not number > 0 or not math.isfinite(number):
            raise ConfigurationError(
                f"{item.strip()!r} names no output; write NAME:UNIT or NAME:UNIT:DEVIATION, such "
                "as x:m,phi:rad"
            )
        components.append(Component(name, unit, unit == ANGULAR_UNIT, number))
    if len({component.name for component in components}) != len(components):
        raise ConfigurationError(f"{text!r} names an output twice")
    return tuple(components)


def import_onnx(
    content: bytes,
    name: str,
    components: tuple[Component, ...],
    where: str,
    *,
    gain: float = 1.0,
    offset: float = 0.0,
    camera: Camera | None = None,
) -> bytes:
    """The model with our interface and metadata; its input becomes gain * byte + offset.

    camera: what it was trained for. Raises NetworkError, saying in one line why, for a network that
    does not fit, and ConfigurationError for a camera of another size.
    """
    model = _load(content, where)
    image, height, width = _image_input(model, where)
    if camera is not None:
        check_size(camera, width, height, camera.name)
    counts = _output_sizes(model, where)
    if sum(counts) != len(components):
        raise NetworkError(
            f"{where}: gives {sum(counts)} numbers "
            f"({', '.join(output.name for output in model.graph.output)}) for {len(components)} "
            f"named outputs ({', '.join(component.name for component in components)})"
        )
    wrapped = _wrap(model, image, (height, width), len(components), gain=gain, offset=offset)
    parameters = _parameters(model)
    network = Network(
        name=name,
        height=height,
        width=width,
        components=components,
        grid=None,
        frame_of_reference="unknown: an imported network",
        camera=camera,
        architecture="imported ONNX",
        parameters=parameters,
        mac=_mac(wrapped),
        training_set="unknown: an imported network",
        licence="unknown: an imported network",
    )
    imported = with_metadata(wrapped, network.to_json())
    _try(imported, where, (height, width))
    return imported


def quantise_onnx(imported: bytes, frames: NDArray[np.uint8], where: str) -> bytes:
    """The imported model in int8, its ranges from frames (n, height, width)."""
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Frames(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left: Iterator[NDArray[np.uint8]] = iter(frames)

        def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
            frame = next(self._left, None)
            return None if frame is None else {INPUT: frame[None, None]}

    network = OnnxEngine(imported, where).network
    if frames.shape[1:] != (network.height, network.width):
        raise NetworkError(
            f"{where}: takes {network.width}x{network.height} frames, those to calibrate on are "
            f"{frames.shape[2]}x{frames.shape[1]}"
        )
    with tempfile.TemporaryDirectory() as place:
        source, prepared, target = (Path(place) / f"{step}.onnx" for step in ("a", "b", "c"))
        source.write_bytes(imported)
        try:
            quant_pre_process(source, prepared, skip_symbolic_shape=True)
            quantize_static(
                prepared,
                target,
                Frames(),
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
        except Exception as error:  # of onnx, onnxruntime and protobuf, without a common base
            raise NetworkError(f"{where}: cannot be quantised ({named(error)})") from error
        model = onnx.load_model_from_string(target.read_bytes())
    content = with_metadata(model, replace(network, mae={}).to_json())
    _try(content, where, (network.height, network.width))
    return content


def _load(content: bytes, where: str) -> onnx.ModelProto:
    try:
        model = onnx.load_model_from_string(content)
        for tensor in model.graph.initializer:
            if tensor.data_location == TensorProto.EXTERNAL:
                raise NetworkError(
                    f"{where}: keeps its weights in other files; save it as one file"
                )
        onnx.checker.check_model(model)
        inferred = shape_inference.infer_shapes(model, data_prop=True)
    except GearshiftError:
        raise
    except Exception as error:  # protobuf's and the checker's share no base
        raise NetworkError(f"{where}: no valid ONNX model ({named(error)})") from error
    versions = {entry.domain: entry.version for entry in inferred.opset_import}
    opset = versions.get("", versions.get("ai.onnx", 0))
    if opset < OLDEST_OPSET:
        raise NetworkError(f"{where}: opset {opset}; export it with opset {OLDEST_OPSET} or newer")
    return inferred


def _image_input(model: onnx.ModelProto, where: str) -> tuple[onnx.ValueInfoProto, int, int]:
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    if len(inputs) != 1:
        names = ", ".join(value.name for value in inputs)
        raise NetworkError(f"{where}: has {len(inputs)} inputs ({names}), not one image")
    (image,) = inputs
    shape = _shape(image)
    kind = image.type.tensor_type.elem_type
    if kind not in (TensorProto.FLOAT, TensorProto.UINT8):
        raise NetworkError(
            f"{where}: its input is {TensorProto.DataType.Name(kind).lower()}, not float or uint8"
        )
    if len(shape) != 4 or shape[0] not in (0, 1) or shape[1] != 1 or min(shape[2:]) < 1:
        shown = "x".join(str(size) if size else "?" for size in shape)
        raise NetworkError(
            f"{where}: its input is {shown}, not 1x1xHEIGHTxWIDTH (one grey image of fixed size)"
        )
    if shape[2] * shape[3] > MAX_PIXELS:
        raise NetworkError(
            f"{where}: its input of {shape[2]}x{shape[3]} is larger than {MAX_PIXELS} pixels"
        )
    return image, shape[2], shape[3]


def _output_sizes(model: onnx.ModelProto, where: str) -> list[int]:
    counts = []
    for output in model.graph.output:
        shape = _shape(output)
        if output.type.tensor_type.elem_type != TensorProto.FLOAT or not shape:
            raise NetworkError(f"{where}: its output {output.name} is no vector of floats")
        # The first of several axes is the batch, which may be symbolic.
        batch, rest = (shape[0], shape[1:]) if len(shape) > 1 else (1, shape)
        if batch not in (0, 1) or min(rest) < 1:
            raise NetworkError(f"{where}: its output {output.name} has no fixed size")
        counts.append(math.prod(rest))
    return counts


def _wrap(
    model: onnx.ModelProto,
    image: onnx.ValueInfoProto,
    size: tuple[int, int],
    outputs: int,
    *,
    gain: float,
    offset: float,
) -> onnx.ModelProto:
    prefixed = compose.add_prefix(model, PREFIX)
    graph = prefixed.graph
    entrance = PREFIX + image.name
    before = []
    constants: list[tuple[str, NDArray[Any]]] = [("flat", np.array([1, -1], np.int64))]
    if image.type.tensor_type.elem_type == TensorProto.UINT8:
        before.append(helper.make_node("Identity", [INPUT], [entrance]))
    else:
        constants += [
            ("gain", np.array(gain, np.float32)),
            ("offset", np.array(offset, np.float32)),
        ]
        before += [
            helper.make_node("Cast", [INPUT], ["image.float"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["image.float", "gain"], ["image.scaled"]),
            helper.make_node("Add", ["image.scaled", "offset"], [entrance]),
        ]
    names = [output.name for output in graph.output]
    flat = [f"{name}.flat" for name in names]
    after = [
        helper.make_node("Reshape", [name, "flat"], [out])
        for name, out in zip(names, flat, strict=True)
    ]
    after.append(helper.make_node("Concat", flat, [OUTPUT], axis=1))
    body = helper.make_graph(
        [*before, *graph.node, *after],
        "imported",
        [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, [1, 1, *size])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [1, outputs])],
        [*graph.initializer, *(numpy_helper.from_array(value, key) for key, value in constants)],
    )
    wrapped = helper.make_model(
        body, opset_imports=list(prefixed.opset_import), functions=list(prefixed.functions)
    )
    wrapped.ir_version = max(IR_VERSION, min(model.ir_version, 10))
    return wrapped


def _try(content: bytes, where: str, size: tuple[int, int]) -> None:
    """Run it once; raises NetworkError when it cannot be loaded or run, or gives no numbers."""
    try:
        engine = OnnxEngine(content, where)
        outputs = engine.run(np.full(size, 128, np.uint8))
    except GearshiftError as error:
        text = str(error)
        raise NetworkError(text if text.startswith(where) else f"{where}: {text}") from error
    if not np.isfinite(outputs).all():
        raise NetworkError(f"{where}: a plain grey image gives {outputs.tolist()}")


def _parameters(model: onnx.ModelProto) -> int:
    return sum(
        math.prod(tensor.dims)
        for tensor in model.graph.initializer
        if tensor.data_type in (TensorProto.FLOAT, TensorProto.INT8)
    )


def _mac(model: onnx.ModelProto) -> int:
    """Multiply-accumulates of convolutions and matrix products with constant weights."""
    graph = shape_inference.infer_shapes(model).graph
    shapes = {value.name: _shape(value) for value in (*graph.value_info, *graph.output)}
    weights = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    total = 0
    for node in graph.node:
        out = shapes.get(node.output[0], [])
        if len(node.input) < 2 or node.input[1] not in weights or not out:
            continue
        weight = weights[node.input[1]]
        if node.op_type == "Conv":
            total += math.prod(out[2:]) * math.prod(weight)
        elif node.op_type in ("Gemm", "MatMul"):
            total += math.prod(weight)
    return total


def _shape(value: onnx.ValueInfoProto) -> list[int]:
    """Sizes, 0 where symbolic."""
    dims: Sequence[Any] = value.type.tensor_type.shape.dim
    return [int(dim.dim_value) for dim in dims]
