"""The firmware's core has layers: no two of its units need one another, neither by a call nor by an
include. A unit is a source and the header of its name."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

FIRMWARE = Path(__file__).parents[3] / "firmware_bridge" / "firmware"
CORE = FIRMWARE / "core"
HEADERS = FIRMWARE / "include" / "gearshift"

Graph = dict[str, set[str]]
"""What each unit needs."""


def core_files() -> list[Path]:
    return sorted([*CORE.glob("*.[ch]"), *HEADERS.glob("*.h")])


def includes() -> Graph:
    graph: Graph = {}
    for path in core_files():
        included = re.findall(
            r'^#include "(?:gearshift/)?(\w+)\.h"', path.read_text(), re.MULTILINE
        )
        graph.setdefault(path.stem, set()).update(set(included) - {path.stem})
    return graph


def symbols(objects: list[Path]) -> tuple[dict[str, str], Graph]:
    """The unit that defines each external symbol, and the symbols that each unit lacks."""
    defined: dict[str, str] = {}
    missing: Graph = {}
    for path in objects:
        listing = subprocess.run(
            ["nm", "--format=posix", "--extern-only", str(path)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for name, kind, *_ in map(str.split, listing.splitlines()):
            if kind == "U":
                missing.setdefault(path.stem, set()).add(name)
            else:
                assert name not in defined, f"{name} is in {defined[name]} and in {path.stem}"
                defined[name] = path.stem
    return defined, missing


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None or shutil.which("nm") is None:
        pytest.skip("no C compiler (cc) or no nm to look into the firmware's core with")
    sources = sorted(CORE.glob("*.c"))
    folder = tmp_path_factory.mktemp("objects")
    # Without optimisation every call that is written is a symbol.
    command = [compiler, "-std=c11", "-O0", "-I", str(FIRMWARE / "include"), "-c"]
    subprocess.run([*command, *map(str, sources)], cwd=folder, check=True)
    defined, missing = symbols(sorted(folder.glob("*.o")))
    assert len(set(defined.values())) == len(sources)
    return {
        source.stem: {defined[name] for name in missing.get(source.stem, ()) if name in defined}
        for source in sources
    }


def circle(graph: Graph) -> list[str]:
    """One circle of the graph, or nothing."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_circle_of_calls(calls: Graph) -> None:
    assert calls["board_receive"] == {
        "board_commands",
        "board_line",
        "cobs",
        "frame",
        "session",
    }
    assert circle(calls) == []


def test_no_circle_of_includes() -> None:
    graph = includes()
    assert graph["board_work"] == {"board", "board_line", "board_slots"}
    assert circle(graph) == []


def test_no_circle_of_both(calls: Graph) -> None:
    included = includes()
    both = {unit: needed | calls.get(unit, set()) for unit, needed in included.items()}
    assert circle(both) == []


def test_a_circle_is_found() -> None:
    """The control: what the core was before answering moved out of its board.c."""
    before: Graph = {
        "board": {"board_commands"},
        "board_commands": {"board", "board_work"},
        "board_work": {"board", "board_commands"},
    }
    assert len(circle(before)) >= 3


def test_the_core_needs_no_library(tmp_path: Path, calls: Graph) -> None:
    """Nothing but what a compiler itself may call for a copy or a fill."""
    del calls  # skips where there is no compiler
    compiler = shutil.which(os.environ.get("CC", "cc"))
    command = [str(compiler), "-std=c11", "-O2", "-ffreestanding", "-fno-stack-protector"]
    sources = [str(path) for path in sorted(CORE.glob("*.c"))]
    subprocess.run(
        [*command, "-fno-pic", "-I", str(FIRMWARE / "include"), "-c", *sources],
        cwd=tmp_path,
        check=True,
    )
    defined, missing = symbols(sorted(tmp_path.glob("*.o")))
    lacking = set().union(*missing.values()) - set(defined)
    assert lacking <= {"memcpy", "memset", "memmove", "memcmp"}
