"""What is installed: the wheel, and the lean install that flies with nothing beside the base."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shlex
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from gearshift.runtime.cli import load_commands
from gearshift.runtime.engines.network import find_network_source, read_manifest

pytestmark = pytest.mark.slow


ROOT = Path(__file__).parent.parent
RECORDING = ROOT / "sim" / "data" / "recordings" / "val-05000.mcap"
FRAMES = 250
CLI = "import sys; from gearshift.runtime.cli import main; sys.exit(main())"
LOADED = (
    "import sys\n"
    "from gearshift.runtime.cli import main\n"
    "try:\n"
    "    code = main()\n"
    "except SystemExit as end:\n"
    "    code = end.code\n"
    "sys.stderr.write('loaded: ' + ' '.join({m.partition('.')[0] for m in sys.modules}))\n"
    "sys.exit(code)\n"
)
UNNEEDED = {"asyncio", "concurrent", "http", "multiprocessing", "sqlite3", "ssl", "xml"}
"""Of the standard library: large, and nothing that flies from a recording uses them."""


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


def base_dependencies() -> set[str]:
    """What pip installs with the wheel when no extra is asked for, by name."""
    found: set[str] = set()
    to_do = ["gearshift"]
    while to_do:
        for text in importlib.metadata.requires(to_do.pop()) or ():
            requirement = Requirement(text)
            name = canonicalize_name(requirement.name)
            if name not in found and (
                requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            ):
                found.add(name)
                to_do.append(name)
    return found


def top_level(distribution: str) -> set[str]:
    """Files and folders of a distribution in site-packages."""
    files = importlib.metadata.files(distribution)
    assert files is not None, distribution
    return {file.parts[0] for file in files if file.parts[0] not in ("..", "__pycache__")}


@pytest.fixture(scope="session")
def lean(wheel_site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the wheel and the base dependencies alone."""
    environment = tmp_path_factory.mktemp("lean")
    venv.create(environment, with_pip=False)
    site = next(environment.glob("lib/python*/site-packages"))
    for installed in wheel_site.iterdir():
        if installed.name != "bin":
            shutil.copytree(installed, site / installed.name)
    for name in base_dependencies():
        here = Path(str(importlib.metadata.distribution(name).locate_file("")))
        for entry in top_level(name):
            # A folder may belong to several distributions (google, backports).
            if not (site / entry).exists():
                (site / entry).symlink_to(here / entry)
    return environment / "bin" / "python"


def run(python: Path, folder: Path, code: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, "-I", "-c", code, *words],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def install_line_of(python: Path, extra: str) -> str:
    """What installs an extra beside the wheel that this environment was made from."""
    (record,) = (python.parent.parent / "lib").glob("python*/site-packages/*/direct_url.json")
    return f"pip install 'gearshift[{extra}] @ {json.loads(record.read_text())['url']}'"


@pytest.fixture
def flight(tmp_path: Path) -> Path:
    path = tmp_path / "flight.toml"
    path.write_text(
        "schema_version = 1\n"
        f'[source]\nkind = "recording"\npath = "{RECORDING}"\npace = "none"\n'
        '[policy]\nthreshold = "equal-error"\n'
        '[[sinks]]\nkind = "jsonl"\n'
        '[recording]\nfolder = "recorded"\n'
    )
    return path


def loaded(said: str) -> set[str]:
    return set(said.rpartition("loaded: ")[2].split())


def test_wheel_puts_only_gearshift_at_the_top(wheel_site: Path) -> None:
    top = {p.name for p in wheel_site.iterdir() if not p.name.endswith(".dist-info")}
    assert top <= {"gearshift", "bin"}


def test_the_wheel_holds_every_form_of_every_network(wheel_site: Path) -> None:
    zoo = wheel_site / "gearshift" / "models" / "zoo"
    networks = read_manifest(zoo)["networks"]
    assert networks
    for name in networks:
        forms = find_network_source(name, zoo).forms
        assert set(forms) == {"onnx", "litert", "integer"}
        forms["onnx"].verified_bytes()
        forms["litert"].verified_bytes()
        forms["integer"].verified_folder()


def test_every_module_imports_from_the_wheel(wheel_site: Path, tmp_path: Path) -> None:
    files = [path.relative_to(wheel_site) for path in (wheel_site / "gearshift").rglob("*.py")]
    names = sorted(".".join(path.with_suffix("").parts) for path in files)
    script = (
        "import importlib, sys\n"
        "optional = {'torch', 'moderngl', 'cv2', 'embreex', 'anny'}\n"
        f"for name in {[name.removesuffix('.__init__') for name in names]!r}:\n"
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


FRONT_DOOR = (
    "import gearshift, sys\n"
    "print(gearshift.__version__, *gearshift.__all__)\n"
    "print(*(name for name in gearshift.__all__ if getattr(gearshift, name) is None))\n"
    "print(gearshift.__file__)\n"
    "swept = gearshift.sweep('val', 'op', 'D1', [0.5])\n"
    "print(swept.columns('gap8')['latency_ms'].shape)\n"
    "try:\n"
    "    swept.to_pandas()\n"
    "except gearshift.GearshiftError as error:\n"
    "    print(error)\n"
)


def test_the_front_door_opens_in_the_lean_install(lean: Path, tmp_path: Path) -> None:
    done = run(lean, tmp_path, FRONT_DOOR)
    assert done.returncode == 0, done.stderr
    names, missing, place, shape, advice = done.stdout.splitlines()
    version, *rest = names.split()
    assert version == importlib.metadata.version("gearshift")
    assert "load_ensemble" in rest
    assert missing == ""
    assert Path(place).is_relative_to(lean.parent.parent)
    assert shape == "(1,)"
    assert advice.startswith("a DataFrame needs the package 'pandas': pip install pandas")


TYPED = """\
import gearshift

estimate = gearshift.make_scheduler("D1", "op", 0.4).process
reveal_type(gearshift.load_ensemble("D1"))
reveal_type(gearshift.sweep("val", "op", "D1").thresholds)
reveal_type(estimate)
gearshift.load_ensembles
"""


def test_a_type_checker_of_a_user_sees_real_types(lean: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(TYPED)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--python-executable", lean, "mine.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout.splitlines()
    ensemble, thresholds, process, unknown, _ = said
    assert "gearshift.runtime.ensembles.ensemble.Ensemble" in ensemble
    assert "numpy.ndarray[" in thresholds
    assert "gearshift.runtime.types.Estimate" in process
    assert 'Module has no attribute "load_ensembles"' in unknown


def test_the_lean_install_flies_from_a_recording(lean: Path, flight: Path, tmp_path: Path) -> None:
    done = run(lean, tmp_path, LOADED, "run", str(flight))
    assert done.returncode == 0, done.stderr
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    assert [report["sequence"] for report in reports if "answered" in report] == list(range(FRAMES))
    assert len(list((tmp_path / "recorded").glob("*.mcap"))) == 1
    modules = loaded(done.stderr)
    third_party = modules - set(sys.stdlib_module_names) - {"gearshift", "__main__"}
    assert {"numpy", "onnxruntime", "mcap", "msgspec"} <= third_party
    base = {name.removesuffix(".py") for d in base_dependencies() for name in top_level(d)}
    assert third_party <= base
    assert not modules & UNNEEDED


def test_help_loads_nothing_but_python(lean: Path, tmp_path: Path) -> None:
    done = run(lean, tmp_path, LOADED, "--help")
    assert done.returncode == 0, done.stderr
    assert "fly: frames from a camera" in done.stdout
    third_party = loaded(done.stderr) - set(sys.stdlib_module_names)
    assert third_party == {"__main__", "gearshift"}
    assert not loaded(done.stderr) & UNNEEDED


@pytest.mark.parametrize("command", sorted(load_commands()))
def test_every_command_explains_itself_without_extras(
    lean: Path, tmp_path: Path, command: str
) -> None:
    done = run(lean, tmp_path, CLI, command, "--help")
    assert done.returncode == 0, done.stderr
    assert f"usage: -c {command}" in done.stdout or f"usage: gearshift {command}" in done.stdout


@pytest.mark.parametrize(
    ("override", "missing"),
    [
        ('source={kind="v4l2", device="/dev/video0"}', ("OpenCV", "camera")),
        ('sinks=[{kind="mavlink", to="udp:127.0.0.1:14550"}]', ("pymavlink", "mavlink")),
        ('ensemble.engine="litert"', ("ai-edge-litert", "litert")),
        ('ensemble.engine="board:/dev/ttyACM0"', ("serial", "board")),
        ('sinks=[{kind="nanocockpit-uart", port="/dev/ttyACM0"}]', ("serial", "board")),
        ('sinks=[{kind="rerun"}]', ("rerun", "viewer")),
    ],
)
def test_what_is_not_installed_is_named_with_its_extra(
    lean: Path, flight: Path, tmp_path: Path, override: str, missing: tuple[str, str]
) -> None:
    done = run(lean, tmp_path, CLI, "run", str(flight), "--set", override)
    package, extra = missing
    assert done.returncode == 1
    assert done.stdout == ""
    assert install_line_of(lean, extra) in done.stderr
    assert package in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1


def test_pip_takes_the_line_for_an_extra(lean: Path) -> None:
    pip, *words = shlex.split(install_line_of(lean, "board"))
    assert pip == "pip"
    done = subprocess.run(
        [sys.executable, "-m", "pip", *words, "--dry-run", "--no-deps", "--ignore-installed"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Would install gearshift-" in done.stdout


def test_replaying_without_its_extra_is_one_line(lean: Path, tmp_path: Path) -> None:
    done = run(lean, tmp_path, CLI, "replay", str(RECORDING), "--ensemble", "D1", "--policy", "op")
    assert done.returncode == 1
    assert (
        done.stderr
        == f"gearshift: 'replay' needs the package 'rich': {install_line_of(lean, 'replay')}\n"
    )
