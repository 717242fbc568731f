"""How far a command is, on a terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")


def progress_bar(
    items: Iterable[T], total: int | None = None, *, unit: str = "flight"
) -> Iterable[T]:
    """The items, with a progress bar on a terminal where tqdm is installed.

    total: their number, where they do not know it themselves.
    """
    try:
        from tqdm import tqdm
    except ModuleNotFoundError:
        return items
    bar: Iterable[T] = tqdm(items, total=total, unit=unit, disable=None)
    return bar
