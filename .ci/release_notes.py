"""What a release says: the changelog's section of a version, printed for the tag `vVERSION`.

Fails where the tag is not the version in pyproject.toml, or where the changelog has no dated
section for it.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent


class ReleaseError(Exception):
    """The tag cannot be released as things are."""


def release_notes(tag: str, project: str, changelog: str) -> str:
    """The section of the changelog for a tag; project and changelog: the texts of the files.

    Raises ReleaseError, which says what to mend.
    """
    version = tomllib.loads(project)["project"]["version"]
    if tag != f"v{version}":
        raise ReleaseError(f"the tag is {tag}, pyproject.toml says {version}: tag v{version}")
    heading = re.search(rf"^## {re.escape(version)}(?: \((.*)\))?$", changelog, re.MULTILINE)
    if heading is None:
        raise ReleaseError(f"CHANGELOG.md has no section '## {version} (YYYY-MM-DD)'")
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", heading[1] or ""):
        raise ReleaseError(f"CHANGELOG.md: the section of {version} says no date but {heading[1]}")
    notes = re.split(r"^## ", changelog[heading.end() :], maxsplit=1, flags=re.MULTILINE)[0].strip()
    if not notes:
        raise ReleaseError(f"CHANGELOG.md: the section of {version} is empty")
    return notes


def main(arguments: list[str]) -> int:
    """Print the notes for the tag that is the only argument."""
    if len(arguments) != 1:
        sys.stderr.write("usage: release_notes.py vVERSION\n")
        return 2
    try:
        project, changelog = ((ROOT / n).read_text() for n in ("pyproject.toml", "CHANGELOG.md"))
        sys.stdout.write(release_notes(arguments[0], project, changelog) + "\n")
    except ReleaseError as error:
        sys.stderr.write(f"release_notes.py: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
