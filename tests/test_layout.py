"""The packaging and the direction of imports that DESIGN promises."""

import ast
import os
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest

from gearshift.runtime.network import find_source, read_manifest

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


def module_name(path: Path) -> str:
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


@pytest.fixture(scope="session")
def wheel_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Site-packages of a fresh environment that holds the built wheel and nothing else of ours."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    ).stdout
    for name in filter(None, tracked.decode().split("\0")):
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_file():
            target.write_bytes((ROOT / name).read_bytes())
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, source],
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("*.whl")
    environment = folder / "venv"
    venv.create(environment, with_pip=False)
    site = next(environment.glob("lib/python*/site-packages"))
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--no-deps", "--target", site, wheel],
        check=True,
        capture_output=True,
    )
    return site


def test_wheel_puts_only_gearshift_at_the_top(wheel_site: Path) -> None:
    top = {p.name for p in wheel_site.iterdir() if not p.name.endswith(".dist-info")}
    assert top <= {"gearshift", "bin"}


def test_the_wheel_holds_every_form_of_every_network(wheel_site: Path) -> None:
    zoo = wheel_site / "gearshift" / "models" / "zoo"
    networks = read_manifest(zoo)["networks"]
    assert networks
    for name in networks:
        forms = find_source(name, zoo).forms
        assert set(forms) == {"onnx", "litert", "integer"}
        forms["onnx"].verified_bytes()
        forms["litert"].verified_bytes()
        forms["integer"].verified_folder()


def test_every_module_imports_from_the_wheel(wheel_site: Path, tmp_path: Path) -> None:
    names = [module_name(path) for path in modules()]
    script = (
        "import importlib, sys\n"
        "optional = {'torch', 'moderngl', 'cv2', 'embreex', 'anny'}\n"
        f"for name in {names!r}:\n"
        "    try:\n"
        "        module = importlib.import_module(name)\n"
        "    except ModuleNotFoundError as error:\n"
        "        assert (error.name or '').split('.')[0] in optional, (name, error)\n"
        "        continue\n"
        f"    assert module.__spec__.origin.startswith({str(wheel_site)!r}), module\n"
    )
    dependencies = os.pathsep.join(p for p in sys.path if p.endswith("site-packages"))
    # The editable install's finder would win over PYTHONPATH, so only plain paths are passed (-S).
    environment = {"PYTHONPATH": os.pathsep.join([str(wheel_site), dependencies]), "PATH": ""}
    subprocess.run([sys.executable, "-S", "-c", script], cwd=tmp_path, env=environment, check=True)
