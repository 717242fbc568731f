"""`import gearshift`: light, whole, typed, and helpful about what is not there."""

from __future__ import annotations

import ast
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import gearshift

ROOT = Path(__file__).parent.parent
FRONT_DOOR = ROOT / "sim" / "front_door" / "__init__.py"


def test_importing_it_imports_nothing_else() -> None:
    """What takes time is what is imported, and that does not hang on how busy the machine is."""
    code = (
        "import sys\nbefore = set(sys.modules)\nimport gearshift\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT
    )
    imported = set(done.stdout.split())
    assert imported - {"typing"} <= {"gearshift", "__future__", *modules_of("typing")}
    assert "gearshift" in imported


def modules_of(name: str) -> set[str]:
    """What a module of the standard library imports by itself."""
    code = (
        f"import sys\nbefore = set(sys.modules)\nimport {name}\nprint(*(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("name", gearshift.__all__)
def test_every_name_is_there(name: str) -> None:
    value = getattr(gearshift, name)
    if name != "__version__":
        assert value.__name__ == name, "it has one name"
        assert value.__doc__
    assert name in dir(gearshift)


def test_type_checkers_are_told_what_is_imported() -> None:
    """They read the imports under TYPE_CHECKING, and the interpreter a table: both say the same."""
    tree = ast.parse(FRONT_DOOR.read_text())
    typed = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("gearshift")
        for alias in node.names
        if node.module != "gearshift.runtime.plugins"
    }
    assert typed == gearshift._ROOMS
    assert sorted({*typed, "__version__"}) == sorted(gearshift.__all__)


def test_an_unknown_name_is_told_with_the_nearest() -> None:
    with pytest.raises(AttributeError, match="no attribute 'load_ensembles'; did you mean"):
        getattr(gearshift, "load_ensembles")  # noqa: B009 -- asking is what is tested
    assert not hasattr(gearshift, "__wrapped__")


def test_there_is_one_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert gearshift.__version__ == project["version"]
    said = [
        path
        for folder in ("runtime", "models", "firmware_bridge", "sim")
        for path in (ROOT / folder).rglob("*.py")
        if f'"{project["version"]}"' in path.read_text()
    ]
    assert said == []


def reference() -> list[str]:
    text = (ROOT / "docs" / "reference.md").read_text()
    return re.findall(r"^::: (\S+)$", text, re.MULTILINE)


@pytest.mark.parametrize("path", reference())
def test_what_the_reference_shows_exists_and_is_explained(path: str) -> None:
    assert pkgutil.resolve_name(path).__doc__


def test_the_reference_shows_every_name() -> None:
    shown = {path.removeprefix("gearshift.") for path in reference()}
    assert set(gearshift.__all__) - {"__version__"} <= shown


def test_no_folder_hides_it() -> None:
    """A folder of that name at the root would be imported instead, by whoever stands there."""
    assert not (ROOT / "gearshift").exists()
    assert Path(gearshift.__file__ or "") == FRONT_DOOR
