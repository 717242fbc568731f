"""The one way a file is written: whole or not at all, with an error that names path and reason.

A file is written under another name in its folder, put on the disk, and renamed. Nobody reads half
of one, what a full disk or an interrupt stops leaves nothing behind, and after a power cut there is
the old file or the new one. `output_file` and `output_place` refuse a path on the command line
before the work that it is meant for.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from gearshift.runtime.errors import OutputError, one_line


def write_whole(path: Path, content: bytes | str) -> None:
    """Write a file, text as UTF-8; raises OutputError."""
    with WholeFile(path) as stream:
        stream.write(content.encode() if isinstance(content, str) else content)


class WholeFile:
    """A file that has its name only once `keep` was called; as a context manager it gives the
    stream, keeps what was written in it, and discards it when the block raises.

    What is no regular file, such as /dev/stdout or a named pipe, is written where it is. Raises
    OutputError; in the block an OSError becomes one.
    """

    def __init__(self, path: Path) -> None:
        check_writable(path)
        self.path = path
        self._target = Path(os.path.realpath(path))
        self._part: Path | None = None
        if path.is_file() or not path.exists():
            # Several processes may write the same file at once: each has a part of its own.
            self._part = self._target.with_name(f"{self._target.name}.{os.getpid()}.part")
        with writing(path):
            self.stream: BinaryIO = (self._part or path).open("wb")

    def keep(self) -> None:
        """Put it on the disk and give it its name; when that fails nothing is left of it."""
        try:
            with writing(self.path), self.stream as stream:
                stream.flush()
                if self._part is not None:
                    os.fsync(stream.fileno())
            if self._part is not None:
                with writing(self.path):
                    self._part.replace(self._target)
        except BaseException:
            self.discard()
            raise

    def discard(self) -> None:
        """Remove what was written."""
        with suppress(OSError):  # closing writes what is buffered, and a full disk fails again
            self.stream.close()
        if self._part is not None:
            with suppress(OSError):
                self._part.unlink()

    def __enter__(self) -> BinaryIO:
        return self.stream

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.keep()
            return
        self.discard()
        if isinstance(error, OSError):
            raise unwritable(self.path, error) from error


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Inside, an OSError becomes an OutputError of `path`: for what others write, and folders."""
    try:
        yield
    except OSError as error:
        raise unwritable(path, error) from error


def make_folder(path: Path) -> None:
    """Make a folder and those above it where they are missing; raises OutputError."""
    _check_above(path)
    with writing(path):
        if path.exists() and not path.is_dir():
            raise OutputError(f"cannot write {path}: it is a file, not a folder")
        path.mkdir(parents=True, exist_ok=True)


def check_writable(path: Path) -> None:
    """Raise OutputError unless a file can be made at `path`, as far as one can say beforehand."""
    _check_above(path)
    folder = Path(os.path.realpath(path)).parent
    with writing(path):
        is_folder, is_missing = path.is_dir(), not folder.is_dir()
    if is_folder:
        raise OutputError(f"cannot write {path}: it is a folder; name a file")
    if is_missing:
        raise OutputError(f"cannot write {path}: there is no folder {folder}")


def output_file(text: str) -> Path:
    """An argument of the command line: a file to write, in a folder that is there.

    Raises OutputError.
    """
    check_writable(Path(text))
    return Path(text)


def output_place(text: str) -> Path:
    """An argument of the command line: a file or folder, below folders that are made if missing.

    Raises OutputError.
    """
    _check_above(Path(text))
    return Path(text)


def unwritable(path: Path, error: OSError) -> OutputError:
    """The error of a path, with the system's reason."""
    return OutputError(f"cannot write {path}: {error.strerror or one_line(error)}")


def _check_above(path: Path) -> None:
    """Raise OutputError when the nearest that there is above `path` cannot take it."""
    target = Path(os.path.realpath(path))
    with writing(path):
        above = next((folder for folder in target.parents if folder.exists()), target)
        is_there = target.exists()
    if not above.is_dir():
        raise OutputError(f"cannot write {path}: {above} is a file, not a folder")
    if not is_there and not os.access(above, os.W_OK | os.X_OK):
        raise OutputError(f"cannot write {path}: {above} cannot be written to")
