"""Networks in the integer arithmetic that DORY and PULP-NN run on GAP8.

Activations are uint8 in HWC order with zero padding. A convolution sums int8 weights times
activations into acc (int32) and requantises per output channel:

    out = clip((kappa * acc + lambda) >> shift, 0, 255)        in int64, the shift rounds down

Max pooling works on the bytes. The network ends in one fully connected layer on the HWC-flattened
bytes, out = acc + bias in int32, and its values are out * output_scale (DORY's eps). Source: DORY
(Burrello et al., IEEE Trans. Comp. 2021), checked on a PULP-Frontnet deployment bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from gearshift.runtime.engines.network import Network
from gearshift.runtime.errors import NetworkError
from gearshift.runtime.types import Image

SHIFT = 24
"""DORY's usual right shift."""
MAX_BYTE = 255
MAX_ACTIVATION = 1 << 26
"""Numbers in one activation or its patches; a damaged geometry must not ask for all memory."""


class IntegerKind(StrEnum):
    """The kinds of layers that there are kernels for."""

    CONV = "conv"
    """Any kernel, stride and padding, 1x1 among them."""
    DEPTHWISE = "depthwise"
    POOL = "pool"
    """Maximum over windows, no padding."""
    FULLY_CONNECTED = "fully connected"


@dataclass(frozen=True, slots=True)
class Geometry:
    """Shape of one layer on a (height, width, in_channels) activation."""

    kind: IntegerKind
    in_channels: int
    height: int
    width: int
    out_channels: int
    kernel: int = 1
    stride: int = 1
    padding: int = 0
    shift: int = SHIFT

    @property
    def out_height(self) -> int:
        """Rows of the output."""
        return self._out(self.height)

    @property
    def out_width(self) -> int:
        """Columns of the output."""
        return self._out(self.width)

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Shape of the int8 weights: (out, kernel, kernel, in), or (out, height * width * in)."""
        match self.kind:
            case IntegerKind.POOL:
                return (0,)
            case IntegerKind.FULLY_CONNECTED:
                return (self.out_channels, self.height * self.width * self.in_channels)
            case IntegerKind.DEPTHWISE:
                return (self.out_channels, self.kernel, self.kernel, 1)
        return (self.out_channels, self.kernel, self.kernel, self.in_channels)

    @property
    def mac(self) -> int:
        """Multiply-accumulates of one run."""
        return int(np.prod(self.weight_shape)) * self.out_height * self.out_width

    def check(self, where: str) -> None:
        """Raise NetworkError, in one line, unless a layer can have this shape."""
        sizes = (self.in_channels, self.height, self.width, self.out_channels, self.kernel)
        if min(*sizes, self.stride) < 1 or not 0 <= self.padding < self.kernel:
            raise NetworkError(f"{where}: sizes must be positive, padding below the kernel's size")
        if not 0 <= self.shift < 63:
            raise NetworkError(f"{where}: a shift of {self.shift} is not in 0..62")
        padded = (self.height + 2 * self.padding) * (self.width + 2 * self.padding)
        if padded * self.in_channels > MAX_ACTIVATION:
            raise NetworkError(f"{where}: its input is larger than {MAX_ACTIVATION} bytes")
        if self.out_height < 1 or self.out_width < 1:
            raise NetworkError(f"{where}: its kernel is larger than its input")
        patch = self.kernel**2 * (self.in_channels if self.kind is IntegerKind.CONV else 1)
        if self.out_height * self.out_width * max(patch, self.out_channels) > MAX_ACTIVATION:
            raise NetworkError(
                f"{where}: its output or its patches exceed {MAX_ACTIVATION} numbers"
            )
        same = self.kind in (IntegerKind.DEPTHWISE, IntegerKind.POOL)
        if same and self.in_channels != self.out_channels:
            raise NetworkError(
                f"{where}: a {self.kind} layer keeps its channels, this one turns "
                f"{self.in_channels} into {self.out_channels}"
            )
        if self.kind is IntegerKind.POOL and self.padding:
            raise NetworkError(f"{where}: pooling with padding is not supported")

    def _out(self, size: int) -> int:
        if self.kind is IntegerKind.FULLY_CONNECTED:
            return 1
        return window_positions(size, self.kernel, self.stride, self.padding)


def window_positions(size: int, kernel: int, stride: int, padding: int) -> int:
    """How many places a window has along one side of an activation."""
    return (size + 2 * padding - kernel) // stride + 1


@dataclass(frozen=True, slots=True, eq=False)
class IntegerLayer:
    """One layer with its numbers; arrays that its kind does not have are empty.

    weight: int8 of `geometry.weight_shape`. kappa, lambda_: int64 (out,) of convolutions. bias:
    int32 (out,) of the fully connected layer. Raises NetworkError when they do not fit, or when a
    sum could leave int32 or a requantisation int64, as the board's kernels do not saturate there.
    """

    name: str
    geometry: Geometry
    weight: NDArray[np.int8]
    kappa: NDArray[np.int64]
    lambda_: NDArray[np.int64]
    bias: NDArray[np.int32]

    def __post_init__(self) -> None:
        geometry = self.geometry
        geometry.check(self.name)
        convolution = geometry.kind in (IntegerKind.CONV, IntegerKind.DEPTHWISE)
        connected = geometry.kind is IntegerKind.FULLY_CONNECTED
        out = geometry.out_channels
        for label, value, dtype, shape in (
            ("weights", self.weight, np.int8, geometry.weight_shape),
            ("kappa", self.kappa, np.int64, (out if convolution else 0,)),
            ("lambda", self.lambda_, np.int64, (out if convolution else 0,)),
            ("bias", self.bias, np.int32, (out if connected else 0,)),
        ):
            if value.dtype != dtype or value.shape != shape:
                raise NetworkError(
                    f"{self.name}: {label} are {value.dtype} {value.shape}, not "
                    f"{np.dtype(dtype)} {shape}"
                )
        bias = max((abs(int(value)) for value in self.bias), default=0)
        if self.accumulator_bound + bias >= 1 << 31:
            raise NetworkError(f"{self.name}: its sums can leave int32; scale its weights down")
        if self.requantisation_bound >= 1 << 63:
            raise NetworkError(f"{self.name}: kappa * acc + lambda can leave int64")

    @property
    def accumulator_bound(self) -> int:
        """What no partial sum of weights times bytes exceeds in size, in any order of summation.

        A partial sum lies between 255 times the sum of the negative and of the positive weights of
        its channel. Floating point is exact up to here: float32 to 2**24, float64 to 2**53.
        """
        return max(_channel_bounds(self), default=0)

    @property
    def requantisation_bound(self) -> int:
        """What |kappa * acc|, |lambda| and |kappa * acc + lambda| never exceed."""
        channels = zip(_channel_bounds(self), self.kappa, self.lambda_, strict=False)
        return max((abs(int(k)) * acc + abs(int(lam)) for acc, k, lam in channels), default=0)


@dataclass(frozen=True, slots=True, eq=False)
class IntegerNetwork:
    """A chain of integer layers from one grey image to a vector.

    network: what it says about itself; where its frames are twice as high and wide as what the
    first layer reads, they are halved before it (`halve`). output_scale: float64 (k,), unit per
    int32 step of each output. Raises NetworkError when the layers do not follow one another.
    """

    network: Network
    layers: tuple[IntegerLayer, ...]
    output_scale: NDArray[np.float64]

    def __post_init__(self) -> None:
        name = self.network.name
        factor = 2 if self.halves else 1
        shape = (self.network.height // factor, self.network.width // factor, 1)
        for layer in self.layers:
            geometry = layer.geometry
            expected = (geometry.height, geometry.width, geometry.in_channels)
            if shape != expected:
                raise NetworkError(
                    f"{name}: {layer.name} reads {_size(expected)} (height x width x channels), "
                    f"what comes before gives {_size(shape)}"
                )
            shape = (geometry.out_height, geometry.out_width, geometry.out_channels)
        kinds = [layer.geometry.kind for layer in self.layers]
        connected = IntegerKind.FULLY_CONNECTED
        if not kinds or kinds[-1] is not connected or connected in kinds[:-1]:
            raise NetworkError(f"{name}: it must end in its only fully connected layer")
        outputs = self.layers[-1].geometry.out_channels
        if outputs != self.network.output_size:
            raise NetworkError(
                f"{name}: its last layer gives {outputs} numbers, its metadata says "
                f"{self.network.output_size}"
            )
        scale = self.output_scale
        if scale.dtype != np.float64 or scale.shape != (outputs,):
            raise NetworkError(f"{name}: {scale.size} output scales for {outputs} outputs")
        if not np.isfinite(scale).all() or (scale <= 0).any():
            raise NetworkError(f"{name}: output scales must be positive numbers")

    @property
    def halves(self) -> bool:
        """Whether frames are halved before the first layer."""
        if not self.layers:
            return False
        first = self.layers[0].geometry
        return (self.network.height, self.network.width) == (2 * first.height, 2 * first.width)


@dataclass(frozen=True, slots=True, eq=False)
class Golden:
    """A frame and what an exact implementation makes of it.

    image: (height, width) uint8. sums: the sum of the output bytes of each layer, the last one's
    int32 little-endian. outputs: int32 (k,). A sum ignores order, the outputs do not.
    """

    image: Image
    sums: tuple[int, ...]
    outputs: NDArray[np.int32]


def halve(image: Image) -> Image:
    """Means over 2x2 pixels, halves to the even byte, as ONNX's AveragePool and QuantizeLinear.

    This is what bilinear and area resizing to half the size are. DORY has no layer for it: on a
    board the application does it before the network runs.
    """
    height, width = image.shape[0] // 2, image.shape[1] // 2
    sums = image.reshape(height, 2, width, 2).sum(axis=(1, 3), dtype=np.int64)
    return np.asarray(HALVED[sums], np.uint8)


HALVED: Image = np.rint(np.arange(4 * MAX_BYTE + 1) / 4).astype(np.uint8)


def pool_layer(name: str, geometry: Geometry) -> IntegerLayer:
    """A max pooling layer, which has no numbers of its own."""
    empty = np.zeros(0, np.int64)
    return IntegerLayer(name, geometry, np.zeros(0, np.int8), empty, empty, np.zeros(0, np.int32))


def convolution_layer(
    name: str,
    geometry: Geometry,
    weight: NDArray[np.int8],
    kappa: NDArray[np.int64],
    lambda_: NDArray[np.int64],
) -> IntegerLayer:
    """A (depthwise) convolution with its requantisation."""
    return IntegerLayer(name, geometry, weight, kappa, lambda_, np.zeros(0, np.int32))


def connected_layer(
    name: str, geometry: Geometry, weight: NDArray[np.int8], bias: NDArray[np.int32]
) -> IntegerLayer:
    """The fully connected layer at the end."""
    empty = np.zeros(0, np.int64)
    return IntegerLayer(name, geometry, weight, empty, empty, bias)


def _channel_bounds(layer: IntegerLayer) -> list[int]:
    if layer.weight.size == 0:
        return []
    rows = layer.weight.reshape(len(layer.weight), -1).astype(np.int64)
    positive = np.maximum(rows, 0).sum(axis=1)
    negative = -np.minimum(rows, 0).sum(axis=1)
    return [MAX_BYTE * int(bound) for bound in np.maximum(positive, negative)]


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(str(size) for size in shape)
