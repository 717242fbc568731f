"""Settings of the whole test suite, and what its processes share."""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

# Shared runners stall: no test may fail by the clock. CI judges the change, not the draw: it runs
# the same examples every time. Elsewhere they vary.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("dev", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "dev")

SharedFolder = Callable[[str, Callable[[Path], None]], Path]


def pytest_addoption(parser: pytest.Parser) -> None:
    """The bridge's tests run against emulated boards, and against a real one by its address."""
    parser.addoption("--board", metavar="ADDRESS", help="a board on a line, e.g. /dev/ttyACM0")
    parser.addoption(
        "--every-flight",
        action="store_true",
        help="replay every shipped recording on the emulated RISC-V board (some minutes)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """A shell that starts tests in the background has them ignore interrupts, and so does whatever
    they start: tests that interrupt themselves or others would wait for ever."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Processes that share the work begin with the files that take long, and end together."""
    if hasattr(config, "workerinput"):
        slow = {item.path for item in items if item.get_closest_marker("slow") is not None}
        items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def shared_folder(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> SharedFolder:
    """Makes a folder once for all processes of a run: (name, make) -> the folder.

    `make` fills it; whoever comes meanwhile waits. Not to be written to afterwards.
    """
    base = tmp_path_factory.getbasetemp()
    # pytest-xdist gives every process a folder of its own below that of the run.
    shared = base.parent if hasattr(pytestconfig, "workerinput") else base

    def make_once(name: str, make: Callable[[Path], None]) -> Path:
        folder, made = shared / f"shared-{name}", shared / f"shared-{name}.made"
        with (shared / f"shared-{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not made.exists():
                folder.mkdir()
                make(folder)
                made.touch()
        return folder

    return make_once
