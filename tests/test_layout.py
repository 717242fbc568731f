"""The packaging and the direction of imports that docs/architecture.md promises, a rule a test."""

from __future__ import annotations

import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from .import_graph import circles, find_modules, module_graph, room, room_graph

ROOT = Path(__file__).parent.parent
PACKAGES = ("runtime", "models", "firmware_bridge", "sim")
MAY_IMPORT = {
    "runtime": {"runtime"},
    "models": {"models", "runtime"},
    "firmware_bridge": {"firmware_bridge", "runtime"},
    "sim": set(PACKAGES),
}
FRONT_DOOR = {"gearshift.sim.front_door": "gearshift"}
"""What `import gearshift` imports: the highest place, as it may name every other."""
MODULES_A_FOLDER = 15
GENERATED = "_pb2"

MODULES = find_modules(ROOT, PACKAGES)
# What `import gearshift` imports: the highest place, which may name every other.
MODULES["gearshift"] = MODULES.pop("gearshift.sim.front_door")
GRAPH = module_graph(MODULES)


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def package(module: str) -> str:
    """The floor a module lies on; the front door is on the highest."""
    return module.split(".")[1] if "." in module else "sim"


def test_imports_point_downwards() -> None:
    upward = [
        f"{name} -> {other}"
        for name, others in GRAPH.items()
        for other in sorted(others)
        if package(other) not in MAY_IMPORT[package(name)]
    ]
    assert upward == []


def test_what_is_found_upwards_is_declared_as_an_entry_point() -> None:
    """The one way up: each names a module of the tree and what it takes from it, and the floor
    below asks for its group."""
    groups = dict(project()["project"]["entry-points"])
    asked = "".join(MODULES[name].read_text() for name in MODULES if package(name) == "runtime")
    assert [group for group in groups if f'"{group}"' not in asked] == []
    groups["console_scripts"] = project()["project"]["scripts"]
    lost = []
    for group, entries in groups.items():
        for name, value in entries.items():
            module, _, attribute = value.partition(":")
            if module not in MODULES or attribute not in MODULES[module].read_text():
                lost.append(f"{group}: {name} = {value}")
    assert lost == []


def test_no_circle_between_modules() -> None:
    assert circles(GRAPH) == []


def test_no_circle_between_rooms() -> None:
    found = circles(room_graph(GRAPH, MODULES))
    arrows = [
        f"{name} -> {other}"
        for circle in found
        for name, others in GRAPH.items()
        for other in sorted(others)
        if room(name, MODULES) != room(other, MODULES)
        and {room(name, MODULES), room(other, MODULES)} <= set(circle)
    ]
    assert found == [], "\n".join(arrows)


def test_no_folder_is_a_hall() -> None:
    modules = Counter(
        str(path.parent.relative_to(ROOT))
        for path in MODULES.values()
        if path.name != "__init__.py" and not path.stem.endswith(GENERATED)
    )
    assert {f: n for f, n in modules.items() if n > MODULES_A_FOLDER} == {}


def test_every_package_is_listed_for_the_wheel() -> None:
    setuptools = project()["tool"]["setuptools"]
    folders = {
        FRONT_DOOR.get(name, name): str(path.parent.relative_to(ROOT))
        for name, path in MODULES.items()
        if path.name == "__init__.py"
    }
    inside = {str(path.parent.relative_to(ROOT)) for path in MODULES.values()}
    assert inside - set(folders.values()) == set(), "folders of modules without an __init__.py"
    assert set(setuptools["packages"]) == set(folders)
    assert setuptools["package-dir"] == folders


SMALL_TREE = {
    "runtime/__init__.py": "",
    "runtime/ground.py": "from gearshift.runtime.low import first",
    "runtime/low/__init__.py": "",
    "runtime/low/first.py": "def late():\n    from gearshift.runtime.low.second import number",
    "runtime/low/second.py": "import numpy\nnumber = 1",
    "runtime/low/table.py": 'PLUGINS = {"a": "gearshift.runtime.high.plugin:PLUGIN"}',
    "runtime/high/__init__.py": "",
    "runtime/high/plugin.py": 'G = "gearshift.policies"\nfrom gearshift.runtime.low import first',
    "sim/__init__.py": "",
    "sim/finds.py": "import importlib\nimportlib.import_module(f'gearshift.runtime.high.{1}')",
    "sim/one.py": "import gearshift.sim.two",
    "sim/two.py": "from gearshift.sim.three import x",
    "sim/three.py": '"""Says gearshift.sim.one in prose."""\nM = "gearshift.sim.one"',
}


def test_the_graph_sees_functions_tables_and_strings(tmp_path: Path) -> None:
    for name, text in SMALL_TREE.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    modules = find_modules(tmp_path, ("runtime", "sim"))
    graph = module_graph(modules)
    named = {
        name.removeprefix("gearshift."): {other.removeprefix("gearshift.") for other in others}
        for name, others in graph.items()
        if others
    }
    assert named == {
        "runtime.ground": {"runtime.low.first"},
        "runtime.low.first": {"runtime.low.second"},
        "runtime.low.table": {"runtime.high.plugin"},
        "runtime.high.plugin": {"runtime.low.first"},
        "sim.finds": {"runtime.high"},
        "sim.one": {"sim.two"},
        "sim.two": {"sim.three"},
        "sim.three": {"sim.one"},
    }
    assert circles(graph) == [["gearshift.sim.one", "gearshift.sim.three", "gearshift.sim.two"]]
    (rooms, _) = circles(room_graph(graph, modules))
    assert rooms == ["gearshift.runtime.high", "gearshift.runtime.low"]


def test_a_relative_import_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sim").mkdir()
    (tmp_path / "sim" / "here.py").write_text("import math\nfrom . import there")
    with pytest.raises(ValueError, match=r"here\.py:2: relative import"):
        module_graph(find_modules(tmp_path, ("sim",)))
