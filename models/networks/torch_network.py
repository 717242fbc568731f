"""Torch modules built from an architecture's layers, so that cost and network never disagree."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from gearshift.models.networks.architecture import Architecture, Layer, LayerKind


class StridedDepthwise(nn.Conv2d):  # type: ignore[misc]
    """A strided depthwise convolution computed densely and then subsampled.

    The same numbers as the strided one; on a CPU its backward pass is ten times faster.
    """

    def forward(self, image: Tensor) -> Tensor:
        """(b, c, h, w) to (b, c, ceil(h / stride), ceil(w / stride))."""
        dense = functional.conv2d(image, self.weight, None, 1, self.padding, 1, self.groups)
        step = self.stride[0]
        return dense[:, :, ::step, ::step].contiguous(memory_format=torch.channels_last)


class PoseNetwork(nn.Module):  # type: ignore[misc]
    """The module of an architecture: images (b, 1, h, w) in 0..1 to standardised outputs (b, k).

    standardisation: (2, k), mean and standard deviation that turn outputs into units; it is folded
    into the head at export.
    """

    def __init__(self, architecture: Architecture, dropout: float = 0.0) -> None:
        super().__init__()
        self.architecture = architecture
        *body, head = architecture.layers
        self.body = nn.ModuleList([_body_module(layer) for layer in body])
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(head.input_bytes, head.out_channels)
        unit = torch.tensor([[0.0], [1.0]]).repeat(1, head.out_channels)
        self.register_buffer("standardisation", unit)

    def forward(self, image: Tensor) -> Tensor:
        """Standardised outputs; see `in_units`."""
        return self.head(self.features(image))

    def features(self, image: Tensor) -> Tensor:
        """(b, n) what the head reads, with dropout while training."""
        for module in self.body:
            image = module(image)
        # Flattened channel by channel, whatever the memory format.
        return self.dropout(image.contiguous().flatten(1))

    def in_units(self, outputs: Tensor) -> Tensor:
        """Standardised outputs in the components' units."""
        mean, deviation = self.standardisation
        return outputs * deviation + mean


def _body_module(layer: Layer) -> nn.Module:
    if layer.kind is LayerKind.POOL:
        return nn.MaxPool2d(layer.kernel, layer.stride)
    depthwise = layer.kind is LayerKind.DEPTHWISE
    convolution = StridedDepthwise if depthwise and layer.stride > 1 else nn.Conv2d
    return nn.Sequential(
        convolution(
            layer.in_channels,
            layer.out_channels,
            layer.kernel,
            layer.stride,
            layer.padding,
            groups=layer.in_channels if depthwise else 1,
            bias=False,
        ),
        nn.BatchNorm2d(layer.out_channels),
        nn.ReLU(inplace=True),
    )
