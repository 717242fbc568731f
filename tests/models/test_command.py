"""The command line, and the zoo that ships."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gearshift.models.commands import models_command as command
from gearshift.models.commands.model_tables import agreement_table
from gearshift.models.evaluating.dataset import load_dataset
from gearshift.models.evaluating.evaluation import scores
from gearshift.models.networks.catalogue import architectures, find_architecture
from gearshift.models.zoo_making.zoo_writer import GAP8_PROFILE, gap8_profile
from gearshift.runtime.engines.network import find_network, read_manifest, zoo_folder
from gearshift.runtime.ensembles.profile import read_profile
from gearshift.runtime.errors import ConfigurationError


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    command.register(parser)
    options = parser.parse_args(arguments)
    code: int = options.run(options)
    return code


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    script = (
        "import sys; import gearshift.models.commands.models_command; "
        "print([m for m in ('torch', 'numpy', 'onnx', 'onnxruntime') if m in sys.modules])"
    )
    shown = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == "[]"


@pytest.mark.parametrize("action", ["cost", "list"])
def test_views_need_neither_torch_nor_onnx(action: str) -> None:
    script = (
        "import sys\n"
        "for name in ('torch', 'onnx', 'tqdm'): sys.modules[name] = None\n"
        "import argparse; from gearshift.models.commands import models_command as command\n"
        "parser = argparse.ArgumentParser(); command.register(parser)\n"
        f"options = parser.parse_args(['{action}']); sys.exit(options.run(options))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert shown.returncode == 0, shown.stderr


def test_cost_prints_layers_and_the_fit(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("cost", "M1.0", "--fit") == 0
    shown = capsys.readouterr().out
    assert "depthwise1" in shown
    assert "root mean square" in shown


def test_cost_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("cost", "F1", "M1.0", "aux", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema_version"] == 1
    assert document["networks"]["M1.0"]["shape"]["mac"] == find_architecture("M1.0").mac
    assert [entry["networks"] for entry in document["deployments"]] == [["F1"], ["M1.0"], ["aux"]]


def test_the_zoo_matches_its_manifest() -> None:
    networks = read_manifest()["networks"]
    assert {"F1", "F2", "M1.0", "aux"} <= set(networks)
    for name, entry in networks.items():
        assert find_network(name).verified_bytes()
        assert entry["mac"] == architectures()[name].mac
        assert entry["parameters"] == architectures()[name].parameters


def test_the_zoo_profile_is_of_these_networks() -> None:
    stored, fresh = read_profile(zoo_folder() / GAP8_PROFILE), gap8_profile()
    assert stored.networks.keys() == fresh.networks.keys()
    for name, profile in fresh.networks.items():
        assert stored.networks[name].sha256 == profile.sha256
        assert stored.networks[name].mean_ms == pytest.approx(profile.mean_ms)


def test_list_shows_the_zoo(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list") == 0
    shown = capsys.readouterr().out
    assert "M1.0" in shown
    assert "* modelled" in shown


def test_any_form_is_evaluated(flights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(zoo_folder() / "gap8" / "F2")
    assert run("evaluate", folder, "F2", "--data", str(flights / "val")) == 0
    integer, onnx = (line.split() for line in capsys.readouterr().out.splitlines()[1:3])
    assert (integer[0], onnx[0]) == (folder, "F2")
    assert float(integer[1]) == pytest.approx(float(onnx[1]), abs=0.02)


def test_networks_with_other_outputs_are_refused(flights: Path) -> None:
    data = load_dataset(flights / "val")
    with pytest.raises(ConfigurationError, match="truth of x, y, z, phi, which a network with 3 o"):
        scores(np.zeros((len(data), 3), np.float32), data)
    four = np.zeros((5, 4), np.float32)
    with pytest.raises(ConfigurationError, match="mine gives 3 numbers, theirs x, y, z, phi"):
        agreement_table("theirs", four, {"mine": four[:, :3]})
