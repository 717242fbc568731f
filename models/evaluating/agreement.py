"""How far another form of a network is from its int8 ONNX form, in steps of each output.

The outputs of both are real numbers, so a step (LSB) is defined here: what one step would be if the
output were an int8 of its own, the range of its values over the frames divided by 255. z is thereby
measured in steps of z and not in those of x.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gearshift.runtime.errors import ConfigurationError
from gearshift.runtime.types import FloatArray

STEPS = 255


@dataclass(frozen=True, slots=True, eq=False)
class Agreement:
    """Per output, (k,): the step in the output's unit, the largest and the mean difference in
    steps."""

    step: FloatArray
    largest: FloatArray
    mean: FloatArray
    frames: int


def agreement(reference: FloatArray, outputs: FloatArray) -> Agreement:
    """Compare (n, k) outputs with those of the reference on the same frames.

    An output that is constant in the reference has no step; a difference there is infinite. Raises
    ConfigurationError when the two have different outputs or frames, or none.
    """
    if reference.shape != outputs.shape or not len(reference):
        raise ConfigurationError(
            f"outputs of {outputs.shape} cannot be compared with {reference.shape}"
        )
    step = (reference.max(axis=0) - reference.min(axis=0)) / np.float32(STEPS)
    difference = np.abs(outputs - reference)
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = np.where(difference > 0, difference / step, 0)
    return Agreement(step, steps.max(axis=0), steps.mean(axis=0), len(reference))
