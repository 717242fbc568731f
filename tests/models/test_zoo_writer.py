"""Writing the zoo: forms follow their network, and nothing stale stays behind."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="converting networks needs onnx (extra train)")

from gearshift.models.commands.model_tables import zoo_table
from gearshift.models.zoo_making.zoo_writer import (
    ZooEntry,
    gap8_profile,
    write_form,
    write_integer_form,
    write_network,
)
from gearshift.runtime.cli import main
from gearshift.runtime.engines.engine_registry import load_engine
from gearshift.runtime.engines.network import (
    MANIFEST_NAME,
    MANIFEST_VERSION,
    find_network_source,
    read_manifest,
    zoo_folder,
)
from gearshift.runtime.errors import NetworkError


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    """A zoo of two networks without other forms, as an older version wrote it."""
    folder = tmp_path / "zoo"
    folder.mkdir()
    networks = {name: read_manifest()["networks"][name] for name in ("F2", "aux")}
    for entry in networks.values():
        shutil.copy(zoo_folder() / entry["file"], folder)
        del entry["formats"]
    document = {"schema_version": 1, "networks": networks}
    (folder / MANIFEST_NAME).write_text(json.dumps(document))
    return folder


def entry(name: str) -> ZooEntry:
    return ZooEntry(name, "test", 1, 2, "nothing", "CC0-1.0", {}, "none")


def test_an_integer_form_is_the_same_wherever_it_is_made(zoo: Path) -> None:
    folder, shipped = write_integer_form(zoo, "F2"), zoo_folder() / "gap8" / "F2"
    weights = {path.name: path.read_bytes() for path in folder.glob("*.hex")}
    assert weights == {path.name: path.read_bytes() for path in shipped.glob("*.hex")}
    made, kept = (json.loads((place / "gap8.json").read_text()) for place in (folder, shipped))
    for key in ("layers", "output_scale", "golden"):
        assert made[key] == kept[key]
    assert json.loads((zoo / MANIFEST_NAME).read_text())["schema_version"] == MANIFEST_VERSION
    digest = find_network_source("F2", zoo).forms["integer"].sha256
    assert load_engine("F2", zoo, engine="integer").network.name == "F2"
    # Again, over what is there.
    assert write_integer_form(zoo, "F2") == folder
    assert find_network_source("F2", zoo).forms["integer"].sha256 == digest


def test_a_network_that_is_written_again_loses_its_forms(zoo: Path) -> None:
    write_integer_form(zoo, "F2")
    write_integer_form(zoo, "aux")
    content = (zoo_folder() / "F1.onnx").read_bytes()
    write_network(zoo, content, entry("F2"))
    assert set(find_network_source("F2", zoo).forms) == {"onnx"}
    assert set(find_network_source("aux", zoo).forms) == {"onnx", "integer"}
    with pytest.raises(NetworkError, match="has no integer form"):
        load_engine("F2", zoo, engine="integer")


def test_forms_of_networks_that_are_not_there(zoo: Path) -> None:
    with pytest.raises(NetworkError, match="no network 'F9'"):
        write_form(zoo, "F9", "litert", zoo / "aux.onnx")
    with pytest.raises(NetworkError, match="unknown network 'F9'"):
        write_integer_form(zoo, "F9")


def test_the_command_fills_a_zoo(zoo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "export", "gap8", "--into-zoo", "--zoo", str(zoo)]) == 0
    assert capsys.readouterr().out.split() == [str(zoo / "gap8" / name) for name in ("F2", "aux")]
    frame = np.full((96, 160), 90, dtype=np.uint8)
    for name in ("F2", "aux"):
        expected = load_engine(name, zoo).run(frame)
        assert load_engine(name, zoo, engine="integer").run(frame) == pytest.approx(
            expected, abs=0.05 * float(np.ptp(expected))
        )
    assert main(["models", "export", "gap8", "--zoo", str(zoo)]) == 1
    assert "--into-zoo" in capsys.readouterr().err


@pytest.mark.parametrize(("key", "value"), [("mae", None), ("mac", "many"), ("parameters", None)])
def test_a_damaged_entry_is_named(zoo: Path, key: str, value: object) -> None:
    document = json.loads((zoo / MANIFEST_NAME).read_text())
    document["networks"]["aux"][key] = value
    (zoo / MANIFEST_NAME).write_text(json.dumps(document))
    with pytest.raises(NetworkError, match=rf"manifest\.json: the entry of aux .* no {key}"):
        zoo_table(zoo)


def test_a_profile_leaves_out_what_gap8_cannot_run(
    zoo: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = (zoo / "F2.onnx").read_bytes()[:-9]
    write_network(zoo, broken, entry("foreign"))
    with caplog.at_level(logging.WARNING):
        assert set(gap8_profile(zoo).networks) == {"F2", "aux"}
    assert "foreign is not in the profile" in caplog.text
    assert main(["models", "list", "--zoo", str(zoo)]) == 0
    (row,) = [line for line in capsys.readouterr().out.splitlines() if "foreign" in line]
    assert row.split()[3:5] == ["-", "-"]
    document = json.loads((zoo / MANIFEST_NAME).read_text())
    document["networks"] = {"foreign": document["networks"]["foreign"]}
    (zoo / MANIFEST_NAME).write_text(json.dumps(document))
    with pytest.raises(NetworkError, match="no network that GAP8's kernels can run"):
        gap8_profile(zoo)
