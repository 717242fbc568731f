"""Waiting for what has to come: tests wait for conditions, not for times."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE_S = 60.0
"""How long a test waits for what has to come; only a failing test takes that long."""
LOOK_EVERY_S = 0.005


def wait_until(
    condition: Callable[[], bool],
    what: str | Callable[[], str] = "it never came true",
    *,
    patience_s: float = PATIENCE_S,
) -> None:
    """Return once it holds; AssertionError with `what` where it never does."""
    deadline = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() >= deadline:
            raise AssertionError(what if isinstance(what, str) else what())
        time.sleep(LOOK_EVERY_S)
