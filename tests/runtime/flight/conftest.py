"""Cameras, networks and sinks that fail on command, around the real flight."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from gearshift.runtime.decide.policies import OP
from gearshift.runtime.decide.policy import Policy
from gearshift.runtime.engines.engine import Engine
from gearshift.runtime.ensembles.ensemble import Ensemble
from gearshift.runtime.errors import EngineError, SinkError, SourceError
from gearshift.runtime.flight.budget import ThresholdController
from gearshift.runtime.flight.outbox import NamedSink
from gearshift.runtime.flight.pipeline import Flight, FlightLimits, guarded
from gearshift.runtime.scheduling.deadline import DeadlineMonitor
from gearshift.runtime.scheduling.scheduler import Scheduler
from gearshift.runtime.scheduling.scripted import Script, scripted_image
from gearshift.runtime.sinks.sink import FlightInfo, FlightState, Report, Sink
from gearshift.runtime.sources.source import SourceEnded
from gearshift.runtime.types import FloatArray, Frame, Image, NetworkRole

from ...waiting import PATIENCE_S, wait_until

MS = 1_000_000
FRAMES = 2000
LIVE_FRAMES = 20_000
"""More than a test takes on a busy machine: a live camera does not come to its end."""
LIMITS = FlightLimits(
    max_age_ns=2000 * MS, max_estimate_age_ns=1000 * MS, stall_ns=250 * MS, presence_every=0
)
"""Wide enough that a machine with other work to do does not break them by itself."""


class FaultyCamera:
    """A camera at 100 Hz, or, not live, a recording of `frames`; `fault` changes what is read.

    fault: from the frame that would come to the one that comes, None for none in time; it may
    raise.
    """

    camera = None
    rate_hz = 100.0

    def __init__(self, *, live: bool = True, frames: int = LIVE_FRAMES) -> None:
        self.live = live
        self.frames = frames
        self.fault: Callable[[Frame], Frame | None] = lambda frame: frame
        self.can_open = True
        self.opened = self.closed = 0
        self._sequence = 0

    def open(self) -> None:
        self.opened += 1
        if not self.can_open:
            raise SourceError("the camera is not there")

    def read(self, timeout_s: float) -> Frame | None:
        if self._sequence >= self.frames:
            raise SourceEnded
        if self.live:
            time.sleep(1 / self.rate_hz)
        sequence = self._sequence
        self._sequence += 1
        frame = Frame(scripted_image(sequence), time.monotonic_ns(), sequence, "test")
        return self.fault(frame)

    def close(self) -> None:
        self.closed += 1


class FaultyEngine:
    """An engine with a switch. mode: "good", "raise", "nan", "slow" or "stall" (until
    `released`)."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.network = engine.network
        self.mode = "good"
        self.slow_s = 0.03
        self.released = threading.Event()
        self.inside = threading.Event()
        self._nan: FloatArray = np.full(engine.network.output_size, np.nan, dtype=np.float32)

    def run(self, image: Image) -> FloatArray:
        if self.mode == "raise":
            raise EngineError("it was told to fail")
        if self.mode == "nan":
            return self._nan
        if self.mode == "slow":
            time.sleep(self.slow_s)
        if self.mode == "stall":
            self.inside.set()
            self.released.wait(PATIENCE_S)
        return self._engine.run(image)

    def close(self) -> None:
        self._engine.close()


@dataclass
class ListSink:
    """Keeps every report."""

    reports: list[Report] = field(default_factory=list)

    def open(self, info: FlightInfo) -> None: ...

    def write(self, report: Report) -> None:
        self.reports.append(report)

    def close(self) -> None: ...


class FaultySink:
    """A sink with a switch: "good", "raise", "block" (until `released`)."""

    def __init__(self) -> None:
        self.mode = "good"
        self.released = threading.Event()
        self.inside = threading.Event()
        self.written = 0
        self.opened = 0

    def open(self, info: FlightInfo) -> None:
        self.opened += 1
        if self.mode == "closed":
            raise SinkError("nobody answers")

    def write(self, report: Report) -> None:
        if self.mode == "raise":
            raise SinkError("the peer is gone")
        if self.mode == "crash":
            raise ZeroDivisionError("a plug-in's mistake")
        if self.mode == "block":
            self.inside.set()
            self.released.wait(PATIENCE_S)
        self.written += 1

    def close(self) -> None: ...


@dataclass
class Rig:
    """A flight with everything that can be made to fail."""

    flight: Flight
    camera: FaultyCamera
    small: FaultyEngine
    large: FaultyEngine
    aux: FaultyEngine
    sink: ListSink

    @property
    def reports(self) -> list[Report]:
        return self.sink.reports

    def until(self, condition: Callable[[Report], bool], *, after: int | None = None) -> Report:
        """The first report, from number `after` (default: from now) on, for which it holds."""
        position = len(self.reports) if after is None else after

        def came() -> bool:
            nonlocal position
            while position < len(self.reports):
                if condition(self.reports[position]):
                    return True
                position += 1
            return False

        wait_until(
            came,
            lambda: (
                f"no such report; the state is {self.flight.state}, {self.flight.counts}, "
                f"{self.flight.capture.counts}"
            ),
        )
        return self.reports[position]

    def until_reported(self, count: int) -> None:
        """So many reports since the start."""
        self.until(lambda r: len(self.reports) >= count)

    def until_tracking(self) -> Report:
        return self.until(lambda r: r.state is FlightState.TRACKING)

    def until_lost(self) -> Report:
        """The flight is lost: not only without a value for one frame."""
        lost = FlightState.LOST
        return self.until(lambda r: r.state is lost and self.flight.state is lost)


def faulty(ensemble: Ensemble) -> Ensemble:
    assert ensemble.aux is not None
    return replace(
        ensemble,
        small=FaultyEngine(ensemble.small),
        large=FaultyEngine(ensemble.large),
        aux=FaultyEngine(ensemble.aux),
    )


def flight_info(ensemble: Ensemble) -> FlightInfo:
    return FlightInfo(
        components=ensemble.small.network.components,
        camera=None,
        start_unix_ns=time.time_ns(),
        start_monotonic_ns=time.monotonic_ns(),
    )


MakeRig = Callable[..., Rig]


@pytest.fixture
def make_rig() -> Iterator[MakeRig]:
    """Builds flights; stops those that fly."""
    made: list[Rig] = []

    def make(
        *,
        policy: Policy = OP,
        threshold: float | None = -np.inf,
        camera: FaultyCamera | None = None,
        sinks: tuple[Sink, ...] = (),
        limits: FlightLimits = LIMITS,
        deadline_ns: int | None = None,
        controller: ThresholdController | None = None,
        required: bool = True,
        start: bool = True,
        script: Script | None = None,
    ) -> Rig:
        camera = camera or FaultyCamera()
        ensemble = faulty((script or Script.random(LIVE_FRAMES)).ensemble())
        scheduler = Scheduler(
            guarded(ensemble),
            policy,
            threshold,
            deadline=None if deadline_ns is None else DeadlineMonitor(deadline_ns),
            replay=not camera.live,
            clock=time.monotonic_ns,
        )
        sink = ListSink()
        named = [NamedSink("list", sink)]
        named += [NamedSink(f"sink {n}", s, required) for n, s in enumerate(sinks)]
        flight = Flight(
            camera,
            scheduler,
            named,
            flight_info(ensemble),
            limits=limits,
            controller=controller,
        )
        engines = [ensemble.engine(role) for role in NetworkRole]
        small, large, aux = (e for e in engines if isinstance(e, FaultyEngine))
        rig = Rig(flight, camera, small, large, aux, sink)
        made.append(rig)
        if start:
            camera.open()
            flight.start()
        return rig

    yield make
    for rig in made:
        for engine in (rig.small, rig.large, rig.aux):
            engine.mode = "good"
            engine.released.set()
        rig.flight.stop()


@contextmanager
def no_errors_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    assert not [r for r in caplog.records if r.levelname == "ERROR"]
