"""Finding networks and engines by name: forms, digests, manifests old and new, plug-ins."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearshift.runtime.engines.engine_conformance import EngineCheck, engine_checks
from gearshift.runtime.engines.engine_registry import ENGINES, load_engine, open_engine
from gearshift.runtime.engines.network import (
    MANIFEST_NAME,
    find_network,
    find_network_source,
    folder_digest,
    read_manifest,
    zoo_folder,
)
from gearshift.runtime.errors import ConfigurationError, MissingExtraError, NetworkError
from gearshift.runtime.installation import install_line

NETWORKS = sorted(read_manifest()["networks"])
BUILT_IN = ("onnx", "litert", "integer")


def frame() -> np.ndarray:
    coarse = np.random.default_rng(3).integers(30, 200, (12, 20))
    noise = np.random.default_rng(4).integers(0, 24, (96, 160))
    return (coarse.repeat(8, axis=0).repeat(8, axis=1) + noise).astype(np.uint8)


def one_line(error: pytest.ExceptionInfo[Exception]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


def need(engine: str) -> None:
    if engine == "litert":
        pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed")


@pytest.mark.parametrize("engine", BUILT_IN)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_shipped_network_runs_on_every_engine(name: str, engine: str) -> None:
    """All forms are there, verified, and say about the same."""
    need(engine)
    reference, loaded = load_engine(name), load_engine(name, engine=engine)
    assert loaded.network.name == name
    assert loaded.network.components == reference.network.components
    expected = reference.run(frame())
    # An error of rounding, not of another network: a few hundredths of the output's spread.
    spread = np.array([c.scale for c in reference.network.components] or [float(np.ptp(expected))])
    assert (np.abs(loaded.run(frame()) - expected) < 0.1 * spread).all()
    reference.close()
    loaded.close()


@pytest.mark.parametrize("check", engine_checks(), ids=lambda check: check.__name__)
def test_the_integer_engine_of_a_zoo_conforms(check: EngineCheck) -> None:
    check(lambda: load_engine("F2", engine="integer"))


def test_what_is_named_is_found() -> None:
    assert ENGINES.names()[:3] == BUILT_IN
    source = find_network_source("F1")
    assert set(source.forms) == set(BUILT_IN)
    assert source.sha256 == find_network("F1").sha256
    assert open_engine(source).network.name == "F1"


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        ("integr", "unknown engine 'integr'; did you mean 'integer' or 'litert'?"),
        ("tensorrt", "unknown engine 'tensorrt'; there are onnx, litert, integer"),
        ("onnx:2", "engine onnx takes no argument, but '2' was given"),
        ("integer:", "engine integer takes no argument, but '' was given"),
    ],
)
def test_other_engines_are_refused(engine: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        load_engine("F2", engine=engine)
    assert one_line(error).startswith(message)


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("ai_edge_litert", "tflite_runtime"):
        for module in [m for m in sys.modules if m.split(".")[0] == package]:
            monkeypatch.delitem(sys.modules, module)
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=re.escape(install_line("litert"))) as error:
        load_engine("F2", engine="litert")
    one_line(error)


def test_an_engine_can_be_plugged_in(
    tmp_path: Path, tiny_zoo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "others_engine.py").write_text(
        "from gearshift.runtime.engines.onnx_engine import open_onnx\n"
        "def open_it(source, argument):\n"
        "    engine = open_onnx(source, None)\n"
        "    engine.argument = argument\n"
        "    return engine\n"
        "nothing = 3\n"
    )
    info = tmp_path / "others-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: others\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[gearshift.engines]\nothers = others_engine:open_it\nnothing = others_engine:nothing\n"
        "broken = no_such_module:open_it\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    engine = load_engine("little", tiny_zoo, engine="others:socket://127.0.0.1:5")
    assert vars(engine)["argument"] == "socket://127.0.0.1:5"
    assert vars(load_engine("little", tiny_zoo, engine="others"))["argument"] is None
    with pytest.raises(ConfigurationError, match="'nothing' is no function"):
        load_engine("little", tiny_zoo, engine="nothing")
    with pytest.raises(ConfigurationError, match=r"'broken'.*cannot be loaded: ModuleNotFound"):
        load_engine("little", tiny_zoo, engine="broken")


def test_a_network_without_the_form_says_how_it_is_made(tiny_zoo: Path) -> None:
    for engine, command in (("integer", "models export gap8"), ("litert", "models export tflite")):
        need(engine)
        with pytest.raises(NetworkError, match=f"little has no {engine} form.*{command}"):
            load_engine("little", tiny_zoo, engine=engine)


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    """A copy of the shipped zoo that may be damaged."""
    return Path(shutil.copytree(zoo_folder(), tmp_path / "zoo"))


@pytest.mark.parametrize("damage", ["flip", "remove", "add", "nest", "gone"])
def test_a_changed_folder_is_refused(zoo: Path, damage: str) -> None:
    folder = zoo / "gap8" / "F2"
    weights = sorted(folder.glob("*_weights.hex"))[1]
    if damage == "flip":
        content = bytearray(weights.read_bytes())
        content[7] ^= 1
        weights.write_bytes(content)
    elif damage == "remove":
        weights.unlink()
    elif damage == "add":
        (folder / "another.hex").write_bytes(b"")
    elif damage == "nest":
        (folder / "inner").mkdir()
    else:
        shutil.rmtree(folder)
    with pytest.raises(NetworkError, match="F2") as error:
        load_engine("F2", zoo, engine="integer")
    assert ("holds the folder inner" in one_line(error)) == (damage == "nest")
    assert load_engine("F1", zoo, engine="integer").network.name == "F1"


def test_files_and_folders_are_networks_too(zoo: Path) -> None:
    folder = load_engine(zoo / "gap8" / "F2")
    by_name = load_engine("F2", zoo, engine="integer")
    np.testing.assert_array_equal(folder.run(frame()), by_name.run(frame()))
    beside = load_engine(str(zoo / "F2.onnx"), engine="integer")
    np.testing.assert_array_equal(beside.run(frame()), by_name.run(frame()))
    with pytest.raises(NetworkError, match="has no onnx form, only integer"):
        load_engine(zoo / "gap8" / "F2", engine="onnx")
    # What the manifest knows is another network than the file as it is now.
    shutil.copyfile(zoo / "F1.onnx", zoo / "F2.onnx")
    assert set(find_network_source(zoo / "F2.onnx").forms) == {"onnx"}
    with pytest.raises(NetworkError, match="has no integer form"):
        load_engine(zoo / "F2.onnx", engine="integer")
    with pytest.raises(NetworkError, match="is not the manifest's"):
        load_engine("F2", zoo)


def manifest_of(zoo: Path) -> dict[str, dict[str, dict[str, object]]]:
    return dict(json.loads((zoo / MANIFEST_NAME).read_text()))


def test_manifests_without_formats_still_read(zoo: Path) -> None:
    document = manifest_of(zoo)
    document["schema_version"] = 1  # type: ignore[assignment]
    for entry in document["networks"].values():
        del entry["formats"]
    (zoo / MANIFEST_NAME).write_text(json.dumps(document))
    assert set(find_network_source("F1", zoo).forms) == {"onnx"}
    assert load_engine("F1", zoo).network.name == "F1"


@pytest.mark.parametrize(
    "formats", [3, {"integer": {}}, {"integer": {"folder": "gap8/F1"}}, {"integer": "gap8/F1"}]
)
def test_damaged_entries_are_named(zoo: Path, formats: object) -> None:
    document = manifest_of(zoo)
    document["networks"]["F1"]["formats"] = formats
    (zoo / MANIFEST_NAME).write_text(json.dumps(document))
    with pytest.raises(NetworkError, match="the entry of F1 is damaged") as error:
        load_engine("F1", zoo)
    one_line(error)


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{}",
        "3",
        '{"schema_version": 2}',
        '{"schema_version": 2, "networks": 3}',
        '{"schema_version": 2, "networks": {"F1": 3}}',
        '{"schema_version": 3, "networks": {}}',
    ],
)
def test_other_manifests_are_refused(zoo: Path, text: str) -> None:
    (zoo / MANIFEST_NAME).write_text(text)
    with pytest.raises(NetworkError, match="not a manifest of schema version 2 or older") as error:
        load_engine("F1", zoo)
    one_line(error)


NAMES = st.text("abcXYZ019._- é", min_size=1, max_size=8).filter(lambda n: not n.startswith("."))


@given(st.dictionaries(NAMES, st.binary(max_size=40), max_size=5))
def test_the_digest_of_a_folder(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, bytes]
) -> None:
    """It depends on names and bytes alone, and on all of them."""
    first, second = tmp_path_factory.mktemp("a"), tmp_path_factory.mktemp("b")
    for folder, items in ((first, content.items()), (second, reversed(content.items()))):
        for name, data in items:
            (folder / name).write_bytes(data)
    (second / ".hidden").write_bytes(b"x")
    digest = folder_digest(first)
    assert digest == folder_digest(second)
    lines = [
        f"{hashlib.sha256(content[name]).hexdigest()}  {name}\n".encode()
        for name in sorted(content, key=str.encode)
    ]
    assert digest == hashlib.sha256(b"".join(lines)).hexdigest()
    for name, data in content.items():
        (second / name).write_bytes(data + b"!")
        assert folder_digest(second) != digest
        (second / name).write_bytes(data)


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="sha256sum is not installed")
def test_the_digest_is_what_sha256sum_says() -> None:
    folder = zoo_folder() / "gap8" / "M1.0"
    command = "LC_ALL=C sha256sum * | sha256sum"
    said = subprocess.run(["sh", "-c", command], cwd=folder, check=True, capture_output=True)
    assert said.stdout.decode().split()[0] == folder_digest(folder)
    assert find_network_source("M1.0").forms["integer"].sha256 == folder_digest(folder)
