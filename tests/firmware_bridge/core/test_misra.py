"""The core keeps to MISRA C:2012 where cppcheck can tell, but for deviations that have a reason."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

FIRMWARE = Path(__file__).parents[3] / "firmware_bridge" / "firmware"

needs_cppcheck = pytest.mark.skipif(
    shutil.which("cppcheck") is None or shutil.which("make") is None,
    reason="make or cppcheck is not installed",
)


def misra(folder: Path) -> subprocess.CompletedProcess[str]:
    command = ["make", "-C", str(folder), "misra"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@needs_cppcheck
def test_the_core_has_no_other_deviations() -> None:
    done = misra(FIRMWARE)
    assert done.returncode == 0, done.stderr


@needs_cppcheck
def test_one_more_is_found(tmp_path: Path) -> None:
    """The control: a jump, which no deviation allows."""
    for folder in ("core", "include"):
        shutil.copytree(FIRMWARE / folder, tmp_path / folder)
    for file in ("Makefile", "misra.txt"):
        shutil.copy(FIRMWARE / file, tmp_path)
    policy = tmp_path / "core" / "policy.c"
    policy.write_text(
        policy.read_text() + "\nint gs_jump(int a);\nint gs_jump(int a)\n"
        "{\nagain:\n    a--;\n    if (a > 3) {\n        goto again;\n    }\n    return a;\n}\n"
    )
    done = misra(tmp_path)
    assert done.returncode != 0
    assert "misra-c2012-15.1" in done.stderr


def test_every_deviation_has_a_reason() -> None:
    """A group of deviations stands below a comment, and no rule stands in two groups."""
    groups = (FIRMWARE / "misra.txt").read_text().strip().split("\n\n")
    seen: set[str] = set()
    for group in groups[1:] if groups[0].startswith("# Deviations") else groups:
        lines = group.splitlines()
        reason = " ".join(line.removeprefix("# ") for line in lines if line.startswith("#"))
        rules = [line for line in lines if not line.startswith("#")]
        assert len(reason.split()) >= 8, group
        assert rules, group
        assert lines.index(rules[0]) == len(lines) - len(rules), group
        assert all(re.fullmatch(r"[\w.-]+(:[\w/]+\.[ch])?", rule) for rule in rules), group
        assert not seen & set(rules), group
        seen |= set(rules)
    assert len(seen) > 20
