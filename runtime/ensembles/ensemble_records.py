"""What was calibrated for an ensemble, as it stands in a file.

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
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gearshift.runtime.decide.calibration import Calibration
from gearshift.runtime.engines.network import find_network, zoo_folder
from gearshift.runtime.errors import ConfigurationError
from gearshift.runtime.files.whole_file import write_whole
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


def write_ensembles(records: Iterable[EnsembleRecord], folder: Path | None = None) -> Path:
    """Write a zoo's `ensembles.json`, whole or not at all, and return its path.

    Raises OutputError.
    """
    path = (folder or zoo_folder()) / ENSEMBLES_NAME
    write_records(path, records)
    return path


def write_records(path: Path, records: Iterable[EnsembleRecord]) -> None:
    """Write ensembles to a file, whole or not at all; raises OutputError."""
    document = {
        "schema_version": SCHEMA_VERSION,
        "ensembles": {record.name: ensemble_document(record) for record in records},
    }
    write_whole(path, json.dumps(document, indent=1, allow_nan=False) + "\n")


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
            name: [json_number(value) for value in values]
            for name, values in sorted(calibration.parameters.items())
        },
        "thresholds": {
            policy: {point: json_number(value) for point, value in points.items()}
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


def json_number(value: float) -> float | str:
    """A number, or the text of one that JSON lacks: "nan", "inf", "-inf"."""
    return float(value) if np.isfinite(value) else str(float(value))


def _numbers(values: FloatArray) -> list[float | str]:
    # The shortest decimal that reads back as the same float32.
    return [json_number(float(str(value))) for value in values]


def _array(values: list[float | str]) -> FloatArray:
    return np.array([float(value) for value in values], dtype=np.float32)
