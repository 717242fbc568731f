"""Sweeping a policy over a trace: every flight and every threshold at once, one frame at a time.

The choices are made by `gearshift.runtime.decide.sweep`, the same rules as in flight; here they
meet the ground truth and are counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gearshift.runtime.decide.calibration import Calibration
from gearshift.runtime.decide.history import NO_VALUES
from gearshift.runtime.decide.policy import Policy, PolicyOptions, Probe, Signal
from gearshift.runtime.decide.sweep import Sweep
from gearshift.runtime.errors import ConfigurationError
from gearshift.runtime.scoring.counted_frames import absolute_error, angular_mask, scored_frames
from gearshift.runtime.types import FloatArray, NetworkRole
from gearshift.sim.traces.oracle import bind_oracle, true_gain
from gearshift.sim.traces.run_cost import COMBINATIONS, ROLE_BIT
from gearshift.sim.traces.trace import Trace

Members = Mapping[NetworkRole, str]
"""The network in each role."""

ANSWERED_LARGE: Final = 8
HELD: Final = 16
LOST: Final = 32
NO_FRAME: Final = 255
"""A decision is the combination that ran plus these flags; NO_FRAME where a flight has ended."""


@dataclass(frozen=True, slots=True, eq=False)
class SweepResult:
    """What F flights of at most T frames gave at K thresholds.

    error: (F, K, n) sum of absolute errors over the scored frames, in the components' units.
    scored: (F, K) frames that count for the error: head in view, |angles| <= 1.75 rad, not lost.
    frames: (F,). combinations: (F, K, 8) frames on which each combination of networks ran. large:
    (F, K) frames that large answered. lost: (F, K). decisions: (T, F, K) uint8, see NO_FRAME.
    signals: (T, F, K) float32, NaN without a signal.
    """

    thresholds: FloatArray
    error: NDArray[np.float64]
    scored: NDArray[np.int64]
    frames: NDArray[np.int64]
    combinations: NDArray[np.int64]
    large: NDArray[np.int64]
    lost: NDArray[np.int64]
    decisions: NDArray[np.uint8]
    signals: FloatArray

    def runs(self, role: NetworkRole) -> NDArray[np.int64]:
        """(F, K) how often the network of a role ran."""
        with_role = (np.arange(COMBINATIONS) & ROLE_BIT[role]) > 0
        runs: NDArray[np.int64] = self.combinations[..., with_role].sum(axis=-1)
        return runs

    def cost(self, per_combination: NDArray[np.float64]) -> NDArray[np.float64]:
        """(F, K) total over all frames of a cost per combination (8,)."""
        ran = np.where(self.combinations > 0, per_combination, 0.0)
        total: NDArray[np.float64] = (self.combinations * ran).sum(axis=-1)
        return total


def sweep_trace(
    trace: Trace,
    members: Members,
    policy: Policy,
    calibration: Calibration,
    thresholds: NDArray[np.floating],
    *,
    filter_name: str = "none",
    options: PolicyOptions | None = None,
) -> SweepResult:
    """Run a policy over every flight of a trace at every threshold (K,).

    Raises TraceError when the trace lacks a member, ConfigurationError when the ensemble lacks what
    the policy needs.
    """
    members = _needed(members, policy)
    trace.require(*members.values())
    thresholds = np.asarray(thresholds, dtype=np.float32)
    angular = angular_mask(trace.components)
    index, active = frame_grid(trace)
    steps, flights = index.shape
    scored = scored_frames(trace.truth, trace.visible, angular)
    small, large = (trace.outputs[members[r]] for r in (NetworkRole.SMALL, NetworkRole.LARGE))
    aux = trace.outputs[members[NetworkRole.AUX]] if NetworkRole.AUX in members else None
    runner = Sweep(
        policy,
        calibration,
        thresholds,
        (flights, len(thresholds)),
        options,
        filter_name=filter_name,
        signal=_oracle(trace, members, policy, index),
    )
    shape = (flights, len(thresholds))
    error = np.zeros((*shape, len(trace.components)))
    counted = np.zeros(shape, dtype=np.int64)
    decisions = np.full((steps, *shape), NO_FRAME, dtype=np.uint8)
    signals = np.full((steps, *shape), np.nan, dtype=np.float32)
    for t in range(steps):
        here = index[t]
        live = active[t][:, None]
        step = runner.step(
            trace.time_ns[here][:, None],
            small[here][:, None],
            large[here][:, None],
            NO_VALUES if aux is None else aux[here][:, None],
            None if active[t].all() else np.broadcast_to(live, shape),
        )
        counts = live & scored[here][:, None] & ~step.lost
        wrong = absolute_error(step.values, trace.truth[here][:, None], angular)
        error += np.where(counts[..., None], wrong, 0.0)
        counted += counts
        code = (
            step.ran_small * ROLE_BIT[NetworkRole.SMALL]
            + step.ran_large * ROLE_BIT[NetworkRole.LARGE]
            + step.ran_aux * ROLE_BIT[NetworkRole.AUX]
            + step.answered_large * ANSWERED_LARGE
            + step.held * HELD
            + step.lost * LOST
        )
        decisions[t] = np.where(live, code, NO_FRAME)
        signals[t] = np.where(live, step.signal, np.float32(np.nan))
    return SweepResult(
        thresholds=thresholds,
        error=error,
        scored=counted,
        frames=active.sum(axis=0),
        combinations=np.stack(
            [
                ((decisions != NO_FRAME) & (decisions % COMBINATIONS == n)).sum(axis=0)
                for n in range(COMBINATIONS)
            ],
            axis=-1,
        ),
        large=_count(decisions, ANSWERED_LARGE),
        lost=_count(decisions, LOST),
        decisions=decisions,
        signals=signals,
    )


def threshold_grid(
    trace: Trace,
    members: Members,
    policy: Policy,
    calibration: Calibration,
    *,
    count: int = 60,
    filter_name: str = "none",
    options: PolicyOptions | None = None,
) -> FloatArray:
    """Thresholds that spread the runs of large evenly from always to never: (K,) ascending.

    Begins with -inf and ends with +inf; K is at most about `count`, and 1 for a constant policy.
    """
    ends = np.array([-np.inf, np.inf], dtype=np.float32)
    if policy.signal is None:
        return ends[1:]

    def run(thresholds: FloatArray) -> SweepResult:
        return sweep_trace(
            trace,
            members,
            policy,
            calibration,
            thresholds,
            filter_name=filter_name,
            options=options,
        )

    seen = _finite(run(ends).signals)
    if len(seen) > count:
        rough = np.unique(np.quantile(seen, np.linspace(0, 1, 24)).astype(np.float32))
        result = run(rough)
        share = result.runs(NetworkRole.LARGE).sum(axis=0) / result.frames.sum()
        wanted = np.linspace(share[-1], share[0], count)
        spread = np.interp(wanted, np.minimum.accumulate(share)[::-1], rough[::-1])
        seen = spread.astype(np.float32)
    thresholds: FloatArray = np.unique(np.concatenate([ends, seen]))
    return thresholds


def frame_grid(trace: Trace) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """(T, F) the t-th frame of every flight, and whether there is one (else the flight's last).

    Raises ConfigurationError for a trace without frames.
    """
    if not trace.frames:
        raise ConfigurationError(f"the {trace.split} trace has no frames")
    starts, ends = trace.starts[:-1], trace.starts[1:]
    lengths = ends - starts
    step = np.arange(int(lengths.max()))[:, None]
    return np.clip(starts + step, 0, np.maximum(ends - 1, 0)), step < lengths


def _needed(members: Members, policy: Policy) -> Members:
    """The members that the policy may run."""
    if policy.probe is Probe.AUX and NetworkRole.AUX not in members:
        raise ConfigurationError(
            f"policy {policy.name} needs an auxiliary network, which the ensemble lacks"
        )
    unused = {NetworkRole.AUX} if policy.probe is not Probe.AUX else set()
    return {role: name for role, name in members.items() if role not in unused}


def _oracle(
    trace: Trace, members: Members, policy: Policy, index: NDArray[np.int64]
) -> Signal | None:
    if not policy.replay_only:
        return None
    small, large = (trace.outputs[members[r]] for r in (NetworkRole.SMALL, NetworkRole.LARGE))
    gain = true_gain(trace.components, trace.truth, trace.visible, small, large)
    return bind_oracle(gain[index.T])


def _count(decisions: NDArray[np.uint8], flag: int) -> NDArray[np.int64]:
    count: NDArray[np.int64] = ((decisions != NO_FRAME) & ((decisions & flag) > 0)).sum(axis=0)
    return count


def _finite(signals: FloatArray) -> FloatArray:
    return np.unique(signals[np.isfinite(signals)])
