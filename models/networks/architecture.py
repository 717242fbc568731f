"""What a network is made of, independent of any framework: layers with shapes, and what they cost.

The torch modules, the ONNX graphs and the GAP8 cost model are all built from these descriptions, so
that cost and network never disagree. Counts follow PULP-Frontnet's convention: batch normalisation
is folded, so a convolution has its weights only and a fully connected layer its weights and biases.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from gearshift.runtime.engines.integer_network import window_positions
from gearshift.runtime.errors import ConfigurationError

REQUANTISATION_BYTES = 16
"""Per output channel, int64 scale and offset of DORY's requantisation (kappa and lambda)."""


class LayerKind(StrEnum):
    """The kinds of layers that the GAP8 kernels know."""

    CONV = "conv"
    DEPTHWISE = "depthwise"
    POINTWISE = "pointwise"
    POOL = "pool"
    """Maximum over windows, no padding."""
    FULLY_CONNECTED = "fully connected"


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer on an (in_channels, height, width) activation, int8 weights, uint8 activations.

    Convolutions are followed by a folded batch normalisation and a ReLU. A fully connected layer
    reads the whole flattened activation and gives `out_channels` numbers.
    """

    name: str
    kind: LayerKind
    in_channels: int
    height: int
    width: int
    out_channels: int
    kernel: int = 1
    stride: int = 1
    padding: int = 0

    @property
    def out_height(self) -> int:
        """Rows of the output."""
        return self._out(self.height)

    @property
    def out_width(self) -> int:
        """Columns of the output."""
        return self._out(self.width)

    @property
    def out_pixels(self) -> int:
        """Positions of the output."""
        return self.out_height * self.out_width

    @property
    def input_bytes(self) -> int:
        """Size of the input activation, one byte a number."""
        return self.in_channels * self.height * self.width

    @property
    def output_bytes(self) -> int:
        """Size of the output activation; a fully connected layer gives int32."""
        size = self.out_channels * self.out_pixels
        return 4 * size if self.kind is LayerKind.FULLY_CONNECTED else size

    @property
    def patch(self) -> int:
        """Numbers that one output is the weighted sum of (0 for pooling)."""
        if self.kind is LayerKind.POOL:
            return 0
        if self.kind is LayerKind.FULLY_CONNECTED:
            return self.input_bytes
        channels = 1 if self.kind is LayerKind.DEPTHWISE else self.in_channels
        return channels * self.kernel * self.kernel

    @property
    def weights(self) -> int:
        """Number of weights, without biases."""
        return self.patch * self.out_channels

    @property
    def parameters(self) -> int:
        """Weights, and biases of a fully connected layer."""
        biases = self.out_channels if self.kind is LayerKind.FULLY_CONNECTED else 0
        return self.weights + biases

    @property
    def mac(self) -> int:
        """Multiply-accumulates of one run."""
        return self.weights * self.out_pixels

    @property
    def weight_bytes(self) -> int:
        """Size of the deployed int8 weights with their requantisation or int32 biases."""
        if self.kind is LayerKind.POOL:
            return 0
        if self.kind is LayerKind.FULLY_CONNECTED:
            return self.weights + 4 * self.out_channels
        return self.weights + REQUANTISATION_BYTES * self.out_channels

    def _out(self, size: int) -> int:
        if self.kind is LayerKind.FULLY_CONNECTED:
            return 1
        return window_positions(size, self.kernel, self.stride, self.padding)


@dataclass(frozen=True, slots=True)
class Architecture:
    """A chain of layers from one grey (height, width) image to a vector."""

    name: str
    family: str
    height: int
    width: int
    layers: tuple[Layer, ...]

    @property
    def outputs(self) -> int:
        """Length of the output vector."""
        return self.layers[-1].out_channels

    @property
    def mac(self) -> int:
        """Multiply-accumulates of one run."""
        return sum(layer.mac for layer in self.layers)

    @property
    def parameters(self) -> int:
        """Weights and biases."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def weight_bytes(self) -> int:
        """Size of everything that a deployment stores for this network."""
        return sum(layer.weight_bytes for layer in self.layers)

    @property
    def activation_bytes(self) -> int:
        """The largest input and output that must be in memory together."""
        return max(layer.input_bytes + layer.output_bytes for layer in self.layers)


@dataclass(frozen=True, slots=True)
class Conv:
    """Plain convolution, padded by half its kernel."""

    channels: int
    kernel: int = 3
    stride: int = 1


@dataclass(frozen=True, slots=True)
class Separable:
    """MobileNetV1's block: a depthwise convolution, then a pointwise one to `channels`."""

    channels: int
    stride: int = 1
    kernel: int = 3


@dataclass(frozen=True, slots=True)
class Pool:
    """Maximum over size x size windows."""

    size: int = 2


Block = Conv | Separable | Pool


def chain(
    name: str, family: str, blocks: tuple[Block, ...], outputs: int, shape: tuple[int, int]
) -> Architecture:
    """Lay blocks one after the other on a grey image of `shape` (height, width), then a head.

    The head is one fully connected layer on the flattened activation. Raises ConfigurationError
    when a block leaves nothing of the image.
    """
    layers: list[Layer] = []
    channels, (height, width) = 1, shape

    def add(kind: LayerKind, out_channels: int, kernel: int, stride: int, padding: int) -> None:
        nonlocal channels, height, width
        label = f"{kind.value}{1 + sum(layer.kind is kind for layer in layers)}"
        layer = Layer(label, kind, channels, height, width, out_channels, kernel, stride, padding)
        if layer.out_height < 1 or layer.out_width < 1:
            raise ConfigurationError(f"{name}: nothing of the image is left after {label}")
        layers.append(layer)
        channels, height, width = out_channels, layer.out_height, layer.out_width

    for block in blocks:
        match block:
            case Conv(out, kernel, stride):
                kind = LayerKind.POINTWISE if kernel == 1 else LayerKind.CONV
                add(kind, out, kernel, stride, kernel // 2)
            case Separable(out, stride, kernel):
                add(LayerKind.DEPTHWISE, channels, kernel, stride, kernel // 2)
                add(LayerKind.POINTWISE, out, 1, 1, 0)
            case Pool(size):
                add(LayerKind.POOL, channels, size, size, 0)
    head = Layer("head", LayerKind.FULLY_CONNECTED, channels, height, width, outputs)
    return Architecture(name, family, shape[0], shape[1], (*layers, head))
