"""`gearshift bench pipeline`: what the flight adds to its networks, in time and processor load.

A paced camera plays frames from memory through the real pipeline, with JSON lines and a recording
on. In between, in turns, the same networks run bare on the same frames at the same pace: caches are
as cold and the clock as low as in flight. What a flight adds to a frame is the time from when the
source gave it to when its estimate was handed to every outbox, less the networks' own runs.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from gearshift.runtime.bench.flight import CpuMeter, PacedCamera
    from gearshift.runtime.ensembles.ensemble import Ensemble
    from gearshift.runtime.flight.capture import Available
    from gearshift.runtime.sinks.sink import Report
    from gearshift.runtime.types import Image, NetworkRole

SCHEMA_VERSION: Final = 1
BLOCK_S: Final = 1.0
"""Length of a turn."""
ADDED_P50_MS: Final = 0.3
ADDED_P99_MS: Final = 1.0
CPU_SHARE: Final = 0.02
Parsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Milliseconds."""

    p50: float
    p90: float
    p99: float
    max: float


@dataclass(frozen=True, slots=True)
class PipelineBench:
    """The result. latency: available to published. networks: their runs within it. added: the
    difference, frame by frame. bare: the same networks without a flight, in turns with it. ratio:
    of the medians of latency and bare. cpu_share: of one core, without the networks'. load: of the
    machine when it began, in busy cores; figures of a busy machine are worth little."""

    schema_version: int
    ensemble: str
    rate_hz: float
    frames: int
    large_share: float
    latency_ms: Quantiles
    networks_ms: Quantiles
    added_ms: Quantiles
    bare_ms: Quantiles
    ratio: float
    cpu_share: float
    networks_cpu_share: float
    lost: int
    load: float
    met: Mapping[str, bool]


def register_pipeline(benches: Parsers) -> None:
    """Add `bench pipeline`."""
    text = "what a flight adds to its networks: latency and processor time, or memory"
    parser = benches.add_parser("pipeline", help=text, description=text)
    parser.add_argument("--ensemble", default="D1", metavar="NAME|FILE.toml")
    parser.add_argument("--rate", type=float, default=30.0, metavar="HZ")
    parser.add_argument("--frames", type=int, metavar="N", help="default 900, with --memory 200000")
    parser.add_argument(
        "--recording", type=Path, metavar="FILE.mcap", help="fly its frames (default: synthetic)"
    )
    parser.add_argument(
        "--memory", action="store_true", help="fly as fast as it goes and watch resident memory"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from gearshift.runtime.bench.flat_memory import MemoryBench, bench_memory, memory_table
    from gearshift.runtime.errors import ConfigurationError

    if options.rate <= 0:
        raise ConfigurationError(f"--rate is {options.rate}, it must be above 0")
    frames = options.frames or (200_000 if options.memory else 900)
    if frames < 100:
        raise ConfigurationError(f"--frames is {frames}, it must be at least 100")
    bench: PipelineBench | MemoryBench
    if options.memory:
        bench = bench_memory(options.ensemble, frames, options.recording)
        text = memory_table(bench)
    else:
        bench = bench_pipeline(options.ensemble, options.rate, frames, options.recording)
        text = pipeline_table(bench)
    sys.stdout.write(json.dumps(asdict(bench), indent=2) + "\n" if options.json else text)
    return 0


@dataclass(slots=True)
class _Measured:
    """What adds up over the turns."""

    latency: list[float] = field(default_factory=list)
    networks: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)
    ran: list[tuple[NetworkRole, ...]] = field(default_factory=list)
    cpu_s: float = 0.0
    networks_cpu_s: float = 0.0
    wall_s: float = 0.0

    def clear(self) -> None:
        """Begin anew."""
        for values in (self.latency, self.networks, self.bare, self.ran):
            values.clear()
        self.cpu_s = self.networks_cpu_s = self.wall_s = 0.0

    def observe(self, available: Available, report: Report) -> None:
        """See `Observer`."""
        now = time.monotonic_ns()
        estimate = report.estimate
        if estimate is not None:
            times = estimate.times
            self.latency.append((now - available.time_ns) / 1e6)
            self.networks.append((times.aux + times.small + times.large) / 1e6)
            self.ran.append(estimate.networks)


def bench_pipeline(
    ensemble_name: str, rate_hz: float, frames: int, recording: Path | None = None
) -> PipelineBench:
    """Measure in turns of a second; raises GearshiftError."""
    import os

    from gearshift.runtime.bench.flight import (
        PacedCamera,
        bench_flight,
        bench_images,
        lost_items,
        metered,
    )
    from gearshift.runtime.ensembles.loading import load_ensemble

    load = os.getloadavg()[0]
    ensemble = load_ensemble(ensemble_name)
    flown, meters = metered(ensemble)
    images, camera = bench_images(ensemble, recording)
    source = PacedCamera(images, camera, rate_hz, None)
    block = max(round(BLOCK_S * rate_hz), 1)
    with tempfile.TemporaryDirectory() as folder:
        measured = _Measured()
        flight = bench_flight(flown, source, Path(folder), measured.observe)
        flight.start()
        try:
            _turn(source, meters, measured, block)
            _bare(ensemble, images, rate_hz, measured)
            measured.clear()  # that was to warm up
            lost = lost_items(flight)
            for _ in range(-(-frames // block)):
                _turn(source, meters, measured, block)
                _bare(ensemble, images, rate_hz, measured)
            lost = lost_items(flight) - lost
        finally:
            flight.stop()
    ensemble.close()
    return _result(ensemble.name, rate_hz, measured, lost, load)


def _turn(
    source: PacedCamera, meters: Sequence[CpuMeter], measured: _Measured, frames: int
) -> None:
    """Fly for so many frames."""
    source.prepare(frames)
    inside = sum(meter.cpu_ns for meter in meters)
    cpu, wall = time.process_time(), time.monotonic()
    source.switch(on=True)
    time.sleep(frames / (source.rate_hz or 30.0))
    source.switch(on=False)
    measured.cpu_s += time.process_time() - cpu
    measured.wall_s += time.monotonic() - wall
    measured.networks_cpu_s += (sum(meter.cpu_ns for meter in meters) - inside) / 1e9


def _bare(ensemble: Ensemble, images: Sequence[Image], rate_hz: float, measured: _Measured) -> None:
    """The same networks on as many frames at the same pace."""
    period_ns = round(1e9 / rate_hz)
    due_ns = time.monotonic_ns() + period_ns
    for index in range(len(measured.bare), len(measured.ran)):
        image = images[index % len(images)].copy()
        engines = [e for role in measured.ran[index] if (e := ensemble.engine(role)) is not None]
        time.sleep(max(due_ns - time.monotonic_ns(), 0) / 1e9)
        due_ns += period_ns
        before = time.monotonic_ns()
        for engine in engines:
            engine.run(image)
        measured.bare.append((time.monotonic_ns() - before) / 1e6)


def _result(
    ensemble: str, rate_hz: float, measured: _Measured, lost: int, load: float
) -> PipelineBench:
    from gearshift.runtime.types import NetworkRole

    added = [a - b for a, b in zip(measured.latency, measured.networks, strict=True)]
    large = sum(NetworkRole.LARGE in roles for roles in measured.ran)
    latency, bare, more = (_quantiles(v) for v in (measured.latency, measured.bare, added))
    cpu_share = (measured.cpu_s - measured.networks_cpu_s) / measured.wall_s
    return PipelineBench(
        schema_version=SCHEMA_VERSION,
        ensemble=ensemble,
        rate_hz=rate_hz,
        frames=len(measured.latency),
        large_share=large / max(len(measured.ran), 1),
        latency_ms=latency,
        networks_ms=_quantiles(measured.networks),
        added_ms=more,
        bare_ms=bare,
        ratio=latency.p50 / bare.p50,
        cpu_share=cpu_share,
        networks_cpu_share=measured.networks_cpu_s / measured.wall_s,
        lost=lost,
        load=load,
        met={
            "added_p50": more.p50 <= ADDED_P50_MS,
            "added_p99": more.p99 <= ADDED_P99_MS,
            "cpu": cpu_share <= CPU_SHARE,
        },
    )


def _quantiles(values: Sequence[float]) -> Quantiles:
    import numpy as np

    from gearshift.runtime.scoring.metrics import summarise_latency

    found = summarise_latency(np.array(values))
    return Quantiles(found.p50_ms, found.p90_ms, found.p99_ms, found.max_ms)


def pipeline_table(bench: PipelineBench) -> str:
    """The result for a person to read."""
    heads = ("p50", "p90", "p99", "max")
    lines = [
        f"{bench.ensemble}, {bench.frames} frames at {bench.rate_hz:g} Hz, "
        f"{bench.large_share:.0%} on large, JSON lines and recording on; "
        f"{bench.load:.1f} cores busy before",
        "",
        f"{'ms per frame':44}" + "".join(f"{head:>9}" for head in heads),
    ]
    rows = {
        "frame available -> estimate published": bench.latency_ms,
        "  the networks' own time": bench.networks_ms,
        "  added by the flight": bench.added_ms,
        "bare networks at the same pace, in turns": bench.bare_ms,
    }
    for name, q in rows.items():
        lines.append(f"{name:44}" + "".join(f"{getattr(q, head):9.3f}" for head in heads))
    met = {name: "met" if good else "not met" for name, good in bench.met.items()}
    lines += [
        "",
        f"added at p50   {bench.added_ms.p50:.3f} ms (at most {ADDED_P50_MS}: {met['added_p50']})",
        f"added at p99   {bench.added_ms.p99:.3f} ms (at most {ADDED_P99_MS}: {met['added_p99']})",
        f"ratio to bare  {bench.ratio:.3f}",
        f"processor      {bench.cpu_share:.2%} of a core beyond the networks "
        f"(at most {CPU_SHARE:.0%}: {met['cpu']}); networks {bench.networks_cpu_share:.2%}",
        f"lost           {bench.lost} frames or reports",
    ]
    return "\n".join(lines) + "\n"
