"""Making traces: every network runs once over every frame of a folder of recordings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from gearshift.runtime.engines.engine import Engine
from gearshift.runtime.engines.engine_registry import open_engine
from gearshift.runtime.engines.network import find_network_source
from gearshift.runtime.ensembles.ensemble import Ensemble
from gearshift.runtime.errors import GearshiftError, RecordingError, TraceError
from gearshift.runtime.recordings.recording import RecordingReader
from gearshift.runtime.types import Component, FloatArray, interfaces
from gearshift.sim.traces.trace import Trace, TracedFlight, TracedNetwork

Engines = Mapping[str, tuple[Engine, str]]
"""Engines by network name, with the sha256 of the network's file."""
Progress = Callable[[Sequence[Path]], Iterable[Path]]


def find_recordings(places: Iterable[Path]) -> list[Path]:
    """Recordings, and those in folders in the order of their names; raises RecordingError."""
    found: list[Path] = []
    for place in places:
        if place.is_dir():
            inside = sorted(place.glob("*.mcap"))
            if not inside:
                raise RecordingError(
                    f"there is no .mcap recording in {place}; `gearshift recordings convert "
                    f"{place} OUT.mcap` makes one of images and other formats"
                )
            found += inside
        elif place.exists():
            found.append(place)
        else:
            raise RecordingError(f"there is no recording {place}")
    return found


def load_networks(
    names: Sequence[str], zoo: Path | None = None, *, engine: str | None = None
) -> Engines:
    """Engines and hashes by the networks' own names.

    names: see `find_network_source`. engine: what runs them, see `load_engine`, which says what is
    raised.
    """
    engines: dict[str, tuple[Engine, str]] = {}
    for name in names:
        source = find_network_source(name, zoo)
        opened = open_engine(source, engine)
        engines[opened.network.name] = (opened, source.sha256)
    return engines


def ensemble_engines(ensemble: Ensemble) -> Engines:
    """The networks of a loaded ensemble."""
    engines = {}
    for role, reference in ensemble.networks.items():
        engine = ensemble.engine(role)
        if engine is not None:
            engines[reference.name] = (engine, reference.sha256)
    return engines


def make_trace(
    recordings: Sequence[Path],
    engines: Engines,
    split: str | None = None,
    progress: Progress = lambda paths: paths,
) -> Trace:
    """Run every engine over every frame.

    split: name of the data set, default what the recordings say. Raises RecordingError, FrameError,
    EngineError, and TraceError when recordings are of different splits or the networks give other
    components than they hold.
    """
    components = _components(engines)
    columns: dict[str, list[FloatArray]] = {name: [] for name in engines}
    times: list[int] = []
    flight: list[int] = []
    truths: list[tuple[float, ...]] = []
    visible: list[bool] = []
    cells: list[int] = []
    flights: list[TracedFlight] = []
    splits: set[str] = set()
    unknown = (float("nan"),) * len(components)
    for number, path in enumerate(progress(recordings)):
        reader = RecordingReader(path)
        if interfaces(reader.header.components) != interfaces(components):
            raise TraceError(f"{path} holds other components than the networks give")
        attributes = reader.header.attributes
        splits.add(attributes.get("split", ""))
        flights.append(
            TracedFlight(path.name, attributes.get("room", ""), attributes.get("person", ""))
        )
        for entry in reader:
            for name, (engine, _) in engines.items():
                try:
                    columns[name].append(engine.run(entry.frame.image).copy())
                except GearshiftError as error:
                    raise type(error)(f"{path}, frame {entry.frame.sequence}: {error}") from error
            times.append(entry.frame.capture_time_ns)
            flight.append(number)
            truth = entry.truth
            truths.append(unknown if truth is None else truth.values)
            visible.append(truth is not None and truth.visible)
            # A visible head without a pixel: where it is, nobody knows.
            placed = truth is not None and not (truth.visible and truth.head_pixel is None)
            cells.append(truth.head_cell if truth is not None and placed else -1)
    if split is None and len(splits) > 1:
        raise TraceError(f"the recordings are of several splits ({', '.join(sorted(splits))})")
    return Trace(
        split=splits.pop() if split is None else split,
        components=components,
        networks={name: TracedNetwork(e.network, sha) for name, (e, sha) in engines.items()},
        outputs={
            name: np.array(rows, dtype=np.float32).reshape(
                len(rows), engines[name][0].network.output_size
            )
            for name, rows in columns.items()
        },
        time_ns=np.array(times, dtype=np.int64),
        flight=np.array(flight, dtype=np.int32),
        flights=tuple(flights),
        truth=np.array(truths, dtype=np.float32).reshape(-1, len(components)),
        visible=np.array(visible, dtype=np.bool_),
        head_cell=np.array(cells, dtype=np.int16),
    )


def _components(engines: Engines) -> tuple[Component, ...]:
    for engine, _ in engines.values():
        if engine.network.grid is None:
            return engine.network.components
    raise TraceError("a trace needs at least one network that gives a pose")
