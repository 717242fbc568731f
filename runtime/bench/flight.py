"""The real flight with a camera that plays from memory: what `bench pipeline` measures with."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from gearshift.runtime.decide.policies import OP
from gearshift.runtime.engines.engine import Engine
from gearshift.runtime.ensembles.ensemble import Ensemble
from gearshift.runtime.flight.budget import Budget, ThresholdController
from gearshift.runtime.flight.outbox import NamedSink
from gearshift.runtime.flight.pipeline import Flight, FlightLimits, Observer, guarded
from gearshift.runtime.launch.conduct import keep_for_the_flight, prepare_process
from gearshift.runtime.launch.setup import warm_up
from gearshift.runtime.recordings.recording import RecordingReader
from gearshift.runtime.scheduling.description import SchedulerSettings
from gearshift.runtime.sinks.sink import FlightInfo
from gearshift.runtime.sinks.sink_registry import find_sink
from gearshift.runtime.sources.source import SourceEnded
from gearshift.runtime.status.status import dropped_frames
from gearshift.runtime.types import Camera, FloatArray, Frame, Image, NetworkRole

DISTINCT_IMAGES = 64
PAUSE_NS = 60_000_000_000
LARGE_SHARE = 0.5
"""What the budget holds, so that every kind of frame is among those measured."""


class CpuMeter:
    """An engine that adds up the processor time of its runs."""

    def __init__(self, engine: Engine) -> None:
        self.network = engine.network
        self.close = engine.close
        self.cpu_ns = 0
        self._run = engine.run

    def run(self, image: Image) -> FloatArray:
        """See `Engine.run`."""
        before = time.thread_time_ns()
        try:
            return self._run(image)
        finally:
            self.cpu_ns += time.thread_time_ns() - before


def metered(ensemble: Ensemble) -> tuple[Ensemble, list[CpuMeter]]:
    """The same ensemble of engines that meter themselves."""
    meters = {role: CpuMeter(e) for role in NetworkRole if (e := ensemble.engine(role)) is not None}
    flown = replace(
        ensemble,
        small=meters[NetworkRole.SMALL],
        large=meters[NetworkRole.LARGE],
        aux=meters.get(NetworkRole.AUX),
    )
    return flown, list(meters.values())


class PacedCamera:
    """A camera that plays images from memory at an even rate while it is switched on.

    frames: it gives so many, as fast as they are fetched, like a recording that waits; None: it is
    live, and `prepare` keeps what a camera's own hardware does out of what is measured.
    """

    def __init__(
        self, images: Sequence[Image], camera: Camera | None, rate_hz: float, frames: int | None
    ) -> None:
        self.camera, self.rate_hz = camera, rate_hz
        self.live = frames is None
        self.images, self._frames = images, frames
        self._period_ns = round(1e9 / rate_hz)
        self._sequence = 0
        self._due_ns = 0
        self._on = threading.Event()
        self._prepared: list[Image] = []

    def prepare(self, count: int) -> None:
        """Lay so many images into memory of their own, while it is switched off."""
        self._prepared = [self._image(self._sequence + i) for i in reversed(range(count))]

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
                raise SourceEnded
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
        image = self._prepared.pop() if self._prepared else self._image(sequence)
        return Frame(image, time_ns, sequence, "bench", self.camera)

    def close(self) -> None:
        """See `Source.close`."""

    def _image(self, sequence: int) -> Image:
        return self.images[sequence % len(self.images)].copy()


def bench_flight(
    ensemble: Ensemble, source: PacedCamera, folder: Path, observe: Observer
) -> Flight:
    """The real pipeline with JSON lines and a recording in `folder`, as `gearshift run` sets it
    up."""
    prepare_process()
    warm_up(ensemble)
    scheduler = SchedulerSettings(OP.name, 0.0).scheduler(
        guarded(ensemble), OP, replay=not source.live, clock=time.monotonic_ns
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
    flight = Flight(
        source,
        scheduler,
        sinks,
        info,
        # Between its turns the flight is not lost.
        limits=FlightLimits(max_estimate_age_ns=PAUSE_NS),
        controller=ThresholdController(Budget(large_share=LARGE_SHARE), 0.0),
        observer=observe,
    )
    keep_for_the_flight()
    return flight


def bench_images(ensemble: Ensemble, recording: Path | None) -> tuple[list[Image], Camera | None]:
    """Frames to play: recorded ones, or a moving pattern with the noise of a small sensor."""
    if recording is not None:
        reader = RecordingReader(recording)
        return [entry.frame.image.copy() for entry in reader], reader.header.camera
    network = ensemble.small.network
    rows, columns = np.mgrid[: network.height, : network.width]
    random = np.random.default_rng(0)
    images = []
    for index in range(DISTINCT_IMAGES):
        pattern = 110 + 60 * np.sin((columns + 3 * index) / 17) * np.cos((rows + index) / 11)
        noisy = pattern + random.normal(0, 4, pattern.shape)
        images.append(noisy.clip(0, 255).astype(np.uint8))
    return images, network.camera


def lost_items(flight: Flight) -> int:
    """Frames and reports that reached nobody."""
    return dropped_frames(flight) + sum(box.counts.dropped for box in flight.outboxes)
