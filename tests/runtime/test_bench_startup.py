"""The starts are real ones and their figures add up; nothing here looks at how fast anything is."""

from __future__ import annotations

import argparse
import json

import pytest

from gearshift.runtime.bench.startup import PHASES
from gearshift.runtime.commands import bench_command
from gearshift.runtime.errors import ConfigurationError, GearshiftError


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    bench_command.register(parser)
    options = parser.parse_args(["startup", *arguments])
    code = options.run(options)
    assert isinstance(code, int)
    return code


@pytest.mark.slow
def test_every_phase_of_a_start_is_timed(capfd: pytest.CaptureFixture[str]) -> None:
    assert run("--runs", "1", "--json") == 0
    bench = json.loads(capfd.readouterr().out)
    assert list(bench["phases"]) == list(PHASES)
    assert all(cost["wall_ms"] > 0 for cost in bench["phases"].values())
    # A flight's modules and networks take longer than a Python that does nothing.
    inside = sum(cost["cpu_ms"] for name, cost in bench["phases"].items() if name != "python")
    assert bench["first_line"]["cpu_ms"] > bench["python"]["cpu_ms"]
    assert inside > bench["python"]["cpu_ms"]
    assert bench["met"] == (bench["first_line"]["wall_ms"] < 1000)
    ratio = bench["first_line"]["wall_ms"] / bench["python"]["wall_ms"]
    assert bench["ratio"] == pytest.approx(ratio)


@pytest.mark.slow
def test_the_table_names_every_phase(capfd: pytest.CaptureFixture[str]) -> None:
    assert run("--runs", "1", "--ensemble", "D2") == 0
    table = capfd.readouterr().out
    assert "D2 from a recording, 1 starts in turns" in table
    assert all(name in table for name in PHASES.values())


def test_what_cannot_start_is_one_line() -> None:
    with pytest.raises(ConfigurationError, match="--runs is 0"):
        run("--runs", "0")
    with pytest.raises(GearshiftError, match="D77"):
        run("--ensemble", "D77")
