"""The benchmarks measure what they say; what they measure here is not judged."""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Iterator

import pytest

from gearshift.runtime.bench.flat_memory import resident_bytes
from gearshift.runtime.bench.pipeline import bench_pipeline, pipeline_table
from gearshift.runtime.cli import main


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """A flight changes settings of its process."""
    interval = sys.getswitchinterval()
    yield
    sys.setswitchinterval(interval)
    gc.unfreeze()


@pytest.mark.slow
def test_bench_pipeline() -> None:
    bench = bench_pipeline("D1", 100.0, 100)
    # How many frames a busy machine loses is no matter of the code.
    assert 0 < bench.frames <= bench.frames + bench.lost <= 100
    # The first frame has no history, which is hard; the budget mixes in easy ones.
    assert 0 < bench.large_share < (1 if bench.frames > 20 else 1.1)
    for q in (bench.latency_ms, bench.networks_ms, bench.added_ms, bench.bare_ms):
        assert 0 < q.p50 <= q.p90 <= q.p99 <= q.max
    assert bench.added_ms.max <= bench.latency_ms.max
    assert bench.networks_ms.p50 < bench.latency_ms.p50
    assert 0 < bench.cpu_share < 2
    assert 0 < bench.networks_cpu_share < 1
    assert bench.ratio == pytest.approx(bench.latency_ms.p50 / bench.bare_ms.p50)
    assert bench.met["cpu"] is (bench.cpu_share <= 0.02)
    text = pipeline_table(bench)
    assert f"ratio to bare  {bench.ratio:.3f}" in text


@pytest.mark.slow
def test_bench_memory(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "pipeline", "--memory", "--frames", "400", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["frames"] == 400
    assert len(document["samples"]) == 40
    assert document["samples"][-1][0] == 400
    assert document["growth"] == document["samples"][-1][1] - max(
        size for count, size in document["samples"] if count <= document["warm_frames"]
    )


def test_resident_memory_counts_what_is_touched() -> None:
    before = resident_bytes()
    touched = bytearray(b"x" * 30_000_000)
    assert 25_000_000 < resident_bytes() - before < 65_000_000
    del touched


@pytest.mark.parametrize("words", [["--rate", "0"], ["--frames", "10"], ["--ensemble", "D9"]])
def test_wrong_arguments(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "pipeline", *words]) == 1
    assert capsys.readouterr().err.startswith("gearshift: ")
