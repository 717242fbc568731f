"""Recognising a GAP8 deployment of the PULP-Frontnet family by its files' names and sizes.

DORY's weight files say nothing about geometry. The family (PULP-Frontnet, Palossi et al., IEEE IoT
J. 2022) has one: convolution 5x5 stride 2 to c channels; max pooling 2x2; then 3x3 convolutions of
stride 2, 1, 2, 1, 2, 1 to c, c, 2c, 2c, 4c, 4c; one fully connected layer to x, y, z, phi. So

* layers 0 and 2 to 7 are `layerN_BNReluConvolution_weights.hex`, 8 `layer8_FullyConnected_...`, or,
  as newer versions of DORY have it, `BNReluConvolutionN_weights.hex` and `FullyConnected8_...`;
* c follows from layer 0, which has 25 c weights and 16 c bytes of kappa and lambda;
* the image is 160x96 or 80x48, by the inputs of layer 8: 60 c or 24 c.

Every other size has to agree.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from gearshift.runtime.engines.integer_network import Geometry, IntegerKind
from gearshift.runtime.engines.network import Network
from gearshift.runtime.errors import NetworkError
from gearshift.runtime.types import POSE_COMPONENTS

SIZES = ((96, 160), (48, 80))
"""(height, width) of the images that the family's networks read."""
WEIGHT_FILE = re.compile(
    r"(?:layer(?P<old>\d+)_)?(?P<kind>BNReluConvolution|FullyConnected)(?P<new>\d+)?_weights\.hex"
)
KNOWN_SCALES = {
    "5bc5985a4e39": (7.3591854743e-6, 1.33181438287e-5, 5.1428660299e-6, 9.50413596e-6),
}
"""Output scales (DORY's eps) that stand in a deployment's source code rather than its folder, by
the start of the sha256 over its weight files in order: NanoCockpit's Frontnet 160x32 (IDSIA). Its
requantisation shifts by `SHIFT` throughout."""


@dataclass(frozen=True, slots=True)
class Recognised:
    """Metadata, and (name, geometry, weight file or None) of every layer."""

    network: Network
    layers: tuple[tuple[str, Geometry, str | None], ...]


def recognise(
    folder: Path, sizes: Mapping[str, int], shifts: Sequence[int] | None = None
) -> Recognised:
    """The geometry behind weight files of these sizes in bytes; raises NetworkError.

    shifts: of each convolution in order, default `SHIFT`.
    """
    files: dict[int, tuple[str, str]] = {}
    for name in sizes:
        match = WEIGHT_FILE.fullmatch(name)
        if match is None:
            raise NetworkError(f"{folder / name}: no layer of the Frontnet family has this name")
        index = int(match["old"] or match["new"])
        if index in files:
            raise NetworkError(f"{folder / name}: {files[index][0]} is layer {index} already")
        files[index] = (name, match["kind"])
    expected = dict.fromkeys((0, 2, 3, 4, 5, 6, 7), "BNReluConvolution") | {8: "FullyConnected"}
    for index, kind in expected.items():
        if files.get(index, ("", ""))[1] != kind:
            raise NetworkError(
                f"{folder}: no gap8.json and no layer{index}_{kind}_weights.hex, so it is neither "
                "ours nor a deployment of the Frontnet family"
            )
    if set(files) != set(expected):
        extra = files[max(set(files) - set(expected))][0]
        raise NetworkError(f"{folder / extra}: the Frontnet family has no such layer")
    channels, rest = divmod(sizes[files[0][0]], 25 + 16)
    if rest or channels == 0:
        raise NetworkError(
            f"{folder / files[0][0]}: {sizes[files[0][0]]} bytes are no 5x5 convolution of one "
            "input (41 bytes per output channel)"
        )
    outputs = len(POSE_COMPONENTS)
    features = sizes[files[8][0]] / outputs - 4
    for height, width in SIZES:
        layers = _layers(channels, height, width)
        head = layers[-1]
        if head.weight_shape[1] == features:
            break
    else:
        raise NetworkError(
            f"{folder / files[8][0]}: {sizes[files[8][0]]} bytes fit no {outputs} outputs of a "
            f"Frontnet with {channels} channels on 160x96 or 80x48 images"
        )
    layers = _shifted(folder, layers, shifts)
    named = tuple(
        (f"layer{index}", geometry, files[index][0] if index in files else None)
        for index, geometry in enumerate(layers)
    )
    weights = sum(int(np.prod(geometry.weight_shape)) for geometry in layers)
    network = Network(
        name=folder.resolve().name,
        height=height,
        width=width,
        components=POSE_COMPONENTS,
        grid=None,
        frame_of_reference="drone, yaw-levelled FLU",
        camera=None,
        architecture="PULP-Frontnet",
        parameters=weights + outputs,
        mac=sum(geometry.mac for geometry in layers),
        training_set="unknown: an imported GAP8 deployment",
        licence="unknown: an imported GAP8 deployment",
    )
    return Recognised(network, named)


def is_known(files: Mapping[str, bytes]) -> bool:
    """Whether these weights are a deployment's whose scales and shifts are known."""
    return _digest(files) in KNOWN_SCALES


def output_scales_of(folder: Path, files: Mapping[str, bytes]) -> tuple[float, ...]:
    """The output scales of a known deployment; raises NetworkError for any other."""
    digest = _digest(files)
    if digest not in KNOWN_SCALES:
        raise NetworkError(
            f"{folder}: its output scales are not in the folder and its weights ({digest}) are no "
            "known deployment's; give them (--output-scales) or restore the weights"
        )
    return KNOWN_SCALES[digest]


def _digest(files: Mapping[str, bytes]) -> str:
    return hashlib.sha256(b"".join(files[name] for name in sorted(files))).hexdigest()[:12]


def _shifted(folder: Path, layers: list[Geometry], shifts: Sequence[int] | None) -> list[Geometry]:
    if shifts is None:
        return layers
    convolutions = [g for g in layers if g.kind is IntegerKind.CONV]
    if len(shifts) != len(convolutions):
        raise NetworkError(f"{folder}: {len(shifts)} shifts for {len(convolutions)} convolutions")
    left = iter(shifts)
    return [replace(g, shift=next(left)) if g.kind is IntegerKind.CONV else g for g in layers]


def _layers(channels: int, height: int, width: int) -> list[Geometry]:
    stages = (
        (IntegerKind.CONV, channels, 5, 2, 2),
        (IntegerKind.POOL, channels, 2, 2, 0),
        *(
            (IntegerKind.CONV, channels * factor, 3, stride, 1)
            for factor in (1, 2, 4)
            for stride in (2, 1)
        ),
        (IntegerKind.FULLY_CONNECTED, len(POSE_COMPONENTS), 1, 1, 0),
    )
    layers: list[Geometry] = []
    inputs = 1
    for kind, out, kernel, stride, padding in stages:
        geometry = Geometry(kind, inputs, height, width, out, kernel, stride, padding)
        layers.append(geometry)
        inputs, height, width = out, geometry.out_height, geometry.out_width
    return layers
