"""ONNX graphs of folded networks: in float, and quantised to int8 in QDQ form.

Both take the camera's image as it is, `image` uint8 (1, 1, h, w), and give `output` float32 (1, k).
In the int8 graph the image's range is exactly 0..255 (scale 1, zero point 0), weights are int8 per
output channel, activations uint8 per tensor with zero point 0 (so that saturation is the ReLU),
biases int32; the head's output is never quantised.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from gearshift.models.networks.architecture import Layer, LayerKind
from gearshift.models.networks.folding import FoldedLayer, FoldedNetwork
from gearshift.runtime.engines.network import METADATA_KEY
from gearshift.runtime.types import FloatArray

INPUT, OUTPUT = "image", "output"
OPSET = 17
IR_VERSION = 8
PRODUCER = "gearshift"


@dataclass(slots=True)
class _Graph:
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[onnx.TensorProto] = field(default_factory=list)

    def constant(self, name: str, value: NDArray[np.generic]) -> str:
        self.initializers.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(self, kind: str, inputs: list[str], output: str, **attributes: object) -> str:
        node = helper.make_node(kind, inputs, [output], name=output, **attributes)
        self.nodes.append(node)
        return output

    def convolve(self, layer: Layer, inputs: list[str], output: str) -> str:
        groups = layer.in_channels if layer.kind is LayerKind.DEPTHWISE else 1
        return self.node(
            "Conv",
            inputs,
            output,
            kernel_shape=[layer.kernel] * 2,
            strides=[layer.stride] * 2,
            pads=[layer.padding] * 4,
            group=groups,
        )

    def pool(self, layer: Layer, value: str, output: str) -> str:
        window = {"kernel_shape": [layer.kernel] * 2, "strides": [layer.stride] * 2}
        return self.node("MaxPool", [value], output, **window)

    def dequantise_weights(self, folded: FoldedLayer, input_scale: float) -> list[str]:
        """Per-channel int8 weights and int32 biases, as the names of their dequantised values."""
        assert folded.weight is not None and folded.bias is not None  # noqa: PT018
        name = folded.layer.name
        scale, weight = quantise_weights(folded.weight)
        bias_scale = (scale * np.float32(input_scale)).astype(np.float32)
        bias = np.clip(np.rint(folded.bias / bias_scale), -(2**31) + 1, 2**31 - 1).astype(np.int32)
        channels = len(scale)
        parts = []
        for kind, value, value_scale, zero in (
            ("weight", weight, scale, np.zeros(channels, np.int8)),
            ("bias", bias, bias_scale, np.zeros(channels, np.int32)),
        ):
            tensor = self.constant(f"{name}.{kind}", value)
            scales = self.constant(f"{name}.{kind}.scale", value_scale)
            zeros = self.constant(f"{name}.{kind}.zero", zero)
            output = f"{name}.{kind}.float"
            parts.append(self.node("DequantizeLinear", [tensor, scales, zeros], output, axis=0))
        return parts


def quantise_weights(weight: FloatArray) -> tuple[FloatArray, NDArray[np.int8]]:
    """Symmetric per-channel int8: (out,) scales and weights of the same shape."""
    largest = np.abs(weight).reshape(len(weight), -1).max(axis=1)
    # A channel that died in training still needs a scale with which its bias fits int32.
    floor = np.float32(1e-8) + largest.max() * np.float32(1e-5)
    scale = (np.maximum(largest, floor) / 127).astype(np.float32)
    shape = (-1,) + (1,) * (weight.ndim - 1)
    quantised = np.clip(np.rint(weight / scale.reshape(shape)), -127, 127)
    return scale, quantised.astype(np.int8)


def float_model(network: FoldedNetwork, *, taps: bool = False) -> onnx.ModelProto:
    """The float graph; with `taps`, every convolution's activation is an output too."""
    graph = _Graph()
    value = graph.node("Cast", [INPUT], "image.float", to=TensorProto.FLOAT)
    tapped = []
    for folded in network.layers:
        layer = folded.layer
        if layer.kind is LayerKind.POOL:
            value = graph.pool(layer, value, layer.name)
            continue
        assert folded.weight is not None and folded.bias is not None  # noqa: PT018
        weight = graph.constant(f"{layer.name}.weight", folded.weight)
        bias = graph.constant(f"{layer.name}.bias", folded.bias)
        if layer.kind is LayerKind.FULLY_CONNECTED:
            value = graph.node("Flatten", [value], "features", axis=1)
            value = graph.node("Gemm", [value, weight, bias], OUTPUT, transB=1)
        else:
            value = graph.convolve(layer, [value, weight, bias], f"{layer.name}.sum")
            value = graph.node("Relu", [value], layer.name)
            tapped.append(layer)
    return _model(network, graph, tuple(tapped) if taps else ())


def quantised_model(network: FoldedNetwork, scales: Mapping[str, float]) -> onnx.ModelProto:
    """The int8 graph; `scales` gives each convolution's activation scale by its layer's name."""
    graph = _Graph()
    scale = 1.0
    value = _dequantise(graph, INPUT, "image", scale)
    for folded in network.layers:
        layer = folded.layer
        if layer.kind is LayerKind.FULLY_CONNECTED:
            flat = graph.node("Flatten", [_quantised_name(graph)], "features", axis=1)
            value = _dequantise(graph, flat, "features", scale)
            inputs = [value, *graph.dequantise_weights(folded, scale)]
            graph.node("Gemm", inputs, OUTPUT, transB=1)
            break
        if layer.kind is LayerKind.POOL:
            value = graph.pool(layer, value, f"{layer.name}.sum")
        else:
            inputs = [value, *graph.dequantise_weights(folded, scale)]
            value = graph.convolve(layer, inputs, f"{layer.name}.sum")
            scale = scales[layer.name]
        _quantise(graph, value, layer.name, scale)
        value = _dequantise(graph, layer.name, layer.name, scale)
    # The last activation's own dequantisation fed nothing but the head, which has its own.
    used = {name for node in graph.nodes for name in node.input} | {OUTPUT}
    graph.nodes = [node for node in graph.nodes if node.output[0] in used]
    return _model(network, graph, ())


def with_metadata(model: onnx.ModelProto, document: str) -> bytes:
    """The serialised model carrying a metadata document."""
    helper.set_model_props(model, {METADATA_KEY: document})
    content: bytes = model.SerializeToString()
    return content


def _quantised_name(graph: _Graph) -> str:
    return str(graph.nodes[-1].input[0])


def _quantise(graph: _Graph, value: str, output: str, scale: float) -> None:
    scale_name = graph.constant(f"{output}.scale", np.array(scale, np.float32))
    zero = graph.constant(f"{output}.zero", np.array(0, np.uint8))
    graph.node("QuantizeLinear", [value, scale_name, zero], output)


def _dequantise(graph: _Graph, value: str, name: str, scale: float) -> str:
    scale_name = graph.constant(f"{name}.read.scale", np.array(scale, np.float32))
    zero = graph.constant(f"{name}.read.zero", np.array(0, np.uint8))
    return graph.node("DequantizeLinear", [value, scale_name, zero], f"{name}.read")


def _model(network: FoldedNetwork, graph: _Graph, taps: tuple[Layer, ...]) -> onnx.ModelProto:
    architecture = network.architecture
    shape = [1, 1, architecture.height, architecture.width]
    image = helper.make_tensor_value_info(INPUT, TensorProto.UINT8, shape)
    outputs = [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [1, architecture.outputs])]
    for layer in taps:
        tap = [1, layer.out_channels, layer.out_height, layer.out_width]
        outputs.append(helper.make_tensor_value_info(layer.name, TensorProto.FLOAT, tap))
    used = {name for node in graph.nodes for name in node.input}
    initializers = [tensor for tensor in graph.initializers if tensor.name in used]
    body = helper.make_graph(graph.nodes, architecture.name, [image], outputs, initializers)
    opset = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(body, opset_imports=opset, producer_name=PRODUCER)
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model, full_check=True)
    return model
