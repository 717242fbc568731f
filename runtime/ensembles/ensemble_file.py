"""Ensembles of the user's own: a TOML file that names networks, and what was calibrated for them.

    schema_version = 1
    name = "mine"                      # default: the file's name

    [small]
    network = "imported/Frontnet80x32.onnx"   # a file or GAP8 folder relative to this file,
    engine = "integer"                        # or the name of a network of the zoo
    standard_deviation = { x = 0.4, y = 0.2, z = 0.1, phi = 0.5 }

    [large]
    network = "./Frontnet160x32"

    [aux]
    network = "aux"

    [weights]                          # of the distances that policies take, by output
    x = 1.0

    [parameters]
    anchor.rate = 1.0

    [thresholds.op]                    # operating points: --threshold economy
    economy = 0.8

Only schema_version, small.network and large.network are needed. What `gearshift ensemble calibrate`
finds goes into `NAME.calibration.json` beside `NAME.toml` (the format of `ensembles.json`) and is
read from there; what the TOML file says has precedence. Without either, the weights are 1 / scale
of each output and deviations are unknown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np

from gearshift.runtime.decide.calibration import Calibration
from gearshift.runtime.decide.filters import DEFAULT_GAINS
from gearshift.runtime.engines.engine import Engine
from gearshift.runtime.engines.engine_registry import open_engine
from gearshift.runtime.engines.network import SUFFIXES, NetworkSource, find_network_source
from gearshift.runtime.ensembles.ensemble import Ensemble, closing_on_error, with_engines
from gearshift.runtime.ensembles.ensemble_records import (
    EnsembleRecord,
    NetworkReference,
    read_records,
)
from gearshift.runtime.errors import ConfigurationError, GearshiftError, NetworkError
from gearshift.runtime.files.toml_file import TomlDocument, key_text, parse_toml
from gearshift.runtime.files.toml_lines import Key
from gearshift.runtime.plugins import advice
from gearshift.runtime.types import FloatArray, NetworkRole

SCHEMA_VERSION = 1
CALIBRATION_SUFFIX = ".calibration.json"

Positive = Annotated[float, msgspec.Meta(gt=0)]


class AuxEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a file says of an auxiliary network. engine: `NAME` or `NAME:ARGUMENT`."""

    network: str
    engine: str | None = None


class NetworkEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a file says of a regression network; standard_deviation of its error, by output."""

    network: str
    engine: str | None = None
    standard_deviation: dict[str, Positive] = {}


class EnsembleFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The file as it is written; empty where nothing is said."""

    schema_version: int
    name: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    small: NetworkEntry
    large: NetworkEntry
    aux: AuxEntry | None = None
    weights: dict[str, Annotated[float, msgspec.Meta(ge=0)]] = {}
    head_cell_gain: list[float] = []
    parameters: dict[str, Any] = {}
    thresholds: dict[str, dict[str, float]] = {}

    def entries(self) -> dict[NetworkRole, NetworkEntry | AuxEntry]:
        """The networks by role."""
        entries: dict[NetworkRole, NetworkEntry | AuxEntry] = {
            NetworkRole.SMALL: self.small,
            NetworkRole.LARGE: self.large,
        }
        return entries if self.aux is None else {**entries, NetworkRole.AUX: self.aux}


def calibration_path(path: Path) -> Path:
    """Where the calibration of an ensemble's TOML file is kept."""
    return path.with_name(path.stem + CALIBRATION_SUFFIX)


def load_ensemble_file(
    path: Path, zoo: Path | None = None, *, engine: str | None = None, calibrated: bool = True
) -> Ensemble:
    """Read an ensemble's TOML file and load its networks.

    zoo: where names of networks are looked up. engine: runs every network whatever the file says.
    calibrated: False leaves out what `calibration_path` holds. Raises ConfigurationError,
    NetworkError or MissingExtraError, in one line that names the file and, where it is known, the
    line.
    """
    document = parse_toml(path)
    written = document.convert(EnsembleFile, schema_version=SCHEMA_VERSION)
    with closing_on_error() as engines:
        sources: dict[NetworkRole, tuple[NetworkSource, str]] = {}
        for role, entry in written.entries().items():
            source = _find(document, path, role, entry, zoo)
            chosen = engine or entry.engine or source.default
            sources[role] = source, chosen
            engines[role] = _open(document, role, entry, source, chosen)
        networks = {
            role: NetworkReference(engines[role].network.name, source.sha256)
            for role, (source, _) in sources.items()
        }
        _check_names(document, networks)
        components = engines[NetworkRole.SMALL].network.components
        calibration = Calibration.from_components(components)
        thresholds: dict[str, dict[str, float]] = {}
        if calibrated and calibration_path(path).exists():
            calibration, thresholds = _read_calibration(path, networks)
        for policy, points in written.thresholds.items():
            _check_points(document, policy, points)
            thresholds[policy] = {**thresholds.get(policy, {}), **points}
        try:
            record = EnsembleRecord(
                name=written.name or path.stem,
                networks=networks,
                calibration=_with_written(document, written, calibration),
                thresholds=thresholds,
            )
            names = {role: chosen for role, (_, chosen) in sources.items()}
            return with_engines(record, engines, names)
        except GearshiftError as error:
            # What a key of the file is to blame for already says so.
            text = str(error)
            raise type(error)(text if text.startswith(str(path)) else f"{path}: {text}") from error


def find_ensemble_sources(path: Path, zoo: Path | None = None) -> dict[NetworkRole, NetworkSource]:
    """The networks of an ensemble's TOML file, found but not loaded; raises as loading it does."""
    document = parse_toml(path)
    written = document.convert(EnsembleFile, schema_version=SCHEMA_VERSION)
    return {
        role: _find(document, path, role, entry, zoo) for role, entry in written.entries().items()
    }


def _find(
    document: TomlDocument,
    path: Path,
    role: NetworkRole,
    entry: NetworkEntry | AuxEntry,
    zoo: Path | None,
) -> NetworkSource:
    try:
        return find_network_source(_place(path, entry.network), zoo)
    except NetworkError as error:
        beside = entry.network in (other.name for other in path.parent.iterdir())
        hint = f"; for the one beside this file write './{entry.network}'" if beside else ""
        raise NetworkError(f"{document.place((str(role), 'network'))}: {error}{hint}") from error


def _open(
    document: TomlDocument,
    role: NetworkRole,
    entry: NetworkEntry | AuxEntry,
    source: NetworkSource,
    engine: str,
) -> Engine:
    try:
        return open_engine(source, engine)
    except GearshiftError as error:
        key = "network" if entry.engine is None else "engine"
        raise type(error)(f"{document.place((str(role), key))}: {error}") from error


def _place(path: Path, network: str) -> str | Path:
    """A file relative to the TOML file, or the name of a network of the zoo."""
    is_file = "/" in network or Path(network).suffix in SUFFIXES
    return path.parent / network if is_file else network


def _check_names(
    document: TomlDocument, references: Mapping[NetworkRole, NetworkReference]
) -> None:
    """Everything later tells networks apart by their names."""
    named: dict[str, tuple[NetworkRole, str]] = {}
    for role, reference in references.items():
        other, sha256 = named.setdefault(reference.name, (role, reference.sha256))
        if sha256 != reference.sha256:
            raise document.error(
                (str(role), "network"),
                f"{other} and {role} are different networks of one name, {reference.name}; import "
                "one of them with --name",
            )


def _check_points(document: TomlDocument, policy: str, points: Mapping[str, float]) -> None:
    for point, threshold in points.items():
        if math.isnan(threshold):
            key = ("thresholds", policy, point)
            raise document.error(key, f"{key_text(key)} is nan, which chooses nothing")


def _read_calibration(
    path: Path, references: Mapping[NetworkRole, NetworkReference]
) -> tuple[Calibration, dict[str, dict[str, float]]]:
    side = calibration_path(path)
    remedy = f"gearshift ensemble calibrate {path} --data FLIGHTS"
    records = list(read_records(side, remedy).values())
    if len(records) != 1:
        raise ConfigurationError(f"{side}: holds {len(records)} ensembles, not one; run `{remedy}`")
    (record,) = records
    for role in sorted({*record.networks, *references}):
        made_with, now = record.networks.get(role), references.get(role)
        if made_with is None or now is None or made_with.sha256 != now.sha256:
            raise ConfigurationError(
                f"{side}: was made with another {role} network ({_said(made_with)}, {path.name} "
                f"has {_said(now)}); run `{remedy}` or remove it"
            )
    return record.calibration, {p: dict(points) for p, points in record.thresholds.items()}


def _said(reference: NetworkReference | None) -> str:
    return "none" if reference is None else f"{reference.name} {reference.sha256[:12]}"


def _with_written(
    document: TomlDocument, written: EnsembleFile, calibration: Calibration
) -> Calibration:
    """The calibration with what the file itself says."""
    names = tuple(component.name for component in calibration.components)
    weights = _by_name(
        document, ("weights",), written.weights, names=names, known=calibration.weights
    )
    deviations = dict(calibration.standard_deviation)
    for role, entry in written.entries().items():
        if isinstance(entry, NetworkEntry) and entry.standard_deviation:
            known = deviations.get(role, np.full(len(names), np.nan, dtype=np.float32))
            key = (str(role), "standard_deviation")
            given = entry.standard_deviation
            deviations[role] = _by_name(document, key, given, names=names, known=known)
    gain = np.array(written.head_cell_gain, dtype=np.float32)
    return replace(
        calibration,
        weights=weights,
        standard_deviation=deviations,
        head_cell_gain=gain if gain.size else calibration.head_cell_gain,
        parameters={
            **calibration.parameters,
            **_parameters(document, ("parameters",), written.parameters),
        },
    )


def _by_name(
    document: TomlDocument,
    key: Key,
    values: Mapping[str, float],
    *,
    names: tuple[str, ...],
    known: FloatArray,
) -> FloatArray:
    """The known numbers, one per output, with those replaced that the file names."""
    numbers = known.copy()
    for name, value in values.items():
        if not math.isfinite(value):
            raise document.error((*key, name), f"{key_text((*key, name))} is {value}")
        if name not in names:
            raise document.error(
                (*key, name),
                f"{key_text((*key, name))} is no output of these networks; {advice(name, names)}",
            )
        numbers[names.index(name)] = value
    return numbers


def _parameters(document: TomlDocument, key: Key, table: Mapping[str, Any]) -> dict[str, Any]:
    """`anchor.rate = 1` is a table in a table; flattened it is `{"anchor.rate": (1.0,)}`."""
    found: dict[str, Any] = {}
    for name, value in table.items():
        inner = (*key, name)
        if isinstance(value, dict):
            found |= _parameters(document, inner, value)
            continue
        values = value if isinstance(value, list) else [value]
        if not values or any(type(number) not in (int, float) for number in values):
            raise document.error(inner, f"{key_text(inner)} must be a number or a list of numbers")
        parameter = ".".join(str(part) for part in inner[1:])
        known = _known_parameters(parameter.rpartition(".")[0])
        if known and parameter not in known:
            raise document.error(
                inner, f"parameter {parameter!r} is unknown; {advice(parameter, known)}"
            )
        found[parameter] = tuple(map(float, values))
    return found


def _known_parameters(owner: str) -> tuple[str, ...]:
    """Of a filter or policy of ours; a policy of the user's may read any others."""
    if owner not in ("anchor", "smooth", "hold.smooth"):
        return ()
    gains = tuple(f"{owner}.{gain}" for gain in DEFAULT_GAINS)
    return (*gains, "anchor.rate") if owner == "anchor" else gains
