"""PULP-Frontnet's float checkpoints as ONNX networks of ours, in float and int8.

The family (Palossi et al., IEEE IoT J. 2022): conv, bn, max pooling, three stages of two 3x3
convolutions each, fc; images in 0..255; outputs x, y, z [m] and phi [rad] in the same frame as
ours. A checkpoint is a dict with the state dict under `model`. The variant follows from its shapes:
c channels, and 60 c (160x96 images) or 24 c (80x48) inputs of fc. A network of 80x48 images gets a
160x96 frame averaged over 2x2 pixels (what bilinear and area resizing by one half are) inside its
graph; the int8 graph rounds the averages to bytes.

Without frames to calibrate on, the ranges of activations come from the batch normalisations: a
channel after one is about normal with mean beta and deviation gamma (Nagel et al., Data-Free
Quantization, ICCV 2019, arXiv 1906.04721).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from gearshift.models.formats.onnx_graph import INPUT, float_model, quantised_model, with_metadata
from gearshift.models.formats.quantisation import quantise
from gearshift.models.networks.architecture import Architecture, LayerKind
from gearshift.models.networks.catalogue import HEIGHT, WIDTH
from gearshift.models.networks.folding import FoldedLayer, FoldedNetwork
from gearshift.models.networks.published import frontnet
from gearshift.runtime.engines.network import Network
from gearshift.runtime.errors import FrameError, NetworkError
from gearshift.runtime.types import POSE_COMPONENTS, Camera

Real = NDArray[np.float64]
SIZES = ((HEIGHT, WIDTH), (HEIGHT // 2, WIDTH // 2))
CONVOLUTIONS = (
    ("conv", "bn"),
    *((f"layer{s}.conv{i}", f"layer{s}.bn{i}") for s in (1, 2, 3) for i in (1, 2)),
)
EPSILON = 1e-5
"""torch's BatchNorm2d."""
DEVIATIONS = 8.0
"""How far above its mean a channel's range reaches (data-free calibration)."""
LICENCE = "Apache-2.0 (PULP-Frontnet)"


@dataclass(frozen=True, slots=True, eq=False)
class ImportedFrontnet:
    """A checkpoint's folded weights, and each convolution's largest expected activation.

    camera: what it was trained for; None when unknown.
    """

    name: str
    folded: FoldedNetwork
    expected_range: Mapping[str, float]
    sha256: str
    camera: Camera | None = None

    def description(self) -> Network:
        """The metadata; it takes 160x96 frames whatever its own size."""
        architecture = self.folded.architecture
        return Network(
            name=self.name,
            height=HEIGHT,
            width=WIDTH,
            components=POSE_COMPONENTS,
            grid=None,
            frame_of_reference="drone, yaw-levelled FLU",
            camera=self.camera,
            architecture=architecture.family,
            parameters=architecture.parameters,
            mac=architecture.mac,
            training_set=f"unknown: imported checkpoint sha256 {self.sha256[:12]}",
            licence=LICENCE,
        )


def read_frontnet(path: Path, name: str | None = None) -> ImportedFrontnet:
    """Read a checkpoint without running what is in it; raises NetworkError in one line.

    name: of the network, default that of its variant (Frontnet160x32).
    """
    state, digest = _read_state(path)
    channels, shape = _variant(path, state)
    architecture = frontnet(*shape, channels)
    layers, ranges = [], {}
    pairs = iter(CONVOLUTIONS)
    for layer in architecture.layers:
        if layer.kind is LayerKind.POOL:
            layers.append(FoldedLayer(layer, None, None))
            continue
        if layer.kind is LayerKind.FULLY_CONNECTED:
            weight, bias = state["fc.weight"], state["fc.bias"]
        else:
            convolution, normalisation = next(pairs)
            beta, gamma, mean, variance = (
                state[f"{normalisation}.{part}"]
                for part in ("bias", "weight", "running_mean", "running_var")
            )
            gain = gamma / np.sqrt(variance + EPSILON)
            weight = state[f"{convolution}.weight"] * gain[:, None, None, None]
            bias = beta - mean * gain
            ranges[layer.name] = float((beta + DEVIATIONS * np.abs(gamma)).max())
        if not np.isfinite(weight).all() or not np.isfinite(bias).all():
            raise NetworkError(f"{path}: the weights of its {layer.name} are not finite")
        layers.append(FoldedLayer(layer, weight.astype(np.float32), bias.astype(np.float32)))
    folded = FoldedNetwork(architecture, tuple(layers))
    return ImportedFrontnet(name or architecture.name, folded, ranges, digest)


def float_onnx(network: ImportedFrontnet) -> bytes:
    """The float model; equal to the torch network up to rounding."""
    model = float_model(network.folded)
    return with_metadata(_resizing(model, network), network.description().to_json())


def int8_onnx(
    network: ImportedFrontnet, frames: NDArray[np.uint8] | None = None
) -> tuple[bytes, str]:
    """The int8 model and how it was calibrated: on frames (n, 96, 160), or without any."""
    if frames is not None:
        if frames.shape[1:] != (HEIGHT, WIDTH):
            raise FrameError(
                f"frames to calibrate on are {frames.shape[2]}x{frames.shape[1]}, not "
                f"{WIDTH}x{HEIGHT}"
            )
        architecture = network.folded.architecture
        quantised = quantise(network.folded, resized(frames, architecture))
        model = quantised.model
        method = f"percentile {quantised.percentile:g} of {len(frames)} frames"
    else:
        scales = {name: max(top, 1e-6) / 255 for name, top in network.expected_range.items()}
        model = quantised_model(network.folded, scales)
        method = f"data-free, {DEVIATIONS:g} deviations of batch normalisation"
    return with_metadata(_resizing(model, network), network.description().to_json()), method


def resized(frames: NDArray[np.uint8], architecture: Architecture) -> NDArray[np.uint8]:
    """Frames (n, 96, 160) in the size of the architecture, averages rounded to even."""
    if architecture.height == frames.shape[1]:
        return frames
    height, width = architecture.height, architecture.width
    blocks = frames.reshape(len(frames), height, 2, width, 2).astype(np.float64)
    return np.asarray(np.rint(blocks.mean(axis=(2, 4))), np.uint8)


def _resizing(model: onnx.ModelProto, network: ImportedFrontnet) -> onnx.ModelProto:
    """The model with 160x96 frames averaged down at its entrance where its own are smaller."""
    architecture = network.folded.architecture
    if architecture.height == HEIGHT:
        return model
    graph = model.graph
    entrance = graph.node[0]
    window = {"kernel_shape": [2, 2], "strides": [2, 2]}
    whole, small = f"{INPUT}.whole", entrance.output[0]
    entrance.output[0] = whole
    if entrance.op_type == "DequantizeLinear":
        # The average is a byte again, so that the convolution stays one of integers.
        one, zero = "resize.scale", "resize.zero"
        graph.initializer.append(numpy_helper.from_array(np.array(1, np.float32), one))
        graph.initializer.append(numpy_helper.from_array(np.array(0, np.uint8), zero))
        steps = [
            helper.make_node("AveragePool", [whole], ["resized"], name="resized", **window),
            helper.make_node("QuantizeLinear", ["resized", one, zero], ["resized.byte"]),
            helper.make_node("DequantizeLinear", ["resized.byte", one, zero], [small]),
        ]
    else:
        steps = [helper.make_node("AveragePool", [whole], [small], name="resized", **window)]
    nodes = [entrance, *steps, *list(graph.node)[1:]]
    copied = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copied)
    for axis, size in ((2, HEIGHT), (3, WIDTH)):
        graph.input[0].type.tensor_type.shape.dim[axis].dim_value = size
    onnx.checker.check_model(model, full_check=True)
    return model


def _read_state(path: Path) -> tuple[dict[str, Real], str]:
    """The state dict as float64 arrays by name, and the file's sha256."""
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise NetworkError(f"{path}: {error.strerror}") from error
    try:
        document: Any = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # torch raises whatever its zip, tar and pickle readers do
        raise NetworkError(
            f"{path}: no checkpoint of weights alone ({type(error).__name__}); save the state dict"
        ) from error
    if isinstance(document, Mapping):
        document = document.get("model", document)
    if not isinstance(document, Mapping) or not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in document.items()
    ):
        raise NetworkError(f"{path}: holds no state dict, neither itself nor under 'model'")
    state = {key: value for key, value in document.items() if "num_batches_tracked" not in key}
    return {key: value.detach().double().numpy() for key, value in state.items()}, digest


def _variant(path: Path, state: Mapping[str, Real]) -> tuple[int, tuple[int, int]]:
    """Channels, and (height, width) of the images; raises NetworkError unless all shapes fit."""
    names = {f"{convolution}.weight" for convolution, _ in CONVOLUTIONS} | {"fc.weight", "fc.bias"}
    for _, normalisation in CONVOLUTIONS:
        parts = ("weight", "bias", "running_mean", "running_var")
        names |= {f"{normalisation}.{part}" for part in parts}
    if set(state) != names:
        missing, extra = sorted(names - set(state)), sorted(set(state) - names)
        what = f"lacks {missing[0]}" if missing else f"has {extra[0]}"
        raise NetworkError(f"{path}: no float PULP-Frontnet checkpoint, it {what}")
    channels = state["conv.weight"].shape[0] if state["conv.weight"].ndim == 4 else 0
    for shape in SIZES if channels else ():
        expected = _shapes(frontnet(*shape, channels))
        wrong = [key for key in sorted(names) if state[key].shape != expected[key]]
        if not wrong:
            return channels, shape
        if wrong != ["fc.weight"]:
            key = wrong[0]
            raise NetworkError(
                f"{path}: {key} is {state[key].shape}, a PULP-Frontnet with {channels} channels "
                f"has {expected[key]}"
            )
    raise NetworkError(
        f"{path}: conv.weight {state['conv.weight'].shape} and fc.weight "
        f"{state['fc.weight'].shape} fit no PULP-Frontnet of 160x96 or 80x48 images"
    )


def _shapes(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    pairs = iter(CONVOLUTIONS)
    for layer in architecture.layers:
        if layer.kind is LayerKind.FULLY_CONNECTED:
            shapes["fc.weight"] = (layer.out_channels, layer.input_bytes)
            shapes["fc.bias"] = (layer.out_channels,)
        elif layer.kind is not LayerKind.POOL:
            convolution, normalisation = next(pairs)
            size = (layer.out_channels, layer.in_channels, layer.kernel, layer.kernel)
            shapes[f"{convolution}.weight"] = size
            for part in ("weight", "bias", "running_mean", "running_var"):
                shapes[f"{normalisation}.{part}"] = (layer.out_channels,)
    return shapes
