"""`flight.toml`: what flies, from what camera, to whom. One file, validated before anything starts.

    schema_version = 1
    [source]
    kind = "v4l2"
    [[sinks]]
    kind = "jsonl"

is a whole flight; `gearshift config example` prints one with every key. The tables [source] and
[[sinks]] take the keys of the plug-in that `kind` names beside those that every one has.
Relative paths are relative to the working directory.

A value is overridden by the environment (GEARSHIFT_RUN__POLICY__THRESHOLD=0.4) and that by
`--set policy.threshold=0.4`; values are TOML, what is none is a string.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from gearshift.runtime.decide.combination import Combination
from gearshift.runtime.decide.policy import PolicyOptions
from gearshift.runtime.errors import ConfigurationError, GearshiftError
from gearshift.runtime.files.toml_file import TomlDocument, parse_toml
from gearshift.runtime.flight.budget import Budget
from gearshift.runtime.flight.state import PresenceRule
from gearshift.runtime.plugins import PluginTable
from gearshift.runtime.sinks.sink import SinkPlugin
from gearshift.runtime.sinks.sink_registry import SINKS, find_sink
from gearshift.runtime.sources.source import SourcePlugin
from gearshift.runtime.sources.source_registry import SOURCES, find_source
from gearshift.runtime.types import NetworkRole

SCHEMA_VERSION = 1
ENVIRONMENT_PREFIX = "GEARSHIFT_RUN__"
RECORDING_SINK = "recording"

Positive = Annotated[float, msgspec.Meta(gt=0)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Count = Annotated[int, msgspec.Meta(ge=0)]


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the file."""


class EnginesSection(_Section, frozen=True):
    """What runs each network: `NAME` or `NAME:ARGUMENT`, such as `board:/dev/ttyUSB0`."""

    small: str | None = None
    large: str | None = None
    aux: str | None = None


class EnsembleSection(_Section, frozen=True):
    """name: of the zoo, or a TOML file of one's own. engine: runs every network that `engines`
    says nothing of; default what suits its file."""

    name: str = "D1"
    engine: str | None = None
    engines: EnginesSection = EnginesSection()

    def engine_of(self, role: NetworkRole) -> str | None:
        """What runs the network of that role; None: what suits its file."""
        chosen: str | None = getattr(self.engines, role)
        return chosen or self.engine


class BudgetSection(_Section, frozen=True):
    """Moves the threshold in flight so that one of the two is held on average: the share of frames
    on large, or the time of the networks in milliseconds."""

    large_share: Share | None = None
    mean_latency_ms: Positive | None = None


class PolicySection(_Section, frozen=True):
    """name: a policy, or FILE.py:NAME. threshold: a number, inf, -inf, or an operating point of
    the ensemble. filter: default the policy's own. max_gap_s, per_second, seed: see
    `PolicyOptions`."""

    name: str = "op"
    threshold: float | str | None = None
    budget: BudgetSection | None = None
    filter: Literal["none", "anchor", "smooth"] | None = None
    combination: Literal["large", "fusion"] = "large"
    max_gap_s: Positive = 0.5
    per_second: bool = False
    seed: int = 0

    def options(self) -> PolicyOptions:
        """As the scheduler takes them."""
        return PolicyOptions(max_gap_s=self.max_gap_s, per_second=self.per_second, seed=self.seed)


class LimitsSection(_Section, frozen=True):
    """rate_hz: frame rate that has to be held, default the source's. deadline_ms: from the start of
    inference; large is skipped where it would miss it; default one frame period of a live source,
    0: none. max_estimate_age_s: from capture; the state is `lost` after that. stall_ms: a network
    that has not returned after this is left behind. profile: of this machine, a file or the name of
    one in the zoo, by which rate and deadline are checked before take-off."""

    rate_hz: Positive | None = None
    deadline_ms: Annotated[float, msgspec.Meta(ge=0)] | None = None
    max_estimate_age_s: Annotated[float, msgspec.Meta(gt=0, le=0.75)] = 0.75
    stall_ms: Positive = 300.0
    profile: str | None = None


class PresenceSection(_Section, frozen=True):
    """Whether anybody is in view. every: the auxiliary network runs after every so many frames,
    once their estimate is out, where the policy does not run it; 0: never. Nobody is taken to be
    there after `frames` probabilities in a row below `vanish`, somebody after as many above
    `appear`."""

    every: Count = 10
    appear: Share = 0.6
    vanish: Share = 0.4
    frames: Annotated[int, msgspec.Meta(ge=1)] = 3


class LogSection(_Section, frozen=True):
    """level: of messages on stderr. status: a line that is kept up to date ("line", on terminals),
    one from time to time ("log"), nothing ("off"). every_s: between two of the latter."""

    level: Literal["debug", "info", "warning", "error"] = "warning"
    status: Literal["auto", "line", "log", "off"] = "auto"
    every_s: Positive = 5.0


class PrometheusSection(_Section, frozen=True):
    """A metrics endpoint, http://127.0.0.1:PORT/metrics, on the loopback interface only."""

    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 9464


class FlightSections(_Section, frozen=True):
    """Everything but what plug-ins define."""

    schema_version: int
    ensemble: EnsembleSection = EnsembleSection()
    policy: PolicySection = PolicySection()
    limits: LimitsSection = LimitsSection()
    presence: PresenceSection = PresenceSection()
    log: LogSection = LogSection()
    prometheus: PrometheusSection | None = None


SOURCE_KEYS: tuple[tuple[str, Any, Any], ...] = (
    ("calibration", str | None, None),
    ("max_age_ms", Positive, 200.0),
)
"""What every [source] has. calibration: file with intrinsics, see `gearshift camera`. max_age_ms: a
live frame older than this when inference could start is dropped."""
SINK_KEYS: tuple[tuple[str, Any, Any], ...] = (("required", bool, True),)
"""What every [[sinks]] has. required: the flight does not start when it cannot be opened."""


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
    return msgspec.json.schema(_file_type(sources, sinks))


def _parse(document: TomlDocument) -> FlightConfig:
    values = document.values
    source_kind = _kind(document, ("source",), values.get("source"), SOURCES)
    source_plugin = _named(document, ("source", "kind"), lambda: find_source(source_kind))
    tables = values.get("sinks", [])
    if not isinstance(tables, list):
        raise document.error(("sinks",), "'sinks' is a list of tables: write [[sinks]]")
    sink_plugins: dict[str, SinkPlugin] = {}
    for index, table in enumerate(tables):
        kind = _kind(document, ("sinks", index), table, SINKS)
        sink_plugins[kind] = _named(
            document, ("sinks", index, "kind"), lambda kind=kind: find_sink(kind)
        )
    if "recording" in values:
        sink_plugins[RECORDING_SINK] = find_sink(RECORDING_SINK)
    sink_types = {kind: plugin.options for kind, plugin in sink_plugins.items()}
    written = document.convert(
        _file_type({source_kind: source_plugin.options}, sink_types),
        schema_version=SCHEMA_VERSION,
    )
    sections = msgspec.convert(
        {name: getattr(written, name) for name in FlightSections.__struct_fields__},
        FlightSections,
    )
    source: Any = getattr(written, "source")  # noqa: B009 -- the type is made at run time
    options = _options(document, ("source",), source_plugin.options, source)
    choice = SourceChoice(
        source_kind,
        source_plugin,
        options,
        None if source.calibration is None else Path(source.calibration),
        source.max_age_ms,
    )
    entries: list[tuple[tuple[str | int, ...], str, Any]] = [
        (("sinks", index), tables[index]["kind"], entry)
        for index, entry in enumerate(getattr(written, "sinks", ()))
    ]
    recording = getattr(written, "recording", None)
    if recording is not None:
        entries.append((("recording",), RECORDING_SINK, recording))
    sinks: list[SinkChoice] = []
    for key, kind, entry in entries:
        number = sum(s.kind == kind for s in sinks) + 1
        plugin = sink_plugins[kind]
        sinks.append(
            SinkChoice(
                kind if number == 1 else f"{kind}-{number}",
                kind,
                plugin,
                _options(document, key, plugin.options, entry),
                entry.required,
            )
        )
    config = FlightConfig(document, sections, choice, tuple(sinks))
    _named(document, ("policy", "budget"), lambda: config.budget)
    _named(document, ("presence",), lambda: config.presence_rule)
    return config


def _kind(
    document: TomlDocument, key: tuple[str | int, ...], table: object, plugins: PluginTable
) -> str:
    """The plug-in that a table names."""
    if table is None:
        raise document.error(key, f"the file lacks the table [{key[0]}] with a kind")
    kind = table.get("kind") if isinstance(table, dict) else None
    if not isinstance(kind, str):
        raise document.error(
            key, f"table {key[0]!r} lacks a kind: one of {', '.join(plugins.names())}"
        )
    return kind


def _named(document: TomlDocument, key: tuple[str | int, ...], find: Any) -> Any:
    """What `find` gives; its errors get the line of a key."""
    try:
        return find()
    except GearshiftError as error:
        raise type(error)(f"{document.place(key)}: {error}") from error


def _options(
    document: TomlDocument,
    key: tuple[str | int, ...],
    options: type[msgspec.Struct],
    entry: object,
) -> msgspec.Struct:
    """The plug-in's own part of its table."""
    try:
        return options(**{name: getattr(entry, name) for name in options.__struct_fields__})
    except (ValueError, TypeError, ConfigurationError) as error:
        raise document.error(key, str(error)) from error


def _file_type(
    sources: Mapping[str, type[msgspec.Struct]], sinks: Mapping[str, type[msgspec.Struct]]
) -> type[msgspec.Struct]:
    """The whole file as a struct: the sections and the tables of these plug-ins."""
    source_types = [_table_type(k, "source", o, SOURCE_KEYS) for k, o in sources.items()]
    sink_types = [_table_type(k, "sink", o, SINK_KEYS) for k, o in sinks.items()]
    fields: list[Any] = [("source", reduce(or_, source_types))]
    if sink_types:
        fields.append(("sinks", list[reduce(or_, sink_types)], msgspec.field(default_factory=list)))  # type: ignore[misc]
    else:
        fields.append(("sinks", list[Any], msgspec.field(default_factory=list)))
    if RECORDING_SINK in sinks:
        table = _table_type(RECORDING_SINK, "recorder", sinks[RECORDING_SINK], SINK_KEYS, tag=False)
        fields.append(("recording", table | None, None))
    return msgspec.defstruct(
        "flight",
        fields,
        bases=(FlightSections,),
        frozen=True,
        kw_only=True,
        forbid_unknown_fields=True,
    )


def _table_type(
    kind: str,
    role: str,
    options: type[msgspec.Struct],
    own: Iterable[tuple[str, Any, Any]],
    *,
    tag: bool = True,
) -> type[msgspec.Struct]:
    """The table of one plug-in: its options and what every one of its kind has."""
    fields: list[Any] = list(own)
    taken = {"kind", *(name for name, _, _ in fields)}
    for field in msgspec.structs.fields(options):
        if field.encode_name in taken:
            raise ConfigurationError(
                f"{role} {kind!r} has an option {field.encode_name!r}, which every {role} has"
            )
        if field.default_factory is not msgspec.NODEFAULT:
            default = msgspec.field(default_factory=field.default_factory)
            fields.append((field.name, field.type, default))
        elif field.default is not msgspec.NODEFAULT:
            fields.append((field.name, field.type, field.default))
        else:
            fields.append((field.name, field.type))
    tagged: dict[str, Any] = {"tag_field": "kind", "tag": kind} if tag else {}
    return msgspec.defstruct(
        f"{role} {kind}",
        fields,
        frozen=True,
        kw_only=True,
        forbid_unknown_fields=True,
        **tagged,
    )


def _installed(plugins: PluginTable, find: Any) -> list[tuple[str, Any]]:
    """Every plug-in that can be loaded here."""
    found = []
    for name in plugins.names():
        try:
            found.append((name, find(name)))
        except (GearshiftError, ModuleNotFoundError):
            continue
    return found
