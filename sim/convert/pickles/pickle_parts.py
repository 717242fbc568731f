"""What a pickle is made of while it is read: names of a table, bytes in the file, stand-ins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable


class RefusedPickleError(Exception):
    """The pickle is damaged, or wants something that is not in the table."""


class PickleMemoryError(Exception):
    """The pickle needs more memory than was allowed."""


@runtime_checkable
class Restored(Protocol):
    """A stand-in that takes the state which a pickle gives it."""

    def build(self, state: object) -> None:
        """Take the state; raises RefusedPickleError."""


@dataclass(frozen=True, slots=True)
class Global:
    """A name of the table and the function of ours that stands for it."""

    name: str
    make: Callable[..., object]


@dataclass(frozen=True, slots=True, eq=False)
class FileSlice:
    """Bytes [start, start + length) of a file; text: they are UTF-8 and mean Latin-1 bytes."""

    path: Path
    start: int
    length: int
    text: bool = False

    def read(self) -> bytes:
        """The bytes; raises RefusedPickleError when they are gone or text holds more than bytes."""
        try:
            with self.path.open("rb") as stream:
                stream.seek(self.start)
                raw = stream.read(self.length)
        except OSError as error:
            raise RefusedPickleError(f"it cannot be read any more: {error.strerror}") from error
        if not self.text:
            return raw
        try:
            return raw.decode().encode("latin-1")
        except UnicodeError:
            raise RefusedPickleError("text where bytes are expected") from None
