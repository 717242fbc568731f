"""`gearshift replay` with networks, or the whole loop, on a board: the integer engine's figures."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from gearshift.firmware_bridge.emulation.emulator import EmulatedPort, missing_tools
from gearshift.runtime.cli import main

pytestmark = pytest.mark.slow


FLIGHT = Path(__file__).parents[3] / "sim" / "data" / "recordings" / "known-05000.mcap"
TIMED = {"publish_time_ns", "latency_ms"}


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, str]]]:
    """By the integer engine."""
    folder = tmp_path_factory.mktemp("integer")
    return {policy: replay(folder, policy, "integer") for policy in ("op", "anchor")}


def replay(folder: Path, policy: str, engine: str, *more: str) -> list[dict[str, str]]:
    """Every frame of the flight, without its times."""
    out = folder / f"{policy}.csv"
    arguments = ["replay", str(FLIGHT), "--ensemble", "D1", "--policy", policy]
    arguments += ["--threshold", "equal-error", "--engine", engine, "--csv", str(out), *more]
    assert main(arguments) == 0
    with out.open(newline="") as file:
        return [{k: v for k, v in row.items() if k not in TIMED} for row in csv.DictReader(file)]


@pytest.mark.parametrize("more", [[], ["--loop-on-board"]], ids=["networks", "loop"])
@pytest.mark.parametrize("policy", ["op", "anchor"])
def test_a_whole_flight_gives_the_integer_engines_figures(
    expected: dict[str, list[dict[str, str]]], tmp_path: Path, policy: str, more: list[str]
) -> None:
    if missing_tools(EmulatedPort.POSIX):
        pytest.skip(f"needs {', '.join(missing_tools(EmulatedPort.POSIX))}")
    assert replay(tmp_path, policy, "board:posix", *more) == expected[policy]
    assert len({row["networks"] for row in expected[policy]}) > 1


@pytest.mark.parametrize("policy", ["op", "anchor"])
def test_every_shipped_flight_on_the_riscv_core(
    request: pytest.FixtureRequest, tmp_path: Path, policy: str
) -> None:
    """The reports of both engines, digit by digit, but for what a clock had a part in."""
    if not request.config.getoption("--every-flight"):
        pytest.skip("takes minutes: pytest tests/firmware_bridge/bridge --every-flight")
    if missing_tools(EmulatedPort.RV32):
        pytest.skip(f"needs {', '.join(missing_tools(EmulatedPort.RV32))}")
    flights = sorted(map(str, FLIGHT.parent.glob("*.mcap")))
    reports = []
    for engine in ("integer", "board:rv32"):
        out = tmp_path / "report.json"
        arguments = ["replay", *flights, "--ensemble", "D1", "--policy", policy]
        arguments += ["--threshold", "equal-error", "--engine", engine, "--json", str(out)]
        assert main(arguments) == 0
        reports.append(untimed(json.loads(out.read_text())))
    assert len(reports[0]["recordings"]) == len(flights) > 1
    assert reports[0]["summary"]["error"]["sum"]["value"] > 0
    assert reports[0] == reports[1]


def untimed(report: dict[str, Any]) -> dict[str, Any]:
    """Without latencies, and without the engines' names."""
    del report["engines"]
    for figures in (report["summary"], *report["recordings"].values()):
        del figures["latency"], figures["age"]
    return report


def test_the_loop_needs_the_whole_ensemble_on_the_board(
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["replay", str(FLIGHT), "--ensemble", "D1", "--policy", "op", "--threshold", "1"]
    assert main([*arguments, "--engine", "integer", "--loop-on-board"]) == 1
    assert "not on a board" in capsys.readouterr().err


def test_a_policy_that_boards_do_not_know_stays_here(capsys: pytest.CaptureFixture[str]) -> None:
    if missing_tools(EmulatedPort.POSIX):
        pytest.skip(f"needs {', '.join(missing_tools(EmulatedPort.POSIX))}")
    arguments = ["replay", str(FLIGHT), "--ensemble", "D1", "--policy", "oracle"]
    arguments += ["--threshold", "0", "--engine", "board:posix", "--loop-on-board"]
    assert main(arguments) == 1
    assert "oracle is not known to a board" in capsys.readouterr().err
