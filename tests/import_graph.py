"""Which module of a source tree names which other one, read from its text, and what that makes.

An import counts wherever it stands, in a function as well, and so does a string that spells a
module of the tree, as tables of plug-ins and `importlib.import_module` do.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

Graph = Mapping[str, frozenset[str]]
"""From a name to the names it needs."""

NAMESPACE = "gearshift"
_SPELLED = re.compile(rf"{NAMESPACE}(\.\w+)+")


def find_modules(root: Path, packages: Iterable[str]) -> dict[str, Path]:
    """The modules of some top-level packages, packages' own among them, by their dotted names."""
    return {
        _dotted_name(path.relative_to(root)): path
        for package in packages
        for path in sorted((root / package).rglob("*.py"))
    }


def _dotted_name(path: Path) -> str:
    parts = [NAMESPACE, *path.with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def module_graph(modules: Mapping[str, Path]) -> dict[str, frozenset[str]]:
    """From every module to the others it names.

    Raises ValueError for a relative import: it would hide its target.
    """
    return {
        name: frozenset(_named(path, modules)) - {name} for name, path in sorted(modules.items())
    }


def _named(path: Path, modules: Mapping[str, Path]) -> set[str]:
    """The modules that the text of one names."""
    spelled: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Import():
                spelled |= {alias.name for alias in node.names}
            case ast.ImportFrom(level=0, module=str(origin)):
                spelled |= {f"{origin}.{alias.name}" for alias in node.names}
            case ast.ImportFrom():
                raise ValueError(f"{path}:{node.lineno}: relative import")
            case ast.JoinedStr(values=[ast.Constant(value=str(start)), *_]):
                spelled.add(start)
            case ast.Constant(value=str(text)):
                spelled.add(text.partition(":")[0])
    found = (_longest_module(text, modules) for text in spelled if _SPELLED.match(text))
    named = {name for name in found if name is not None}
    # The namespace itself is a module where it has a front door.
    if NAMESPACE in modules and _opens_front_door(path, modules):
        named.add(NAMESPACE)
    return named


def _opens_front_door(path: Path, modules: Mapping[str, Path]) -> bool:
    """Whether a module imports the namespace's own names rather than its packages."""
    packages = {name.split(".")[1] for name in modules if "." in name}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Import() if any(alias.name == NAMESPACE for alias in node.names):
                return True
            case ast.ImportFrom(level=0, module=origin) if origin == NAMESPACE:
                if any(alias.name not in packages for alias in node.names):
                    return True
    return False


def _longest_module(text: str, modules: Mapping[str, Path]) -> str | None:
    """The module that `a.b.c` is or that holds it; None for prose and for names of groups."""
    name = text.removesuffix(".")
    if not _SPELLED.fullmatch(name):
        return None
    while name != NAMESPACE and name not in modules:
        name = name.rpartition(".")[0]
    return name if name != NAMESPACE else None


def room(module: str, modules: Mapping[str, Path]) -> str:
    """The folder a module lies in.

    What lies directly in one of the top-level packages is the ground that everybody stands on:
    each of those modules is a room of its own, and so is each package's own module.
    """
    if modules[module].name == "__init__.py":
        return module
    folder = module.rpartition(".")[0]
    return folder if folder.count(".") > 1 else module


def room_graph(graph: Graph, modules: Mapping[str, Path]) -> dict[str, frozenset[str]]:
    """From every room to the other ones that its modules name."""
    needed: dict[str, set[str]] = {}
    for name, others in graph.items():
        here = room(name, modules)
        needed.setdefault(here, set()).update(room(other, modules) for other in others)
    return {here: frozenset(others - {here}) for here, others in needed.items()}


def circles(graph: Graph) -> list[list[str]]:
    """Groups of names that each need every other one, directly or through others, sorted.

    These are the strongly connected components of more than one node (Tarjan, 1972).
    """
    found: list[list[str]] = []
    index: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []

    def visit(name: str) -> None:
        index[name] = lowest[name] = len(index)
        stack.append(name)
        for other in sorted(graph.get(name, ())):
            if other not in index:
                visit(other)
                lowest[name] = min(lowest[name], lowest[other])
            elif other in stack:
                lowest[name] = min(lowest[name], index[other])
        if lowest[name] == index[name]:
            start = stack.index(name)
            if len(stack) - start > 1:
                found.append(sorted(stack[start:]))
            del stack[start:]

    for name in sorted(graph):
        if name not in index:
            visit(name)
    return sorted(found)
