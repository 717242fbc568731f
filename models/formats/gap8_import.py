"""Networks in GAP8's arithmetic from elsewhere: deployments' folders and integer ONNX files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gearshift.models.evaluating.inference import run_network
from gearshift.models.formats.gap8_writer import golden_image, run_integer_frames
from gearshift.runtime.engines.gap8_folder import read_gap8_folder
from gearshift.runtime.engines.integer_engine import golden, layer_outputs
from gearshift.runtime.engines.integer_network import Golden, IntegerNetwork
from gearshift.runtime.errors import ConfigurationError, NetworkError
from gearshift.runtime.types import POSE_COMPONENTS, Image

GOLDEN_INPUT = "input.txt"
_UNFITTED = 1.0


@dataclass(frozen=True, slots=True)
class Imported:
    """A network that was imported, a run of it, and what the user must know, one line each."""

    network: IntegerNetwork
    run: Golden
    notes: tuple[str, ...]


def import_gap8(
    path: Path,
    *,
    scales: Sequence[float] | None = None,
    shifts: Sequence[int] | None = None,
    fit: tuple[str, NDArray[np.uint8]] | None = None,
    golden_folder: Path | None = None,
) -> Imported:
    """A deployment's folder or an integer ONNX file as a network.

    scales: unit per int32 step of each output. shifts: of each convolution, for a bare folder. fit:
    instead of scales, a network of the same outputs and frames (n, h, w) uint8 on which they are
    fitted to what it says. golden_folder: `input.txt` and `out_layerN.txt` of DORY's examples, all
    of which must be met. Raises NetworkError and ConfigurationError, in one line.
    """
    notes: list[str] = []
    given = scales
    if fit is not None:
        given = [_UNFITTED] * len(POSE_COMPONENTS)
    if path.suffix == ".onnx":
        network, run = _read_onnx(path, given, shifts), None
    else:
        network, run = read_gap8_folder(path, given, shifts)
    if fit is not None:
        fitted, rows = fit_scales(network, *fit)
        network = replace(network, output_scale=fitted)
        notes += rows
    image = golden_image(network.network.height, network.network.width)
    if golden_folder is not None:
        image = _golden_input(golden_folder, network)
        notes.append(check_golden_folder(network, image, golden_folder))
    elif run is not None:
        image = run.image
    return Imported(network, golden(network, image), tuple(notes))


def fit_scales(
    network: IntegerNetwork, reference: str, frames: NDArray[np.uint8]
) -> tuple[NDArray[np.float64], list[str]]:
    """Output scales by least squares through the origin against a network's answers on frames.

    Integer outputs are proportional to values (DORY's eps), so one number per output is all there
    is to find. Returns the scales and a line per output that says how well they fit. Raises
    ConfigurationError when an output does not follow the reference at all.
    """
    wanted = run_network(reference, frames)
    steps = run_integer_frames(replace(network, output_scale=np.ones(wanted.shape[1])), frames)
    scales = (steps * wanted).sum(axis=0, dtype=np.float64) / np.square(
        steps, dtype=np.float64
    ).sum(axis=0)
    notes = []
    for index, component in enumerate(network.network.components):
        said, fitted = wanted[:, index], steps[:, index] * scales[index]
        correlation = float(np.corrcoef(steps[:, index], said)[0, 1])
        if not scales[index] > 0:
            raise ConfigurationError(
                f"output {component.name} runs against {reference}'s (correlation "
                f"{correlation:+.2f}): its scale cannot be fitted; are the outputs in this order?"
            )
        error = float(np.abs(fitted - said).mean())
        notes.append(
            f"{component.name}: scale {scales[index]:.6g} {component.unit} per step, fitted on "
            f"{len(frames)} frames to {reference}; mean difference {error:.3f}, correlation "
            f"{correlation:+.2f}"
        )
    return scales, notes


def check_golden_folder(network: IntegerNetwork, image: Image, folder: Path) -> str:
    """Hold every activation against `out_layerN.txt`; returns what was met, raises NetworkError."""
    from gearshift.models.formats.integer_onnx import read_activations

    numbers = 0
    for index, output in enumerate(layer_outputs(network, image)):
        path = folder / f"out_layer{index}.txt"
        promised = np.fromiter(read_activations(_text(path), str(path)), np.int64)
        found = np.asarray(output, np.int64).ravel()
        if promised.size != found.size:
            raise NetworkError(f"{path}: {promised.size} numbers, layer {index} gives {found.size}")
        apart = np.flatnonzero(promised != found)
        if apart.size:
            first = int(apart[0])
            raise NetworkError(
                f"{path}: layer {index} differs in {apart.size} of {found.size} numbers, first in "
                f"number {first}: {int(found[first])}, promised {int(promised[first])}"
            )
        numbers += found.size
    return f"{folder}: all {numbers} numbers of {len(network.layers)} layers are met"


def _read_onnx(
    path: Path, scales: Sequence[float] | None, shifts: Sequence[int] | None
) -> IntegerNetwork:
    from gearshift.models.formats.integer_onnx import read_integer_onnx

    if shifts is not None:
        raise ConfigurationError(f"{path}: an integer ONNX file has its shifts; give no --shifts")
    if scales is None:
        raise ConfigurationError(
            f"{path}: an integer ONNX file does not say what its outputs' steps are worth; give "
            "--output-scales, or --fit-scales NETWORK with --frames"
        )
    try:
        content = path.read_bytes()
    except OSError as error:
        raise NetworkError(f"{path}: {error.strerror}") from error
    return read_integer_onnx(content, path.stem, str(path), scales)


def _golden_input(folder: Path, network: IntegerNetwork) -> Image:
    from gearshift.models.formats.integer_onnx import read_activations

    path = folder / GOLDEN_INPUT
    pixels = np.fromiter(read_activations(_text(path), str(path)), np.int64)
    height, width = network.network.height, network.network.width
    if pixels.size != height * width or pixels.min() < 0 or pixels.max() > 255:
        raise NetworkError(f"{path}: no {width}x{height} image of bytes")
    return pixels.astype(np.uint8).reshape(height, width)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise NetworkError(f"{path}: cannot be read ({error})") from error
