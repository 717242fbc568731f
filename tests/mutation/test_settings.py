"""What mutation testing is set up with is about the code as it is."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
KEYS = {"module", "tests", "sample", "seed", "examples", "skip"}


@pytest.mark.parametrize("path", sorted(HERE.glob("*.toml")), ids=lambda path: path.stem)
def test_what_a_module_is_tried_with_exists(path: Path) -> None:
    settings = tomllib.loads(path.read_text())
    assert settings.keys() >= {"module", "tests"}
    assert settings.keys() <= KEYS
    assert (ROOT / settings["module"]).is_file()
    named = [test for test in settings["tests"] if test.endswith(".py")]
    assert named
    assert all((ROOT / test).is_file() for test in named)
    assert f"| `{settings['module']}` |" in (HERE / "README.md").read_text()


def test_every_listed_survivor_is_of_a_line_that_is_there() -> None:
    text = (HERE / "survivors-python.md").read_text()
    entries = re.findall(r"^- `(.*?)`: `(.*)` → `(.*)`$", text, re.MULTILINE)
    assert len(entries) == text.count("\n- `")
    assert len(entries) == len(set(entries)) > 0
    for module, before, after in entries:
        source = " ".join((ROOT / module).read_text().split())
        assert " ".join(before.split()) in source, f"{module} has no {before!r}"
        assert after != before
