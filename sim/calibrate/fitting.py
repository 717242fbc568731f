"""What an ensemble learns on `val`: tables, deviations, filter gains, and where to operate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gearshift.runtime.decide.calibration import Calibration
from gearshift.runtime.decide.filters import DEFAULT_GAINS
from gearshift.runtime.decide.policy import Policy
from gearshift.runtime.scoring.counted_frames import absolute_error, angular_mask, scored_frames
from gearshift.runtime.types import FloatArray, NetworkRole
from gearshift.sim.traces.oracle import true_gain
from gearshift.sim.traces.trace import Trace
from gearshift.sim.traces.trace_sweep import Members, sweep_trace, threshold_grid

RATES: Final = (0.01, 0.3, 1.0, 3.0, 10.0, 30.0)
"""Candidates for `anchor.rate`, 1/s."""
GAIN_CANDIDATES: Final[Mapping[str, tuple[float, ...]]] = {
    "alpha_large": (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
    "alpha_small": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0),
    "gamma": (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0),
    "beta_large": (0.0, 0.01, 0.02, 0.05, 0.1),
    "beta_small": (0.0, 0.01, 0.02, 0.05, 0.1),
}
SEARCH_SHARES: Final = (0.15, 0.25, 0.35, 0.5, 0.7)
"""Shares of large runs at which the anchor filter is tuned."""
MOST_SHRINKAGE: Final = 50.0
"""Flights that a head cell's prior may count for."""
SEARCH_ROUNDS: Final = 2
HELD_FRAMES: Final = (1, 2, 3)
ROW_GAINS: Final = ("alpha_small", "gamma", "alpha_large")
GAIN_ROWS: Final = 4
"""Gains that are then refined by the time since large last ran, and into how many steps."""


def calibrate(trace: Trace, members: Members) -> Calibration:
    """Weights, head-cell table, deviations and filter gains of one ensemble, from `val`."""
    components = trace.components
    base = Calibration.from_components(components)
    calibration = replace(
        base,
        head_cell_gain=head_cell_gain(trace, members),
        standard_deviation={
            role: error_deviation(trace, name)
            for role, name in members.items()
            if role is not NetworkRole.AUX
        },
    )
    return tune_smooth(trace, members, tune_anchor(trace, members, calibration))


def error_deviation(trace: Trace, network: str) -> FloatArray:
    """(n,) root mean square error of a network over the scored frames."""
    angular = angular_mask(trace.components)
    scored = scored_frames(trace.truth, trace.visible, angular)
    error = absolute_error(trace.outputs[network][scored], trace.truth[scored], angular)
    mean_square = (error.astype(np.float64) ** 2).mean(axis=0)
    return np.asarray(np.sqrt(mean_square), dtype=np.float32)


def head_cell_gain(trace: Trace, members: Members) -> FloatArray:
    """(classes,) mean(err_small - err_large) where the localiser puts the head, shrunk.

    Frames of one flight err alike, so a flight's mean in a cell is one observation. A cell's mean
    over flights is shrunk towards the overall mean by k / (flights + k), k the ratio of the
    variance within cells to that between them (method of moments, empirical Bayes): a rare cell
    says little. k is at most MOST_SHRINKAGE, because a policy lives on the order of the cells.
    Empty without an auxiliary network.
    """
    name = members.get(NetworkRole.AUX)
    if name is None:
        return np.zeros(0, dtype=np.float32)
    small, large = (trace.outputs[members[r]] for r in (NetworkRole.SMALL, NetworkRole.LARGE))
    gain = true_gain(trace.components, trace.truth, trace.visible, small, large)
    cell = trace.outputs[name].argmax(axis=-1)
    classes = trace.outputs[name].shape[-1]
    use = np.isfinite(gain)
    key = trace.flight[use] * classes + cell[use]
    shape = (len(trace.flights), classes)
    size = len(trace.flights) * classes
    frames = np.bincount(key, minlength=size).reshape(shape)
    total = np.bincount(key, weights=gain[use], minlength=size).reshape(shape)
    seen = frames > 0
    means = np.where(seen, total / np.maximum(frames, 1), 0.0)
    flights = seen.sum(axis=0)
    overall = float(means[seen].mean()) if seen.any() else 0.0
    cell_mean = means.sum(axis=0) / np.maximum(flights, 1)
    within = ((means - cell_mean) ** 2)[seen].sum() / max(int((flights - 1).clip(0).sum()), 1)
    enough = flights > 1
    between = 0.0
    if enough.sum() > 1:
        spread = float(((cell_mean - overall) ** 2)[enough].mean())
        between = spread - float((within / flights[enough]).mean())
    shrinkage = min(within / between, MOST_SHRINKAGE) if between > 0 else MOST_SHRINKAGE
    weight = flights / (flights + shrinkage)
    return np.asarray(overall + weight * (cell_mean - overall), dtype=np.float32)


def tune_anchor(trace: Trace, members: Members, calibration: Calibration) -> Calibration:
    """`anchor.rate` and the gains of the anchor filter: least error at given shares of large.

    Choices do not depend on the filter, and the filter's components not on each other, so the gains
    are searched one after the other for all components at once, each at its own optimum.
    """
    from gearshift.runtime.decide.policies import ANCHOR

    def at_shares(candidate: Calibration) -> NDArray[np.float64]:
        thresholds = _at_shares(trace, members, ANCHOR, candidate)
        return _errors(trace, members, ANCHOR, candidate, thresholds, filter_name="anchor")

    best = calibration
    for _ in range(SEARCH_ROUNDS):
        candidates = [with_parameter(best, "anchor.rate", (rate,)) for rate in RATES]
        best = min(candidates, key=lambda c: float(at_shares(c).sum()))
        thresholds = _at_shares(trace, members, ANCHOR, best)

        def errors(candidate: Calibration, at: FloatArray = thresholds) -> NDArray[np.float64]:
            return _errors(trace, members, ANCHOR, candidate, at, filter_name="anchor")

        best = _search_gains(best, "anchor", tuple(GAIN_CANDIDATES), errors)
    return _search_gains(best, "anchor", ROW_GAINS, errors, rows=GAIN_ROWS)


def tune_smooth(trace: Trace, members: Members, calibration: Calibration) -> Calibration:
    """Gains of the `smooth` filter on always-large, and apart from it on `hold`.

    Both are controls for what filters over time, so they get gains of their own: `smooth.*`, and
    `hold.smooth.*`, tuned over holding for 1 to 3 frames.
    """
    from gearshift.runtime.decide.policies import ALWAYS_LARGE, HOLD

    best = calibration
    for policy, at, prefix in ((HOLD, HELD_FRAMES, "hold.smooth"), (ALWAYS_LARGE, (0,), "smooth")):
        thresholds = np.array(at, dtype=np.float32)

        def errors(
            candidate: Calibration, policy: Policy = policy, at: FloatArray = thresholds
        ) -> NDArray[np.float64]:
            return _errors(trace, members, policy, candidate, at, filter_name="smooth")

        for _ in range(SEARCH_ROUNDS):
            best = _search_gains(best, "smooth", ("alpha_large", "beta_large"), errors)
        for name, values in list(best.parameters.items()):
            if name.startswith("smooth."):
                best = with_parameter(best, name.replace("smooth", prefix, 1), values)
    return best


def with_parameter(calibration: Calibration, name: str, values: tuple[float, ...]) -> Calibration:
    """The calibration with one parameter set."""
    return replace(calibration, parameters={**calibration.parameters, name: values})


def _search_gains(
    calibration: Calibration,
    prefix: str,
    gains: tuple[str, ...],
    errors: Callable[[Calibration], NDArray[np.float64]],
    rows: int = 1,
) -> Calibration:
    """Coordinate descent over gains and rows of their tables.

    `errors` gives (n,) errors, of which each component picks its own least. Row k is the gain k
    updates after large last ran, the last row that of all later ones.
    """
    n = len(calibration.components)
    for gain in gains:
        name = f"{prefix}.{gain}"
        start = calibration.parameters.get(name, (DEFAULT_GAINS[gain],))
        table = np.resize(np.array(start), (rows, n))
        candidates = np.array(GAIN_CANDIDATES[gain])
        for row in range(rows):
            found = []
            for candidate in candidates:
                table_with = table.copy()
                table_with[row] = candidate
                found.append(errors(_with_table(calibration, name, table_with)))
            table[row] = candidates[np.argmin(found, axis=0)]
        calibration = _with_table(calibration, name, table)
    return calibration


def _with_table(calibration: Calibration, name: str, table: NDArray[np.float64]) -> Calibration:
    return with_parameter(calibration, name, tuple(table.ravel().tolist()))


def _at_shares(
    trace: Trace, members: Members, policy: Policy, calibration: Calibration
) -> FloatArray:
    """Thresholds at which large runs on about SEARCH_SHARES of the frames."""
    grid = threshold_grid(trace, members, policy, calibration, count=24)
    result = sweep_trace(trace, members, policy, calibration, grid)
    share = result.runs(NetworkRole.LARGE).sum(axis=0) / result.frames.sum()
    index = [int(np.abs(share - wanted).argmin()) for wanted in SEARCH_SHARES]
    return grid[index]


def _errors(
    trace: Trace,
    members: Members,
    policy: Policy,
    calibration: Calibration,
    thresholds: FloatArray,
    *,
    filter_name: str,
) -> NDArray[np.float64]:
    """(n,) mean absolute error of each component, over all thresholds."""
    result = sweep_trace(trace, members, policy, calibration, thresholds, filter_name=filter_name)
    error: NDArray[np.float64] = result.error.sum(axis=(0, 1)) / max(int(result.scored.sum()), 1)
    return error
