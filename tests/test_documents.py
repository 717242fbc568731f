"""What documents name exists: files, folders, modules, names in them, and targets of make."""

from __future__ import annotations

import ast
import re
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = [
    *sorted((ROOT / "docs").glob("*.md")),
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
]
FLOORS = ("runtime", "models", "firmware_bridge", "sim")
CORE = ROOT / "firmware_bridge" / "firmware"

# In code spans, links and indented commands alike.
ROOTED = (
    rf"(?<![\w./-])(?<!--out )(?:{'|'.join(FLOORS)}|tests|docs|\.ci|\.github)"  # not what is made
)
PATH = re.compile(rf"({ROOTED}/[\w./*-]*[\w*/])(?![\w(])")
FILE = re.compile(rf"({ROOTED}/[\w./]*\w\.(?:py|c|h|md|proto))(?![\w(])")
# Within a room's own page or paragraph: `flight/view.py`, `ports/rv32/main.c`, `workers.py`.
SOURCE = re.compile(r"`((?:\w[\w.-]*/)*[\w-]+\.(?:py|c|h|proto))`")
STARTS = (
    ROOT,
    *(ROOT / floor for floor in FLOORS),
    CORE,
    CORE / "include",
    CORE / "include" / "gearshift",
)
MODULE = re.compile(
    rf"\bgearshift((?:\.(?:{'|'.join(FLOORS)})\b|\.[a-z_]+(?=\.[A-Za-z_]))(?:\.[A-Za-z_]\w*)*)"
)
GROUPS = re.compile(r"gearshift\.(?:policies|engines|sources|sinks|commands|zoo)\b")
INDEX = re.compile(r"pip install ['\"]?gearshift(?:\[[\w,]*\])?['\"]?(?!\S| @)")
TARGET = re.compile(r"(?:^    |`)make ((?:[a-z][\w-]*[ \n`])+)", re.MULTILINE)


def spelled_paths(text: str) -> set[str]:
    return {path.rstrip(".") for path in PATH.findall(text)}


def exists(path: str) -> bool:
    """`a/b*.py` has to fit something; what a command makes is no claim about the repository."""
    return bool(list(ROOT.glob(path.rstrip("/")))) if "*" in path else (ROOT / path).exists()


@cache
def source_names() -> frozenset[str]:
    """The names of all files of the floors and the tests."""
    folders = [ROOT / name for name in (*FLOORS, "tests", ".ci")]
    return frozenset(path.name for folder in folders for path in folder.rglob("*.*"))


def is_source(path: str) -> bool:
    """Whether a path from the root, a floor or the firmware, or else a bare name, is a file's."""
    if "/" not in path:
        return path in source_names()
    return any((start / path).is_file() for start in STARTS)


@cache
def defined(module: Path) -> frozenset[str]:
    """The names at the top of a module or package, those that it imports included."""
    names: set[str] = set()
    for node in ast.parse(module.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
    return frozenset(names)


def resolves(dotted: str) -> bool:
    """Whether `.runtime.types.Frame` is a package, a module, or a name in one."""
    parts = dotted.strip(".").split(".")
    if parts[0] not in FLOORS:
        return False
    folder = ROOT / parts[0]
    for index, part in enumerate(parts[1:], start=1):
        if (folder / part).is_dir():
            folder /= part
            continue
        module = folder / f"{part}.py"
        rest = parts[index + 1 :]
        if not module.is_file():
            module, rest = folder / "__init__.py", parts[index:]
        return not rest or rest[0] in defined(module)
    return True


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_path_exists(document: Path) -> None:
    text = document.read_text()
    missing = [path for path in sorted(spelled_paths(text)) if not exists(path)]
    missing += [path for path in SOURCE.findall(text) if not is_source(path)]
    assert missing == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_no_line_asks_an_index(document: Path) -> None:
    """The package is on none: docs/installing.md says what works."""
    assert INDEX.findall(document.read_text()) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_module_and_name_exists(document: Path) -> None:
    text = GROUPS.sub("", document.read_text())
    assert [name for name in sorted(set(MODULE.findall(text))) if not resolves(name)] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_make_target_exists(document: Path) -> None:
    makefiles = "\n".join((folder / "Makefile").read_text() for folder in (ROOT, CORE))
    known = set(re.findall(r"^([\w-]+):", makefiles, re.MULTILINE))
    said = {
        word for targets in TARGET.findall(document.read_text()) for word in targets.split() if word
    }
    assert {word.strip("`") for word in said} - known == set()


def test_every_extra_is_explained() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    table = (ROOT / "docs" / "installing.md").read_text()
    explained = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    assert sorted(explained) == sorted(project["optional-dependencies"])


def test_every_source_that_a_source_names_exists() -> None:
    """Comments, docstrings and messages; what a test makes up is no source of ours."""
    sources = [path for floor in FLOORS for path in (ROOT / floor).rglob("*.*")]
    texts = [path for path in sources if path.suffix in (".py", ".c", ".h", ".proto")]
    assert len(texts) > 200
    missing = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in texts
        for name in FILE.findall(path.read_text())
        if not exists(name)
    ]
    assert missing == []


def test_what_is_looked_for_is_found() -> None:
    assert spelled_paths(
        "`runtime/types.py`, (sim/convert/), docs/*.md. /runtime/no, a/sim/no"
    ) == {
        "runtime/types.py",
        "sim/convert/",
        "docs/*.md",
    }
    assert not exists("runtime/policies.py")
    assert not exists("docs/*.rst")
    said = (
        "gearshift.runtime.types.Frame, gearshift.toml, gearshift.recordings.convert, gearshift.sim"
    )
    assert MODULE.findall(said) == [".runtime.types.Frame", ".recordings.convert", ".sim"]
    assert INDEX.search("pip install 'gearshift[camera,board]'   # OpenCV")
    assert INDEX.search("pip install gearshift\n")
    assert not INDEX.search("pip install 'gearshift[replay] @ git+ADDRESS'")
    assert not INDEX.search("pip install 'gearshift-1.0-py3-none-any.whl[camera]'")
    assert is_source("flight/view.py")
    assert is_source("workers.py")
    assert not is_source("flight/channel.py")
    assert not is_source("flight_config.py")
    assert not resolves(".recordings.convert")
    assert resolves(".runtime.types.Frame")
    assert resolves(".runtime.decide")
    assert not resolves(".runtime.types.Fame")
    assert not resolves(".runtime.policies")
