"""What a threshold is given as, on the command line and in `flight.toml`, and the number it is."""

from __future__ import annotations

import math

from gearshift.runtime.decide.policy import Policy
from gearshift.runtime.ensembles.ensemble_records import EnsembleRecord
from gearshift.runtime.errors import ConfigurationError


def resolve_threshold(
    given: float | str | None,
    ensemble: EnsembleRecord,
    policy: Policy,
    *,
    wanted: str = "a threshold",
) -> float | None:
    """The threshold that was asked for; None for a policy without a signal.

    given: a number or its text, or the name of one of the ensemble's operating points. wanted:
    what an error says is missing where nothing was given. Raises ConfigurationError.
    """
    if policy.signal is None:
        return None
    points = ensemble.thresholds.get(policy.name, {})
    kinds = "a threshold is a number, inf, -inf or an operating point "
    kinds += f"({', '.join(points)})" if points else "(there are none; calibrate the ensemble)"
    if given is None:
        raise ConfigurationError(f"policy {policy.name} needs {wanted}; {kinds}")
    try:
        value = float(given)
    except ValueError:
        if given in points:
            return points[str(given)]
        raise ConfigurationError(
            f"{ensemble.name} has no operating point {given!r} for policy {policy.name}; {kinds}"
        ) from None
    if math.isnan(value):
        raise ConfigurationError(f"threshold {str(given)!r} is not a number")
    return value
