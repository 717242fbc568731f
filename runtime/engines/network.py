"""What a network says about itself, and the manifest by which the runtime finds and verifies it.

`manifest.json` names the int8 ONNX file of every network of a zoo, and its other forms by the
engine that runs them:

    {"schema_version": 2, "networks": {"F1": {
        "file": "F1.onnx", "sha256": "...",
        "formats": {"litert": {"file": "F1.tflite", "sha256": "..."},
                    "integer": {"folder": "gap8/F1", "sha256": "..."}}, ...}}}

The digest of a folder is what `cd FOLDER && LC_ALL=C sha256sum * | sha256sum` prints. Version 1 had
no `formats`; it is read as if there were none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import distribution
from importlib.resources import files
from pathlib import Path
from typing import Any

from gearshift.runtime.errors import NetworkError
from gearshift.runtime.types import Camera, Component, HeadGrid

METADATA_KEY = "gearshift"
"""Key of the JSON document in an ONNX model's metadata_props."""
SCHEMA_VERSION = 1
"""Of a network's metadata."""
MANIFEST_VERSION = 2
ZOO_GROUP = "gearshift.zoo"
MANIFEST_NAME = "manifest.json"
ONNX, LITERT, INTEGER = "onnx", "litert", "integer"
"""The forms of networks, by the engine that runs them."""
SUFFIXES = {".onnx": ONNX, ".tflite": LITERT}


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
    """One form of a network, a file or a folder, and the digest that its manifest promises."""

    name: str
    path: Path
    sha256: str

    def verified_bytes(self) -> bytes:
        """The file's content; raises NetworkError when it is missing or not the manifest's."""
        content = _read(self.path)
        self._check(hashlib.sha256(content).hexdigest())
        return content

    def verified_folder(self) -> Path:
        """The folder; raises NetworkError when its files are missing or not the manifest's."""
        self._check(folder_digest(self.path))
        return self.path

    def _check(self, actual: str) -> None:
        if actual != self.sha256:
            raise NetworkError(
                f"{self.path}: sha256 {actual[:12]} is not the manifest's {self.sha256[:12]}; "
                "restore it or write a new manifest"
            )


@dataclass(frozen=True, slots=True)
class NetworkSource:
    """A network that was found, not yet loaded: its forms by the engine that runs them.

    default: the form that is run where no engine is named. Every form is verified when it is read.
    """

    name: str
    forms: Mapping[str, NetworkFile]
    default: str

    @property
    def sha256(self) -> str:
        """Identity of the network: the digest of its default form."""
        return self.forms[self.default].sha256

    def form(self, engine: str) -> NetworkFile:
        """The form for an engine; raises NetworkError, saying how it is made."""
        if engine not in self.forms:
            raise NetworkError(
                f"{self.name} has no {engine} form, only {', '.join(sorted(self.forms))}; "
                f"{_MAKE.get(engine, 'choose another engine')}"
            )
        return self.forms[engine]


_MAKE = {
    ONNX: "name the .onnx file or a network of the zoo",
    LITERT: "`gearshift models export tflite` makes it",
    INTEGER: "`gearshift models export gap8` makes it",
}


def zoo_folder() -> Path:
    """The folder of networks that ships with the package; raises NetworkError without one.

    The package names it in the entry-point group `gearshift.zoo`: what flies imports nothing of the
    code that makes networks.
    """
    points = distribution("gearshift").entry_points.select(group=ZOO_GROUP)
    if not points:
        raise NetworkError("this gearshift was installed without its networks; install it again")
    return Path(str(files(next(iter(points)).value)))


def read_manifest(folder: Path | None = None) -> dict[str, Any]:
    """The manifest of a zoo as of the newest schema version; raises NetworkError."""
    path = (folder or zoo_folder()) / MANIFEST_NAME
    try:
        manifest: Any = json.loads(path.read_text())
    except OSError as error:
        raise NetworkError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise NetworkError(f"{path}: not valid JSON ({error})") from error
    document = manifest if isinstance(manifest, dict) else {}
    networks = document.get("networks")
    if (
        document.get("schema_version") not in range(1, MANIFEST_VERSION + 1)
        or not isinstance(networks, dict)
        or not all(isinstance(entry, dict) for entry in networks.values())
    ):
        raise NetworkError(f"{path}: not a manifest of schema version {MANIFEST_VERSION} or older")
    for entry in networks.values():
        entry.setdefault("formats", {})
    return {**document, "schema_version": MANIFEST_VERSION}


def find_network(name: str, folder: Path | None = None) -> NetworkFile:
    """The ONNX file of a zoo's network; raises NetworkError naming the known ones."""
    return _of_zoo(name, folder or zoo_folder()).forms[ONNX]


def find_network_source(name_or_path: str | Path, zoo: Path | None = None) -> NetworkSource:
    """A network of the zoo by name, or one in a file or folder.

    A `Path`, or a string with a slash or with the suffix .onnx or .tflite, is a file or the folder
    of a GAP8 deployment, of which the digest is taken as it is now. Where a manifest beside an ONNX
    file knows it, its other forms are found too. Raises NetworkError.
    """
    path = Path(name_or_path)
    named = isinstance(name_or_path, str) and "/" not in name_or_path
    if named and path.suffix not in SUFFIXES:
        return _of_zoo(str(name_or_path), zoo or zoo_folder())
    if _is_folder(path):
        form, digest = INTEGER, folder_digest(path)
    else:
        form = SUFFIXES.get(path.suffix, ONNX)
        digest = hashlib.sha256(_read(path)).hexdigest()
    file = NetworkFile(path.stem, path, digest)
    return NetworkSource(str(name_or_path), {**_forms_beside(path, digest), form: file}, form)


def folder_digest(folder: Path) -> str:
    """The digest of the files in a folder, hidden ones apart; raises NetworkError.

    sha256 of one line `HASH  NAME` per file, in the byte order of the names, as sha256sum writes
    them. A folder in it is an error.
    """
    if not folder.is_dir():
        raise NetworkError(f"{folder}: no such folder")
    paths = [path for path in folder.iterdir() if not path.name.startswith(".")]
    if inner := sorted(path.name for path in paths if path.is_dir()):
        raise NetworkError(f"{folder}: holds the folder {inner[0]}, a network's has files alone")
    lines = [
        f"{hashlib.sha256(_read(path)).hexdigest()}  {path.name}\n".encode()
        for path in sorted(paths, key=lambda path: path.name.encode())
    ]
    return hashlib.sha256(b"".join(lines)).hexdigest()


def _forms_beside(path: Path, digest: str) -> Mapping[str, NetworkFile]:
    """All forms of the network whose ONNX file this is, by the manifest in its folder."""
    folder = path.parent
    if path.suffix != ".onnx" or not (folder / MANIFEST_NAME).exists():
        return {}
    for name, entry in read_manifest(folder)["networks"].items():
        if (entry.get("file"), entry.get("sha256")) == (path.name, digest):
            return _of_zoo(name, folder).forms
    return {}


def _of_zoo(name: str, folder: Path) -> NetworkSource:
    networks = read_manifest(folder)["networks"]
    if name not in networks:
        raise NetworkError(f"unknown network {name!r}; the zoo has {', '.join(sorted(networks))}")
    entry = networks[name]
    try:
        described = {ONNX: entry, **entry["formats"]}
        forms = {
            form: NetworkFile(
                name,
                folder / (file["folder"] if "folder" in file else file["file"]),
                str(file["sha256"]),
            )
            for form, file in described.items()
        }
    except (KeyError, TypeError) as error:
        raise NetworkError(
            f"{folder / MANIFEST_NAME}: the entry of {name} is damaged "
            f"({type(error).__name__}: {error})"
        ) from error
    return NetworkSource(name, forms, ONNX)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError as error:
        raise NetworkError(f"{path}: {error.strerror}") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise NetworkError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise NetworkError(f"{str(path)!r}: no name of a file ({error})") from error
