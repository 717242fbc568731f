"""The int8 ONNX networks of ours read back as a chain of quantised layers.

Every other integer format is written from this chain, so that weights, scales and zero points are
those of the ONNX network and formats differ only in how they round. Activations are uint8 with zero
point 0, weights int8 with a scale per output channel, and the end is one fully connected layer
whose outputs are real numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from gearshift.runtime.engines.integer_network import Geometry, IntegerKind
from gearshift.runtime.engines.network import METADATA_KEY, Network
from gearshift.runtime.engines.onnx_engine import INPUT_NAME
from gearshift.runtime.errors import NetworkError, named

Real = NDArray[np.float64]
PLAIN_ATTRIBUTES: Mapping[str, object] = {
    "auto_pad": b"NOTSET",
    "ceil_mode": 0,
    "storage_order": 0,
    "transA": 0,
    "alpha": 1.0,
    "beta": 1.0,
}
"""What may be spelled out in a graph but not be changed."""


@dataclass(frozen=True, slots=True, eq=False)
class QuantisedLayer:
    """One layer; its real input is bytes * input_scale, its real weights weight * weight_scale.

    weight: int8 of `geometry.weight_shape`, the fully connected layer's on the HWC-flattened input.
    weight_scale, bias: float64 (out,), the bias in real numbers. output_scale: None at the end,
    which is not quantised. Pooling has no weights and keeps its scale.
    """

    name: str
    geometry: Geometry
    weight: NDArray[np.int8]
    weight_scale: Real
    bias: Real
    input_scale: float
    output_scale: float | None

    @property
    def sum_scale(self) -> Real:
        """(out,) what one step of an integer sum of weights times bytes is worth."""
        return self.weight_scale * self.input_scale


@dataclass(frozen=True, slots=True, eq=False)
class QuantisedChain:
    """A whole network; halved: frames are averaged over 2x2 pixels before the first layer."""

    network: Network
    halved: bool
    layers: tuple[QuantisedLayer, ...]


def read_chain(content: bytes, where: str) -> QuantisedChain:
    """The layers of an int8 model of ours; raises NetworkError for any other model."""
    try:
        model = onnx.load_model_from_string(content)
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf's and the checker's share no base
        raise NetworkError(f"{where}: no readable ONNX model ({named(error)})") from error
    properties = {entry.key: entry.value for entry in model.metadata_props}
    if METADATA_KEY not in properties:
        raise NetworkError(
            f"{where}: no {METADATA_KEY!r} metadata; export it with gearshift models"
        )
    network = Network.from_json(properties[METADATA_KEY], where)
    try:
        return _Reader(model, network, where).read()
    except (KeyError, IndexError, ValueError) as error:
        raise NetworkError(
            f"{where}: no int8 model as gearshift models exports them ({named(error)})"
        ) from error


@dataclass(frozen=True, slots=True)
class _Activation:
    """Where the reader is: a tensor of bytes and what it stands for."""

    tensor: str
    scale: float
    channels: int
    height: int
    width: int


class _Reader:
    """Follows the one chain of a QDQ graph from the image to the output."""

    def __init__(self, model: onnx.ModelProto, network: Network, where: str) -> None:
        graph = model.graph
        self._network, self._where = network, where
        self._constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
        self._producers = {node.output[0]: node for node in graph.node}
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            self._readers.setdefault(node.input[0], []).append(node)

    def read(self) -> QuantisedChain:
        network = self._network
        here = _Activation(INPUT_NAME, 1.0, 1, network.height, network.width)
        layers: list[QuantisedLayer] = []
        while True:
            node = self._next(here.tensor)
            if node.op_type == "Flatten":
                here = replace(here, tensor=node.output[0])
                node = self._next(here.tensor)
            if node.op_type != "DequantizeLinear":
                raise self._refused(node)
            scale = self._scale(node)
            if scale != here.scale:
                raise NetworkError(
                    f"{self._where}: {node.name} reads bytes with another scale than they have"
                )
            here = replace(here, tensor=node.output[0], scale=scale)
            node = self._next(here.tensor)
            name = f"layer{len(layers)}"
            match node.op_type:
                case "AveragePool" if not layers:
                    here = self._halving(node, here)
                    continue
                case "Conv":
                    layer, here = self._convolution(name, node, here)
                case "MaxPool":
                    layer, here = self._pooling(name, node, here)
                case "Gemm":
                    layers.append(self._checked(self._head(name, node, here)))
                    halved = layers[0].geometry.height != network.height
                    return QuantisedChain(network, halved, tuple(layers))
                case _:
                    raise self._refused(node)
            layers.append(self._checked(layer))

    def _checked(self, layer: QuantisedLayer) -> QuantisedLayer:
        layer.geometry.check(f"{self._where}: {layer.name}")
        return layer

    def _convolution(
        self, name: str, node: onnx.NodeProto, here: _Activation
    ) -> tuple[QuantisedLayer, _Activation]:
        values = self._attributes(node)
        weight, weight_scale = self._quantised(node.input[1])
        groups = values.get("group", [1])[0]
        depthwise = groups == here.channels == len(weight) and groups > 1
        geometry = Geometry(
            IntegerKind.DEPTHWISE if depthwise else IntegerKind.CONV,
            here.channels,
            here.height,
            here.width,
            len(weight),
            self._square(node, values, "kernel_shape", 1),
            self._square(node, values, "strides", 1),
            self._square(node, values, "pads", 0),
        )
        unlike = weight.shape[1] != (1 if depthwise else here.channels)
        if unlike or set(values.get("dilations", [1])) != {1}:
            raise self._refused(node)
        following = self._next(node.output[0])
        if following.op_type == "Relu":
            following = self._next(following.output[0])
        written = self._written(following, geometry)
        layer = QuantisedLayer(
            name,
            geometry,
            np.ascontiguousarray(weight.transpose(0, 2, 3, 1)),
            weight_scale * np.ones(len(weight)),
            self._real(node.input[2]) if len(node.input) > 2 else np.zeros(len(weight)),
            self._input_scale(node),
            written.scale,
        )
        return layer, written

    def _halving(self, node: onnx.NodeProto, here: _Activation) -> _Activation:
        """Frames averaged over 2x2 pixels to bytes, before the first layer."""
        values = self._attributes(node)
        window = (self._square(node, values, "kernel_shape", 1), values.get("strides", [1])[0])
        odd = here.height % 2 or here.width % 2 or here.height != self._network.height
        if window != (2, 2) or any(values.get("pads", [0])) or odd:
            raise self._refused(node)
        halved = Geometry(IntegerKind.POOL, 1, here.height, here.width, 1, 2, 2)
        written = self._written(self._next(node.output[0]), halved)
        if written.scale != here.scale:
            raise NetworkError(f"{self._where}: {node.name} changes the scale of its bytes")
        return written

    def _pooling(
        self, name: str, node: onnx.NodeProto, here: _Activation
    ) -> tuple[QuantisedLayer, _Activation]:
        values = self._attributes(node)
        if any(values.get("pads", [0])) or set(values.get("dilations", [1])) != {1}:
            raise self._refused(node)
        geometry = Geometry(
            IntegerKind.POOL,
            here.channels,
            here.height,
            here.width,
            here.channels,
            self._square(node, values, "kernel_shape", 1),
            self._square(node, values, "strides", 1),
        )
        written = self._written(self._next(node.output[0]), geometry)
        if written.scale != here.scale:
            raise NetworkError(f"{self._where}: {node.name} changes the scale of its bytes")
        nothing = np.zeros(0)
        layer = QuantisedLayer(
            name, geometry, nothing.astype(np.int8), nothing, nothing, here.scale, here.scale
        )
        return layer, written

    def _head(self, name: str, node: onnx.NodeProto, here: _Activation) -> QuantisedLayer:
        if not self._attributes(node).get("transB", [0])[0]:
            raise self._refused(node)
        weight, weight_scale = self._quantised(node.input[1])
        outputs = len(weight)
        geometry = Geometry(
            IntegerKind.FULLY_CONNECTED, here.channels, here.height, here.width, outputs
        )
        if weight.size != outputs * here.channels * here.height * here.width:
            raise self._refused(node)
        # ONNX flattens channel by channel, the chain pixel by pixel.
        planes = weight.reshape(outputs, here.channels, here.height, here.width)
        return QuantisedLayer(
            name,
            geometry,
            np.ascontiguousarray(planes.transpose(0, 2, 3, 1)).reshape(outputs, -1),
            weight_scale * np.ones(outputs),
            self._real(node.input[2]),
            self._input_scale(node),
            None,
        )

    def _next(self, tensor: str) -> onnx.NodeProto:
        readers = self._readers.get(tensor, [])
        if len(readers) != 1:
            raise NetworkError(
                f"{self._where}: {tensor} is read {len(readers)} times; only a chain of layers "
                "can be converted"
            )
        return readers[0]

    def _written(self, node: onnx.NodeProto, geometry: Geometry) -> _Activation:
        """The bytes that a QuantizeLinear writes."""
        if node.op_type != "QuantizeLinear":
            raise self._refused(node)
        size = (geometry.out_channels, geometry.out_height, geometry.out_width)
        return _Activation(node.output[0], self._scale(node), *size)

    def _scale(self, node: onnx.NodeProto) -> float:
        """The scale of a (de)quantisation of unsigned bytes without an offset."""
        scale, zero = self._constants[node.input[1]], self._constants[node.input[2]]
        if zero.dtype != np.uint8 or zero.any() or scale.size != 1:
            raise NetworkError(
                f"{self._where}: {node.name} is no quantisation to uint8 with zero point 0; "
                "export the network with gearshift models"
            )
        return float(scale)

    def _input_scale(self, node: onnx.NodeProto) -> float:
        return self._scale(self._producers[node.input[0]])

    def _quantised(self, name: str) -> tuple[NDArray[np.int8], Real]:
        """int8 weights and a scale per output."""
        node = self._producers.get(name)
        if node is None or node.op_type != "DequantizeLinear":
            raise NetworkError(f"{self._where}: the weights {name} are not int8; quantise it first")
        weight, scale = self._constants[node.input[0]], self._constants[node.input[1]]
        if weight.dtype != np.int8 or self._constants[node.input[2]].any():
            raise NetworkError(f"{self._where}: the weights {name} are not symmetric int8")
        return weight, scale.astype(np.float64)

    def _real(self, name: str) -> Real:
        """Biases in real numbers."""
        node = self._producers.get(name)
        parts = [name] if node is None else node.input[:2]
        return np.asarray(np.prod([self._constants[part] for part in parts], axis=0), np.float64)

    def _attributes(self, node: onnx.NodeProto) -> Mapping[str, list[int]]:
        values = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        for name, plain in PLAIN_ATTRIBUTES.items():
            if values.pop(name, plain) != plain:
                raise self._refused(node)
        return {k: list(v) if isinstance(v, Sequence) else [v] for k, v in values.items()}

    def _square(
        self, node: onnx.NodeProto, values: Mapping[str, list[int]], key: str, default: int
    ) -> int:
        numbers = set(values.get(key, [default]))
        if len(numbers) != 1:
            raise self._refused(node)
        return numbers.pop()

    def _refused(self, node: onnx.NodeProto) -> NetworkError:
        # Foreign graphs may leave nodes without a name, never their outputs.
        return NetworkError(
            f"{self._where}: {node.op_type} {node.name or node.output[0]!r} is none of the layers "
            "that can be converted (square and depthwise convolutions, max pooling, a fully "
            "connected end)"
        )
