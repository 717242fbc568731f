"""How this copy of Gearshift was installed, and which line installs an extra beside it.

The package is on no index, so that no one line is right for everybody: what fits follows from the
record that pip leaves beside an installed package, `direct_url.json` (PEP 610).
"""

from __future__ import annotations

import json
import shlex
from importlib.metadata import Distribution, distributions
from typing import Any
from urllib.parse import unquote, urlsplit

NAME = "gearshift"


def install_line(*extras: str) -> str:
    """The shell command that installs extras (`camera`, `mavlink`, ...) beside this copy.

    From a clone `pip install -e '/path[camera]'` (without -e where it was copied), from a file or
    an address `pip install 'gearshift[camera] @ URL'`, else, as from an index,
    `pip install 'gearshift[camera]'`.
    Without any extra it is the line that installs the copy itself.
    """
    # In a clone's root its egg-info, where pip records nothing, stands before what is installed.
    records = (direct_url(found) for found in distributions(name=NAME))
    return requirement_line(next((record for record in records if record), None), extras)


def direct_url(installed: Distribution) -> dict[str, Any] | None:
    """What PEP 610 records of a package that came from no index, else None.

    A record that cannot be read says nothing: None.
    """
    text = installed.read_text("direct_url.json")
    if text is None:
        return None
    try:
        record = json.loads(text)
    except ValueError:
        return None
    return record if isinstance(record, dict) and isinstance(record.get("url"), str) else None


def requirement_line(record: dict[str, Any] | None, extras: tuple[str, ...]) -> str:
    """The command for a record of `direct_url`; None stands for an index."""
    wanted = f"[{','.join(extras)}]" if extras else ""
    if record is None:
        return f"pip install {_quoted(NAME + wanted)}"
    url = record["url"]
    folder = record.get("dir_info")
    if isinstance(folder, dict) and urlsplit(url).scheme == "file":
        editable = "-e " if folder.get("editable") is True else ""
        return f"pip install {editable}{_quoted(unquote(urlsplit(url).path) + wanted)}"
    repository = record.get("vcs_info")
    if isinstance(repository, dict) and isinstance(repository.get("vcs"), str):
        url = f"{repository['vcs']}+{url}"
        # The commit, not the branch that was asked for: the extra is to fit the installed copy.
        revision = repository.get("commit_id") or repository.get("requested_revision")
        if revision:
            url += f"@{revision}"
    if isinstance(record.get("subdirectory"), str):
        url += f"#subdirectory={record['subdirectory']}"
    return f"pip install {_quoted(f'{NAME}{wanted} @ {url}')}"


def _quoted(word: str) -> str:
    """For a shell; always in quotation marks, as brackets mean something to most of them."""
    quoted = shlex.quote(word)
    return quoted if quoted != word else f"'{word}'"
