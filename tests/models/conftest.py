"""Fixtures for the tests of networks."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

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
    name = "gearshift_test_models_flights"
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("flights.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module.write_flights


@pytest.fixture(scope="session")
def flights(tmp_path_factory: pytest.TempPathFactory, write_flights: WriteFlights) -> Path:
    """A folder with `train` and `val` of tiny recordings. Not to be written to."""
    folder = tmp_path_factory.mktemp("flights")
    write_flights(folder / "train", flights=10, frames=8)
    write_flights(folder / "val", flights=4, frames=8, first=100)
    return folder
