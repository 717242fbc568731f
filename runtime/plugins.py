"""Finding what plugs in by name: a built-in table merged with an entry-point group.

Policies, engines, sources and sinks are all found this way. Nothing is imported until it is asked
for, and asking for a built-in one does not read the installed packages, which takes a Pi many
milliseconds.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import entry_points
from typing import NoReturn

from gearshift.runtime.errors import ConfigurationError, MissingExtraError, named
from gearshift.runtime.installation import install_line


@dataclass(frozen=True, slots=True)
class PluginTable:
    """Everything of one kind that can be named.

    kind: what one is called in messages. group: the entry-point group of plug-ins. built_in: name
    -> "module:attribute". extras: name -> the optional dependencies that a built-in one needs.
    """

    kind: str
    group: str
    built_in: Mapping[str, str]
    extras: Mapping[str, str]

    def names(self) -> tuple[str, ...]:
        """All known names, built-in ones first."""
        plugged = sorted(point.name for point in entry_points(group=self.group))
        return tuple(dict.fromkeys((*self.built_in, *plugged)))

    def load(self, name: str) -> object:
        """What stands behind a name.

        Raises ConfigurationError for an unknown name (with the nearest ones) or a plug-in that
        cannot be imported, MissingExtraError when a built-in one lacks its packages.
        """
        if name in self.built_in:
            return self._load_built_in(name)
        for point in entry_points(group=self.group):
            if point.name == name:
                try:
                    return point.load()
                except Exception as error:
                    raise ConfigurationError(
                        f"{self.kind} {name!r} ({point.value}) cannot be loaded: {named(error)}"
                    ) from error
        raise ConfigurationError(f"unknown {self.kind} {name!r}; {advice(name, self.names())}")

    def _load_built_in(self, name: str) -> object:
        module, _, attribute = self.built_in[name].partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as error:
            self.raise_missing(name, error)

    def raise_missing(self, name: str, error: ModuleNotFoundError) -> NoReturn:
        """Say which extra has the package that a built-in one lacks; else raise the error."""
        if name not in self.extras:
            raise error
        raise_missing_extra(f"{self.kind} {name!r}", self.extras[name], error)


def raise_missing_extra(needs_it: str, extra: str, error: ModuleNotFoundError) -> NoReturn:
    """Say which extra has the package that something of ours lacks; else raise the error."""
    if (error.name or "").split(".")[0] == "gearshift":
        raise error
    raise MissingExtraError(
        f"{needs_it} needs the package {error.name!r}: {install_line(extra)}"
    ) from error


def advice(name: str, known: tuple[str, ...]) -> str:
    """What to write instead of an unknown name."""
    near = get_close_matches(name, known, n=3)
    if near:
        return f"did you mean {' or '.join(map(repr, near))}?"
    return f"there are {', '.join(known) or 'none'}"
