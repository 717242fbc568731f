"""`gearshift bench pipeline`: what the flight adds to its networks, in time, processor and memory.

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
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from gearshift.runtime.engine import Engine
    from gearshift.runtime.ensemble import Ensemble
    from gearshift.runtime.flight.capture import Available
    from gearshift.runtime.flight.pipeline import Flight
    from gearshift.runtime.sink import Report
    from gearshift.runtime.types import Camera, FloatArray, Frame, Image, NetworkRole

SCHEMA_VERSION: Final = 1
BLOCK_S: Final = 1.0
"""Length of a turn."""
LARGE_SHARE: Final = 0.5
ADDED_P50_MS: Final = 0.3
ADDED_P99_MS: Final = 1.0
CPU_SHARE: Final = 0.02
GROWTH_BYTES: Final = 1_000_000
SHADES: Final = 16
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
    of the medians of latency and bare. cpu_share: of one core, without the networks'."""

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
    lost_frames: int
    met: Mapping[str, bool]


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


def register_pipeline(benches: Parsers) -> None:
    """Add `bench pipeline`."""
    text = "what a flight adds to its networks: latency, processor time, memory"
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


class CpuMeter:
    """An engine that adds up the processor time of its runs."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.network = engine.network
        self.cpu_ns = 0

    def run(self, image: Image) -> FloatArray:
        """See `Engine.run`."""
        before = time.thread_time_ns()
        try:
            return self._engine.run(image)
        finally:
            self.cpu_ns += time.thread_time_ns() - before

    def close(self) -> None:
        """See `Engine.close`."""
        self._engine.close()


class PacedCamera:
    """A camera that plays images from memory at an even rate while it is switched on.

    paced False: as fast as they are fetched, until `frames` are through; it then waits for its
    reader like a recording.
    """

    def __init__(
        self, images: Sequence[Image], camera: Camera | None, rate_hz: float, frames: int | None
    ) -> None:
        from gearshift.runtime.source import SourceEnded
        from gearshift.runtime.types import Frame

        self._frame, self._ended = Frame, SourceEnded
        self.camera, self.rate_hz = camera, rate_hz
        self.live = frames is None
        self._images, self._frames = images, frames
        self._period_ns = round(1e9 / rate_hz)
        self._sequence = 0
        self._due_ns = 0
        self._on = threading.Event()

    def switch(self, *, on: bool) -> None:
        """Begin or cease to give frames."""
        if on:
            self._due_ns = time.monotonic_ns() + self._period_ns
            self._on.set()
        else:
            self._on.clear()

    def open(self) -> None:
        """See `Source.open`."""
        self._due_ns = time.monotonic_ns()

    def read(self, timeout_s: float) -> Frame | None:
        """See `Source.read`."""
        if self._frames is not None:
            if self._sequence >= self._frames:
                raise self._ended
        else:
            if not self._on.is_set() and not self._on.wait(timeout_s):
                return None
            pause_s = (self._due_ns - time.monotonic_ns()) / 1e9
            if pause_s > 0:
                time.sleep(pause_s)
            if not self._on.is_set():
                return None
        sequence, time_ns = self._sequence, self._due_ns
        self._sequence += 1
        self._due_ns += self._period_ns
        image = self._images[sequence % len(self._images)].copy()
        return self._frame(image, time_ns, sequence, "bench", self.camera)

    def close(self) -> None:
        """See `Source.close`."""


def bench_pipeline(
    ensemble_name: str, rate_hz: float, frames: int, recording: Path | None = None
) -> PipelineBench:
    """Measure in turns of a second; raises GearshiftError."""
    import numpy as np

    from gearshift.runtime.ensemble import load_ensemble
    from gearshift.runtime.types import NetworkRole

    bare = load_ensemble(ensemble_name)
    meters = {r: CpuMeter(e) for r in NetworkRole if (e := bare.engine(r)) is not None}
    flown = replace(
        bare,
        small=meters[NetworkRole.SMALL],
        large=meters[NetworkRole.LARGE],
        aux=meters.get(NetworkRole.AUX),
    )
    images, camera = _images(flown, recording)
    latency: list[float] = []
    networks: list[float] = []
    ran: list[tuple[NetworkRole, ...]] = []

    def observe(available: Available, report: Report) -> None:
        now = time.monotonic_ns()
        estimate = report.estimate
        if estimate is not None:
            times = estimate.times
            latency.append((now - available.time_ns) / 1e6)
            networks.append((times.aux + times.small + times.large) / 1e6)
            ran.append(estimate.networks)

    source = PacedCamera(images, camera, rate_hz, None)
    bare_ms: list[float] = []
    cpu_s = networks_cpu_s = wall_s = 0.0
    block = max(round(BLOCK_S * rate_hz), 1)
    with tempfile.TemporaryDirectory() as folder:
        flight = _flight(flown, source, Path(folder), observe)
        flight.start()
        try:
            for turn in range(-1, -(-frames // block)):
                if turn == 0:  # the turn before warms up
                    latency.clear()
                    networks.clear()
                    ran.clear()
                    bare_ms.clear()
                    cpu_s = networks_cpu_s = wall_s = 0.0
                    lost_before = _lost(flight)
                began = len(ran)
                cpu, wall = time.process_time(), time.monotonic()
                inside = sum(m.cpu_ns for m in meters.values())
                source.switch(on=True)
                time.sleep(block / rate_hz)
                source.switch(on=False)
                cpu_s += time.process_time() - cpu
                wall_s += time.monotonic() - wall
                networks_cpu_s += (sum(m.cpu_ns for m in meters.values()) - inside) / 1e9
                bare_ms += _bare(bare, images, rate_hz, ran[began:])
            lost = _lost(flight) - lost_before
        finally:
            flight.stop()
    bare.close()
    added = [a - b for a, b in zip(latency, networks, strict=True)]
    large = sum(NetworkRole.LARGE in roles for roles in ran)
    figures = {
        "latency": _quantiles(latency),
        "networks": _quantiles(networks),
        "added": _quantiles(added),
        "bare": _quantiles(bare_ms),
    }
    cpu_share = (cpu_s - networks_cpu_s) / wall_s
    return PipelineBench(
        schema_version=SCHEMA_VERSION,
        ensemble=bare.name,
        rate_hz=rate_hz,
        frames=len(latency),
        large_share=large / max(len(ran), 1),
        latency_ms=figures["latency"],
        networks_ms=figures["networks"],
        added_ms=figures["added"],
        bare_ms=figures["bare"],
        ratio=float(np.median(latency) / np.median(bare_ms)),
        cpu_share=cpu_share,
        networks_cpu_share=networks_cpu_s / wall_s,
        lost_frames=lost,
        met={
            "added_p50": figures["added"].p50 <= ADDED_P50_MS,
            "added_p99": figures["added"].p99 <= ADDED_P99_MS,
            "cpu": cpu_share <= CPU_SHARE,
        },
    )


def bench_memory(ensemble_name: str, frames: int, recording: Path | None = None) -> MemoryBench:
    """Fly `frames` as fast as they go and sample resident memory; raises GearshiftError."""
    from gearshift.runtime.ensemble import load_ensemble

    ensemble = load_ensemble(ensemble_name)
    images, camera = _images(ensemble, recording)
    every = max(frames // 40, 1)
    warm = frames // 10
    samples: list[tuple[int, int]] = []

    def observe(_available: Available, report: Report) -> None:
        assert report.frame is not None
        count = report.frame.sequence + 1
        if count % every == 0:
            samples.append((count, resident_bytes()))

    with tempfile.TemporaryDirectory() as folder:
        flight = _flight(ensemble, PacedCamera(images, camera, 30.0, frames), Path(folder), observe)
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
    import os

    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _flight(ensemble: Ensemble, source: PacedCamera, folder: Path, observe: object) -> Flight:
    """The real pipeline with JSON lines and a recording in `folder`, as `gearshift run` sets it
    up."""
    import gc

    from gearshift.runtime.flight.budget import Budget, ThresholdController
    from gearshift.runtime.flight.conduct import SWITCH_INTERVAL_S
    from gearshift.runtime.flight.outbox import NamedSink
    from gearshift.runtime.flight.pipeline import Flight, guarded
    from gearshift.runtime.flight.setup import warm_up
    from gearshift.runtime.policies import OP
    from gearshift.runtime.scheduler import Scheduler
    from gearshift.runtime.sink import FlightInfo, find_sink

    warm_up(ensemble)
    scheduler = Scheduler(
        guarded(ensemble), OP, 0.0, replay=not source.live, clock=time.monotonic_ns
    )
    options: dict[str, dict[str, object]] = {
        "jsonl": {"path": str(folder / "estimates.jsonl")},
        "recording": {"folder": str(folder)},
    }
    sinks = []
    for kind, values in options.items():
        plugin = find_sink(kind)
        sink = plugin.make(plugin.options(**values))
        sinks.append(NamedSink(kind, sink, patience_s=plugin.patience_s))
    info = FlightInfo(
        components=ensemble.small.network.components,
        camera=source.camera,
        start_unix_ns=time.time_ns(),
        start_monotonic_ns=time.monotonic_ns(),
    )
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    flight = Flight(
        source,
        scheduler,
        sinks,
        info,
        controller=ThresholdController(Budget(large_share=LARGE_SHARE), 0.0),
        observer=observe,  # type: ignore[arg-type]
    )
    gc.collect()
    gc.freeze()
    return flight


def _bare(
    ensemble: Ensemble,
    images: Sequence[Image],
    rate_hz: float,
    ran: Sequence[tuple[NetworkRole, ...]],
) -> list[float]:
    """Milliseconds of the same networks on as many frames at the same pace."""
    period_ns = round(1e9 / rate_hz)
    due_ns = time.monotonic_ns() + period_ns
    found = []
    for index, roles in enumerate(ran):
        image = images[index % len(images)].copy()
        engines = [e for role in roles if (e := ensemble.engine(role)) is not None]
        time.sleep(max(due_ns - time.monotonic_ns(), 0) / 1e9)
        due_ns += period_ns
        before = time.monotonic_ns()
        for engine in engines:
            engine.run(image)
        found.append((time.monotonic_ns() - before) / 1e6)
    return found


def _images(ensemble: Ensemble, recording: Path | None) -> tuple[list[Image], Camera | None]:
    """Frames to play: recorded ones, or a moving pattern with the noise of a small sensor."""
    import numpy as np

    if recording is not None:
        from gearshift.runtime.recording import RecordingReader

        reader = RecordingReader(recording)
        return [entry.frame.image.copy() for entry in reader], reader.header.camera
    network = ensemble.small.network
    rows, columns = np.mgrid[: network.height, : network.width]
    random = np.random.default_rng(0)
    images = []
    for index in range(64):
        pattern = 110 + 60 * np.sin((columns + 3 * index) / 17) * np.cos((rows + index) / 11)
        noisy = pattern + random.normal(0, 4, pattern.shape)
        images.append(noisy.clip(0, 255).astype(np.uint8))
    return images, network.camera


def _lost(flight: Flight) -> int:
    from gearshift.runtime.flight.status import dropped_frames

    return dropped_frames(flight) + sum(box.counts.dropped for box in flight.outboxes)


def _quantiles(values: Sequence[float]) -> Quantiles:
    import numpy as np

    p50, p90, p99 = (float(v) for v in np.percentile(values, (50, 90, 99)))
    return Quantiles(p50, p90, p99, max(values))


def pipeline_table(bench: PipelineBench) -> str:
    """The result for a person to read."""
    heads = ("p50", "p90", "p99", "max")
    lines = [
        f"{bench.ensemble}, {bench.frames} frames at {bench.rate_hz:g} Hz, "
        f"{bench.large_share:.0%} on large, JSON lines and recording on",
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
        f"lost           {bench.lost_frames} frames or reports",
    ]
    return "\n".join(lines) + "\n"


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
