"""The command works and its figures add up; nothing here looks at how fast anything is."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from gearshift.runtime.bench.turns import take_turns
from gearshift.runtime.commands import bench_command
from gearshift.runtime.errors import ConfigurationError, NetworkError
from gearshift.runtime.scheduling.scripted import Script

BuildModel = Callable[..., bytes]


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    bench_command.register(parser)
    options = parser.parse_args(arguments)
    code = options.run(options)
    assert isinstance(code, int)
    return code


@pytest.fixture
def model(tiny_model: BuildModel, tmp_path: Path) -> str:
    path = tmp_path / "tiny.onnx"
    path.write_bytes(tiny_model())
    return str(path)


def test_json(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("scheduler", "--network", model, "--frames", "100", "--json") == 0
    bench = json.loads(capsys.readouterr().out)
    assert bench["schema_version"] == 1
    assert bench["network"] == "tiny"
    assert [t["name"] for t in bench["timings"]] == [
        "always-small through the scheduler",
        "bare engine",
        "bare InferenceSession.run",
    ]
    assert all(t["p10_us"] <= t["median_us"] <= t["p90_us"] for t in bench["timings"])
    assert bench["scheduler"]["allowed_us"] >= 15
    assert {"op", "aux-sm", "anchor"} <= set(bench["policy_us"])


def test_table(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("scheduler", "--network", model, "--frames", "40") == 0
    table = capsys.readouterr().out
    assert "tiny, 40 frames each in turns of 20" in table
    assert "scheduler over engine" in table


def test_what_cannot_be_measured_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match=r"nothing\.onnx"):
        run("scheduler", "--network", str(tmp_path / "nothing.onnx"))
    with pytest.raises(ConfigurationError, match="at least 20"):
        run("scheduler", "--frames", "3")


def test_everyone_gets_as_many_turns_and_the_same_frames() -> None:
    frames = Script.random(64).frames()
    seen: dict[str, list[list[int]]] = {"a": [], "b": []}
    times = take_turns(
        [
            lambda block: seen["a"].append([f.sequence for f in block]),
            lambda block: seen["b"].append([f.sequence for f in block]),
        ],
        frames,
        10,
    )
    assert [len(t) for t in times] == [10, 10]
    assert seen["a"] == seen["b"]


def test_everyone_is_first_and_last_equally_often() -> None:
    order: list[str] = []
    contenders = [lambda _, name=name: order.append(name) for name in "abc"]
    take_turns(contenders, Script.random(64).frames(), 7)
    turns = list(zip(order[::3], order[1::3], order[2::3], strict=True))
    assert len(turns) == 9  # two of them to warm up
    for place in range(3):
        assert Counter(turn[place] for turn in turns) == {"a": 3, "b": 3, "c": 3}
