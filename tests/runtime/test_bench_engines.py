"""The bench of engines works and its figures add up; nothing here looks at how fast anything is."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gearshift.runtime.bench import engines as bench_engines
from gearshift.runtime.bench.engines import EngineBench, Spread
from gearshift.runtime.commands import bench_command
from gearshift.runtime.errors import ConfigurationError, NetworkError
from gearshift.runtime.installation import install_line
from gearshift.runtime.machine import this_machine

BuildModel = Callable[..., bytes]


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    bench_command.register(parser)
    options = parser.parse_args(["engines", *arguments])
    code: int = options.run(options)
    return code


@pytest.fixture
def model(tiny_model: BuildModel, tmp_path: Path) -> str:
    path = tmp_path / "tiny.onnx"
    path.write_bytes(tiny_model())
    return str(path)


def test_json(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(model, "--seconds", "0.05", "--rate", "1000", "--json") == 0
    bench = json.loads(capsys.readouterr().out)
    assert bench["schema_version"] == 1
    assert bench["machine"]["versions"]["onnxruntime"]
    (timing,) = bench["timings"]
    assert (timing["network"], timing["engine"]) == (model, "onnx")
    assert timing["start_ms"] > 0
    assert timing["first_run_ms"] > 0
    assert timing["paced"]["runs"] == 50  # 5 turns of 10
    assert timing["hot"]["runs"] % bench_engines.HOT_BLOCK == 0
    for spread in (timing["hot"], timing["paced"]):
        assert 0 < spread["p50_ms"] <= spread["p90_ms"] <= spread["p99_ms"] <= spread["max_ms"]
        assert spread["ratio"] == 1.0
    assert bench["integer_ratio"] is None


def test_formats_of_the_zoo_meet_in_one_run(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("F2", "--engine", "onnx", "--engine", "integer", "--seconds", "0.2")
    assert run(*arguments, "--rate", "200", "--json") == 0
    bench = json.loads(capsys.readouterr().out)
    onnx, integer = bench["timings"]
    assert (onnx["engine"], integer["engine"]) == ("onnx", "integer")
    assert onnx["hot"]["runs"] == integer["hot"]["runs"]
    for mode in ("hot", "paced"):
        expected = integer[mode]["p50_ms"] / onnx[mode]["p50_ms"]
        assert integer[mode]["ratio"] == pytest.approx(expected)
    assert bench["integer_ratio"] == integer["hot"]["ratio"]
    assert set(bench["first_ms"]) == {"onnx", "integer"}


def test_table(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(model, "--engine", "onnx", "--seconds", "0.02", "--rate", "1000") == 0
    table = capsys.readouterr().out
    assert "paced at 1000 Hz, ms" in table
    assert "governor" in table
    assert "1st run" in table


def test_a_format_that_is_not_there_is_named(
    model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = (model, "--seconds", "0.02", "--rate", "1000")
    assert run(*arguments, "--engine", "onnx", "--engine", "integer") == 0
    assert "has no integer form" in capsys.readouterr().out
    with pytest.raises(ConfigurationError, match=r"nothing to time: .* has no integer form"):
        run(*arguments, "--engine", "integer")


def test_what_cannot_be_measured_is_one_line() -> None:
    with pytest.raises(NetworkError, match="unknown network 'F9'"):
        run("F9")
    with pytest.raises(ConfigurationError, match="unknown engine 'onx'; did you mean 'onnx'"):
        run("F2", "--engine", "onx")
    for wrong in (("--rate", "0"), ("--seconds", "-1"), ("--rate", "nan")):
        with pytest.raises(ConfigurationError, match="must be above 0"):
            run("F2", *wrong)


def test_a_paced_run_waits_for_its_frame(model: str) -> None:
    """Only the lower bound: the runs of a turn cannot start before their frames."""
    before = time.perf_counter()
    bench = bench_engines.bench_engines([model], rate_hz=100, seconds=0.22)
    frames = 2 * (bench_engines.PACED_BLOCK + 1)
    assert bench.timings[0].paced.runs == 2 * bench_engines.PACED_BLOCK
    assert time.perf_counter() - before >= frames / 100


def test_the_verdict_counts_frontnets_alone() -> None:
    def timing(architecture: str, engine: str, ratio: float) -> bench_engines.EngineTiming:
        spread = Spread(1, 1.0, 1.0, 1.0, 1.0, ratio)
        return bench_engines.EngineTiming("n", architecture, engine, 1, 1, spread, spread)

    timings = (
        timing("PULP-Frontnet", "onnx", 1.0),
        timing("PULP-Frontnet", "integer", 4.0),
        timing("PULP-Frontnet", "integer", 21.0),
        timing("MobileNetV1", "integer", 50.0),
    )
    bench = EngineBench(1, this_machine(), 30, timings, {}, ())
    assert bench.integer_ratio == 21.0
    assert "at most 21.00 times ONNX Runtime (20 allowed: not met)" in bench_engines.as_table(bench)


def test_both_runtimes_of_tflite_are_timed_where_both_are_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for installed, expected in (
        (("ai-edge-litert",), ["onnx", "litert"]),
        (("ai-edge-litert", "tflite-runtime"), ["onnx", "litert", "litert:tflite-runtime"]),
    ):
        versions = dict.fromkeys(installed, "1")
        monkeypatch.setattr("gearshift.runtime.machine.library_versions", lambda v=versions: v)
        assert bench_engines._forms(("onnx", "litert")) == expected


def test_a_missing_package_is_said_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in ("ai_edge_litert", "ai_edge_litert.interpreter", "tflite_runtime"):
        monkeypatch.setitem(sys.modules, module, None)
    arguments = ("F2", "aux", "--engine", "onnx", "--engine", "litert")
    assert run(*arguments, "--seconds", "0.02", "--rate", "1000") == 0
    lines = capsys.readouterr().out.splitlines()
    assert (
        sum("needs the package" in line and install_line("litert") in line for line in lines) == 1
    )


def test_a_named_runtime_is_run(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("ai_edge_litert")
    arguments = ("aux", "--engine", "onnx", "--engine", "litert:ai-edge-litert", "--json")
    assert run(*arguments, "--seconds", "0.02", "--rate", "1000") == 0
    timings = json.loads(capsys.readouterr().out)["timings"]
    assert [timing["engine"] for timing in timings] == ["onnx", "litert:ai-edge-litert"]
    assert timings[1]["hot"]["ratio"] > 0
