"""Recorded flights as arrays: what training, calibration and evaluation read.

The frames of a folder of recordings are decoded once into a cache beside it (`<folder>.cache`),
keyed by the recordings' names and sizes. A folder that only gained recordings extends its cache.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gearshift.runtime.cameras.lens import check_camera
from gearshift.runtime.errors import ConfigurationError, OutputError, RecordingError
from gearshift.runtime.files.whole_file import write_whole, writing
from gearshift.runtime.recordings.recording import RecordingReader
from gearshift.runtime.scoring.counted_frames import angular_mask, scored_frames
from gearshift.runtime.types import Camera, Component, FloatArray, HeadGrid

SCHEMA_VERSION = 1
SPLITS = ("val", "known", "unseen")
"""What networks are measured on: folders below the flights, beside `train`."""
VALUES = 4
NOMINAL_CAMERA = "nominal_camera"
"""Attribute of a recording by one unit of many: the camera that the units vary about, as JSON."""
_UNIT_FOCAL = 0.1
_UNIT_CENTRE = 0.05
_LABELS = np.dtype(
    [
        ("values", np.float32, (VALUES,)),
        ("visible", np.bool_),
        ("head", np.float32, (2,)),
        ("cell", np.int16),
        ("flight", np.int32),
    ]
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Frames of one split.

    images: (n, height, width) uint8, memory-mapped. values: (n, 4) float32 in the components'
    units, NaN where nobody is there. visible: (n,) the head is in view. head: (n, 2) float32 pixel
    (u, v), NaN where unknown. cell: (n,) class on the head grid. flight: (n,) index into `flights`,
    whose entries are the recordings' attributes. camera: that of every flight, or the nominal one
    where flights come from units of it. identity names the set in a network's metadata.
    """

    name: str
    images: NDArray[np.uint8]
    values: FloatArray
    visible: NDArray[np.bool_]
    head: FloatArray
    cell: NDArray[np.int64]
    flight: NDArray[np.int64]
    flights: tuple[Mapping[str, str], ...]
    components: tuple[Component, ...]
    camera: Camera | None
    grid: HeadGrid
    identity: str

    def __len__(self) -> int:
        return len(self.values)

    @property
    def scored(self) -> NDArray[np.bool_]:
        """(n,) frames that count for errors, see `scored_frames`."""
        return scored_frames(self.values, self.visible, angular_mask(self.components))

    @property
    def groups(self) -> NDArray[np.int64]:
        """(n,) index of the frame's (room, person): the unit that intervals are resampled over."""
        keys = [
            (flight.get("room", str(index)), flight.get("person", str(index)))
            for index, flight in enumerate(self.flights)
        ]
        order = {key: index for index, key in enumerate(dict.fromkeys(keys))}
        return np.array([order[key] for key in keys], dtype=np.int64)[self.flight]

    def subset(self, flights: NDArray[np.bool_]) -> Dataset:
        """The frames of the flights that a (flights,) mask selects; images are copied."""
        return self.take(np.flatnonzero(flights[self.flight]))

    def take(self, rows: NDArray[np.int64]) -> Dataset:
        """Some frames; images are copied."""
        return Dataset(
            self.name,
            self.images[rows],
            self.values[rows],
            self.visible[rows],
            self.head[rows],
            self.cell[rows],
            self.flight[rows],
            self.flights,
            self.components,
            self.camera,
            self.grid,
            self.identity,
        )


def load_dataset(folder: Path | str, *, limit: int | None = None) -> Dataset:
    """Decode a folder of recordings, or read what was decoded before; `limit` takes the first
    flights.

    What is decoded is kept beside the folder, in `FOLDER.cache`: a training set is too large for a
    user's own cache. Raises RecordingError when there are none, one is damaged, one has no ground
    truth, they differ in camera, components or size, or the cache cannot be written.
    """
    folder = Path(folder)
    paths = sorted(folder.glob("*.mcap"))[:limit]
    if not paths:
        raise RecordingError(f"{folder} holds no recordings (*.mcap)")
    cache = folder.with_name(folder.name + ".cache")
    index = _read_index(cache)
    listed = [[path.name, path.stat().st_size] for path in paths]
    known = [flight["file"] for flight in index["flights"]] if index else []
    if index is None or known != listed[: len(known)]:
        if index is not None and known[: len(listed)] == listed:
            return _open(folder.name, cache, index, len(listed))
        index = {"schema_version": SCHEMA_VERSION, "flights": [], "header": None}
        known = []
    if len(listed) > len(known):
        try:
            with writing(cache):
                _extend(cache, index, paths[len(known) :], listed[len(known) :])
        except OutputError as error:
            raise RecordingError(
                f"cannot decode {folder} into {cache}: {error}; "
                "use a copy, or links, in a folder that can be written beside"
            ) from error
    return _open(folder.name, cache, index, len(listed))


def _read_index(cache: Path) -> dict[str, Any] | None:
    try:
        index: dict[str, Any] = json.loads((cache / "index.json").read_text())
    except (OSError, ValueError):
        return None
    return index if index.get("schema_version") == SCHEMA_VERSION else None


def _extend(cache: Path, index: dict[str, Any], paths: list[Path], listed: list[Any]) -> None:
    """Decode recordings behind those that the index knows; the index is written last."""
    cache.mkdir(parents=True, exist_ok=True)
    frames = sum(flight["frames"] for flight in index["flights"])
    logger.info("decoding %d recordings into %s", len(paths), cache)
    fresh = frames == 0
    with (
        (cache / "images.u8").open("wb" if fresh else "r+b") as images,
        (cache / "labels.bin").open("wb" if fresh else "r+b") as labels,
    ):
        if not fresh:
            height, width = index["header"]["shape"]
            images.seek(frames * height * width)
            labels.seek(frames * _LABELS.itemsize)
        for path, entry in zip(paths, listed, strict=True):
            reader = RecordingReader(path)
            camera = _nominal_camera(reader)
            header = {
                "camera": asdict(camera) if camera else None,
                "components": [asdict(component) for component in reader.header.components],
            }
            pixels, rows, shape = _decode(reader, len(index["flights"]))
            header = json.loads(json.dumps({**header, "shape": shape}))
            if index["header"] is None:
                index["header"] = header
            elif index["header"] != header:
                raise RecordingError(
                    f"{path}: its camera, components or size differ from the others in the folder"
                )
            images.write(pixels)
            labels.write(rows.tobytes())
            index["flights"].append(
                {"file": entry, "frames": len(rows), "attributes": dict(reader.header.attributes)}
            )
    write_whole(cache / "index.json", json.dumps(index))


def _nominal_camera(reader: RecordingReader) -> Camera | None:
    """The camera that a recording's own is a unit of: the same unless its attributes name one."""
    unit, text = reader.header.camera, reader.header.attributes.get(NOMINAL_CAMERA)
    if text is None:
        return unit
    try:
        fields = json.loads(text)
        nominal = Camera(**{**fields, "distortion": tuple(fields["distortion"])})
        check_camera(nominal)
    except (ValueError, TypeError, KeyError, ConfigurationError) as error:
        raise RecordingError(f"{reader.path}: {NOMINAL_CAMERA} is no camera: {error}") from error
    if unit is None or not _is_unit(unit, nominal):
        raise RecordingError(
            f"{reader.path}: its camera is no unit of its {NOMINAL_CAMERA}: size and distortion "
            f"must be the same, focal lengths within {_UNIT_FOCAL:.0%} and the principal point "
            f"within {_UNIT_CENTRE:.0%} of the width"
        )
    return nominal


def _is_unit(unit: Camera, nominal: Camera) -> bool:
    moved = max(abs(unit.cx - nominal.cx), abs(unit.cy - nominal.cy))
    scale = max(abs(unit.fx / nominal.fx - 1), abs(unit.fy / nominal.fy - 1))
    adjusted = replace(unit, fx=nominal.fx, fy=nominal.fy, cx=nominal.cx, cy=nominal.cy)
    fits = scale <= _UNIT_FOCAL and moved <= _UNIT_CENTRE * nominal.width
    return fits and adjusted == replace(nominal, name=unit.name)


def _decode(reader: RecordingReader, flight: int) -> tuple[bytes, NDArray[Any], list[int]]:
    images = []
    rows = []
    for recorded in reader:
        truth = recorded.truth
        if truth is None:
            raise RecordingError(f"{reader.path}: a frame without ground truth cannot be learnt")
        if len(truth.values) != VALUES:
            raise RecordingError(f"{reader.path}: {len(truth.values)} values a frame, not {VALUES}")
        head = truth.head_pixel or (np.nan, np.nan)
        rows.append((truth.values, truth.visible, head, truth.head_cell, flight))
        images.append(recorded.frame.image)
    if not images or len({image.shape for image in images}) != 1:
        raise RecordingError(f"{reader.path}: no frames, or frames of several sizes")
    pixels = b"".join(image.tobytes() for image in images)
    return pixels, np.array(rows, dtype=_LABELS), list(images[0].shape)


def _open(name: str, cache: Path, index: dict[str, Any], flights: int) -> Dataset:
    entries = index["flights"][:flights]
    frames = sum(entry["frames"] for entry in entries)
    header = index["header"]
    shape = (frames, *header["shape"])
    images = np.memmap(cache / "images.u8", np.uint8, "r", shape=shape)
    labels = np.fromfile(cache / "labels.bin", dtype=_LABELS, count=frames)
    camera = header["camera"]
    digest = hashlib.sha256(json.dumps([entry["file"] for entry in entries]).encode()).hexdigest()
    return Dataset(
        name=name,
        images=images,
        values=labels["values"].copy(),
        visible=labels["visible"].copy(),
        head=labels["head"].copy(),
        cell=labels["cell"].astype(np.int64),
        flight=labels["flight"].astype(np.int64),
        flights=tuple(entry["attributes"] for entry in entries),
        components=tuple(Component(**c) for c in header["components"]),
        camera=Camera(**{**camera, "distortion": tuple(camera["distortion"])}) if camera else None,
        grid=HeadGrid(),
        identity=f"{name}-{flights}-{digest[:12]}",
    )
