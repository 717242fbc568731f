"""Which file was made of which: `sim/data/derived.json` holds the hashes of both.

A derived file is stale when it, or anything it derives from, is not what it was when it was made.
Paths are relative to the root of the checkout; `README.md#figures` stands for the blocks between
the markers `<!-- figures:NAME -->` and `<!-- /figures -->`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from gearshift.runtime.errors import ConfigurationError, TraceError
from gearshift.runtime.files.whole_file import write_whole
from gearshift.sim.compare.report import write_json
from gearshift.sim.traces.trace import file_sha256

SCHEMA_VERSION: Final = 1
DERIVED: Final = Path("sim/data/derived.json")
BLOCKS: Final = "#figures"
_BLOCK = re.compile(r"(<!-- figures:([\w-]+) -->\n)(.*?)(<!-- /figures -->)", re.DOTALL)


def find_root() -> Path:
    """The checkout this package is installed from; raises ConfigurationError from a wheel."""
    root = Path(__file__).resolve().parents[2]
    if not (root / "pyproject.toml").exists():
        raise ConfigurationError(
            "figures are rebuilt in a checkout; this gearshift is installed without one"
        )
    return root


def stale(root: Path) -> list[str]:
    """Why each derived file is out of date, one line each; empty when none is."""
    reasons = []
    for name, entry in _read(root).items():
        if _digest(root, name) != entry["sha256"]:
            reasons.append(f"{name} is not what 'make figures' wrote")
        reasons += [
            f"{name} is older than {source}"
            for source, sha256 in entry["derived_from"].items()
            if _digest(root, source) != sha256
        ]
    return reasons


def is_current(root: Path, name: str, sources: Sequence[str]) -> bool:
    """Whether a file derives from exactly these sources as they are now."""
    entry = _read(root).get(name)
    return (
        entry is not None
        and entry["sha256"] == _digest(root, name)
        and entry["derived_from"] == {s: _digest(root, s) for s in sources}
    )


def record(root: Path, name: str, sources: Sequence[str]) -> None:
    """Note that a file was just made of these sources."""
    files = _read(root)
    files[name] = {
        "sha256": _digest(root, name),
        "derived_from": {s: _digest(root, s) for s in sorted(sources)},
    }
    write_json(
        root / DERIVED, {"schema_version": SCHEMA_VERSION, "files": dict(sorted(files.items()))}
    )


def fill_blocks(path: Path, blocks: Mapping[str, str]) -> int:
    """Put the texts between a document's markers; returns how many blocks it has.

    Raises ConfigurationError for a marker that nothing belongs to.
    """
    text = path.read_text()
    unknown = {name for _, name, _, _ in _BLOCK.findall(text)} - blocks.keys()
    if unknown:
        raise ConfigurationError(
            f"{path}: no figures called {', '.join(sorted(unknown))}; "
            f"there are {', '.join(sorted(blocks))}"
        )
    filled, count = _BLOCK.subn(lambda m: f"{m[1]}{blocks[m[2]].rstrip()}\n{m[4]}", text)
    if filled != text:
        write_whole(path, filled)
    return count


def _digest(root: Path, name: str) -> str | None:
    """Hash of a file, or of a document's blocks; None when it is missing."""
    path = root / name.removesuffix(BLOCKS)
    if not path.exists():
        return None
    if not name.endswith(BLOCKS):
        return file_sha256(path)
    blocks = [f"{title}\n{body}" for _, title, body, _ in _BLOCK.findall(path.read_text())]
    return hashlib.sha256("\n".join(blocks).encode()).hexdigest()


def _read(root: Path) -> dict[str, Any]:
    path = root / DERIVED
    if not path.exists():
        return {}
    try:
        document: dict[str, Any] = json.loads(path.read_text())
    except ValueError as error:
        raise TraceError(f"{path}: not valid JSON ({error}); run 'make figures'") from error
    if document.get("schema_version") != SCHEMA_VERSION:
        raise TraceError(f"{path}: not of schema version {SCHEMA_VERSION}; run 'make figures'")
    files: dict[str, Any] = document["files"]
    return files
