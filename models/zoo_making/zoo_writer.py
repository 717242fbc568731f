"""Writing the zoo: int8 networks, the manifest that the loader verifies, and the GAP8 profile."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gearshift.models.cost.gap8_deployment import source_shape
from gearshift.models.cost.gap8_model import CLOCK_HZ, CostModel, gap8_model
from gearshift.models.formats.gap8_writer import golden_image, write_gap8_folder
from gearshift.runtime.engines.network import (
    INTEGER,
    MANIFEST_NAME,
    MANIFEST_VERSION,
    find_network,
    find_network_source,
    folder_digest,
    read_manifest,
    zoo_folder,
)
from gearshift.runtime.ensembles.profile import NetworkProfile, Profile, ProfileKind, write_profile
from gearshift.runtime.errors import NetworkError
from gearshift.runtime.files.whole_file import make_folder, write_whole

logger = logging.getLogger(__name__)

GAP8_PROFILE = "profile-gap8.json"
GAP8_FOLDER = "gap8"
Scores = Mapping[str, Mapping[str, Mapping[str, float]]]
"""Split, then `float` or `int8`, then component (or accuracy), to its error."""


@dataclass(frozen=True, slots=True)
class ZooEntry:
    """What the manifest says of a network besides its file and hash."""

    name: str
    architecture: str
    parameters: int
    mac: int
    training_set: str
    licence: str
    mae: Scores
    calibration: str

    def document(self, file: str, sha256: str) -> dict[str, Any]:
        """The manifest's entry."""
        return {
            "file": file,
            "sha256": sha256,
            "architecture": self.architecture,
            "parameters": self.parameters,
            "mac": self.mac,
            "training_set": self.training_set,
            "licence": self.licence,
            "calibration": self.calibration,
            "mae": {split: dict(formats) for split, formats in self.mae.items()},
            "formats": {},
        }


def write_network(folder: Path, content: bytes, entry: ZooEntry) -> Path:
    """Put a network into the zoo: its file first, then the manifest, each whole or not at all."""
    path = folder / f"{entry.name}.onnx"
    make_folder(folder)
    write_whole(path, content)
    manifest = folder / MANIFEST_NAME
    document: dict[str, Any] = (
        read_manifest(folder)
        if manifest.exists()
        else {"schema_version": MANIFEST_VERSION, "networks": {}}
    )
    digest = hashlib.sha256(content).hexdigest()
    # The other forms were made of the network that is replaced: its new entry has none.
    document["networks"][entry.name] = entry.document(path.name, digest)
    _write_manifest(folder, document)
    return path


def write_form(folder: Path, name: str, engine: str, form: Path) -> None:
    """Note in the manifest that a network has another form: the file or folder `form`.

    form: inside the zoo, already written. engine: what runs it. Raises NetworkError for a network
    that the zoo lacks.
    """
    document = read_manifest(folder)
    if name not in document["networks"]:
        raise NetworkError(f"{folder}: its manifest has no network {name!r}")
    is_folder = form.is_dir()
    digest = folder_digest(form) if is_folder else hashlib.sha256(form.read_bytes()).hexdigest()
    place = form.relative_to(folder).as_posix()
    described = {"folder" if is_folder else "file": place, "sha256": digest}
    document["networks"][name]["formats"][engine] = described
    _write_manifest(folder, document)


def write_integer_form(folder: Path, name: str) -> Path:
    """Convert a zoo's network to GAP8's arithmetic, below `gap8/`; returns the folder.

    Raises NetworkError for a network that is no int8 model of ours.
    """
    from gearshift.models.formats.gap8_conversion import integers_of_onnx

    file = find_network(name, folder)
    network = integers_of_onnx(file.verified_bytes(), str(file.path))
    image = golden_image(network.network.height, network.network.width)
    target = folder / GAP8_FOLDER / name
    write_gap8_folder(target, network, image)
    write_form(folder, name, INTEGER, target)
    return target


def gap8_profile(folder: Path | None = None) -> Profile:
    """Modelled latency and energy of every network of a zoo.

    One with a layer that GAP8's kernels lack is left out with a warning; raises NetworkError when
    none is left.
    """
    model = gap8_model()
    networks = {}
    for name in sorted(read_manifest(folder)["networks"]):
        try:
            networks[name] = _profile(name, model, folder)
        except NetworkError as error:
            logger.warning("%s is not in the profile: %s", name, error)
    if not networks:
        raise NetworkError(f"{folder or zoo_folder()}: has no network that GAP8's kernels can run")
    return Profile(
        device="gap8",
        kind=ProfileKind.MODELLED,
        method=_method(model),
        versions={"cluster_mhz": f"{CLOCK_HZ / 1e6:g}", "numpy": np.__version__},
        networks=networks,
    )


def write_gap8_profile(folder: Path) -> Path:
    """Write the zoo's modelled profile beside its manifest."""
    path = folder / GAP8_PROFILE
    write_profile(path, gap8_profile(folder))
    return path


def _profile(name: str, model: CostModel, folder: Path | None) -> NetworkProfile:
    cost = model.cost(source_shape(find_network_source(name, folder)))
    latency = cost.milliseconds
    return NetworkProfile(
        sha256=find_network(name, folder).sha256,
        mean_ms=latency,
        p50_ms=latency,
        p90_ms=latency,
        p99_ms=latency,
        max_ms=latency,
        runs=0,
        energy_mj=cost.energy_mj,
        low_ms=cost.low_ms,
        high_ms=cost.high_ms,
    )


def _method(model: CostModel) -> str:
    return (
        f"per-layer cost model at {CLOCK_HZ / 1e6:g} MHz, weights in L2, fitted to "
        f"{len(model.residuals)} published GAP8 measurements; leave-one-out error "
        f"{100 * model.error:.1f} % (root mean square)"
    )


def _write_manifest(folder: Path, document: dict[str, Any]) -> None:
    content = json.dumps(document, indent=1, sort_keys=True) + "\n"
    write_whole(folder / MANIFEST_NAME, content)
