"""What a network says about itself, and the manifest by which the runtime finds and verifies it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from gearshift.runtime.errors import NetworkError
from gearshift.runtime.types import Camera, Component, HeadGrid

METADATA_KEY = "gearshift"
"""Key of the JSON document in an ONNX model's metadata_props."""
SCHEMA_VERSION = 1
MANIFEST_NAME = "manifest.json"


@dataclass(frozen=True, slots=True)
class Network:
    """The interface and origin of one network.

    A network takes one (height, width) uint8 image and gives one float32 vector: a value per
    component (regression) or a score per class of `grid` (the auxiliary head localiser; then
    `components` is empty). frame_of_reference says what the values are relative to. mac counts
    multiply-accumulates of one run; mae is the mean absolute error per component per split, for the
    format it was measured on.
    """

    name: str
    height: int
    width: int
    components: tuple[Component, ...]
    grid: HeadGrid | None
    frame_of_reference: str
    camera: Camera | None
    architecture: str
    parameters: int
    mac: int
    training_set: str
    licence: str
    mae: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def output_size(self) -> int:
        """Length of the output vector."""
        return self.grid.classes if self.grid is not None else len(self.components)

    def to_json(self) -> str:
        """The metadata document that is stored in the ONNX file."""
        return json.dumps({"schema_version": SCHEMA_VERSION, **asdict(self)}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str, where: str) -> Network:
        """Parse a metadata document; `where` names the file in errors. Raises NetworkError."""
        try:
            document: dict[str, Any] = json.loads(text)
            version = document.pop("schema_version")
            if version != SCHEMA_VERSION:
                raise NetworkError(
                    f"{where}: metadata schema version {version}, this gearshift reads "
                    f"{SCHEMA_VERSION}; export the network again"
                )
            camera, grid = document["camera"], document["grid"]
            if camera is not None:
                camera = Camera(**{**camera, "distortion": tuple(camera["distortion"])})
            document["camera"] = camera
            document["grid"] = HeadGrid(**grid) if grid is not None else None
            document["components"] = tuple(Component(**c) for c in document["components"])
            return cls(**document)
        except (KeyError, TypeError, ValueError) as error:
            raise NetworkError(f"{where}: its gearshift metadata is damaged ({error})") from error


@dataclass(frozen=True, slots=True)
class NetworkFile:
    """A network's int8 ONNX file in a zoo and the hash its manifest promises."""

    name: str
    path: Path
    sha256: str

    def verified_bytes(self) -> bytes:
        """The file's content; raises NetworkError when it is missing or not the manifest's."""
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise NetworkError(f"{self.path}: {error.strerror}") from error
        actual = hashlib.sha256(content).hexdigest()
        if actual != self.sha256:
            raise NetworkError(
                f"{self.path}: sha256 {actual[:12]} is not the manifest's {self.sha256[:12]}; "
                "restore the file or write a new manifest"
            )
        return content


def zoo_folder() -> Path:
    """The folder of networks that ships with the package."""
    return Path(str(files("gearshift.models.zoo")))


def read_manifest(folder: Path | None = None) -> dict[str, Any]:
    """The manifest of a zoo: {"schema_version", "networks": {name: {...}}}; raises NetworkError."""
    path = (folder or zoo_folder()) / MANIFEST_NAME
    try:
        manifest: dict[str, Any] = json.loads(path.read_text())
    except OSError as error:
        raise NetworkError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise NetworkError(f"{path}: not valid JSON ({error})") from error
    if manifest.get("schema_version") != SCHEMA_VERSION or "networks" not in manifest:
        raise NetworkError(f"{path}: not a manifest of schema version {SCHEMA_VERSION}")
    return manifest


def find_network(name: str, folder: Path | None = None) -> NetworkFile:
    """The file of a zoo's network; raises NetworkError naming the known ones when there is none."""
    folder = folder or zoo_folder()
    networks = read_manifest(folder)["networks"]
    if name not in networks:
        raise NetworkError(f"unknown network {name!r}; the zoo has {', '.join(sorted(networks))}")
    entry = networks[name]
    return NetworkFile(name, folder / entry["file"], entry["sha256"])
