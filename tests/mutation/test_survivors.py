"""The list of mutants that survive is about the code as it is: every line that it quotes exists."""

from __future__ import annotations

import re
from pathlib import Path

CORE = Path(__file__).parents[2] / "firmware_bridge" / "firmware" / "core"
LIST = Path(__file__).with_name("survivors-c.md")


def test_every_listed_mutant_is_of_a_line_that_is_there() -> None:
    entries = re.findall(r"^- `(\w+\.c)`: `(.*?)` → `(.*?)`$", LIST.read_text(), re.MULTILINE)
    assert len(entries) == LIST.read_text().count("\n- `")
    assert entries
    for file, before, after in entries:
        text = " ".join((CORE / file).read_text().split())
        assert " ".join(before.split()) in text, f"{file} has no line {before!r}"
        assert after != before
