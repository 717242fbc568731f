"""What docs/examples shows runs, and says what it claims to show."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"
SAYS = {
    "own_policy.py": [r"drift +\d", r"hold \(control\)", r"always-large", "wrote .*png"],
    "own_networks.py": [r"-inf .* 100% +first-frame, hard", r"inf .* 0%"],
    "own_recording.py": ["250 frames written", "dusk +always-large"],
    "flight_loop.py": [r"tracking, .* ms old: forward [+-]\d", r"[1-9]\d* estimates, \d+ asked"],
    "own_sink.py": [r"^\.*[Ls]\.* .* ahead$", "tracking: [1-9]"],
}


def test_every_example_is_run() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(SAYS)


@pytest.mark.parametrize("name", SAYS)
def test_it_runs_anywhere_and_says_what_it_is_for(name: str, tmp_path: Path) -> None:
    pytest.importorskip("onnx" if name == "own_networks.py" else "matplotlib")
    done = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / name],
        cwd=tmp_path,
        env={**os.environ, "MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for pattern in SAYS[name]:
        assert re.search(pattern, done.stdout, re.MULTILINE), (pattern, done.stdout)
    text = (EXAMPLES / name).read_text()
    assert f"python docs/examples/{name}" in text.split('"""')[1], "it says how it is run"
    for picture in tmp_path.glob("*.png"):
        assert picture.read_bytes().startswith(b"\x89PNG")
    assert bool(list(tmp_path.glob("*.png"))) == (name == "own_policy.py")


def cells(kind: str) -> list[dict[str, Any]]:
    notebook = json.loads((EXAMPLES / "own_policy.ipynb").read_text())
    return [cell for cell in notebook["cells"] if cell["cell_type"] == kind]


def test_the_notebook_runs_from_top_to_bottom() -> None:
    pytest.importorskip("pandas")
    pytest.importorskip("matplotlib")
    namespace: dict[str, Any] = {"__name__": "notebook"}
    for number, cell in enumerate(cells("code")):
        code = compile("".join(cell["source"]), f"cell {number}", "exec")
        exec(code, namespace)
    swept = namespace["swept"]
    assert list(swept["threshold"]) == sorted(swept["threshold"])
    assert (swept["error_low"] <= swept["error"]).all()
    assert len(namespace["axes"].lines) == 4


def test_the_notebook_is_shown_as_it_ran() -> None:
    """`jupyter execute --inplace docs/examples/own_policy.ipynb` writes its outputs anew."""
    counts = [cell["execution_count"] for cell in cells("code")]
    assert counts == list(range(1, len(counts) + 1))
    outputs = [output for cell in cells("code") for output in cell["outputs"]]
    assert {output["output_type"] for output in outputs} == {"execute_result"}
    assert "image/png" in outputs[-1]["data"]
    assert (EXAMPLES / "own_policy.ipynb").stat().st_size < 200_000
