"""Integer ONNX networks as NEMO and Quantlib export them and DORY's front end reads them.

Every number is a whole one, kept in float32. A layer is a Conv and its requantisation:

    Conv -> Mul kappa -> Add lambda [-> Cast] -> Mul m -> Div d [-> Floor] [-> Cast] -> Clip 0..255

where d is a power of two, or one less (as float32 rounds it). Kernels on GAP8 shift right by
log2(d) and round down, and so do we: kappa and lambda are multiplied by m, the shift is log2(d).
Max pooling and one fully connected layer at the end complete the chain. Scales of the outputs are
not in such files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import numpy_helper

from gearshift.runtime.engines.integer_network import (
    SHIFT,
    Geometry,
    IntegerKind,
    IntegerLayer,
    IntegerNetwork,
    connected_layer,
    convolution_layer,
    pool_layer,
)
from gearshift.runtime.engines.network import Network
from gearshift.runtime.errors import NetworkError
from gearshift.runtime.types import POSE_COMPONENTS, Component

Numbers = NDArray[np.int64]

_SPLITTERS = ("Gather", "Unsqueeze", "Squeeze", "Concat", "Reshape", "Identity", "Slice")
"""What may follow the last layer: it hands its outputs on without changing them."""


def read_integer_onnx(
    content: bytes,
    name: str,
    where: str,
    output_scale: Sequence[float],
    components: tuple[Component, ...] = POSE_COMPONENTS,
) -> IntegerNetwork:
    """The integer network of such a file.

    name: what it is to be called. output_scale: unit per int32 step of each output. components:
    what the outputs are, in the order of the fully connected layer. Raises NetworkError, naming the
    node, for anything that is no such chain.
    """
    try:
        model = onnx.load_model_from_string(content)
    except (DecodeError, ValueError) as error:
        raise NetworkError(f"{where}: no ONNX model ({error})") from error
    layers, height, width = _Chain(model.graph, where).layers()
    outputs = layers[-1].geometry.out_channels
    if outputs != len(components):
        raise NetworkError(f"{where}: {outputs} outputs, {len(components)} components were named")
    described = Network(
        name=name,
        height=height,
        width=width,
        components=components,
        grid=None,
        frame_of_reference="drone, yaw-levelled FLU",
        camera=None,
        architecture="imported integer ONNX",
        parameters=sum(layer.weight.size + layer.bias.size for layer in layers),
        mac=sum(layer.geometry.mac for layer in layers),
        training_set="unknown: an imported integer network",
        licence="unknown: an imported integer network",
    )
    return IntegerNetwork(described, tuple(layers), np.array(output_scale, np.float64))


class _Chain:
    """The nodes of a graph in order, taken one by one."""

    def __init__(self, graph: onnx.GraphProto, where: str) -> None:
        self._where = where
        self._constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
        self._nodes: list[onnx.NodeProto] = []
        for node in graph.node:
            if node.op_type == "Constant":
                value = next(a.t for a in node.attribute if a.name == "value")
                self._constants[node.output[0]] = numpy_helper.to_array(value)
            else:
                self._nodes.append(node)
        inputs = [value for value in graph.input if value.name not in self._constants]
        shape = [d.dim_value for d in inputs[0].type.tensor_type.shape.dim] if inputs else []
        if len(inputs) != 1 or len(shape) != 4 or shape[1] != 1 or min(shape[2:]) < 1:
            raise NetworkError(f"{where}: wants one grey image of a fixed size, has {shape}")
        self._value = inputs[0].name
        self._channels, self._height, self._width = 1, shape[2], shape[3]
        self._position = 0

    def layers(self) -> tuple[list[IntegerLayer], int, int]:
        """Every layer, and the height and width of the image."""
        height, width = self._height, self._width
        found: list[IntegerLayer] = []
        while not (found and found[-1].geometry.kind is IntegerKind.FULLY_CONNECTED):
            node = self._next()
            name = f"layer{len(found)}"
            if node.op_type == "Conv":
                layer = self._convolution(name, node)
            elif node.op_type == "MaxPool":
                layer = self._pool(name, node)
            elif node.op_type in ("Flatten", "Reshape"):
                continue
            elif node.op_type in ("Gemm", "MatMul"):
                layer = self._connected(name, node)
            else:
                raise self._error(node, "is no layer of an integer network")
            found.append(layer)
            geometry = layer.geometry
            self._channels = geometry.out_channels
            self._height, self._width = geometry.out_height, geometry.out_width
        self._check_end()
        return found, height, width

    def _convolution(self, name: str, node: onnx.NodeProto) -> IntegerLayer:
        weight = self._whole(node, node.input[1])
        attributes = _attributes(node)
        pads, strides = attributes.get("pads", [0] * 4), attributes.get("strides", [1, 1])
        dilated = set(attributes.get("dilations", [1])) != {1}
        if len(node.input) > 2 or dilated or len(set(pads)) != 1 or len(set(strides)) != 1:
            raise self._error(node, "has a bias, a dilation, or padding or strides that differ")
        depthwise = attributes.get("group", 1) == self._channels > 1
        if weight.ndim != 4 or weight.shape[2] != weight.shape[3]:
            raise self._error(node, "has a kernel that is not square")
        if not depthwise and attributes.get("group", 1) != 1:
            raise self._error(node, "has groups of channels")
        kappa = self._factor("Mul", len(weight))
        lambda_ = self._factor("Add", len(weight))
        self._skip("Cast")
        multiplier = self._factor("Mul", 1) if self._is_next("Mul") else np.ones(1, np.int64)
        divisor = int(self._factor("Div", 1)[0])
        shift = round(np.log2(max(divisor, 1)))
        if abs(divisor - 2**shift) > 1:
            raise self._error(node, f"is divided by {divisor}, which is no power of two")
        self._skip("Floor", "Cast")
        self._clip()
        geometry = Geometry(
            IntegerKind.DEPTHWISE if depthwise else IntegerKind.CONV,
            *(self._channels, self._height, self._width),
            *(len(weight), weight.shape[2], strides[0], pads[0]),
            shift=shift,
        )
        return convolution_layer(
            name,
            geometry,
            self._bytes(node, weight.transpose(0, 2, 3, 1)),
            kappa * multiplier,
            lambda_ * multiplier,
        )

    def _pool(self, name: str, node: onnx.NodeProto) -> IntegerLayer:
        attributes = _attributes(node)
        kernel, strides = attributes["kernel_shape"], attributes.get("strides", [1, 1])
        if len(set(kernel)) != 1 or len(set(strides)) != 1 or any(attributes.get("pads", [0])):
            raise self._error(node, "pools with padding or over windows that are not square")
        c = self._channels
        size = (c, self._height, self._width, c, kernel[0], strides[0])
        return pool_layer(name, Geometry(IntegerKind.POOL, *size))

    def _connected(self, name: str, node: onnx.NodeProto) -> IntegerLayer:
        weight = self._whole(node, node.input[1])
        if node.op_type == "MatMul" or not _attributes(node).get("transB", 0):
            weight = weight.T
        c, h, w = self._channels, self._height, self._width
        if weight.ndim != 2 or weight.shape[1] != c * h * w:
            raise self._error(node, f"has weights {weight.shape} for {c}x{h}x{w} inputs")
        bias = np.zeros(len(weight), np.int64)
        if len(node.input) > 2:
            bias = self._whole(node, node.input[2]).ravel()
        # ONNX flattens channels first, the board's activations have channels last.
        ordered = weight.reshape(-1, c, h, w).transpose(0, 2, 3, 1).reshape(len(weight), -1)
        geometry = Geometry(IntegerKind.FULLY_CONNECTED, c, h, w, len(weight), shift=SHIFT)
        return connected_layer(name, geometry, self._bytes(node, ordered), bias.astype(np.int32))

    def _check_end(self) -> None:
        """Outputs must leave in the order of the last layer."""
        taken: list[int] = []
        for node in self._nodes[self._position :]:
            if node.op_type not in _SPLITTERS:
                raise self._error(node, "follows the fully connected layer and changes its outputs")
            if node.op_type == "Gather":
                taken.append(int(self._constants[node.input[1]]))
        if taken != sorted(taken):
            raise NetworkError(f"{self._where}: its outputs leave in the order {taken}")

    def _factor(self, kind: str, count: int) -> Numbers:
        """The whole numbers, one or one per channel, that the next node adds or multiplies with."""
        node = self._next()
        if node.op_type != kind:
            raise self._error(node, f"stands where {kind} was expected")
        constants = [name for name in node.input if name in self._constants]
        if len(constants) != 1:
            raise self._error(node, "has no constant")
        values = self._whole(node, constants[0]).ravel()
        if values.size not in (1, count):
            raise self._error(node, f"has {values.size} numbers for {count} channels")
        return np.broadcast_to(values, count).copy()

    def _clip(self) -> None:
        node = self._next()
        if node.op_type != "Clip":
            raise self._error(node, "stands where Clip was expected")
        attributes = _attributes(node)
        limits = [attributes.get("min"), attributes.get("max")]
        for index, name in enumerate(node.input[1:3]):
            limits[index] = float(self._constants[name])
        if limits != [0.0, 255.0]:
            raise self._error(node, f"clips to {limits}, bytes are 0..255")

    def _next(self) -> onnx.NodeProto:
        if self._position == len(self._nodes):
            raise NetworkError(f"{self._where}: it ends before its fully connected layer")
        node = self._nodes[self._position]
        if self._value not in node.input:
            raise self._error(node, "does not read what comes before it: the graph is no chain")
        self._position += 1
        self._value = node.output[0]
        return node

    def _is_next(self, *kinds: str) -> bool:
        left = self._nodes[self._position :]
        return bool(left) and left[0].op_type in kinds

    def _skip(self, *kinds: str) -> None:
        while self._is_next(*kinds):
            self._next()

    def _whole(self, node: onnx.NodeProto, name: str) -> Numbers:
        if name not in self._constants:
            raise self._error(node, f"computes {name!r}, which should be a constant")
        values = self._constants[name]
        if not np.array_equal(values, np.rint(values)):
            raise self._error(node, f"has numbers in {name!r} that are not whole: a float network?")
        return np.asarray(values, np.int64)

    def _bytes(self, node: onnx.NodeProto, values: Numbers) -> NDArray[np.int8]:
        if values.min(initial=0) < -128 or values.max(initial=0) > 127:
            raise self._error(node, "has weights beyond 8 bits")
        return np.ascontiguousarray(values, np.int8)

    def _error(self, node: onnx.NodeProto, what: str) -> NetworkError:
        return NetworkError(f"{self._where}: {node.op_type} -> {node.output[0]!r} {what}")


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def read_activations(text: str, where: str) -> Iterator[int]:
    """The numbers of a golden file: one a line with a comma, after a comment that has the shape."""
    for number, line in enumerate(text.splitlines(), 1):
        cell = line.strip().rstrip(",")
        if not cell or cell.startswith("#"):
            continue
        try:
            value = float(cell)
        except ValueError as error:
            raise NetworkError(f"{where}:{number}: {cell!r} is no number") from error
        if value != int(value):
            raise NetworkError(f"{where}:{number}: {cell} is not whole")
        yield int(value)
