"""A trace: what every network said about every frame of a data set, with the truth where known.

Policies are swept on traces without running a network again. One compressed .npz file holds a JSON
header (schema version, components, networks with their hashes, flights) and one array per column.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from gearshift.runtime.engines.network import Network
from gearshift.runtime.errors import GearshiftError, TraceError
from gearshift.runtime.files.whole_file import WholeFile
from gearshift.runtime.scoring.data_frame import data_frame
from gearshift.runtime.types import Component, FloatArray, interfaces

if TYPE_CHECKING:
    from pandas import DataFrame

SCHEMA_VERSION: Final = 1
OUTPUT_PREFIX: Final = "output:"
_UNREADABLE = (
    OSError,
    ValueError,
    LookupError,
    EOFError,
    MemoryError,
    OverflowError,
    RuntimeError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
"""What numpy and zipfile raise over a damaged archive."""


@dataclass(frozen=True, slots=True)
class TracedNetwork:
    """A network of a trace: what it says about itself, and the hash of the file that ran."""

    network: Network
    sha256: str


@dataclass(frozen=True, slots=True)
class TracedFlight:
    """Where one flight came from; room and person are "" when the recording is silent."""

    recording: str
    room: str
    person: str


@dataclass(frozen=True, eq=False)
class Trace:
    """Outputs of every network on every frame, in order of flight and then of time.

    split: name of the data set. components: what the regression networks give. networks and
    outputs: by network name, outputs (N, k) float32. time_ns: (N,) int64, capture times. flight:
    (N,) int32, index into `flights`, never decreasing. truth: (N, n) float32, NaN where nobody is
    there or nothing is known. visible: (N,) bool, the head is in view. head_cell: (N,) int16, -1
    where the recording has no ground truth.
    """

    split: str
    components: tuple[Component, ...]
    networks: Mapping[str, TracedNetwork]
    outputs: Mapping[str, FloatArray]
    time_ns: NDArray[np.int64]
    flight: NDArray[np.int32]
    flights: tuple[TracedFlight, ...]
    truth: FloatArray
    visible: NDArray[np.bool_]
    head_cell: NDArray[np.int16]

    def __post_init__(self) -> None:
        _validate(self)

    @property
    def frames(self) -> int:
        """Number of frames."""
        return len(self.time_ns)

    def columns(self) -> dict[str, NDArray[Any]]:
        """A row per frame, (N,) each.

        recording, room, person: of the flight; time_ns; true_NAME: the truth of each component, NaN
        where unknown; visible: the head is in view; head_cell: -1 where unknown; NETWORK_NAME: what
        each regression network says of each component, in its unit.
        """
        names = [component.name for component in self.components]
        columns: dict[str, NDArray[Any]] = {
            field: np.array([getattr(flight, field) for flight in self.flights])[self.flight]
            for field in ("recording", "room", "person")
        }
        columns |= {"time_ns": self.time_ns}
        columns |= {f"true_{name}": self.truth[:, i] for i, name in enumerate(names)}
        columns |= {"visible": self.visible, "head_cell": self.head_cell}
        for network, entry in self.networks.items():
            if entry.network.grid is None:
                output = self.outputs[network]
                columns |= {f"{network}_{name}": output[:, i] for i, name in enumerate(names)}
        return columns

    def to_pandas(self) -> DataFrame:
        """`columns` as a DataFrame; raises MissingExtraError where pandas is missing."""
        return data_frame(self.columns())

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """(flights + 1,) index of every flight's first frame, and the number of frames."""
        return np.searchsorted(self.flight, np.arange(len(self.flights) + 1))

    @cached_property
    def groups(self) -> NDArray[np.int64]:
        """(flights,) number of the (room, person) of each flight: what intervals resample over."""
        names = [
            (f.room, f.person) if f.room or f.person else (f.recording, "") for f in self.flights
        ]
        order = {name: index for index, name in enumerate(sorted(set(names)))}
        return np.array([order[name] for name in names], dtype=np.int64)

    def require(self, *names: str) -> None:
        """Raise TraceError when it lacks one of these networks."""
        for name in names:
            if name not in self.outputs:
                raise TraceError(
                    f"the {self.split} trace has no network {name!r}, only "
                    f"{', '.join(sorted(self.outputs))}; make it again with 'gearshift trace make'"
                )


def traces_folder() -> Path:
    """The folder of traces that ships with the package."""
    return Path(str(files("gearshift.sim"))) / "data" / "traces"


def recordings_folder() -> Path:
    """The folder of recordings that ships with the package."""
    return Path(str(files("gearshift.sim"))) / "data" / "recordings"


def file_sha256(path: Path) -> str:
    """Hex digest of a file; raises TraceError when it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise TraceError(f"cannot read {path}: {error.strerror}") from error


def write_trace(trace: Trace, path: Path) -> None:
    """Write a trace; the file appears under its name only when whole. Raises OutputError."""
    header = {
        "schema_version": SCHEMA_VERSION,
        "split": trace.split,
        "components": [asdict(c) for c in trace.components],
        "networks": {
            name: {"sha256": entry.sha256, "network": json.loads(entry.network.to_json())}
            for name, entry in trace.networks.items()
        },
        "flights": [asdict(f) for f in trace.flights],
    }
    columns: dict[str, NDArray[Any]] = {
        "header": np.frombuffer(json.dumps(header, sort_keys=True).encode(), dtype=np.uint8),
        "time_ns": trace.time_ns,
        "flight": trace.flight,
        "truth": trace.truth,
        "visible": trace.visible,
        "head_cell": trace.head_cell,
    }
    columns |= {OUTPUT_PREFIX + name: output for name, output in trace.outputs.items()}
    with WholeFile(path) as stream:
        np.savez_compressed(stream, allow_pickle=False, **columns)


def find_trace(name: str | Path) -> Path:
    """A trace's file: a path, or the name of a split that ships. Raises TraceError."""
    if isinstance(name, Path) or name.endswith(".npz") or "/" in name:
        return Path(name)
    path = traces_folder() / f"{name}.npz"
    if not path.exists():
        known = sorted(shipped.stem for shipped in traces_folder().glob("*.npz"))
        raise TraceError(
            f"there is no trace {name!r}; {', '.join(known) or 'none'} ship with gearshift; "
            "or give a .npz file, which 'gearshift trace make' writes"
        )
    return path


def read_trace(name_or_file: Path | str) -> Trace:
    """What every network said about every frame of a data set, read and validated.

        trace = read_trace("known")
        trace.outputs["M1.0"] - trace.truth                # (N, 4) float32: x, y, z [m], phi [rad]

    name_or_file: a file, or a split that ships ("val", "known", "unseen"). Raises TraceError when
    it is missing, damaged or outdated.
    """
    path = find_trace(name_or_file)
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as columns:
            header: dict[str, Any] = json.loads(columns["header"].tobytes())
            version = header["schema_version"]
            if version != SCHEMA_VERSION:
                raise TraceError(
                    f"{path} has schema version {version}, this gearshift reads {SCHEMA_VERSION}; "
                    "make it again with 'gearshift trace make'"
                )
            outputs = {
                key.removeprefix(OUTPUT_PREFIX): columns[key]
                for key in columns.files
                if key.startswith(OUTPUT_PREFIX)
            }
            return Trace(
                split=header["split"],
                components=tuple(Component(**c) for c in header["components"]),
                networks={
                    name: TracedNetwork(
                        Network.from_json(json.dumps(entry["network"]), f"{path}: {name}"),
                        entry["sha256"],
                    )
                    for name, entry in header["networks"].items()
                },
                outputs=outputs,
                time_ns=columns["time_ns"],
                flight=columns["flight"],
                flights=tuple(TracedFlight(**f) for f in header["flights"]),
                truth=columns["truth"],
                visible=columns["visible"],
                head_cell=columns["head_cell"],
            )
    except FileNotFoundError as error:
        raise TraceError(f"there is no trace {path}; 'gearshift trace make' makes one") from error
    except TraceError as error:
        raise TraceError(str(error) if str(path) in str(error) else f"{path}: {error}") from error
    except GearshiftError:
        raise
    except (*_UNREADABLE, TypeError, AttributeError) as error:
        raise TraceError(f"{path} is damaged or no trace ({error})") from error


def _validate(trace: Trace) -> None:
    """Raise TraceError unless every column has the length, width and type it should have."""
    count, width = len(trace.time_ns), len(trace.components)
    expected: list[tuple[str, NDArray[Any], tuple[int, ...], type]] = [
        ("time_ns", trace.time_ns, (count,), np.int64),
        ("flight", trace.flight, (count,), np.int32),
        ("truth", trace.truth, (count, width), np.float32),
        ("visible", trace.visible, (count,), np.bool_),
        ("head_cell", trace.head_cell, (count,), np.int16),
    ]
    if set(trace.outputs) != set(trace.networks):
        raise TraceError("the trace's outputs do not belong to its networks")
    for name, entry in trace.networks.items():
        size = entry.network.output_size
        expected.append((f"output of {name}", trace.outputs[name], (count, size), np.float32))
        if entry.network.grid is None and interfaces(entry.network.components) != interfaces(
            trace.components
        ):
            raise TraceError(f"network {name} gives other components than the trace's truth")
    for name, column, shape, kind in expected:
        if column.shape != shape or column.dtype != kind:
            raise TraceError(
                f"the trace's {name} is {column.dtype}{list(column.shape)}, "
                f"expected {np.dtype(kind)}{list(shape)}"
            )
    steps = np.diff(trace.flight)
    if count and (
        (steps < 0).any() or trace.flight[0] < 0 or trace.flight[-1] >= len(trace.flights)
    ):
        raise TraceError("the trace's frames are not in the order of its flights")
    if ((np.diff(trace.time_ns) <= 0) & (steps == 0)).any():
        raise TraceError("the trace's frames are not in the order of their times")
