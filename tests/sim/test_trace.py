from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gearshift.runtime.errors import GearshiftError, OutputError, TraceError
from gearshift.sim.traces import trace as trace_module
from gearshift.sim.traces.trace import TracedFlight, read_trace, write_trace

from .conftest import TraceFactory


def test_a_trace_reads_back_as_it_was(trace_factory: TraceFactory, tmp_path: Path) -> None:
    trace = trace_factory()
    write_trace(trace, tmp_path / "t.npz")
    again = read_trace(tmp_path / "t.npz")
    assert again.components == trace.components
    assert again.networks == trace.networks
    assert again.flights == trace.flights
    assert again.split == trace.split
    for name, output in trace.outputs.items():
        assert np.array_equal(again.outputs[name], output)
    for name in ("time_ns", "flight", "truth", "visible", "head_cell"):
        assert np.array_equal(getattr(again, name), getattr(trace, name), equal_nan=name == "truth")
    assert list(tmp_path.iterdir()) == [tmp_path / "t.npz"]


def test_a_trace_is_written_the_same_twice(trace_factory: TraceFactory, tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        write_trace(trace_factory(), tmp_path / name)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_groups_are_rooms_and_persons(trace_factory: TraceFactory) -> None:
    trace = trace_factory(flights=6)
    assert len(set(trace.groups)) == 6
    same = replace(trace, flights=(TracedFlight("a", "r", "p"),) * 6)
    assert set(same.groups) == {0}
    silent = replace(trace, flights=tuple(TracedFlight(str(i), "", "") for i in range(6)))
    assert len(set(silent.groups)) == 6


def test_a_missing_trace_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="gearshift trace make"):
        read_trace(tmp_path / "none.npz")


@settings(max_examples=150, deadline=None)
@given(cut=st.floats(0, 0.999), flip=st.integers(0, 10**6))
def test_a_damaged_trace_is_one_known_error(
    trace_factory: TraceFactory, tmp_path_factory: pytest.TempPathFactory, cut: float, flip: int
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "t.npz"
    write_trace(trace_factory(flights=2, frames=4), path)
    content = bytearray(path.read_bytes())
    path.write_bytes(content[: int(len(content) * cut)])
    with pytest.raises(GearshiftError):
        read_trace(path)
    content[flip % len(content)] ^= 0x55
    path.write_bytes(content)
    with suppress(GearshiftError):
        read_trace(path)


def test_an_outdated_trace_is_refused(
    trace_factory: TraceFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace_module, "SCHEMA_VERSION", 0)
    write_trace(trace_factory(), tmp_path / "t.npz")
    monkeypatch.undo()
    with pytest.raises(TraceError, match="schema version 0, this gearshift reads 1"):
        read_trace(tmp_path / "t.npz")


@pytest.mark.parametrize(
    "change",
    [
        {"visible": np.zeros(3, dtype=np.bool_)},
        {"truth": np.zeros((288, 4))},
        {"outputs": {}},
        {"flight": np.arange(288, dtype=np.int32)},
        {"time_ns": np.zeros(288, dtype=np.int64)},
    ],
)
def test_columns_that_do_not_fit_are_refused(trace_factory: TraceFactory, change: Any) -> None:
    with pytest.raises(TraceError):
        replace(trace_factory(flights=12, frames=24), **change)


def test_an_unwritable_folder_leaves_nothing(trace_factory: TraceFactory, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot write"):
        write_trace(trace_factory(), tmp_path / "missing" / "t.npz")
    assert list(tmp_path.iterdir()) == []


def test_a_network_the_trace_lacks_is_named(trace_factory: TraceFactory) -> None:
    with pytest.raises(TraceError, match=r"no network 'F9'.*F1, F2"):
        trace_factory().require("F1", "F9")
