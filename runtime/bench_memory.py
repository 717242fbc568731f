"""`gearshift bench pipeline --memory` and `gearshift bench startup`.

Whether memory stays flat over a long flight, and how long it takes from the command to the first
estimate.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from gearshift.runtime.flight.capture import Available
    from gearshift.runtime.sink import Report

SCHEMA_VERSION: Final = 1
GROWTH_BYTES: Final = 1_000_000
STARTUP_S: Final = 1.0
SAMPLES: Final = 40
Parsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


@dataclass(frozen=True, slots=True)
class MemoryBench:
    """Resident memory over a flight as fast as it goes. growth: from `warm_frames` to the end, in
    bytes; samples: (frames, bytes) on the way."""

    schema_version: int
    ensemble: str
    frames: int
    seconds: float
    warm_frames: int
    growth: int
    samples: tuple[tuple[int, int], ...]
    met: bool


@dataclass(frozen=True, slots=True)
class StartupBench:
    """Seconds from starting `gearshift run` to its first JSON line, each time anew."""

    schema_version: int
    runs: tuple[float, ...]
    median_s: float
    max_s: float
    load: float
    met: bool


def register_startup(benches: Parsers) -> None:
    """Add `bench startup`."""
    text = "from `gearshift run` to the first estimate on stdout, from a recording"
    parser = benches.add_parser("startup", help=text, description=text)
    parser.add_argument("--ensemble", default="D1", metavar="NAME|FILE.toml")
    parser.add_argument("--runs", type=int, default=10, metavar="N")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    parser.set_defaults(run=_run_startup)


def bench_memory(ensemble_name: str, frames: int, recording: Path | None = None) -> MemoryBench:
    """Fly `frames` as fast as they go and sample resident memory; raises GearshiftError."""
    from gearshift.runtime.bench_flight import PacedCamera, bench_flight, bench_images
    from gearshift.runtime.ensemble import load_ensemble

    ensemble = load_ensemble(ensemble_name)
    images, camera = bench_images(ensemble, recording)
    every = max(frames // SAMPLES, 1)
    warm = frames // 10
    samples: list[tuple[int, int]] = []

    def observe(_available: Available, report: Report) -> None:
        count = 0 if report.frame is None else report.frame.sequence + 1
        if count % every == 0:
            samples.append((count, resident_bytes()))

    with tempfile.TemporaryDirectory() as folder:
        source = PacedCamera(images, camera, 30.0, frames)
        flight = bench_flight(ensemble, source, Path(folder), observe)
        began = time.monotonic()
        flight.start()
        flight.wait()
        flight.stop()
        seconds = time.monotonic() - began
    ensemble.close()
    before = max(size for count, size in samples if count <= warm)
    growth = samples[-1][1] - before
    return MemoryBench(
        SCHEMA_VERSION,
        ensemble.name,
        frames,
        seconds,
        warm,
        growth,
        tuple(samples),
        met=growth < GROWTH_BYTES,
    )


def resident_bytes() -> int:
    """Resident memory of this process, as Linux counts it."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def memory_table(bench: MemoryBench) -> str:
    """The result for a person to read."""
    verdict = "met" if bench.met else "not met"
    shown = bench.samples[:: max(len(bench.samples) // 10, 1)]
    lines = [
        f"{bench.ensemble}, {bench.frames} frames in {bench.seconds:.1f} s, "
        "JSON lines and recording on",
        "",
        f"{'frames':>9}{'resident MB':>14}",
        *(f"{count:9}{size / 1e6:14.2f}" for count, size in shown),
        "",
        f"growth after {bench.warm_frames} frames: {bench.growth / 1e6:+.2f} MB "
        f"(less than {GROWTH_BYTES / 1e6:g} MB: {verdict})",
    ]
    return "\n".join(lines) + "\n"


def bench_startup(ensemble_name: str, runs: int) -> StartupBench:
    """Start `gearshift run` again and again on a recording made here; raises GearshiftError."""
    from gearshift.runtime.bench_flight import bench_images
    from gearshift.runtime.ensemble import load_ensemble
    from gearshift.runtime.recording import RecordingWriter
    from gearshift.runtime.types import Frame

    load = os.getloadavg()[0]
    ensemble = load_ensemble(ensemble_name)
    images, camera = bench_images(ensemble, None)
    ensemble.close()
    with tempfile.TemporaryDirectory() as folder:
        recording = Path(folder) / "startup.mcap"
        with RecordingWriter(recording, camera=camera) as writer:
            for index, image in enumerate(images):
                writer.write_frame(Frame(image, index * 33_333_333, index, "bench", camera))
        flight = Path(folder) / "flight.toml"
        flight.write_text(
            "schema_version = 1\n"
            f"[source]\nkind = 'recording'\npath = {json.dumps(str(recording))}\n"
            f"[ensemble]\nname = {json.dumps(ensemble_name)}\n"
            "[policy]\nthreshold = 0.5\n[[sinks]]\nkind = 'jsonl'\n[log]\nstatus = 'off'\n"
        )
        seconds = tuple(_first_line(flight) for _ in range(runs))
    median = statistics.median(seconds)
    return StartupBench(SCHEMA_VERSION, seconds, median, max(seconds), load, median < STARTUP_S)


def _first_line(flight: Path) -> float:
    """Seconds until the first line of one run."""
    from gearshift.runtime.errors import GearshiftError

    code = "import sys; from gearshift.runtime.cli import main; sys.exit(main())"
    began = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-c", code, "run", str(flight)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        seconds = time.monotonic() - began
        process.terminate()
        process.stdout.read()
    if not line:
        raise GearshiftError("gearshift run gave no estimate")
    return seconds


def _run_startup(options: argparse.Namespace) -> int:
    from gearshift.runtime.errors import ConfigurationError

    if options.runs < 1:
        raise ConfigurationError(f"--runs is {options.runs}, it must be at least 1")
    bench = bench_startup(options.ensemble, options.runs)
    if options.json:
        sys.stdout.write(json.dumps(asdict(bench), indent=2) + "\n")
        return 0
    verdict = "met" if bench.met else "not met"
    sys.stdout.write(
        f"from `gearshift run` to the first estimate: median {bench.median_s:.2f} s, "
        f"max {bench.max_s:.2f} s of {len(bench.runs)} runs "
        f"(less than {STARTUP_S:g} s: {verdict}); {bench.load:.1f} cores busy before\n"
    )
    return 0
