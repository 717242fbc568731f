"""`flight.toml`: what flies, from what camera, to whom. One file, validated before anything starts.

    schema_version = 1
    [source]
    kind = "v4l2"
    [[sinks]]
    kind = "jsonl"

is a whole flight; `gearshift config example` prints one with every key. The tables [source] and
[[sinks]] take the keys of the plug-in that `kind` names beside those that every one has.
[recording] is short for a [[sinks]] of that kind. Relative paths are relative to the working
directory.

A value is overridden by the environment (GEARSHIFT_RUN__POLICY__THRESHOLD=0.4) and that by
`--set policy.threshold=0.4`; values are TOML, what is none is a string.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from gearshift.runtime.decide.combination import Combination
from gearshift.runtime.errors import GearshiftError
from gearshift.runtime.files.toml_file import TomlDocument, parse_toml
from gearshift.runtime.files.toml_lines import Key
from gearshift.runtime.flight.budget import Budget
from gearshift.runtime.flight.state import PresenceRule
from gearshift.runtime.launch.flight_sections import FlightSections, SinkKeys, SourceKeys
from gearshift.runtime.plugins import PluginTable
from gearshift.runtime.sinks.sink import SinkPlugin
from gearshift.runtime.sinks.sink_registry import SINKS, find_sink
from gearshift.runtime.sources.source import SourcePlugin
from gearshift.runtime.sources.source_registry import SOURCES, find_source

SCHEMA_VERSION = 1
ENVIRONMENT_PREFIX = "GEARSHIFT_RUN__"
RECORDING = "recording"

Keys = TypeVar("Keys", SourceKeys, SinkKeys)


@dataclass(frozen=True, slots=True)
class SourceChoice:
    """The source of a flight with its options; those that every source has apart."""

    kind: str
    plugin: SourcePlugin
    options: msgspec.Struct
    calibration: Path | None
    max_age_ms: float


@dataclass(frozen=True, slots=True)
class SinkChoice:
    """A sink of a flight with its options. name: its kind, numbered where there are several."""

    name: str
    kind: str
    plugin: SinkPlugin
    options: msgspec.Struct
    required: bool


@dataclass(frozen=True, slots=True)
class FlightConfig:
    """A validated file. document: for errors that are found later and name the line."""

    document: TomlDocument
    sections: FlightSections
    source: SourceChoice
    sinks: tuple[SinkChoice, ...]

    @property
    def budget(self) -> Budget | None:
        """What the threshold is moved for."""
        section = self.sections.policy.budget
        if section is None:
            return None
        return Budget(section.large_share, section.mean_latency_ms)

    @property
    def presence_rule(self) -> PresenceRule:
        """When somebody is in view."""
        section = self.sections.presence
        return PresenceRule(section.appear, section.vanish, section.frames)

    @property
    def combination(self) -> Combination:
        """What is accepted when both networks ran."""
        return Combination(self.sections.policy.combination)

    def resolved(self) -> dict[str, Any]:
        """Every value that is in effect, defaults included, as TOML and JSON take them."""
        values: dict[str, Any] = msgspec.to_builtins(self.sections)
        source = self.source
        values["source"] = {
            "kind": source.kind,
            "calibration": None if source.calibration is None else str(source.calibration),
            "max_age_ms": source.max_age_ms,
            **msgspec.to_builtins(source.options),
        }
        values["sinks"] = [
            {"kind": s.kind, "required": s.required, **msgspec.to_builtins(s.options)}
            for s in self.sinks
        ]
        return values


def read_flight_config(
    path: Path,
    overrides: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    more_sinks: Sequence[str] = (),
) -> FlightConfig:
    """Read and validate a file with what overrides it (`key.path=value`).

    environment: of the process; those variables that begin with GEARSHIFT_RUN__ count. more_sinks:
    kinds that are added to those of the file, with their defaults; the flight starts without them
    when they cannot be opened. Raises ConfigurationError, and MissingExtraError for a plug-in whose
    packages are missing, in one line that names the file and line, variable or option.
    """
    document = parse_toml(path)
    for name, value in sorted((environment or {}).items()):
        if name.startswith(ENVIRONMENT_PREFIX):
            key = name.removeprefix(ENVIRONMENT_PREFIX).lower().replace("__", ".")
            document = document.with_override(f"{key}={value}", f"environment {name}:")
    for assignment in overrides:
        document = document.with_override(assignment, "--set")
    sinks = document.values.get("sinks", [])
    if more_sinks and isinstance(sinks, list):
        tables = [*sinks, *({"kind": kind, "required": False} for kind in more_sinks)]
        document = replace(document, values={**document.values, "sinks": tables})
    return _parse(document)


def json_schema() -> dict[str, Any]:
    """The JSON schema of `flight.toml` with the keys of every plug-in that is installed."""
    sources = {kind: p.options for kind, p in _installed(SOURCES, find_source)}
    sinks = {kind: p.options for kind, p in _installed(SINKS, find_sink)}
    plugged = dict.fromkeys((*sources.values(), *sinks.values()))
    types = [FlightSections, SourceKeys, SinkKeys, *plugged]
    references, definitions = msgspec.json.schema_components(types, ref_template="#/$defs/{name}")
    found = {
        t: definitions.pop(r["$ref"].removeprefix("#/$defs/"))
        for t, r in zip(types, references, strict=True)
    }
    source_tables = [
        _table_schema(kind, found[SourceKeys], found[options]) for kind, options in sources.items()
    ]
    sink_tables = [
        _table_schema(kind, found[SinkKeys], found[options]) for kind, options in sinks.items()
    ]
    file = found[FlightSections]
    file["title"] = "flight.toml"
    file["required"].append("source")
    file["properties"] |= {
        "source": {"anyOf": source_tables},
        "sinks": {"type": "array", "items": {"anyOf": sink_tables}, "default": []},
        RECORDING: _table_schema(None, found[SinkKeys], found[sinks[RECORDING]]),
    }
    return {**file, "$defs": definitions}


def _table_schema(
    kind: str | None, keys: Mapping[str, Any], options: Mapping[str, Any]
) -> dict[str, Any]:
    """A plug-in's table: its kind, what every one of its role has, and its options."""
    named = {} if kind is None else {"kind": {"const": kind}}
    return {
        "type": "object",
        "properties": {**named, **keys["properties"], **options["properties"]},
        "required": [*named, *options.get("required", ())],
        "additionalProperties": False,
    }


def _parse(document: TomlDocument) -> FlightConfig:
    source_kind = _kind(document, ("source",), document.values.get("source"), SOURCES)
    source_plugin = _named(document, ("source", "kind"), lambda: find_source(source_kind))
    sink_tables = [
        (key, kind, _named(document, (*key, "kind"), lambda kind=kind: find_sink(kind)))
        for key, kind in _sink_tables(document)
    ]
    sections = document.convert(
        FlightSections, schema_version=SCHEMA_VERSION, beside=("source", "sinks", RECORDING)
    )
    keys, options = _table(document, ("source",), SourceKeys, source_plugin.options)
    source = SourceChoice(
        source_kind,
        source_plugin,
        options,
        None if keys.calibration is None else Path(keys.calibration),
        keys.max_age_ms,
    )
    sinks: list[SinkChoice] = []
    for key, kind, plugin in sink_tables:
        number = sum(sink.kind == kind for sink in sinks) + 1
        name = kind if number == 1 else f"{kind}-{number}"
        own, chosen = _table(document, key, SinkKeys, plugin.options)
        sinks.append(SinkChoice(name, kind, plugin, chosen, own.required))
    config = FlightConfig(document, sections, source, tuple(sinks))
    _named(document, ("policy", "budget"), lambda: config.budget)
    _named(document, ("presence",), lambda: config.presence_rule)
    return config


def _sink_tables(document: TomlDocument) -> Iterator[tuple[Key, str]]:
    """Where the table of every sink stands, and its kind.

    [recording] is short for a [[sinks]] of that kind, resolved here and nowhere else: a table with
    a name is what `--set recording.folder=...` reaches.
    """
    tables = document.values.get("sinks", [])
    if not isinstance(tables, list):
        raise document.error(("sinks",), "'sinks' is a list of tables: write [[sinks]]")
    for index, table in enumerate(tables):
        yield ("sinks", index), _kind(document, ("sinks", index), table, SINKS)
    recording = document.values.get(RECORDING)
    if isinstance(recording, dict) and "kind" in recording:
        raise document.error((RECORDING, "kind"), f"[{RECORDING}] has no kind: leave the key out")
    if recording is not None:
        yield (RECORDING,), RECORDING


def _table(
    document: TomlDocument,
    key: Key,
    keys: type[Keys],
    options: type[msgspec.Struct],
) -> tuple[Keys, msgspec.Struct]:
    """The table of a plug-in: the keys that every one of its role has, and its own options."""
    own: list[str] = [field.encode_name for field in msgspec.structs.fields(options)]
    common = ["kind", *(field.encode_name for field in msgspec.structs.fields(keys))]
    for name in own:
        if name in common:
            raise document.error(
                key, f"its plug-in has an option {name!r}, which every table of {key[0]!r} has"
            )
    read = document.convert_table(key, keys, beside=("kind", *own))
    return read, document.convert_table(key, options, beside=common)


def _kind(document: TomlDocument, key: Key, table: object, plugins: PluginTable) -> str:
    """The plug-in that a table names."""
    if table is None:
        raise document.error(key, f"the file lacks the table [{key[0]}] with a kind")
    kind = table.get("kind") if isinstance(table, dict) else None
    if not isinstance(kind, str):
        raise document.error(
            key, f"table {key[0]!r} lacks a kind: one of {', '.join(plugins.names())}"
        )
    return kind


def _named(document: TomlDocument, key: Key, find: Any) -> Any:
    """What `find` gives; its errors get the line of a key."""
    try:
        return find()
    except GearshiftError as error:
        raise type(error)(f"{document.place(key)}: {error}") from error


def _installed(plugins: PluginTable, find: Any) -> list[tuple[str, Any]]:
    """Every plug-in that can be loaded here."""
    found = []
    for name in plugins.names():
        try:
            found.append((name, find(name)))
        except (GearshiftError, ModuleNotFoundError):
            continue
    return found
