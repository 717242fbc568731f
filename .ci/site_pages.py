"""What MkDocs lacks for this repository: the pages at its root become pages of the site.

README.md is its front page. Links between the root and docs/ are written as they work on the
repository's own pages, and are moved here: on the site all pages stand in one folder.
"""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
ROOT_PAGES = {name: name for name in ("CHANGELOG.md", "CONTRIBUTING.md")} | {
    "README.md": "index.md"
}
"""Of the repository's root -> of the site."""
FOLDERS = {"examples": "reference.md"}
"""A folder is no page: the one that names its files."""
_LINK = re.compile(r"(\]\()(?P<target>[^)#\s]+)(?=[)#])")


def moved(target: str) -> str:
    """The target of a link on the site, for one of the repository; others stay as they are."""
    target = target.removeprefix("docs/").removeprefix("../")
    return (ROOT_PAGES | FOLDERS).get(target.rstrip("/"), target)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages of the root; called by MkDocs."""
    for name, page in ROOT_PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text()))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Moves links between root and docs/; called by MkDocs."""
    return _LINK.sub(lambda link: link[1] + moved(link["target"]), markdown)
