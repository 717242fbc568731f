"""Writing GAP8 deployments: a folder in DORY's layout with our geometry file; numpy only."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gearshift.runtime.engines.gap8_folder import GEOMETRY_NAME, describe
from gearshift.runtime.engines.integer_engine import IntegerEngine, golden
from gearshift.runtime.engines.integer_network import Golden, IntegerNetwork
from gearshift.runtime.errors import NetworkError
from gearshift.runtime.files.whole_file import make_folder, writing
from gearshift.runtime.types import FloatArray, Image


def run_integer_frames(network: IntegerNetwork, frames: NDArray[np.uint8]) -> FloatArray:
    """(n, k) outputs over frames (n, height, width)."""
    engine = IntegerEngine(network)
    return np.stack([engine.run(frame).copy() for frame in frames])


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
    make_folder(folder.parent)
    with (
        writing(folder),
        tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as place,
    ):
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
