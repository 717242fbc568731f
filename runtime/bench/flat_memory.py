"""`gearshift bench pipeline --memory`: whether memory stays flat over a long flight."""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gearshift.runtime.flight.capture import Available
    from gearshift.runtime.sinks.sink import Report

SCHEMA_VERSION: Final = 1
GROWTH_BYTES: Final = 1_000_000
SAMPLES: Final = 40


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


def bench_memory(ensemble_name: str, frames: int, recording: Path | None = None) -> MemoryBench:
    """Fly `frames` as fast as they go and sample resident memory; raises GearshiftError."""
    from gearshift.runtime.bench.flight import PacedCamera, bench_flight, bench_images
    from gearshift.runtime.ensembles.loading import load_ensemble

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
