from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from gearshift.runtime.engines.network import read_manifest
from gearshift.runtime.errors import ConfigurationError
from gearshift.sim.figures import derived
from gearshift.sim.figures import rebuild as figures
from gearshift.sim.figures.rebuild import rebuild

from .conftest import World


@pytest.fixture
def checkout(world: World, tmp_path: Path) -> Path:
    """A checkout with networks, a profile and a README, but nothing that derives from them."""
    root = tmp_path / "checkout"
    shutil.copytree(world.zoo, root / "models" / "zoo")
    (root / "models" / "zoo" / "ensembles.json").unlink()
    (root / "docs").mkdir()
    (root / "docs" / "models.md").write_text("<!-- figures:networks -->\n<!-- /figures -->\n")
    (root / "README.md").write_text("# T\n\n<!-- figures:readme -->\n<!-- /figures -->\n\nend\n")
    return root


@pytest.mark.slow
def test_everything_is_rebuilt_once_and_then_current(
    world: World, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_timing(monkeypatch)
    said: list[str] = []
    written = rebuild(checkout, world.flights, said.append)
    assert written == [
        "sim/data/traces/val.npz",
        "sim/data/traces/known.npz",
        "sim/data/traces/unseen.npz",
        "models/zoo/ensembles.json",
        "sim/data/baseline.json",
        "README.md#figures",
        "docs/models.md#figures",
        "docs/plane.png",
    ]
    text = (checkout / "README.md").read_text()
    assert text.startswith("# T\n\n<!-- figures:readme -->\n**The networks alone**")
    assert "| D1 op |" in text
    assert "| F1 above M1.0 | +" in (checkout / "docs" / "models.md").read_text()
    assert text.endswith("<!-- /figures -->\n\nend\n")
    assert derived.stale(checkout) == []
    assert rebuild(checkout, None, said.append) == []

    (checkout / "README.md").write_text(text.replace("# T", "# Other title"))
    assert derived.stale(checkout) == []
    (checkout / "README.md").write_text(text.replace("| D1 op |", "| D1 up |"))
    assert derived.stale(checkout) == ["README.md#figures is not what 'make figures' wrote"]
    documents = ["README.md#figures", "docs/models.md#figures", "docs/plane.png"]
    assert rebuild(checkout, None, said.append) == documents
    assert derived.stale(checkout) == []

    with (checkout / "models" / "zoo" / "F1.onnx").open("ab") as stream:
        stream.write(b"x")
    reasons = derived.stale(checkout)
    assert "sim/data/traces/val.npz is older than models/zoo/F1.onnx" in reasons
    with pytest.raises(ConfigurationError, match="give --flights"):
        rebuild(checkout, None, said.append)


def without_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    from gearshift.sim.compare import main_job

    def quick(**options: Any) -> Any:
        return main_job.compare(**options, timing=False, resamples=20)

    monkeypatch.setattr(figures, "compare", quick)


def test_an_unknown_marker_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- figures:nonsense -->\n<!-- /figures -->\n")
    with pytest.raises(ConfigurationError, match="no figures called nonsense"):
        derived.fill_blocks(page, {"readme": "text"})


def test_what_is_shipped_is_current() -> None:
    """Fails when a network, trace, calibration, table or baseline is older than its inputs."""
    try:
        root = derived.find_root()
    except ConfigurationError:
        pytest.skip("not in a checkout")
    listed = json.loads((root / derived.DERIVED).read_text())["files"].keys()
    made = {*figures.TRACES.values(), figures.ENSEMBLES_FILE, figures.BASELINE, figures.PLANE}
    forms = {
        name
        for network in read_manifest(root / figures.ZOO)["networks"]
        for name in (
            f"{figures.ZOO}/gap8/{network}/gap8.json",
            f"{figures.ZOO}/{network}.tflite",
        )
    }
    assert listed >= made | forms | {"README.md#figures", figures.PROFILE}
    assert derived.stale(root) == []
