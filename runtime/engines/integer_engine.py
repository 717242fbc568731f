"""The `integer` engine: GAP8's arithmetic in numpy, exact to the bit.

Convolutions are matrix products in floating point, which is exact for integers as long as no
partial sum leaves the mantissa; `IntegerLayer.accumulator_bound` proves per layer whether float32
(2**24) does or float64 (2**53) has to. The requantisation runs in float64 where kappa * acc +
lambda is proven to stay below 2**53 (multiplying by 2**-shift is exact too), else in int64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from gearshift.runtime.engines.blas_threads import OneBlasThread
from gearshift.runtime.engines.engine import check_image
from gearshift.runtime.engines.integer_network import (
    MAX_BYTE,
    Geometry,
    Golden,
    IntegerKind,
    IntegerLayer,
    IntegerNetwork,
    halve,
)
from gearshift.runtime.errors import EngineError
from gearshift.runtime.types import FloatArray, Image

FLOAT32_EXACT = 1 << 24
FLOAT64_EXACT = 1 << 53
NARROW = 16
"""Below this many contiguous numbers per window row, patches are gathered offset by offset."""

Array = NDArray[Any]
Step = Callable[[], None]


class IntegerEngine:
    """Runs an `IntegerNetwork`; buffers are allocated once."""

    def __init__(self, network: IntegerNetwork) -> None:
        self.network = network.network
        self._shape = (self.network.height, self.network.width)
        self._program: _Program | None = _Program(network, fuse=True)
        self._scale = network.output_scale
        self._output: FloatArray = np.zeros(len(self._scale), np.float32)

    def run(self, image: Image) -> FloatArray:
        """See `Engine.run`."""
        np.multiply(self.run_integers(image), self._scale, out=self._output, casting="same_kind")
        return self._output

    def run_integers(self, image: Image) -> NDArray[np.int64]:
        """The int32 outputs of the last layer, (k,), valid until the next run; raises as `run`."""
        if image.shape != self._shape or image.dtype != np.uint8:
            check_image(image, self.network)
        if self._program is None:
            raise EngineError("its engine is closed")
        return self._program.run(image)

    def close(self) -> None:
        """See `Engine.close`."""
        self._program = None


def layer_outputs(network: IntegerNetwork, image: Image) -> list[Array]:
    """What every layer gives: uint8 (height, width, channels), the last int32 (k,)."""
    check_image(image, network.network)
    program = _Program(network, fuse=False)
    outputs = program.run(image)
    return [target.astype(np.uint8) for target in program.targets] + [outputs.astype(np.int32)]


def golden(network: IntegerNetwork, image: Image) -> Golden:
    """The byte sums and outputs of a frame."""
    values = layer_outputs(network, image)
    last = values[-1].astype("<i4")
    sums = [int(value.sum(dtype=np.int64)) for value in values[:-1]]
    sums.append(sum(last.tobytes()))
    return Golden(image.copy(), tuple(sums), values[-1])


class _Program:
    """The steps of a network over its buffers.

    Every layer reads a zero-padded HWC buffer, of bytes held in the floating-point type that its
    own sums need, and writes into the inside of the next one's. With `fuse`, a convolution that is
    followed by pooling pools its sums instead of its bytes: requantisation with kappa >= 0 never
    decreases, so the result is the same from a quarter of the requantisations.
    """

    def __init__(self, network: IntegerNetwork, *, fuse: bool) -> None:
        layers = network.layers
        buffers = [_buffer(layer) for layer in layers]
        insides = [
            _inside(buffer, layer.geometry) for buffer, layer in zip(buffers, layers, strict=True)
        ]
        self._image = insides[0][:, :, 0]
        self._halves = network.halves
        self.targets = insides[1:]
        self._steps: list[Step] = []
        index = 0
        while index < len(layers) - 1:
            layer, following = layers[index], layers[index + 1]
            if layer.geometry.kind is IntegerKind.POOL:
                self._steps.append(_pool(layer.geometry, buffers[index], insides[index + 1]))
            elif fuse and _commutes(layer, following):
                self._steps.append(
                    _convolution(layer, buffers[index], insides[index + 2], following.geometry)
                )
                index += 1
            else:
                self._steps.append(_convolution(layer, buffers[index], insides[index + 1], None))
            index += 1
        head = layers[-1]
        self._features = buffers[-1].reshape(-1)
        self._weight = np.ascontiguousarray(head.weight.T, dtype=self._features.dtype)
        self._bias = head.bias.astype(np.int64)
        self._sums = np.zeros(len(head.bias), self._features.dtype)
        self._outputs = np.zeros(len(head.bias), np.int64)
        self._one_thread = OneBlasThread()

    def run(self, image: Image) -> NDArray[np.int64]:
        np.copyto(self._image, halve(image) if self._halves else image)
        with self._one_thread:
            for step in self._steps:
                step()
            np.matmul(self._features, self._weight, out=self._sums)
        np.copyto(self._outputs, self._sums, casting="unsafe")
        self._outputs += self._bias
        return self._outputs


def _buffer(layer: IntegerLayer) -> Array:
    geometry = layer.geometry
    dtype = np.float32 if layer.accumulator_bound <= FLOAT32_EXACT else np.float64
    border = 2 * geometry.padding
    shape = (geometry.height + border, geometry.width + border, geometry.in_channels)
    return np.zeros(shape, dtype)


def _inside(buffer: Array, geometry: Geometry) -> Array:
    border = geometry.padding
    return buffer[border : border + geometry.height, border : border + geometry.width]


def _commutes(layer: IntegerLayer, following: IntegerLayer) -> bool:
    return following.geometry.kind is IntegerKind.POOL and bool((layer.kappa >= 0).all())


def _convolution(
    layer: IntegerLayer, buffer: Array, target: Array, pooling: Geometry | None
) -> Step:
    """Sums, then the maximum over windows of them where there is pooling, then bytes."""
    geometry = layer.geometry
    shape = (geometry.out_height, geometry.out_width, geometry.out_channels)
    sums: Array = np.zeros(shape, buffer.dtype)
    depthwise = geometry.kind is IntegerKind.DEPTHWISE
    steps = [(_depthwise_sums if depthwise else _dense_sums)(layer, buffer, sums)]
    if pooling is not None:
        pooled: Array = np.zeros(target.shape, sums.dtype)
        steps.append(_pool(pooling, sums, pooled))
        sums = pooled
    steps.append(_requantisation(layer, sums, target))

    def run() -> None:
        for step in steps:
            step()

    return run


def _dense_sums(layer: IntegerLayer, buffer: Array, sums: Array) -> Step:
    """One matrix product of patches with weights; a patch is in the weights' (kernel, kernel, in)
    order."""
    geometry = layer.geometry
    kernel, channels = geometry.kernel, geometry.in_channels
    height, width = geometry.out_height, geometry.out_width
    size = kernel * kernel * channels
    weight = np.ascontiguousarray(
        layer.weight.reshape(geometry.out_channels, size).T, dtype=buffer.dtype
    )
    flat_sums = sums.reshape(-1, geometry.out_channels)
    rows, columns, _ = (stride * geometry.stride for stride in buffer.strides)
    if kernel == 1 and geometry.stride == 1 and geometry.padding == 0:
        patches = buffer.reshape(-1, channels)

        def multiply() -> None:
            np.matmul(patches, weight, out=flat_sums)

        return multiply
    if kernel * channels >= NARROW:
        # A row of a window is contiguous.
        windows = as_strided(
            buffer,
            (height, width, kernel, kernel * channels),
            (rows, columns, buffer.strides[0], buffer.itemsize),
            writeable=False,
        )
        patches = np.zeros((height * width, size), buffer.dtype)
        gathered = patches.reshape(windows.shape)
    else:
        # Few numbers per row: run along the image instead, one offset after the other, and let the
        # product read the patches transposed.
        windows = as_strided(
            buffer,
            (kernel, kernel, channels, height, width),
            (*buffer.strides, rows, columns),
            writeable=False,
        )
        transposed = np.zeros((size, height * width), buffer.dtype)
        patches, gathered = transposed.T, transposed.reshape(windows.shape)

    def run() -> None:
        np.copyto(gathered, windows)
        np.matmul(patches, weight, out=flat_sums)

    return run


def _depthwise_sums(layer: IntegerLayer, buffer: Array, sums: Array) -> Step:
    """A sum over the kernel's offsets of shifted images times one weight per channel."""
    kernel = layer.geometry.kernel
    weight = layer.weight[..., 0].astype(buffer.dtype)
    pairs = [
        (view, np.ascontiguousarray(weight[:, row, column]))
        for row in range(kernel)
        for column in range(kernel)
        for view in [_shifted(buffer, layer.geometry, row, column)]
    ]
    (first, first_weight), *others = pairs
    product = np.zeros_like(sums)

    def run() -> None:
        np.multiply(first, first_weight, out=sums)
        for view, channel_weight in others:
            np.multiply(view, channel_weight, out=product)
            np.add(sums, product, out=sums)

    return run


def _pool(geometry: Geometry, source: Array, target: Array) -> Step:
    offsets = [(r, c) for r in range(geometry.kernel) for c in range(geometry.kernel)]
    first, *others = [_shifted(source, geometry, row, column) for row, column in offsets]

    def run() -> None:
        np.copyto(target, first)
        for view in others:
            np.maximum(target, view, out=target)

    return run


def _shifted(source: Array, geometry: Geometry, row: int, column: int) -> Array:
    """The (out_height, out_width, channels) numbers that one offset of the kernel sees."""
    step = geometry.stride
    return source[
        row : row + step * (geometry.out_height - 1) + 1 : step,
        column : column + step * (geometry.out_width - 1) + 1 : step,
    ]


def _requantisation(layer: IntegerLayer, sums: Array, target: Array) -> Step:
    """clip((kappa * sums + lambda) >> shift, 0, 255) into the next buffer."""
    shift = layer.geometry.shift
    if layer.requantisation_bound > FLOAT64_EXACT:
        whole = np.zeros(sums.shape, np.int64)

        def run_int64() -> None:
            np.copyto(whole, sums, casting="unsafe")
            np.multiply(whole, layer.kappa, out=whole)
            np.add(whole, layer.lambda_, out=whole)
            np.right_shift(whole, shift, out=whole)
            np.clip(whole, 0, MAX_BYTE, out=whole)
            np.copyto(target, whole, casting="unsafe")

        return run_int64
    gain = layer.kappa.astype(np.float64) * 2.0**-shift
    offset = layer.lambda_.astype(np.float64) * 2.0**-shift
    real = np.zeros(sums.shape, np.float64)

    def run_float64() -> None:
        np.multiply(sums, gain, out=real)
        np.add(real, offset, out=real)
        np.floor(real, out=real)
        np.clip(real, 0, MAX_BYTE, out=real)
        np.copyto(target, real, casting="same_kind")

    return run_float64
