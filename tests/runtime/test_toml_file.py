"""TOML files: lines of keys against tomllib's values, and errors that name line and right key."""

from __future__ import annotations

import tomllib
from contextlib import suppress
from enum import StrEnum
from itertools import count
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearshift.runtime.errors import ConfigurationError
from gearshift.runtime.files.toml_file import key_text, parse_toml, read_toml
from gearshift.runtime.files.toml_lines import Key, line_of_each_key

KEYS = st.one_of(
    st.from_regex(r"[A-Za-z0-9_-]{1,4}", fullmatch=True),
    st.text("ab.#'[]{}=\"\\ \té\n", max_size=3),
)
TEXTS = st.text("ab #'\"[]{}=,.\\\t\né\r", max_size=12)
LEAF = "leaf"
TREES = st.dictionaries(
    KEYS,
    st.recursive(
        st.one_of(st.just(LEAF), TEXTS.map(lambda text: ("text", text))),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)
        ),
        max_leaves=8,
    ),
    max_size=4,
)


def quoted(text: str) -> str:
    """A basic string; TOML's escapes are JSON's."""
    return msgspec.json.encode(text).decode().replace("\x7f", "\\u007f")


class Writer:
    """Writes a tree as TOML in layouts that Hypothesis picks; every number is used once."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.numbers = count(1_000_000)
        self.out = ""

    def pick(self, *choices: str) -> str:
        return self.draw(st.sampled_from(choices))

    def key(self, name: str) -> str:
        bare = name.isascii() and name.replace("_", "a").replace("-", "a").isalnum()
        if bare and self.draw(st.booleans()):
            return name
        if "'" not in name and not {"\n", "\t"} & set(name) and self.draw(st.booleans()):
            return f"'{name}'"
        return quoted(name)

    def value(self, tree: Any) -> str:
        if tree == LEAF:
            return str(next(self.numbers))
        if isinstance(tree, tuple):
            return self.text(tree[1])
        if isinstance(tree, list):
            gap = self.pick("", " ", "\n", '  # ] , "\n', "\n\n# x = 1\n")
            items = [gap + self.value(item) + self.pick("", " ", "\n") for item in tree]
            return "[" + ",".join(items) + (self.pick("", ",") if tree else "") + gap + "]"
        pairs = [f"{self.key(k)}{self.pick('=', ' = ')}{self.value(v)}" for k, v in tree.items()]
        return "{ " + ", ".join(pairs) + " }"

    def text(self, text: str) -> str:
        long = quoted(text)[1:-1].replace("\\n", self.pick("\\n", "\n"))
        plain = "'" not in text and not {"\n", "\r"} & set(text)
        forms = [quoted(text), f'"""\n{long}"""']
        if plain:
            forms.append(f"'{text}'")
        if "'''" not in text and "\r" not in text and not text.startswith("\n"):
            forms.append(f"'''{text}'''" if not text.endswith("'") else quoted(text))
        return self.draw(st.sampled_from(forms))

    def table(self, tree: dict[str, Any], header: str = "") -> None:
        later: list[tuple[str, Any]] = []
        for name, inner in tree.items():
            key = self.key(name)
            tables = isinstance(inner, list) and inner and all(isinstance(i, dict) for i in inner)
            if isinstance(inner, dict) and inner and self.draw(st.booleans()):
                if all(not isinstance(v, dict) for v in inner.values()) and self.draw(
                    st.booleans()
                ):
                    for k, v in inner.items():
                        self.line(f"{key} . {self.key(k)} = {self.value(v)}")
                else:
                    later.append((key, inner))
            elif tables and self.draw(st.booleans()):
                later.append((key, inner))
            else:
                self.line(f"{key} = {self.value(inner)}")
        for key, inner in later:
            path = f"{header}.{key}" if header else key
            for table in inner if isinstance(inner, list) else [inner]:
                mark = ("[[", "]]") if isinstance(inner, list) else ("[", "]")
                self.line(f"{mark[0]}{path}{mark[1]}")
                self.table(table, path)

    def line(self, text: str) -> None:
        indent = self.pick("", "  ", "\t", "\n", "# [comment]\n")
        self.out += indent + text + self.pick("", " ", "  # key = [") + "\n"


def leaves(values: Any, key: Key = ()) -> dict[Key, Any]:
    items: Any = ()
    if isinstance(values, dict):
        items = values.items()
    elif isinstance(values, list):
        items = enumerate(values)
    found = {key: values} if key else {}
    for part, inner in items:
        found |= leaves(inner, (*key, part))
    return found


@st.composite
def documents(draw: st.DrawFn) -> str:
    writer = Writer(draw)
    writer.table(draw(TREES))
    return writer.out


@pytest.mark.slow
@given(documents())
def test_every_key_has_the_line_it_stands_on(text: str) -> None:
    found = leaves(tomllib.loads(text))
    lines = line_of_each_key(text)
    assert lines.keys() == found.keys()
    rows = text.split("\n")
    for key, value in found.items():
        if isinstance(value, int):
            assert str(value) in rows[lines[key] - 1]
        assert 1 <= lines[key] <= len(rows)


class Colour(StrEnum):
    RED = "red"
    GREEN = "green"


class Inner(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    threshold: float = 0.0
    names: list[str] = []
    rate: Annotated[float, msgspec.Meta(gt=0)] = 1.0


class Camera(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="camera"):
    device: str


class Folder(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="folder"):
    directory: str


class Outer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    schema_version: int
    inner: Inner
    colour: Colour = Colour.RED
    tables: dict[str, Inner] = {}
    numbers: dict[str, list[float]] = {}
    several: list[Inner] = []
    source: Camera | Folder | None = None
    either: float | str = 0.0


def read(tmp_path: Path, text: str) -> Outer:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return read_toml(path, Outer)


def test_a_good_file_is_read(tmp_path: Path) -> None:
    text = (
        'schema_version = 1\ncolour = "green"\ninner.threshold = inf\neither = "x"\n'
        'tables = {a = {rate = 2}}\n[source]\ntype = "folder"\ndirectory = "d"\n'
    )
    outer = read(tmp_path, text)
    assert outer.inner.threshold == float("inf")
    assert (outer.colour, outer.tables["a"].rate) == (Colour.GREEN, 2.0)
    assert outer.source == Folder(directory="d")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "schema_version = 1\n[inner]\ntreshold = 1",
            ":3: key 'inner.treshold' is unknown; did you mean 'threshold'?",
        ),
        (
            "schema_version = 1\nq = 1\n[inner]",
            ":2: key 'q' is unknown; there are schema_version, inner, colour, tables, numbers, "
            "several, source, either",
        ),
        (
            'schema_version = 1\n\n[inner]\nthreshold = "high"',
            ":4: 'inner.threshold' is \"high\"; expected a number",
        ),
        (
            "schema_version = 1\n[inner]\nnames = [\n 'a',\n  3]",
            ":5: 'inner.names[1]' is 3; expected a string",
        ),
        ("schema_version = 1\n[inner]\nrate = 0", ":3: 'inner.rate' is 0; expected a number > 0.0"),
        ("schema_version = 1\ninner = 3", ":2: 'inner' is 3; expected a table"),
        (
            "schema_version = 1\ncolour = 'gren'\n[inner]",
            ":2: 'colour' is \"gren\"; did you mean 'green'?",
        ),
        (
            "schema_version = 1\ncolour = 'blue'\n[inner]",
            ":2: 'colour' is \"blue\"; there are red, green",
        ),
        ("schema_version = 1\n", ": the file lacks the key 'inner'"),
        (
            "schema_version = 1\n[inner]\n[tables.a]\n[tables.b]\nrat = 1\n",
            ":5: key 'tables.b.rat' is unknown; did you mean 'rate'?",
        ),
        (
            "schema_version = 1\n[inner]\n[numbers]\n'x.y' = [1]\nb = [1,\n true]",
            ":6: 'numbers.b[1]' is true; expected a number",
        ),
        (
            "schema_version = 1\n[inner]\n[[several]]\n[[several]]\n\nnames = 3",
            ":6: 'several[1].names' is 3; expected a list",
        ),
        (
            "schema_version = 1\n[inner]\n[source]\ntype = 'camera'\ndevice = '0'\ndirectory = ''",
            ":6: key 'source.directory' is unknown; there are device, type",
        ),
        (
            "schema_version = 1\n[inner]\n[source]\ntype = 'folder'\n",
            ":3: table 'source' lacks the key 'directory'",
        ),
        (
            "schema_version = 1\n[inner]\n[source]\ntype = 'foldr'\n",
            ":4: 'source.type' is \"foldr\"; did you mean 'folder'?",
        ),
        (
            "schema_version = 1\neither = []\n[inner]\n",
            ":2: 'either' is a list of 0; expected a number or a string",
        ),
        ("[inner]", ": schema_version is missing; this gearshift reads schema_version = 1"),
        (
            "[inner]\n[schema_version]",
            ":2: schema_version is {}; this gearshift reads schema_version = 1",
        ),
        ("schema_version = 2", ":1: schema_version is 2; this gearshift reads schema_version = 1"),
        ("schema_version = 1\n\nx = = 2", ":3: no valid TOML: Invalid value"),
        ("schema_version = 1\nx = [", ":2: no valid TOML: "),
        ("x = 1\nx = 2", ":2: no valid TOML: Cannot overwrite a value"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        read(tmp_path, text)
    said = str(error.value)
    assert "\n" not in said
    assert said.removeprefix(str(tmp_path / "mine.toml")).startswith(message)


def test_files_that_are_no_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        read_toml(tmp_path / "nowhere.toml", Outer)
    with pytest.raises(ConfigurationError, match="directory"):
        read_toml(tmp_path, Outer)
    (tmp_path / "mine.toml").write_bytes(b"x = '\xff'")
    with pytest.raises(ConfigurationError, match="is not UTF-8"):
        read_toml(tmp_path / "mine.toml", Outer)
    (tmp_path / "mine.toml").write_text("x = " + "[" * 100_000)
    with pytest.raises(ConfigurationError, match=r"mine\.toml"):
        read_toml(tmp_path / "mine.toml", Outer)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(tmp_path_factory: Any, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "bytes.toml"
    path.write_bytes(content)
    with suppress(ConfigurationError):
        parse_toml(path)


def test_values_can_be_overridden(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("schema_version = 1\n[inner]\nthreshold = 1\n")
    document = parse_toml(path)
    changed = document.with_override("inner.threshold=2.5", "--set")
    changed = changed.with_override("colour = green", "GEARSHIFT_COLOUR")
    changed = changed.with_override("tables.new.names=['a', 'b']", "--set")
    outer = changed.convert(Outer, schema_version=1)
    assert (outer.inner.threshold, outer.colour) == (2.5, Colour.GREEN)
    assert outer.tables["new"].names == ["a", "b"]
    assert document.convert(Outer, schema_version=1).inner.threshold == 1
    for assignment, message in (
        ("inner.threshold=high", "--set inner.threshold: 'inner.threshold' is \"high\"; expected"),
        ("inner.tresh=1", "--set inner.tresh: key 'inner.tresh' is unknown; did you mean 'thresh"),
        ("iner.threshold=1", "--set iner.threshold: key 'iner' is unknown; did you mean 'inner'"),
        ("inner.threshold.x=1", "--set 'inner.threshold.x=1': 'inner.threshold' is no table"),
        ("inner", "--set 'inner': write key=value"),
        ("=3", "--set '=3': write key=value"),
    ):
        with pytest.raises(ConfigurationError) as error:
            document.with_override(assignment, "--set").convert(Outer, schema_version=1)
        assert str(error.value).startswith(message)


def test_keys_read_as_they_are_written() -> None:
    assert key_text(("small", "weights", 2)) == "'small.weights[2]'"
    assert key_text(("a b", "c")) == "'\"a b\".c'"
