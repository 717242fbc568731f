"""The packaging and the direction of imports that the architecture promises."""

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("runtime", "models", "firmware_bridge", "sim")
MAY_IMPORT = {
    "runtime": {"runtime"},
    "models": {"models", "runtime"},
    "firmware_bridge": {"firmware_bridge", "runtime"},
    "sim": set(PACKAGES),
}


def modules() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


FRONT_DOOR = ROOT / "sim" / "front_door" / "__init__.py"
"""What `import gearshift` imports: the highest place, which may name every other."""


def module_name(path: Path) -> str:
    if path == FRONT_DOOR:
        return "gearshift"
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(("gearshift", *(p for p in parts if p != "__init__")))


def imported_packages(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    parts = [name.split(".") for name in names]
    return {p[1] for p in parts if p[0] == "gearshift" and len(p) > 1}


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_downwards(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    assert imported_packages(path) <= MAY_IMPORT[package]


def test_every_package_is_listed_for_the_wheel() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    listed = set(project["tool"]["setuptools"]["packages"])
    present = {module_name(path) for path in modules() if path.name == "__init__.py"}
    assert present == listed
