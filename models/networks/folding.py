"""Trained networks as plain arrays: batch normalisation, input scale and output units folded in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gearshift.models.networks.architecture import Architecture, Layer, LayerKind
from gearshift.runtime.types import FloatArray

if TYPE_CHECKING:
    # Folded networks are written and imported without torch.
    from gearshift.models.networks.torch_network import PoseNetwork

INPUT_RANGE = 255.0


@dataclass(frozen=True, slots=True, eq=False)
class FoldedLayer:
    """A layer with weights (out, in / groups, k, k), or (out, in) for the head, and biases (out,).

    Both are None for pooling.
    """

    layer: Layer
    weight: FloatArray | None
    bias: FloatArray | None


@dataclass(frozen=True, slots=True, eq=False)
class FoldedNetwork:
    """A chain of folded layers from a grey image in 0..255 to outputs in their units."""

    architecture: Architecture
    layers: tuple[FoldedLayer, ...]


def fold(network: PoseNetwork) -> FoldedNetwork:
    """Fold a trained module; it computes the same function up to rounding."""
    layers: list[FoldedLayer] = []
    for layer, module in zip(network.architecture.layers, network.body, strict=False):
        if layer.kind is LayerKind.POOL:
            layers.append(FoldedLayer(layer, None, None))
            continue
        convolution, normalisation = module[0], module[1]
        gain = normalisation.weight / (normalisation.running_var + normalisation.eps).sqrt()
        weight = convolution.weight * gain[:, None, None, None]
        bias = normalisation.bias - normalisation.running_mean * gain
        scale = 1.0 if layers else 1.0 / INPUT_RANGE
        layers.append(FoldedLayer(layer, _array(scale * weight), _array(bias)))
    mean, deviation = network.standardisation
    weight = network.head.weight * deviation[:, None]
    bias = network.head.bias * deviation + mean
    head = network.architecture.layers[-1]
    layers.append(FoldedLayer(head, _array(weight), _array(bias)))
    return FoldedNetwork(network.architecture, tuple(layers))


def _array(tensor: object) -> FloatArray:
    return np.ascontiguousarray(tensor.detach().cpu().numpy(), dtype=np.float32)  # type: ignore[attr-defined]
