"""What the documents say exists: tests named in docs/reliability.md, tables of docs/onboard.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gearshift.runtime.launch.configuration import read_flight_config

ROOT = Path(__file__).parents[3]
HERE = Path(__file__).parent
RELIABILITY = (ROOT / "docs" / "reliability.md").read_text()
ONBOARD = (ROOT / "docs" / "onboard.md").read_text()


def test_every_test_that_the_table_names_exists() -> None:
    tests = "\n".join(path.read_text() for path in HERE.glob("test_*.py"))
    rows = [line for line in RELIABILITY.splitlines() if line.startswith("| ")][2:]
    assert len(rows) > 25
    for row in rows:
        last = row.split("|")[-2]
        names = re.findall(r"::(test_\w+)|\.\.\._(\w+)", last)
        files = re.findall(r"(?:tests/runtime/\w+/)?(test_\w+\.py)", last)
        assert names or files or "the same" in last, row
        for name, tail in names:
            pattern = name or r"test_\w*_" + tail
            assert re.search(rf"def {pattern}\(", tests), row
    for path in re.findall(r"`(tests/[\w/]+\.py)`", RELIABILITY):
        assert (ROOT / path).is_file()


@pytest.mark.parametrize("block", re.findall(r"```toml\n(schema_version.*?)```", ONBOARD, re.S))
def test_flights_of_the_documents_are_valid(block: str, tmp_path: Path) -> None:
    path = tmp_path / "flight.toml"
    path.write_text(block)
    assert read_flight_config(path).sinks
