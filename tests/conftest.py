"""Settings of the whole test suite."""

import os

import pytest
from hypothesis import settings

# Shared runners stall: no test may fail by the clock. CI judges the change, not the draw: it runs
# the same examples every time. Elsewhere they vary.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("dev", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


def pytest_addoption(parser: pytest.Parser) -> None:
    """The bridge's tests run against emulated boards, and against a real one by its address."""
    parser.addoption("--board", metavar="ADDRESS", help="a board on a line, e.g. /dev/ttyACM0")
    parser.addoption(
        "--every-flight",
        action="store_true",
        help="replay every shipped recording on the emulated RISC-V board (some minutes)",
    )
