"""The oracle: the policy that knows how much worse small is than large. Replay only: a bound.

It cannot fly: its own signal refuses to be bound. The replay code, which alone has the ground
truth, binds the signal below in its place.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gearshift.runtime.decide.calibration import Calibration
from gearshift.runtime.decide.policy import Policy, PolicyOptions, Signal, SignalContext
from gearshift.runtime.errors import ConfigurationError
from gearshift.runtime.scoring.counted_frames import absolute_error, angular_mask, scored_frames
from gearshift.runtime.types import Component, FloatArray


def _refuse(_calibration: Calibration, _options: PolicyOptions) -> Signal:
    raise ConfigurationError(
        "the oracle reads ground truth: it works in 'gearshift replay' and 'gearshift compare' only"
    )


ORACLE = Policy(
    name="oracle",
    summary="error of small minus error of large, from ground truth: the bound for any choice",
    signal=_refuse,
    portable=False,
    replay_only=True,
)


def true_gain(
    components: tuple[Component, ...],
    truth: FloatArray,
    visible: NDArray[np.bool_],
    small: FloatArray,
    large: FloatArray,
) -> FloatArray:
    """err_small - err_large per frame, (N,) float32: absolute errors summed over the components.

    -inf on frames that are not scored, so that the oracle spends nothing on them. truth, small,
    large: (N, n); visible: (N,).
    """
    angular = angular_mask(components)
    difference = absolute_error(small, truth, angular) - absolute_error(large, truth, angular)
    scored = scored_frames(truth, visible, angular)
    return np.where(scored, difference.sum(axis=-1), -np.inf).astype(np.float32)


def bind_oracle(gain: FloatArray) -> Signal:
    """The oracle's signal over known gains, one per frame since the reset.

    gain: (T,) for one flight, (F, T) for a sweep over F flights and any number of thresholds.
    """

    def signal(context: SignalContext) -> FloatArray:
        index = np.minimum(context.index, gain.shape[-1] - 1)
        if gain.ndim == 1:
            return np.asarray(gain[index])
        return np.asarray(gain[np.arange(len(gain))[:, None], index])

    return signal
