"""The scheduler: one frame in, one estimate out, and why it came from where it came from.

Four slots, each with one job: selection (policy and threshold), combination (both networks ran),
filter (over time) and override (failed networks, outputs that are not finite, the deadline).
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping

import numpy as np

from gearshift.runtime.decide.combination import Combination, Fusion
from gearshift.runtime.decide.filters import make_flight_filter
from gearshift.runtime.decide.history import NO_VALUES, FlightHistory
from gearshift.runtime.decide.policy import Action, Policy, PolicyOptions, Probe, Signal
from gearshift.runtime.decide.portable import OUTPUT_LIMIT
from gearshift.runtime.decide.selection import check_threshold, decide_one
from gearshift.runtime.engines.engine import Engine
from gearshift.runtime.ensembles.ensemble import Ensemble
from gearshift.runtime.errors import ConfigurationError, FrameError
from gearshift.runtime.scheduling.deadline import Deadline
from gearshift.runtime.types import (
    Component,
    Estimate,
    EstimateFlag,
    FloatArray,
    Frame,
    Image,
    NetworkRole,
    Reason,
    StageTimes,
)

logger = logging.getLogger(__name__)

Clock = Callable[[], int]

# Looked up by bits, because making tuples and flags for every frame takes microseconds.
_NETWORKS = tuple(
    tuple(role for bit, role in enumerate(NetworkRole) if mask >> bit & 1) for mask in range(8)
)
_DEGRADED, _LATE, _HELD, _LOST = 1, 2, 4, 8
_FLAGS = tuple(
    (EstimateFlag.DEGRADED if mask & _DEGRADED else EstimateFlag.NONE)
    | (EstimateFlag.LATE if mask & _LATE else EstimateFlag.NONE)
    | (EstimateFlag.HELD if mask & _HELD else EstimateFlag.NONE)
    | (EstimateFlag.LOST if mask & _LOST else EstimateFlag.NONE)
    for mask in range(16)
)


def _last_probability(scores: list[float]) -> float:
    """Softmax probability of the last class, which is 'no head'; faster here than with arrays."""
    largest = max(scores)
    return math.exp(scores[-1] - largest) / sum([math.exp(s - largest) for s in scores])


class _Stage:
    """One engine and how it did on the current frame."""

    __slots__ = (
        *("clock", "engine", "failing", "fault_level", "ok"),
        *("output", "ran", "role", "time_ns", "values"),
    )

    def __init__(self, role: NetworkRole, engine: Engine, clock: Clock, fault_level: int) -> None:
        self.role = role
        self.engine = engine
        self.clock = clock
        self.fault_level = fault_level
        self.failing = False
        self.clear()

    def clear(self) -> None:
        """Forget the last frame."""
        self.ran = False
        self.ok = False
        self.time_ns = 0
        self.output: FloatArray = NO_VALUES
        self.values: list[float] = []

    def run(self, image: Image) -> bool:
        """Run the network; False when it failed or its output is not valid. Raises FrameError."""
        self.ran = True
        started = self.clock()
        try:
            self.output = self.engine.run(image)
            self.values = self.output.tolist()
            # A sum of float32 values cannot overflow in a double, so this tests every value.
            self.ok = sum(map(abs, self.values)) < OUTPUT_LIMIT
            problem: object = "its output is not valid"
        except FrameError:
            raise
        except Exception as error:
            # A flight goes on with the other network, whatever a plugged-in engine raises.
            self.ok = False
            self.output = NO_VALUES
            problem = error
        self.time_ns = self.clock() - started
        if self.ok is self.failing:
            self._report(problem)
        return self.ok

    def _report(self, problem: object) -> None:
        """Log a change, not every frame: a broken network fails 30 times a second."""
        self.failing = not self.ok
        name = self.engine.network.name
        if self.ok:
            logger.log(self.fault_level, "%s network %s works again", self.role, name)
        else:
            logger.log(self.fault_level, "%s network %s failed: %s", self.role, name, problem)


class Scheduler:
    """Chooses for every frame which networks of an ensemble run and what is published.

    threshold: rounded to float32; -inf is always large, +inf small wherever the signal is finite;
    only a policy without a signal goes without one. filter_name: one of `filters.FILTERS`, default
    the policy's own. deadline: says when large must not be started, counting from the start of
    `process`. replay: allow policies that read ground truth, and publish at capture time plus
    processing time. signal: replaces the policy's own. clock: monotonic ns. fault_level: at which
    failing networks are logged. Raises ConfigurationError when these do not fit together. Not
    thread-safe.
    """

    def __init__(
        self,
        ensemble: Ensemble,
        policy: Policy,
        threshold: float | None = None,
        options: PolicyOptions | None = None,
        *,
        combination: Combination = Combination.LARGE,
        filter_name: str | None = None,
        deadline: Deadline | None = None,
        replay: bool = False,
        signal: Signal | None = None,
        clock: Clock = time.perf_counter_ns,
        fault_level: int = logging.WARNING,
    ) -> None:
        if policy.replay_only and not replay:
            raise ConfigurationError(
                f"policy {policy.name} reads ground truth; it works in replay only"
            )
        self.ensemble, self.policy, self.options = ensemble, policy, options or PolicyOptions()
        calibration = ensemble.calibration
        if policy.signal is None:
            self._signal: Signal | None = None
        else:
            self._signal = signal or policy.signal(calibration, self.options)
            if threshold is None:
                raise ConfigurationError(f"policy {policy.name} needs a threshold")
        self._threshold = math.nan if threshold is None else check_threshold(threshold)
        self._max_gap = float(np.float32(self.options.max_gap_s))
        self._deadline = deadline
        self._replay = replay
        self._clock = clock
        self._small = _Stage(NetworkRole.SMALL, ensemble.small, clock, fault_level)
        self._large = _Stage(NetworkRole.LARGE, ensemble.large, clock, fault_level)
        self._aux: _Stage | None = None
        self._probe: _Stage | None = None
        if policy.probe is Probe.AUX:
            if ensemble.aux is None:
                raise ConfigurationError(
                    f"policy {policy.name} needs an auxiliary network, {ensemble.name} has none"
                )
            self._aux = self._probe = _Stage(NetworkRole.AUX, ensemble.aux, clock, fault_level)
        elif policy.probe is Probe.SMALL:
            self._probe = self._small
        self._fusion = Fusion(calibration) if combination is Combination.FUSION else None
        self._filter = make_flight_filter(
            filter_name or policy.filter_name, calibration, self.options.max_gap_s
        )
        self._components = ensemble.small.network.components
        n = len(self._components)
        self._lost = (math.nan,) * n
        deviations = {r: tuple(d.tolist()) for r, d in calibration.standard_deviation.items()}
        self._small_deviation = deviations.get(NetworkRole.SMALL, self._lost)
        self._large_deviation = deviations.get(NetworkRole.LARGE, self._lost)
        fusion = self._fusion
        self._fused_deviation = tuple(fusion.standard_deviation.tolist()) if fusion else self._lost
        self._history = FlightHistory(n, self.options)
        # A constant policy that never holds reads no history, so it keeps none.
        self._remembers = self._signal is not None or policy.when_easy is Action.HOLD
        self.reset()

    @property
    def threshold(self) -> float:
        """The threshold in use; NaN for a policy without one."""
        return self._threshold

    def set_threshold(self, threshold: float) -> None:
        """Move the threshold from the next frame on; raises ConfigurationError when it is NaN."""
        self._threshold = check_threshold(threshold)

    def reset(self) -> None:
        """Start a new flight: forget every frame. What large takes is a fact of the device, which
        the deadline keeps."""
        self._index = 0
        self._history.reset()
        if self._filter is not None:
            self._filter.reset()
        self._last_values = self._last_deviation = self._lost
        for stage in (self._small, self._large, self._aux):
            if stage is not None:
                stage.clear()

    @property
    def components(self) -> tuple[Component, ...]:
        """What its estimates say."""
        return self._components

    @property
    def outputs(self) -> Mapping[NetworkRole, FloatArray]:
        """Copies of what the networks said of the last frame, without those that raised."""
        stages = (self._aux, self._small, self._large)
        return {s.role: s.output.copy() for s in stages if s is not None and s.output.size}

    def process(self, frame: Frame) -> Estimate:
        """The estimate for one frame.

        A failed network never raises: the other one answers (degraded), or, when both failed, the
        estimate is lost and its values are NaN. Raises FrameError, with nothing changed, for a
        frame of the wrong size or type.
        """
        clock = self._clock
        started = clock()
        small, large, aux = self._small, self._large, self._aux
        time_ns, image = frame.capture_time_ns, frame.image
        small.clear()
        large.clear()
        if aux is not None:
            aux.clear()
        if self._probe is not None:
            self._probe.run(image)

        hard, signal, reason = self._select(time_ns)
        state, reason = self._run_networks(image, started, reason, hard=hard)
        answered: NetworkRole | None = None
        if state is _HELD:
            self._history.skip()
        else:
            answered = self._accept(time_ns)
            if answered is None:
                state, reason = _LOST, Reason.BOTH_FAILED
        if self._any_failed():
            state |= _DEGRADED

        presence = None
        if aux is not None and aux.ok:
            presence = 1.0 - _last_probability(aux.values)
        index = self._index
        self._index = index + 1
        finished = clock()
        total = finished - started
        if self._deadline is not None and self._deadline.missed(total):
            state |= _LATE
        lost = state & _LOST
        return Estimate(
            sequence=frame.sequence,
            capture_time_ns=time_ns,
            publish_time_ns=time_ns + total if self._replay else finished,
            components=self._components,
            values=self._lost if lost else self._last_values,
            standard_deviation=self._lost if lost else self._last_deviation,
            presence=presence,
            answered=answered,
            networks=_NETWORKS[small.ran | large.ran << 1 | (aux is not None and aux.ran) << 2],
            signal=signal,
            threshold=self._threshold,
            reason=reason,
            times=StageTimes(
                0 if aux is None else aux.time_ns, small.time_ns, large.time_ns, total
            ),
            flags=_FLAGS[state],
            index=index,
        )

    def _select(self, time_ns: int) -> tuple[bool, float, Reason]:
        """The selection slot: whether to shift up, the signal and the reason."""
        signal, probe, history = self._signal, self._probe, self._history
        if signal is None:
            return False, math.nan, Reason.CONSTANT
        context = history.look(time_ns, NO_VALUES if probe is None else probe.output)
        return decide_one(
            self.policy,
            signal,
            context,
            self._threshold,
            max_gap=self._max_gap,
            probe_failed=probe is not None and not probe.ok,
            any_accepted=history.any_accepted,
            has_previous=history.has_previous,
        )

    def _run_networks(
        self, image: Image, started: int, reason: Reason, *, hard: bool
    ) -> tuple[int, Reason]:
        """Run what was chosen, or, where that fails or is overridden, what is left."""
        small, large = self._small, self._large
        action = Action.LARGE if hard else self.policy.when_easy
        if action is Action.HOLD:
            if self._history.any_accepted:
                return _HELD, Reason.HELD
            action, reason = Action.LARGE, Reason.FIRST_FRAME
        if action is Action.SMALL:
            if not (small.ok if small.ran else small.run(image)):
                large.run(image)
                return 0, Reason.SMALL_FAILED
            return 0, reason
        deadline = self._deadline
        if deadline is not None and deadline.forbids_large(self._clock() - started):
            if not (small.ok if small.ran else small.run(image)):
                large.run(image)
            return _DEGRADED, Reason.DEADLINE
        if large.run(image):
            return 0, reason
        if not small.ran:
            small.run(image)
        return 0, Reason.LARGE_FAILED

    def _accept(self, time_ns: int) -> NetworkRole | None:
        """Combine and filter what the networks said, remember it, and say which one answered."""
        small, large = self._small, self._large
        if large.ran and self._deadline is not None:
            self._deadline.large_took(large.time_ns)
        both = large.ok and small.ok
        if large.ok:
            accepted, values, deviation = large.output, large.values, self._large_deviation
            answered = NetworkRole.LARGE
            if both and self._fusion is not None:
                accepted = self._fusion.combine(small.output, large.output)
                values, deviation = accepted.tolist(), self._fused_deviation
        elif small.ok:
            accepted, values, deviation = small.output, small.values, self._small_deviation
            answered = NetworkRole.SMALL
        else:
            self._history.skip()
            return None
        if self._remembers:
            self._history.update(
                time_ns,
                values=accepted,
                answered_large=large.ok,
                small=small.output,
                both_ran=both,
            )
        if self._filter is not None:
            values = self._filter.update(
                time_ns,
                accepted,
                small.output,
                large.output,
                small_ran=small.ok,
                large_ran=large.ok,
            ).tolist()
        self._last_values = tuple(values)
        self._last_deviation = deviation
        return answered

    def _any_failed(self) -> bool:
        """Whether a network that ran on this frame failed."""
        small, large, aux = self._small, self._large, self._aux
        return (
            small.ran is not small.ok
            or large.ran is not large.ok
            or (aux is not None and aux.ran is not aux.ok)
        )
