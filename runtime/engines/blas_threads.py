"""Keeping numpy's matrix products on one thread while a small network runs.

OpenBLAS splits products of a few hundred thousand multiplications over all CPUs and its threads
then spin: on a busy two-core machine a network took 56 ms instead of 0.3. Its own switch is found
as threadpoolctl does, in the library that is already loaded; where there is none (other libraries,
other systems) nothing changes.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import TracebackType

Get = Callable[[], int]
Set = Callable[[int], None]
SYMBOLS = (
    ("scipy_openblas_", "_num_threads64_"),
    ("scipy_openblas_", "_num_threads"),
    ("openblas_", "_num_threads64_"),
    ("openblas_", "_num_threads"),
)
"""Of the builds that numpy's wheels bundle and that distributions ship."""


class OneBlasThread:
    """`with OneBlasThread():` runs matrix products on the calling thread, then restores."""

    def __init__(self) -> None:
        self._switch = _switch()
        self._before = 1

    def __enter__(self) -> None:
        if self._switch is not None:
            get, put = self._switch
            self._before = get()
            if self._before != 1:
                put(1)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._switch is not None and self._before != 1:
            self._switch[1](self._before)


@cache
def _switch() -> tuple[Get, Set] | None:
    for path in _loaded_openblas():
        try:
            library = ctypes.CDLL(path)
        except OSError:
            continue
        for prefix, suffix in SYMBOLS:
            get = getattr(library, f"{prefix}get{suffix}", None)
            put = getattr(library, f"{prefix}set{suffix}", None)
            if get is not None and put is not None:
                get.argtypes, get.restype = [], ctypes.c_int
                put.argtypes, put.restype = [ctypes.c_int], None
                return get, put
    return None


def _loaded_openblas() -> list[str]:
    """Paths of the OpenBLAS libraries that are mapped into this process (Linux)."""
    try:
        maps = Path("/proc/self/maps").read_text()
    except OSError:
        return []
    fields = (line.split(maxsplit=5) for line in maps.splitlines())
    paths = {field[5] for field in fields if len(field) == 6 and "openblas" in field[5]}
    return sorted(path for path in paths if ".so" in path)
