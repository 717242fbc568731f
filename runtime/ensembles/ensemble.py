"""Ensembles: a small, a large and an auxiliary network with what was calibrated for them.

`ensembles.json`, beside the networks of a zoo:

    {"schema_version": 1, "ensembles": {"D1": {
        "networks": {"small": {"name": "F1", "sha256": "..."}, "large": ..., "aux": ...},
        "components": [{"name": "x", "unit": "m", "angular": false, "scale": 0.8}, ...],
        "weights": [...], "head_cell_gain": [...],
        "standard_deviation": {"small": [...], "large": [...]},
        "parameters": {"anchor.rate": [1.0], ...},
        "thresholds": {"op": {"equal-mae": 0.4, ...}, ...}}}}

Numbers that JSON lacks are the strings "nan", "inf" and "-inf".
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gearshift.runtime.decide.calibration import Calibration
from gearshift.runtime.engines.engine import Engine, open_engine
from gearshift.runtime.engines.network import (
    Network,
    NetworkSource,
    find_network,
    find_network_source,
    zoo_folder,
)
from gearshift.runtime.errors import ConfigurationError, NetworkError
from gearshift.runtime.types import Component, FloatArray, NetworkRole

SCHEMA_VERSION = 1
ENSEMBLES_NAME = "ensembles.json"
Thresholds = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class NetworkReference:
    """A network by its name, and the sha256 of the file that the calibration was made with."""

    name: str
    sha256: str


@dataclass(frozen=True, slots=True, eq=False)
class EnsembleRecord:
    """What `ensembles.json` says of one ensemble.

    networks: small and large, and aux where there is one. thresholds: policy -> operating point ->
    threshold.
    """

    name: str
    networks: Mapping[NetworkRole, NetworkReference]
    calibration: Calibration
    thresholds: Thresholds = field(default_factory=dict)

    def threshold(self, policy: str, operating_point: str) -> float:
        """The threshold chosen on `val`; raises ConfigurationError naming those there are."""
        points = self.thresholds.get(policy, {})
        if operating_point not in points:
            known = ", ".join(points) or "none; give a threshold"
            raise ConfigurationError(
                f"{self.name} has no operating point {operating_point!r} for policy {policy}; "
                f"there are: {known}"
            )
        return points[operating_point]


@dataclass(frozen=True, slots=True, eq=False)
class Ensemble:
    """Loaded engines that answer for one another, and their calibration.

    networks: which files they are of, engines: what runs them (`integer`, `board:/dev/ttyUSB0`),
    by role; empty where they come from no file. Raises NetworkError when the networks do not agree
    in components or frame size and ConfigurationError when the calibration is one for other
    outputs.
    """

    name: str
    small: Engine
    large: Engine
    aux: Engine | None
    calibration: Calibration
    thresholds: Thresholds = field(default_factory=dict)
    networks: Mapping[NetworkRole, NetworkReference] = field(default_factory=dict)
    engines: Mapping[NetworkRole, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        small, large = self.small.network, self.large.network
        for network in (small, large):
            if network.grid is not None or not network.components:
                raise NetworkError(f"{self.name}: {network.name} is no regression network")
        if _interfaces(small.components) != _interfaces(large.components):
            raise NetworkError(
                f"{self.name}: {small.name} gives {_names(small)}, {large.name} {_names(large)}"
            )
        if self.aux is not None and self.aux.network.grid is None:
            raise NetworkError(f"{self.name}: {self.aux.network.name} is no head localiser")
        for network in (large, *((self.aux.network,) if self.aux is not None else ())):
            if (network.height, network.width) != (small.height, small.width):
                raise NetworkError(
                    f"{self.name}: {small.name} takes {small.width}x{small.height} frames, "
                    f"{network.name} {network.width}x{network.height}"
                )
        self._check_calibration()

    @property
    def record(self) -> EnsembleRecord:
        """The ensemble without its engines."""
        return EnsembleRecord(self.name, self.networks, self.calibration, self.thresholds)

    def engine(self, role: NetworkRole) -> Engine | None:
        """The engine of that role; None where there is no auxiliary network."""
        if role is NetworkRole.AUX:
            return self.aux
        return self.small if role is NetworkRole.SMALL else self.large

    def close(self) -> None:
        """Close every engine."""
        for engine in (self.small, self.large, self.aux):
            if engine is not None:
                engine.close()

    def _check_calibration(self) -> None:
        calibration, components = self.calibration, self.small.network.components
        if _interfaces(calibration.components) != _interfaces(components):
            raise ConfigurationError(
                f"{self.name}: its calibration is not for outputs {_names(self.small.network)}"
            )
        table = calibration.head_cell_gain
        grid = self.aux.network.grid if self.aux is not None else None
        if table.size and grid is not None and table.size != grid.classes:
            raise ConfigurationError(
                f"{self.name}: head_cell_gain has {table.size} entries for {grid.classes} classes"
            )


def read_ensembles(folder: Path | None = None) -> dict[str, EnsembleRecord]:
    """Every ensemble of a zoo; raises ConfigurationError when the file is missing or damaged."""
    return read_records((folder or zoo_folder()) / ENSEMBLES_NAME, "make figures")


def read_records(path: Path, remedy: str) -> dict[str, EnsembleRecord]:
    """The ensembles of a file by name; raises ConfigurationError naming the command that helps."""
    try:
        document = json.loads(path.read_text())
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}; `{remedy}` writes it") from error
    except ValueError as error:
        raise ConfigurationError(f"{path}: not valid JSON ({error})") from error
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version != SCHEMA_VERSION:
        raise ConfigurationError(
            f"{path}: schema version {version}, this gearshift reads {SCHEMA_VERSION}; "
            f"`{remedy}` writes it anew"
        )
    try:
        return {name: parse_ensemble(name, entry) for name, entry in document["ensembles"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigurationError(f"{path}: damaged ({type(error).__name__}: {error})") from error


def read_ensemble(name: str, folder: Path | None = None) -> EnsembleRecord:
    """One ensemble, checked to be calibrated with the networks the zoo has now.

    Raises ConfigurationError for an unknown name or an outdated calibration, NetworkError when a
    network is missing.
    """
    records = read_ensembles(folder)
    if name not in records:
        raise ConfigurationError(
            f"unknown ensemble {name!r}; there are {', '.join(sorted(records))}"
        )
    record = records[name]
    for reference in record.networks.values():
        current = find_network(reference.name, folder).sha256
        if current != reference.sha256:
            raise ConfigurationError(
                f"ensemble {name} was calibrated with another {reference.name} "
                f"({reference.sha256[:12]}, the zoo has {current[:12]}); run `make figures`"
            )
    return record


def load_ensemble(
    name_or_file: str, folder: Path | None = None, *, engine: str | None = None
) -> Ensemble:
    """An ensemble of a zoo by name, or of a TOML file (`ensemble_file.py`), with loaded networks.

    folder: the zoo, default the one that ships with the package. engine: what runs every network,
    default what suits its file; see `load_engine`. Raises what reading it and loading them does.
    """
    if is_ensemble_file(name_or_file):
        # msgspec is not needed for ensembles of a zoo.
        from gearshift.runtime.ensembles.ensemble_file import load_ensemble_file

        return load_ensemble_file(Path(name_or_file), folder, engine=engine)
    record = read_ensemble(name_or_file, folder)
    return assemble(
        record,
        {
            role: (find_network_source(r.name, folder), engine)
            for role, r in record.networks.items()
        },
    )


def is_ensemble_file(name: str) -> bool:
    """Whether a name stands for a TOML file rather than an ensemble of a zoo."""
    return name.endswith(".toml")


def assemble(
    record: EnsembleRecord, choices: Mapping[NetworkRole, tuple[NetworkSource, str | None]]
) -> Ensemble:
    """Open the networks of a record, each by the engine that is named with it.

    Raises what `open_engine` and `Ensemble` do; then nothing stays open.
    """
    with closing_on_error() as engines:
        for role, (source, engine) in choices.items():
            engines[role] = open_engine(source, engine)
        names = {role: engine or source.default for role, (source, engine) in choices.items()}
        return with_engines(record, engines, names)


def with_engines(
    record: EnsembleRecord,
    engines: Mapping[NetworkRole, Engine],
    names: Mapping[NetworkRole, str] | None = None,
) -> Ensemble:
    """A record with opened engines, and what runs them by role; raises what `Ensemble` does."""
    return Ensemble(
        name=record.name,
        small=engines[NetworkRole.SMALL],
        large=engines[NetworkRole.LARGE],
        aux=engines.get(NetworkRole.AUX),
        calibration=record.calibration,
        thresholds=record.thresholds,
        networks=record.networks,
        engines=names or {},
    )


@contextmanager
def closing_on_error() -> Iterator[dict[NetworkRole, Engine]]:
    """A place for opened engines, which are closed when the block raises: one may hold a board."""
    engines: dict[NetworkRole, Engine] = {}
    try:
        yield engines
    except BaseException:
        for engine in engines.values():
            engine.close()
        raise


def write_ensembles(records: Iterable[EnsembleRecord], folder: Path | None = None) -> Path:
    """Write a zoo's `ensembles.json`, whole or not at all, and return its path."""
    path = (folder or zoo_folder()) / ENSEMBLES_NAME
    write_records(path, records)
    return path


def write_records(path: Path, records: Iterable[EnsembleRecord]) -> None:
    """Write ensembles to a file, whole or not at all; raises ConfigurationError."""
    document = {
        "schema_version": SCHEMA_VERSION,
        "ensembles": {record.name: ensemble_document(record) for record in records},
    }
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")
        part.replace(path)
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}: {error.strerror}") from error


def ensemble_document(record: EnsembleRecord) -> dict[str, Any]:
    """The record as JSON values, without its name."""
    calibration = record.calibration
    return {
        "networks": {str(role): asdict(ref) for role, ref in record.networks.items()},
        "components": [asdict(component) for component in calibration.components],
        "weights": _numbers(calibration.weights),
        "head_cell_gain": _numbers(calibration.head_cell_gain),
        "standard_deviation": {
            str(role): _numbers(values) for role, values in calibration.standard_deviation.items()
        },
        "parameters": {
            name: [_number(value) for value in values]
            for name, values in sorted(calibration.parameters.items())
        },
        "thresholds": {
            policy: {point: _number(value) for point, value in points.items()}
            for policy, points in record.thresholds.items()
        },
    }


def parse_ensemble(name: str, entry: dict[str, Any]) -> EnsembleRecord:
    """Inverse of `ensemble_document`; raises KeyError, TypeError, ValueError or AttributeError."""
    networks = {
        NetworkRole(role): NetworkReference(**ref) for role, ref in entry["networks"].items()
    }
    if NetworkRole.SMALL not in networks or NetworkRole.LARGE not in networks:
        raise ValueError(f"ensemble {name} lacks a small or a large network")
    components = tuple(Component(**component) for component in entry["components"])
    weights = _array(entry["weights"])
    deviations = {
        NetworkRole(role): _array(values) for role, values in entry["standard_deviation"].items()
    }
    for values in (weights, *deviations.values()):
        if values.shape != (len(components),):
            raise ValueError(
                f"ensemble {name}: {values.size} numbers for {len(components)} outputs"
            )
    calibration = Calibration(
        components=components,
        weights=weights,
        angular=np.array([component.angular for component in components]),
        head_cell_gain=_array(entry["head_cell_gain"]),
        standard_deviation=deviations,
        parameters={
            k: tuple(float(v) for v in values) for k, values in entry["parameters"].items()
        },
    )
    thresholds = {
        policy: {point: float(value) for point, value in points.items()}
        for policy, points in entry["thresholds"].items()
    }
    return EnsembleRecord(name, networks, calibration, thresholds)


def _number(value: float) -> float | str:
    return float(value) if np.isfinite(value) else str(float(value))


def _numbers(values: FloatArray) -> list[float | str]:
    # The shortest decimal that reads back as the same float32.
    return [_number(float(str(value))) for value in values]


def _array(values: list[float | str]) -> FloatArray:
    return np.array([float(value) for value in values], dtype=np.float32)


def _interfaces(components: tuple[Component, ...]) -> list[tuple[str, str, bool]]:
    return [(component.name, component.unit, component.angular) for component in components]


def _names(network: Network) -> str:
    return ", ".join(component.name for component in network.components)
