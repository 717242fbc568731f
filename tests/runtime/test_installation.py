"""Which line installs an extra, for every way a copy can have come; pip takes the lines."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
ASK = "from gearshift.runtime.installation import install_line; print(install_line(*{!r}))"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
WHEEL = "file:///home/pi/gearshift-0.2.0-py3-none-any.whl"
REPOSITORY = "https://example.org/somebody/gearshift"


def site_with(folder: Path, record: str | None) -> Path:
    """Site-packages with a gearshift whose dist-info holds this direct_url.json."""
    package = folder / "gearshift"
    package.mkdir()
    (package / "runtime").symlink_to(ROOT / "runtime")
    information = folder / "gearshift-0.2.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: gearshift\nVersion: 0.2.0\n"
    )
    if record is not None:
        (information / "direct_url.json").write_text(record)
    return folder


def line_of(site: Path, *extras: str, folder: Path | None = None) -> str:
    """What a Python says that finds gearshift in this site alone (-S: not in its own)."""
    done = subprocess.run(
        [sys.executable, "-S", "-c", ASK.format(extras)],
        env={"PYTHONPATH": str(site)},
        cwd=folder or site,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.removesuffix("\n")


@pytest.mark.parametrize(
    ("record", "line"),
    [
        (
            {"url": "file:///home/me/my%20clone", "dir_info": {"editable": True}},
            "pip install -e '/home/me/my clone[camera]'",
        ),
        ({"url": "file:///home/me/clone", "dir_info": {}}, "pip install '/home/me/clone[camera]'"),
        (
            {"url": WHEEL, "archive_info": {"hashes": {"sha256": "00"}}},
            f"pip install 'gearshift[camera] @ {WHEEL}'",
        ),
        (
            {
                "url": REPOSITORY,
                "vcs_info": {"vcs": "git", "requested_revision": "main", "commit_id": COMMIT},
            },
            f"pip install 'gearshift[camera] @ git+{REPOSITORY}@{COMMIT}'",
        ),
        (
            {
                "url": REPOSITORY,
                "vcs_info": {"vcs": "git", "commit_id": COMMIT},
                "subdirectory": "python",
            },
            f"pip install 'gearshift[camera] @ git+{REPOSITORY}@{COMMIT}#subdirectory=python'",
        ),
        (None, "pip install 'gearshift[camera]'"),
    ],
    ids=["editable clone", "folder", "wheel", "repository", "part of a repository", "index"],
)
def test_the_line_fits_the_way_it_was_installed(
    tmp_path: Path, record: dict[str, object] | None, line: str
) -> None:
    site = site_with(tmp_path, None if record is None else json.dumps(record))
    assert line_of(site, "camera") == line


@pytest.mark.parametrize("record", ["", "{", "[]", "{}", '{"url": 3}', '{"url": null}'])
def test_a_record_that_cannot_be_read_says_nothing(tmp_path: Path, record: str) -> None:
    assert line_of(site_with(tmp_path, record), "board") == "pip install 'gearshift[board]'"


def test_a_folder_that_was_built_in_hides_nothing(tmp_path: Path) -> None:
    """Python looks into the current folder first: in a clone it finds the egg-info of a build."""
    site = site_with(tmp_path, json.dumps({"url": WHEEL, "archive_info": {}}))
    clone = tmp_path / "clone"
    (clone / "gearshift.egg-info").mkdir(parents=True)
    information = "Metadata-Version: 2.1\nName: gearshift\nVersion: 0.2.0\n"
    (clone / "gearshift.egg-info" / "PKG-INFO").write_text(information)
    assert line_of(site, "camera", folder=clone) == f"pip install 'gearshift[camera] @ {WHEEL}'"


def test_several_extras_and_none(tmp_path: Path) -> None:
    site = site_with(tmp_path, None)
    assert line_of(site, "camera", "mavlink") == "pip install 'gearshift[camera,mavlink]'"
    assert line_of(site) == "pip install 'gearshift'"


@pytest.mark.parametrize(
    "record",
    [
        {"url": WHEEL, "archive_info": {}},
        {"url": REPOSITORY, "vcs_info": {"vcs": "git", "commit_id": COMMIT}},
    ],
    ids=["wheel", "repository"],
)
def test_the_line_is_one_requirement_of_a_shell(tmp_path: Path, record: dict[str, object]) -> None:
    line = line_of(site_with(tmp_path, json.dumps(record)), "camera", "board")
    pip, install, word = shlex.split(line)
    assert (pip, install) == ("pip", "install")
    requirement = Requirement(word)
    assert requirement.name == "gearshift"
    assert requirement.extras == {"camera", "board"}
    assert requirement.url is not None


def test_no_message_has_a_line_of_its_own() -> None:
    pattern = re.compile(r"pip install ['\"]?gearshift")
    files = [
        path
        for floor in ("runtime", "models", "firmware_bridge", "sim")
        for path in (ROOT / floor).rglob("*.py")
        if path != ROOT / "runtime" / "installation.py"
    ]
    assert files
    assert [str(path) for path in files if pattern.search(path.read_text())] == []
