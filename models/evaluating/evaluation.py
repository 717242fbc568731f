"""Errors of networks on labelled flights, and whether two networks differ.

Intervals are bootstrapped over groups of flights that share room and person: frames of a flight,
and flights of a pair, are no independent evidence.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from gearshift.models.evaluating.dataset import Dataset
from gearshift.models.networks.catalogue import GRID
from gearshift.runtime.errors import ConfigurationError
from gearshift.runtime.scoring.bootstrap import Interval, interval, ratio_of_sums, resample_weights
from gearshift.runtime.scoring.counted_frames import absolute_error, angular_mask
from gearshift.runtime.types import FloatArray

SUM = "sum"
RESAMPLES = 2000


def absolute_errors(outputs: FloatArray, data: Dataset) -> FloatArray:
    """(n, k) absolute errors in the components' units, angles wrapped; NaN without a person.

    Raises ConfigurationError when the network has another number of outputs than there is truth.
    """
    if outputs.shape[1] != len(data.components):
        known = ", ".join(component.name for component in data.components)
        raise ConfigurationError(
            f"{data.name} has ground truth of {known}, which a network with {outputs.shape[1]} "
            "outputs does not estimate"
        )
    return absolute_error(outputs, data.values, angular_mask(data.components))


def scores(outputs: FloatArray, data: Dataset) -> dict[str, float]:
    """MAE per component and their sum over the scored frames; for a localiser its accuracies.

    A localiser's are shares: `accuracy` of all frames, `with_head` of frames with the head in view,
    `false_present` of frames without, `false_absent` of frames with. Raises as `absolute_errors`.
    """
    if outputs.shape[1] == GRID.classes:
        return _localiser_scores(outputs, data)
    mae = absolute_errors(outputs, data)[data.scored].mean(axis=0)
    result = {c.name: float(value) for c, value in zip(data.components, mae, strict=True)}
    return {**result, SUM: float(mae.sum())}


def mae_interval(outputs: FloatArray, data: Dataset) -> dict[str, Interval]:
    """MAE per component and summed, with intervals."""
    return _resampled(absolute_errors(outputs, data), data)


def difference(first: FloatArray, second: FloatArray, data: Dataset) -> dict[str, Interval]:
    """MAE of the second minus MAE of the first on the same frames, per component and summed."""
    if first.shape != second.shape:
        raise ConfigurationError("these networks have different outputs and cannot be compared")
    return _resampled(absolute_errors(second, data) - absolute_errors(first, data), data)


def relative_loss(float_scores: Mapping[str, float], int8_scores: Mapping[str, float]) -> float:
    """What quantisation costs: a share of the summed MAE, or a localiser's accuracy points."""
    if SUM in float_scores:
        return int8_scores[SUM] / float_scores[SUM] - 1
    return float_scores["accuracy"] - int8_scores["accuracy"]


def _localiser_scores(outputs: FloatArray, data: Dataset) -> dict[str, float]:
    chosen = outputs.argmax(axis=1)
    right = chosen == data.cell
    present = data.cell != GRID.no_head
    return {
        "accuracy": _share(right),
        "with_head": _share(right[present]),
        "false_present": _share(chosen[~present] != GRID.no_head),
        "false_absent": _share(chosen[present] == GRID.no_head),
    }


def _share(flags: NDArray[np.bool_]) -> float:
    return float(flags.mean()) if len(flags) else 0.0


def _resampled(errors: FloatArray, data: Dataset) -> dict[str, Interval]:
    """Mean of (n, k) errors over scored frames, its groups resampled with replacement."""
    rows = data.scored
    groups = data.groups[rows]
    count = int(groups.max()) + 1
    totals = np.zeros((count, errors.shape[1]))
    np.add.at(totals, groups, errors[rows].astype(np.float64))
    frames = np.bincount(groups, minlength=count).astype(np.float64)
    means = ratio_of_sums(resample_weights(np.arange(count), RESAMPLES), totals, frames)
    result = {c.name: interval(means[:, i]) for i, c in enumerate(data.components)}
    return {**result, SUM: interval(means.sum(axis=1))}
