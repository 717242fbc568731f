"""int8 TFLite networks written with an int8 ONNX network's own numbers: nothing is calibrated anew.

The flatbuffer's int8 tensors hold what the ONNX network's hold, less 128 where that is unsigned:
weights, biases and scales are copied, so that the two differ only in how their kernels round. The
graph takes `image` uint8 (1, h, w, 1) as the camera gives it and ends in a fully connected layer in
float32 on int8 weights with a scale per output: no output is quantised, and none with another's
step. Format: TFLite's schema version 3 (tensorflow/compiler/mlir/lite/schema/schema.fbs).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from gearshift.models.formats.qdq_chain import QuantisedChain, QuantisedLayer
from gearshift.runtime.engines.integer_network import Geometry, IntegerKind
from gearshift.runtime.engines.litert_metadata import (
    DIGEST_KEY,
    DIGEST_SIZE,
    FILE_IDENTIFIER,
    stamped,
)
from gearshift.runtime.engines.network import METADATA_KEY, Network
from gearshift.runtime.errors import NetworkError

INPUT, OUTPUT = "image", "output"
SIGNATURE = "serving_default"
SCHEMA_VERSION = 3
ZERO_POINT = -128
"""The int8 that stands for 0: bytes 0..255 become -128..127, and saturation stays the ReLU."""
ALIGNMENT = 16
"""Of tensor data, as the schema asks (force_align)."""
_TYPES = {
    np.dtype(np.float32): schema.TensorType.FLOAT32,
    np.dtype(np.int32): schema.TensorType.INT32,
    np.dtype(np.uint8): schema.TensorType.UINT8,
    np.dtype(np.int8): schema.TensorType.INT8,
}
# The lowest versions of the operators that have the types used here (tflite's op_version.cc).
_VERSIONS = {
    schema.BuiltinOperator.QUANTIZE: 1,
    schema.BuiltinOperator.PAD: 2,
    schema.BuiltinOperator.CONV_2D: 3,
    schema.BuiltinOperator.DEPTHWISE_CONV_2D: 3,
    schema.BuiltinOperator.MAX_POOL_2D: 2,
    schema.BuiltinOperator.RESHAPE: 1,
    schema.BuiltinOperator.DEQUANTIZE: 5,
    schema.BuiltinOperator.FULLY_CONNECTED: 1,
}


def tflite_model(chain: QuantisedChain, document: str) -> bytes:
    """The chain as a TFLite file that carries a metadata document under "gearshift".

    Raises NetworkError for a bias that does not fit int32 in its layer's steps.
    """
    network = chain.network
    graph = _Graph()
    image = graph.tensor(
        INPUT, np.uint8, (1, network.height, network.width, 1), _Quantisation((1.0,))
    )
    here = graph.activation("bytes", (1, network.height, network.width, 1), 1.0)
    graph.operator(
        schema.BuiltinOperator.QUANTIZE,
        [image],
        here,
        schema.BuiltinOptions.QuantizeOptions,
        schema.QuantizeOptionsT(),
    )
    if chain.halved:
        here = graph.layer(_halving(network), here)
    for layer in chain.layers[:-1]:
        here = graph.layer(layer, here)
    output = graph.head(chain.layers[-1], here)
    return graph.finish(network.name, image, output, document)


class _AlignedBuffer(schema.BufferT):  # type: ignore[misc]
    """A buffer whose data is aligned, which the generated code leaves out."""

    def Pack(self, builder: Any) -> Any:  # noqa: N802
        data = b"" if self.data is None else self.data
        if len(data):
            builder.StartVector(1, len(data), ALIGNMENT)
            start = builder.Head() - len(data)
            builder.head = start
            builder.Bytes[start : start + len(data)] = data
            vector = builder.EndVector()
        schema.BufferStart(builder)
        if len(data):
            schema.BufferAddData(builder, vector)
        return schema.BufferEnd(builder)


@dataclass(frozen=True, slots=True)
class _Quantisation:
    """real = (integer - zero_point) * scale, with a scale per index of `axis` where there are
    many."""

    scales: Sequence[float] | NDArray[np.float64]
    zero_point: int = 0
    axis: int = 0


@dataclass(slots=True)
class _Graph:
    """The one subgraph while it grows; a tensor is named by its index."""

    tensors: list[Any] = field(default_factory=list)
    operators: list[Any] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    # The first buffer is empty by convention: tensors without constants name it.
    buffers: list[Any] = field(default_factory=lambda: [_AlignedBuffer()])

    def tensor(
        self,
        name: str,
        dtype: type[np.generic],
        shape: tuple[int, ...],
        quantisation: _Quantisation | None = None,
        *,
        content: bytes = b"",
    ) -> int:
        """A new tensor, constant when there is content."""
        tensor = schema.TensorT()
        tensor.name = name
        tensor.type = _TYPES[np.dtype(dtype)]
        tensor.shape = list(shape)
        tensor.buffer = self.buffer(content) if content else 0
        if quantisation is not None:
            parameters = schema.QuantizationParametersT()
            parameters.scale = [float(np.float32(scale)) for scale in quantisation.scales]
            parameters.zeroPoint = [quantisation.zero_point] * len(quantisation.scales)
            parameters.quantizedDimension = quantisation.axis
            tensor.quantization = parameters
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def activation(self, name: str, shape: tuple[int, ...], scale: float) -> int:
        """An int8 activation."""
        return self.tensor(name, np.int8, shape, _Quantisation((scale,), ZERO_POINT))

    def constant(
        self, name: str, value: NDArray[Any], quantisation: _Quantisation | None = None
    ) -> int:
        """A constant in C order."""
        content = np.ascontiguousarray(value).tobytes()
        return self.tensor(name, value.dtype.type, value.shape, quantisation, content=content)

    def buffer(self, content: bytes) -> int:
        """A new buffer's index."""
        buffer = _AlignedBuffer()
        buffer.data = content
        self.buffers.append(buffer)
        return len(self.buffers) - 1

    def operator(
        self, code: int, inputs: list[int], output: int, kind: int, options: object
    ) -> None:
        """Append an operator."""
        if code not in self.codes:
            self.codes.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex = self.codes.index(code)
        operator.inputs, operator.outputs = inputs, [output]
        operator.builtinOptionsType, operator.builtinOptions = kind, options
        self.operators.append(operator)

    def pool(self, source: int, target: int, geometry: Geometry) -> None:
        """The maximum over whole windows."""
        options = schema.Pool2DOptionsT()
        options.padding = schema.Padding.VALID
        options.filterHeight = options.filterWidth = geometry.kernel
        options.strideH = options.strideW = geometry.stride
        self.operator(
            schema.BuiltinOperator.MAX_POOL_2D,
            [source],
            target,
            schema.BuiltinOptions.Pool2DOptions,
            options,
        )

    def layer(self, layer: QuantisedLayer, source: int) -> int:
        """A convolution or a pooling; returns its output."""
        geometry = layer.geometry
        shape = (1, geometry.out_height, geometry.out_width, geometry.out_channels)
        assert layer.output_scale is not None
        target = self.activation(layer.name, shape, layer.output_scale)
        if geometry.kind is IntegerKind.POOL:
            self.pool(source, target, geometry)
            return target
        depthwise = geometry.kind is IntegerKind.DEPTHWISE
        # TFLite has the channels of depthwise weights last, of others first.
        weight = layer.weight.transpose(3, 1, 2, 0) if depthwise else layer.weight
        inputs = [
            self.padded(layer, source),
            self.constant(
                f"{layer.name}.weight",
                weight,
                _Quantisation(layer.weight_scale, axis=3 if depthwise else 0),
            ),
            self.constant(f"{layer.name}.bias", _bias(layer), _Quantisation(layer.sum_scale)),
        ]
        if depthwise:
            code, kind = (
                schema.BuiltinOperator.DEPTHWISE_CONV_2D,
                schema.BuiltinOptions.DepthwiseConv2DOptions,
            )
            options = schema.DepthwiseConv2DOptionsT()
            options.depthMultiplier = 1
        else:
            code, kind = schema.BuiltinOperator.CONV_2D, schema.BuiltinOptions.Conv2DOptions
            options = schema.Conv2DOptionsT()
        options.padding = schema.Padding.SAME if _pads_alike(layer) else schema.Padding.VALID
        options.strideH = options.strideW = geometry.stride
        options.fusedActivationFunction = schema.ActivationFunctionType.RELU
        self.operator(code, inputs, target, kind, options)
        return target

    def padded(self, layer: QuantisedLayer, source: int) -> int:
        """The input with zeros around it where the convolution's own padding differs."""
        geometry = layer.geometry
        around = geometry.padding
        if not around or _pads_alike(layer):
            return source
        shape = (1, geometry.height + 2 * around, geometry.width + 2 * around, geometry.in_channels)
        target = self.activation(f"{layer.name}.padded", shape, layer.input_scale)
        sides = np.array([[0, 0], [around, around], [around, around], [0, 0]], np.int32)
        amounts = self.constant(f"{layer.name}.pads", sides)
        self.operator(
            schema.BuiltinOperator.PAD,
            [source, amounts],
            target,
            schema.BuiltinOptions.PadOptions,
            schema.PadOptionsT(),
        )
        return target

    def head(self, layer: QuantisedLayer, source: int) -> int:
        """The fully connected end in float32; returns its output."""
        inputs = layer.geometry.height * layer.geometry.width * layer.geometry.in_channels
        flat = self.activation("features", (1, inputs), layer.input_scale)
        options = schema.ReshapeOptionsT()
        options.newShape = [1, inputs]
        shape = self.constant("features.shape", np.array([1, inputs], np.int32))
        self.operator(
            schema.BuiltinOperator.RESHAPE,
            [source, shape],
            flat,
            schema.BuiltinOptions.ReshapeOptions,
            options,
        )
        features = self.dequantised(flat, "features.float", (1, inputs))
        weight = self.constant(
            f"{layer.name}.weight", layer.weight, _Quantisation(layer.weight_scale)
        )
        real_weight = self.dequantised(weight, f"{layer.name}.weight.float", layer.weight.shape)
        bias = self.constant(f"{layer.name}.bias", layer.bias.astype(np.float32))
        output = self.tensor(OUTPUT, np.float32, (1, layer.geometry.out_channels))
        connected = schema.FullyConnectedOptionsT()
        self.operator(
            schema.BuiltinOperator.FULLY_CONNECTED,
            [features, real_weight, bias],
            output,
            schema.BuiltinOptions.FullyConnectedOptions,
            connected,
        )
        return output

    def dequantised(self, source: int, name: str, shape: tuple[int, ...]) -> int:
        """A tensor in real numbers."""
        target = self.tensor(name, np.float32, shape)
        self.operator(
            schema.BuiltinOperator.DEQUANTIZE,
            [source],
            target,
            schema.BuiltinOptions.DequantizeOptions,
            schema.DequantizeOptionsT(),
        )
        return target

    def finish(self, name: str, image: int, output: int, document: str) -> bytes:
        """The file."""
        subgraph = schema.SubGraphT()
        subgraph.name = name
        subgraph.tensors, subgraph.operators = self.tensors, self.operators
        subgraph.inputs, subgraph.outputs = [image], [output]
        contents = {METADATA_KEY: document.encode(), DIGEST_KEY: bytes(DIGEST_SIZE)}
        metadata = []
        for key, content in contents.items():
            entry = schema.MetadataT()
            entry.name, entry.buffer = key, self.buffer(content)
            metadata.append(entry)
        model = schema.ModelT()
        model.version = SCHEMA_VERSION
        model.description = METADATA_KEY
        model.operatorCodes = [_operator_code(code) for code in self.codes]
        model.subgraphs, model.buffers = [subgraph], self.buffers
        model.metadata = metadata
        model.signatureDefs = [_signature(image, output)]
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(model.Pack(builder), file_identifier=FILE_IDENTIFIER)
        return stamped(bytes(builder.Output()))


def _halving(network: Network) -> QuantisedLayer:
    """The average of 2x2 pixels as a convolution: average pooling rounds ties elsewhere."""
    geometry = Geometry(IntegerKind.CONV, 1, network.height, network.width, 1, 2, 2)
    weight = np.ones(geometry.weight_shape, np.int8)
    return QuantisedLayer("halved", geometry, weight, np.full(1, 0.25), np.zeros(1), 1.0, 1.0)


def _pads_alike(layer: QuantisedLayer) -> bool:
    """Whether TFLite's SAME padding is the layer's: as much on either side, stride and all."""
    geometry = layer.geometry
    for size, out in (
        (geometry.height, geometry.out_height),
        (geometry.width, geometry.out_width),
    ):
        total = max((out - 1) * geometry.stride + geometry.kernel - size, 0)
        if total != 2 * geometry.padding or out != -(-size // geometry.stride):
            return False
    return True


def _bias(layer: QuantisedLayer) -> NDArray[np.int32]:
    """The bias in steps of the layer's sums."""
    bias = np.rint(layer.bias / layer.sum_scale)
    if np.abs(bias).max() >= 2.0**31:
        raise NetworkError(f"a bias of {layer.name} does not fit int32")
    return bias.astype(np.int32)


def _operator_code(code: int) -> Any:
    operator = schema.OperatorCodeT()
    # Readers of older schemas look at the first of the two.
    operator.deprecatedBuiltinCode = operator.builtinCode = code
    operator.version = _VERSIONS[code]
    return operator


def _signature(image: int, output: int) -> Any:
    signature = schema.SignatureDefT()
    signature.signatureKey = SIGNATURE
    for name, tensor, where in ((INPUT, image, "inputs"), (OUTPUT, output, "outputs")):
        entry = schema.TensorMapT()
        entry.name, entry.tensorIndex = name, tensor
        setattr(signature, where, [entry])
    return signature
