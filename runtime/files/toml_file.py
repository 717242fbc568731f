"""TOML files of the user's, read into strict types: every error names the line and the right key.

`tomllib` parses, `msgspec` validates against a `msgspec.Struct` (declare it with `frozen=True,
forbid_unknown_fields=True, kw_only=True`), and `toml_lines` knows where in the text a key stands.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from gearshift.runtime.errors import ConfigurationError
from gearshift.runtime.files.toml_lines import Key, line_of_each_key
from gearshift.runtime.plugins import advice

VERSION_KEY = "schema_version"
T = TypeVar("T")

_AT = re.compile(r" - at `(?:key in )?\$(.*)`$", re.DOTALL)
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")
_TOML_NAMES = {
    "object": "a table",
    "array": "a list",
    "float": "a number",
    "int": "a whole number",
    "str": "a string",
    "bool": "true or false",
    "null": "nothing",
}


@dataclass(frozen=True, slots=True)
class TomlDocument:
    """A parsed file: its values, and where each key was given (`flight.toml:7`, `--set`)."""

    name: str
    values: Mapping[str, Any]
    places: Mapping[Key, str]

    def place(self, key: Key) -> str:
        """Where a key, or else the nearest table around it, was given."""
        while key and key not in self.places:
            key = key[:-1]
        return self.places.get(key, self.name)

    def error(self, key: Key, message: str) -> ConfigurationError:
        """The error for a key: `FILE:LINE: MESSAGE`."""
        return ConfigurationError(f"{self.place(key)}: {message}")

    def with_override(self, assignment: str, origin: str) -> TomlDocument:
        """The document with `key.sub=VALUE` set; `origin` (such as `--set`) stands in errors.

        VALUE is a TOML value; what is none is taken as a string. Raises ConfigurationError for a
        key that leads through something other than tables.
        """
        name, separator, text = assignment.partition("=")
        key = tuple(part.strip() for part in name.split("."))
        if not separator or not all(key):
            raise ConfigurationError(f"{origin} {assignment!r}: write key=value, such as a.b=0.4")
        values = deepcopy(dict(self.values))
        table = values
        for depth, part in enumerate(key[:-1], 1):
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise ConfigurationError(
                    f"{origin} {assignment!r}: {key_text(key[:depth])} is no table"
                )
        table[key[-1]] = _value(text.strip())
        places = {k: place for k, place in self.places.items() if k[: len(key)] != key}
        # Tables that were made on the way are as much of the override as the value.
        for depth in range(1, len(key)):
            places.setdefault(key[:depth], f"{origin} {name.strip()}")
        return TomlDocument(self.name, values, {**places, key: f"{origin} {name.strip()}"})

    def convert(self, to: type[T], *, schema_version: int, beside: Collection[str] = ()) -> T:
        """The values as a `to`; raises ConfigurationError for the first that does not fit.

        The document must have `schema_version`, and the struct a field of that name. beside: keys
        that something else reads.
        """
        version = self.values.get(VERSION_KEY)
        if version != schema_version or isinstance(version, bool):
            given = f"is {version!r}" if VERSION_KEY in self.values else "is missing"
            raise self.error(
                (VERSION_KEY,),
                f"{VERSION_KEY} {given}; this gearshift reads {VERSION_KEY} = {schema_version}",
            )
        return self.convert_table((), to, beside=beside)

    def convert_table(self, key: Key, to: type[T], *, beside: Collection[str] = ()) -> T:
        """One table as a `to`; raises ConfigurationError for the first value that does not fit.

        beside: keys of the table that something else reads.
        """
        table = _value_at(self.values, key)
        if not isinstance(table, Mapping):
            raise self.error(key, f"{key_text(key)} is {_shown(table)}; expected a table")
        values = {name: value for name, value in table.items() if name not in beside}
        try:
            return msgspec.convert(values, to)
        except msgspec.ValidationError as error:
            raise self._explain(error, to, key, values, beside) from error

    def _explain(
        self,
        error: msgspec.ValidationError,
        to: type[Any],
        table: Key,
        values: Mapping[str, Any],
        beside: Collection[str],
    ) -> ConfigurationError:
        text = str(error)
        found = _AT.search(text)
        steps = _STEP.findall(found[1]) if found is not None else []
        if found is not None:
            text = text[: found.start()]
        inside = _concrete(values, to, str(error), [a or b for a, b in steps])
        expected = _type_at(inspect.type_info(to), inside, values)
        key = (*table, *inside)
        if error.__cause__ is not None:
            # What a struct says about itself once its values are there.
            return self.error(key, str(error.__cause__))
        if field := re.fullmatch(r"Object contains unknown field `(.*)`", text, re.DOTALL):
            inner = (*key, field[1])
            known = tuple(name for t in expected for name in _fields(t))
            known += () if inside else tuple(beside)
            return self.error(inner, f"key {key_text(inner)} is unknown; {advice(field[1], known)}")
        if field := re.fullmatch(r"Object missing required field `(.*)`", text, re.DOTALL):
            where = f"table {key_text(key)}" if key else "the file"
            return self.error(key, f"{where} lacks the key {field[1]!r}")
        shown = f"{key_text(key)} is {_shown(_value_at(self.values, key))}"
        choices = tuple(str(c) for t in expected for c in _choices(t))
        if choices:
            given = str(_value_at(self.values, key))
            return self.error(key, f"{shown}; {advice(given, choices)}")
        return self.error(key, f"{shown}; {_in_words(text)}")


def parse_toml(path: Path) -> TomlDocument:
    """Parse a file; raises ConfigurationError, with the line, for what is no TOML."""
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: is not UTF-8 text ({error.reason})") from error
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.fullmatch(r"(.*) \(at line (\d+), column \d+\)", str(error), re.DOTALL)
        line, message = (found[2], found[1]) if found else (_lines(text), str(error))
        raise ConfigurationError(f"{path}:{line}: no valid TOML: {message}") from error
    except RecursionError as error:
        raise ConfigurationError(f"{path}: is nested too deeply") from error
    lines = line_of_each_key(text)
    return TomlDocument(str(path), values, {key: f"{path}:{line}" for key, line in lines.items()})


def read_toml(path: Path, to: type[T], *, schema_version: int = 1) -> T:
    """A file as a `to`; raises ConfigurationError as `parse_toml` and `TomlDocument.convert`."""
    return parse_toml(path).convert(to, schema_version=schema_version)


def key_text(key: Key) -> str:
    """A key as it is written in a file: `'small.weights[2]'`."""
    text = ""
    for part in key:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            bare = re.fullmatch(r"[\w-]+", part, re.ASCII) is not None
            text += ("." if text else "") + (part if bare else f'"{part}"')
    return f"'{text}'"


def _concrete(values: Any, to: type[Any], message: str, steps: list[str]) -> Key:
    """The path of an error with the keys that msgspec leaves out of mappings (`[...]`).

    The culprit among a mapping's entries is the first that fails alike without the others.
    """
    key: list[str | int] = []
    for step in steps:
        here = _value_at(values, tuple(key))
        if step != "...":
            key.append(int(step) if isinstance(here, list) else step)
            continue
        for name in here if isinstance(here, dict) else ():
            alone = _with(values, tuple(key), {name: here[name]})
            try:
                msgspec.convert(alone, to)
            except msgspec.ValidationError as error:
                if str(error) == message:
                    key.append(name)
                    values = alone
                    break
    return tuple(key)


def _with(values: Any, key: Key, value: Any) -> Any:
    """The values with the one at `key` replaced."""
    if not key:
        return value
    copy = values.copy()
    copy[key[0]] = _with(values[key[0]], key[1:], value)
    return copy


def _value_at(values: Any, key: Key) -> Any:
    for part in key:
        values = values[part]
    return values


def _type_at(top: inspect.Type, key: Key, values: Any) -> list[inspect.Type]:
    """What may stand at a key: several where the schema has a union."""
    types = _members(top, values)
    for part in key:
        values = values[part] if part in values or isinstance(part, int) else None
        inner: list[inspect.Type] = []
        for each in types:
            if isinstance(each, inspect.StructType):
                inner += [f.type for f in each.fields if f.encode_name == part]
                if part == each.tag_field:
                    inner.append(inspect.LiteralType((each.tag,)))
            elif isinstance(each, inspect.DictType):
                inner.append(each.value_type)
            elif isinstance(each, inspect.ListType | inspect.VarTupleType):
                inner.append(each.item_type)
            elif isinstance(each, inspect.TupleType) and isinstance(part, int):
                inner += each.item_types[part : part + 1]
        types = [member for each in inner for member in _members(each, values)]
    return types


def _members(each: inspect.Type, value: Any) -> list[inspect.Type]:
    """The type itself, or the members of a union; of tagged structs the one that is meant."""
    if isinstance(each, inspect.Metadata):
        return _members(each.type, value)
    if not isinstance(each, inspect.UnionType):
        return [each]
    members = [m for t in each.types for m in _members(t, value)]
    tagged: list[inspect.Type] = [
        m
        for m in members
        if isinstance(m, inspect.StructType)
        and isinstance(value, dict)
        and m.tag_field is not None
        and value.get(m.tag_field) == m.tag
    ]
    return tagged or members


def _fields(each: inspect.Type) -> tuple[str, ...]:
    if not isinstance(each, inspect.StructType):
        return ()
    tag = () if each.tag_field is None else (each.tag_field,)
    return (*(f.encode_name for f in each.fields), *tag)


def _choices(each: inspect.Type) -> tuple[Any, ...]:
    if isinstance(each, inspect.EnumType):
        return tuple(member.value for member in each.cls)
    return each.values if isinstance(each, inspect.LiteralType) else ()


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, bool):
        return str(value).lower()
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _in_words(text: str) -> str:
    """msgspec's message in TOML's words: `Expected `float`, got `str`` -> expected a number."""
    expected = re.fullmatch(r"Expected (.*), got `.*`", text)
    text = f"expected {expected[1]}" if expected else text[:1].lower() + text[1:]
    text = text.replace(" | null", "").replace("null | ", "")
    words = re.sub(r"`([\w |]+)`", lambda m: _names(m[1]), text)
    return words.replace("`", "")


def _names(types: str) -> str:
    return " or ".join(_TOML_NAMES.get(name, name) for name in types.split(" | "))


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _lines(text: str) -> int:
    return text.count("\n") + (not text.endswith("\n"))
