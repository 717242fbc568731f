"""Boards to test: the host-built one, the emulated RISC-V one, and a real one by `--board`.

A test that takes `board` or `target` is written once and runs on each of them.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gearshift.firmware_bridge.board.board import Board
from gearshift.firmware_bridge.emulation.emulator import EmulatedPort, missing_tools
from gearshift.firmware_bridge.measuring.board_target import Target, integer_networks, open_target
from gearshift.runtime.engines.integer_network import IntegerNetwork

NETWORKS = ("F2", "F1", "aux")


def require(port: EmulatedPort) -> None:
    """Skip, with a line, where a port cannot be built and run."""
    lacking = missing_tools(port)
    if lacking:
        pytest.skip(f"the {port} board needs {', '.join(lacking)}")


@pytest.fixture(scope="session")
def networks() -> tuple[IntegerNetwork, ...]:
    return integer_networks(NETWORKS)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test of a board runs on both emulated ones, and on a real one that was named."""
    if "target" in metafunc.fixturenames:
        real = metafunc.config.getoption("--board")
        boards = [*EmulatedPort, *([real] if real is not None else [])]
        metafunc.parametrize("target", boards, indirect=True, scope="module", ids=str)


@pytest.fixture(scope="module")
def target(
    request: pytest.FixtureRequest, networks: tuple[IntegerNetwork, ...]
) -> Iterator[Target]:
    address = str(request.param)
    if address in tuple(EmulatedPort):
        require(EmulatedPort(address))
    with open_target(address, networks) as target:
        yield target


@pytest.fixture
def board(target: Target) -> Iterator[Board]:
    with target.connect() as board:
        yield board


@pytest.fixture
def posix(networks: tuple[IntegerNetwork, ...]) -> Iterator[Target]:
    """A host-built board of the test's own, to be treated badly."""
    require(EmulatedPort.POSIX)
    with open_target("posix?timeout=5", networks) as target:
        yield target
