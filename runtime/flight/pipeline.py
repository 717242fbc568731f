"""The flight: capture and inference (`workers`), one outbox per sink, and a watchdog.

Nobody waits for the slower. The watchdog thread says `lost` when no frame comes or no network
answers, and leaves networks behind that do not return.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from gearshift.runtime.decide.policy import Probe
from gearshift.runtime.decide.portable import softmax
from gearshift.runtime.engines.engine import Engine
from gearshift.runtime.ensembles.ensemble import Ensemble
from gearshift.runtime.errors import FrameError, GearshiftError
from gearshift.runtime.flight.budget import ThresholdController
from gearshift.runtime.flight.capture import Available, Capture, Prepare
from gearshift.runtime.flight.counts import InferenceCounts
from gearshift.runtime.flight.guard import GuardedEngine
from gearshift.runtime.flight.outbox import NamedSink, Outbox
from gearshift.runtime.flight.state import FlightStateMachine, PresenceRule
from gearshift.runtime.flight.workers import Workers
from gearshift.runtime.scheduling.scheduler import Scheduler
from gearshift.runtime.sinks.sink import FlightInfo, FlightState, Report
from gearshift.runtime.sources.source import Source
from gearshift.runtime.types import Estimate, EstimateFlag, Frame, NetworkRole

logger = logging.getLogger(__name__)

NS_PER_S = 1_000_000_000
WATCHDOG_S = 0.15
"""How late the watchdog may notice that a network does not return."""
REPEAT_S = 0.5
"""How often a state is repeated while no estimate comes; MAVLink wants to hear once a second."""
SINK_OPEN_S = 10.0
UNHEALTHY_S = 5.0
"""A thread that shows no sign of life for so long is stuck."""
WORKERS_STOP_S = 0.4
WATCHDOG_STOP_S = 0.1
SINKS_STOP_S = 0.35
"""Together below the second in which a flight has to end."""
SINKS_FINISH_S = 5.0
"""For a flight that ended by itself."""


@dataclass(frozen=True, slots=True)
class FlightLimits:
    """What a flight may do. Times in nanoseconds.

    max_age_ns: a live frame older than this at the start of inference is dropped.
    max_estimate_age_ns: from capture; no older estimate passes as fresh. stall_ns: a network that
    has not returned after this is left behind. presence_every: run the auxiliary network after
    every so many frames, once their estimate is out, where the policy does not run it; 0: never.
    """

    max_age_ns: int = 200_000_000
    max_estimate_age_ns: int = 750_000_000
    stall_ns: int = 300_000_000
    presence_every: int = 10
    presence: PresenceRule = field(default_factory=PresenceRule)


Observer = Callable[[Available, Report], None]
"""Told of every published estimate, in the inference thread."""


def guarded(ensemble: Ensemble) -> Ensemble:
    """The same ensemble of engines that can be left behind; `Flight` needs such a one."""
    return replace(
        ensemble,
        small=GuardedEngine(ensemble.small),
        large=GuardedEngine(ensemble.large),
        aux=None if ensemble.aux is None else GuardedEngine(ensemble.aux),
    )


class Flight:
    """One flight from `start` to `stop`.

    source: already open. scheduler: of a `guarded` ensemble; for a source that is not live made
    with `replay`, so that estimates are stamped on the recording's own clock. info: what sinks are
    told. prepare: from the source's frames to the networks'. controller: moves the threshold.
    on_end: called once, from a thread, when the source has ended or failed for good.
    """

    def __init__(
        self,
        source: Source,
        scheduler: Scheduler,
        sinks: Sequence[NamedSink],
        info: FlightInfo,
        *,
        limits: FlightLimits | None = None,
        prepare: Prepare = lambda frame: frame,
        controller: ThresholdController | None = None,
        observer: Observer | None = None,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        self.limits = limits or FlightLimits()
        self.live = source.live
        self.counts = InferenceCounts()
        self.error: GearshiftError | None = None
        self.last: Report | None = None
        self.scheduler = scheduler
        ensemble = scheduler.ensemble
        self._engines = [
            engine
            for engine in (ensemble.aux, ensemble.small, ensemble.large)
            if isinstance(engine, GuardedEngine)
        ]
        aux_is_free = scheduler.policy.probe is not Probe.AUX
        self._aux = ensemble.aux if aux_is_free and self.limits.presence_every else None
        self._info = info
        self._controller = controller
        self._observer = observer
        self._on_end = on_end
        # Those that are woken at once come last: nobody else's report waits for that.
        ordered = sorted(sinks, key=lambda sink: sink.patience_s, reverse=True)
        self.outboxes = [Outbox(sink, lossless=not self.live) for sink in ordered]
        self.capture = Capture(source, prepare)
        self._machine = FlightStateMachine(self.limits.max_estimate_age_ns, self.limits.presence)
        # Guards the state and the order of reports; held for microseconds.
        self._publishing = threading.Lock()
        self._published_ns = time.monotonic_ns()
        self._value_ns = 0
        self._since_presence = 0
        # What the watchdog sleeps on; an Event would cost it more than what it looks at.
        self._landed = threading.Lock()
        self._landed.acquire()
        self._ended = threading.Event()
        self._workers = Workers(self.capture, self._process, self._source_ended)
        self._watchdog = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    @property
    def state(self) -> FlightState:
        """What a consumer may assume now."""
        return self._machine.state

    @property
    def threshold(self) -> float:
        """The one in use."""
        return self.scheduler.threshold

    @property
    def healthy(self) -> bool:
        """Whether capture and inference still turn round; a supervisor should restart a flight in
        which one of them is stuck where no other thread can help."""
        return max(self._workers.busy_s, self.capture.silent_s) < UNHEALTHY_S

    def start(self, cancelled: Callable[[], bool] = lambda: False) -> bool:
        """Open the sinks, then let frames in; raises SinkError when a required one fails.

        cancelled: asked while a sink takes its time; when it says so, no frame is let in, and what
        is left to do is `stop`. Returns whether the flight began.
        """
        for outbox in self.outboxes:
            outbox.start(self._info)
        try:
            for outbox in self.outboxes:
                if not outbox.wait_until_open(SINK_OPEN_S, cancelled):
                    self.capture.close()
                    return False
        except GearshiftError:
            self._stop_sinks(SINKS_STOP_S)
            self.capture.close()
            raise
        self._workers.start()
        if self.live:
            self._watchdog.start()
        return True

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for the end of the source; whether it came."""
        return self._ended.wait(timeout_s)

    def stop(self) -> bool:
        """End the flight within a second; whether every thread and sink ended cleanly.

        Reports that are still waiting are written as long as their sink takes them in time; after
        the end of a recording that waits for nobody, all of them.
        """
        finished = self._ended.is_set()
        if self._landed.locked():
            self._landed.release()
        clean = self._workers.stop(WORKERS_STOP_S)
        if not clean:
            logger.warning("the source or a network does not return; left behind")
        if self._watchdog.is_alive():
            self._watchdog.join(WATCHDOG_STOP_S)
        patience_s = SINKS_STOP_S
        if finished:
            patience_s = SINKS_FINISH_S if self.live else math.inf
        return self._stop_sinks(patience_s) and clean

    def _stop_sinks(self, patience_s: float) -> bool:
        for outbox in self.outboxes:
            outbox.stop()
        until = time.monotonic() + patience_s
        clean = True
        for outbox in self.outboxes:
            left = None if math.isinf(until) else max(until - time.monotonic(), 0.01)
            if not outbox.join(left):
                logger.warning("sink %s does not return; left behind", outbox.name)
                clean = False
        return clean

    def _source_ended(self, error: GearshiftError | None) -> None:
        """In a worker: no more frames will come."""
        self.error = error
        self._ended.set()
        self._on_end()

    def _process(self, available: Available) -> None:
        """Inference on one frame, in a worker."""
        frame, counts = available.frame, self.counts
        if self.live:
            age = time.monotonic_ns() - frame.capture_time_ns
            if age > self.limits.max_age_ns:
                counts.too_old += 1
                return
        try:
            estimate = self.scheduler.process(frame)
        except FrameError as error:
            self.capture.drop(str(error))
            return
        outputs = self.scheduler.outputs
        if estimate.answered is not None:
            self._value_ns = frame.capture_time_ns
        valid = not estimate.flags & EstimateFlag.LOST
        machine = self._machine
        with self._publishing:
            now = time.monotonic_ns() if self.live else estimate.publish_time_ns
            before = machine.state
            if estimate.presence is not None:
                machine.presence.update(estimate.presence)
            fresh = valid and machine.on_value(now, self._value_ns)
            state = machine.on_time(now)
            if not fresh and state is not FlightState.WAITING:
                state = FlightState.LOST
            report = Report(now, state, frame, estimate, outputs)
            self._publish(report)
        if self._observer is not None:
            self._observer(available, report)
        self._tell_if_lost(before)
        self._count(estimate, valid=valid, fresh=fresh)
        if self._controller is not None:
            self.scheduler.set_threshold(self._controller.update(estimate))
        if self._aux is not None:
            self._look_for_somebody(frame, self._aux)

    def _publish(self, report: Report) -> None:
        for outbox in self.outboxes:
            outbox.put(report)
        self._published_ns = report.time_ns
        self.last = report

    def _count(self, estimate: Estimate, *, valid: bool, fresh: bool) -> None:
        counts, flags = self.counts, estimate.flags
        counts.estimates += 1
        counts.large += NetworkRole.LARGE in estimate.networks
        if flags:
            counts.late += bool(flags & EstimateFlag.LATE)
            counts.degraded += bool(flags & EstimateFlag.DEGRADED)
            counts.held += bool(flags & EstimateFlag.HELD)
            counts.failed += not valid
        counts.stale += valid and not fresh

    def _look_for_somebody(self, frame: Frame, aux: Engine) -> None:
        """Now and then, ask the auxiliary network whether anybody is in view."""
        self._since_presence += 1
        if self._since_presence < self.limits.presence_every:
            return
        self._since_presence = 0
        try:
            scores = aux.run(frame.image)
        except GearshiftError as error:
            logger.debug("presence is unknown: %s", error)
            return
        probability = 1.0 - float(softmax(scores)[-1])
        if probability == probability:  # noqa: PLR0124 -- NaN
            with self._publishing:
                self._machine.presence.update(probability)

    def _watch(self) -> None:
        """The watchdog of a live flight."""
        while not self._landed.acquire(timeout=self._pause_s()):
            with self._publishing:
                now = time.monotonic_ns()
                before = self._machine.state
                state = self._machine.on_time(now)
                overdue = now - self._published_ns > REPEAT_S * NS_PER_S
                # `tracking` vouches for the estimate that comes with it.
                if state is not before or (overdue and state is not FlightState.TRACKING):
                    self._publish(Report(now, state))
            self._tell_if_lost(before)
            self._leave_behind()

    def _tell_if_lost(self, before: FlightState) -> None:
        if self._machine.state is FlightState.LOST and before is not FlightState.LOST:
            milliseconds = self.limits.max_estimate_age_ns // 1_000_000
            logger.warning("lost: no valid estimate for %d ms", milliseconds)

    def _pause_s(self) -> float:
        expires = self._machine.expires_ns
        if expires is None:
            return WATCHDOG_S
        left = (expires - time.monotonic_ns()) / NS_PER_S
        return min(max(left, 0.0) + 0.0005, WATCHDOG_S)

    def _leave_behind(self) -> None:
        for engine in self._engines:
            if engine.abandon(self.limits.stall_ns):
                self.counts.stalls += 1
                logger.warning(
                    "network %s has not returned for %d ms; left behind, it counts as failed "
                    "until it does",
                    engine.network.name,
                    self.limits.stall_ns // 1_000_000,
                )
                self._workers.leave_behind()
