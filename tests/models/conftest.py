"""Fixtures for the tests of networks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ..conftest import SharedFolder
from . import flights as flights_module

try:
    import torch
except ModuleNotFoundError:
    pass
else:
    # Threads that wait for each other are slow on a busy machine, and these networks are tiny.
    torch.set_num_threads(1)

WriteFlights = Callable[..., None]


@pytest.fixture(scope="session")
def write_flights() -> WriteFlights:
    """Writes a folder of tiny recordings; see `flights.py`."""
    return flights_module.write_flights


@pytest.fixture(scope="session")
def flights(shared_folder: SharedFolder, write_flights: WriteFlights) -> Path:
    """A folder with `train` and `val` of tiny recordings. Not to be written to."""

    def make(folder: Path) -> None:
        write_flights(folder / "train", flights=10, frames=8)
        write_flights(folder / "val", flights=4, frames=8, first=100)

    return shared_folder("flights", make)
