"""Exporting networks to GAP8: quantised to its arithmetic, in a folder of DORY's layout."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gearshift.models.dataset import load_dataset
from gearshift.models.evaluation import relative_loss, scores
from gearshift.models.folding import FoldedNetwork
from gearshift.models.gap8_conversion import integers_of_onnx
from gearshift.models.inference import run_frames
from gearshift.models.onnx_graph import with_metadata
from gearshift.models.quantisation import quantise
from gearshift.runtime.errors import NetworkError
from gearshift.runtime.gap8_folder import GEOMETRY_NAME, describe
from gearshift.runtime.integer_engine import IntegerEngine, golden
from gearshift.runtime.integer_network import Golden, IntegerNetwork
from gearshift.runtime.network import Network
from gearshift.runtime.types import FloatArray, Image


def quantise_to_integers(
    network: FoldedNetwork, frames: NDArray[np.uint8], description: Network
) -> IntegerNetwork:
    """Quantise float weights with ranges calibrated on frames (n, height, width)."""
    model = quantise(network, frames).model
    return integers_of_onnx(with_metadata(model, description.to_json()), description.name)


def run_integer_frames(network: IntegerNetwork, frames: NDArray[np.uint8]) -> FloatArray:
    """(n, k) outputs over frames (n, height, width)."""
    engine = IntegerEngine(network)
    return np.stack([engine.run(frame).copy() for frame in frames])


def measure_integers(network: IntegerNetwork, int8: bytes, folder: Path) -> str:
    """One line: errors of the int8 model and of its integer network on a folder of recordings."""
    data = load_dataset(folder)
    before = scores(run_frames(int8, data.images), data)
    after = scores(run_integer_frames(network, data.images), data)
    shown = ", ".join(f"{key} {before[key]:.4f} -> {after[key]:.4f}" for key in before)
    loss = 100 * relative_loss(before, after)
    return f"{folder}, int8 ONNX -> integers: {shown} ({loss:+.2f} %, {len(data)} frames)"


def golden_image(height: int, width: int) -> Image:
    """A fixed frame with edges, slopes and noise, for a network that comes without frames."""
    rows, columns = np.mgrid[0:height, 0:width]
    noise = np.random.default_rng(0).integers(0, 24, (height, width))
    slope = 180 * columns // width + 20 * ((rows // 8 + columns // 12) % 2)
    person = ((columns - width / 2) / (width / 10)) ** 2 + ((rows - height / 2) / height) ** 2 * 6
    return np.where(person < 1, 30 + noise, slope + noise).astype(np.uint8)


def write_gap8_folder(folder: Path, network: IntegerNetwork, image: Image) -> Golden:
    """Write a deployment, whole or not at all, with `image` as its golden input.

    A folder of an earlier export is replaced; raises NetworkError for one that holds other things.
    """
    run = golden(network, image)
    document, files = describe(network, run)
    if folder.exists():
        _check_replaceable(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as place:
        new = Path(place) / "new"
        new.mkdir()
        for name, content in files.items():
            (new / name).write_bytes(content)
        (new / GEOMETRY_NAME).write_text(document)
        if folder.exists():
            folder.rename(Path(place) / "old")
        new.rename(folder)
    return run


def _check_replaceable(folder: Path) -> None:
    if not folder.is_dir():
        raise NetworkError(f"{folder}: is a file; choose a folder")
    for path in folder.iterdir():
        if path.name != GEOMETRY_NAME and path.suffix != ".hex":
            raise NetworkError(f"{folder}: holds {path.name}, which is no export's; choose another")
    if any(folder.iterdir()) and not (folder / GEOMETRY_NAME).exists():
        raise NetworkError(f"{folder}: is a deployment that was not exported here; choose another")
