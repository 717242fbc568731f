"""Flights of more than 2^16 frames: what counts frames in the core neither wraps nor stands still.

Python does not fly them, because what they must publish is known without.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gearshift.firmware_bridge.board.board_configuration import BoardNetworks, configure_board
from gearshift.runtime.decide.calibration import Calibration
from gearshift.runtime.decide.policy import PolicyOptions
from gearshift.runtime.decide.policy_registry import find_policy
from gearshift.runtime.decide.portable import counter_uniform
from gearshift.runtime.scheduling.scripted import GRID
from gearshift.runtime.types import Component, FloatArray

FRAMES = 70_000
FRAME_NS = 33_333_333
ROWS = 600
"""Of a table of gains, as many as fit a configuration and more than a byte counts."""
SMALL, LARGE, NOBODY = 0, 1, 255


def fly(
    core: Any,
    policy: str,
    threshold: float,
    small: FloatArray | None = None,
    *,
    filter_name: str = "none",
    parameters: dict[str, tuple[float, ...]] | None = None,
) -> NDArray[Any]:
    """What the core publishes of a flight on which large says 0 and small, by default, 1."""
    calibration = dataclasses.replace(
        Calibration.from_components((Component("c", "m", False),)), parameters=parameters or {}
    )
    configuration = configure_board(
        calibration,
        find_policy(policy),
        BoardNetworks(small=0, large=1, aux=2),
        threshold,
        PolicyOptions(seed=7),
        filter_name=filter_name,
    )
    small = np.ones((FRAMES, 1), np.float32) if small is None else small
    never = np.zeros(FRAMES, np.uint8)
    at_once = np.zeros(FRAMES, np.int64)
    status, results = core.fly(
        configuration.pack(),
        np.arange(FRAMES, dtype=np.int64) * FRAME_NS,
        [small, np.zeros_like(small), np.zeros((FRAMES, GRID.classes), np.float32)],
        [never] * 3,
        [at_once] * 3,
        angular=0,
    )
    assert status == 0, core.status_text(status)
    whole: NDArray[Any] = results
    return whole


@pytest.mark.parametrize(("policy", "easy"), [("every", SMALL), ("hold", NOBODY)])
@pytest.mark.parametrize("period", [255, 256, 300, 65_535, 65_536, 66_000])
def test_frames_since_large_are_counted_as_far_as_a_flight_goes(
    core: Any, policy: str, easy: int, period: int
) -> None:
    """Large answers once more when more than `period` frames have passed, at that very frame."""
    results = fly(core, policy, threshold=period)
    place = np.arange(FRAMES) % (period + 1)
    assert np.array_equal(results["answered"], np.where(place == 0, LARGE, easy))
    signal = np.where(place == 0, period + 1, place).astype(np.float32)
    signal[0] = np.inf
    assert np.array_equal(results["signal"], signal)


def test_the_frames_of_a_flight_are_counted_beyond_16_bits(core: Any) -> None:
    """Each has its own random number, which is that of its index."""
    signal = fly(core, "random", threshold=0.5)["signal"]
    expected = np.array([counter_uniform(7, index) for index in range(FRAMES)], np.float32)
    assert np.array_equal(signal, expected)


@pytest.mark.parametrize("filter_name", ["smooth", "anchor"])
def test_the_gain_for_frames_since_large_is_that_of_its_row_and_then_the_last(
    core: Any, filter_name: str
) -> None:
    """Gain 1 takes over what small says, gain 0 keeps what there is. Large answers the first frame
    and never again, so frame k finds row k - 1: 1 in row 511, 0 in all others."""
    taken = 512
    gains = np.zeros(ROWS)
    gains[taken - 1] = 1.0
    small = np.arange(FRAMES, dtype=np.float32).reshape(-1, 1)
    results = fly(
        core,
        "every",
        FRAMES,
        small,
        filter_name=filter_name,
        parameters={
            f"{filter_name}.alpha_small": tuple(gains.tolist()),
            f"{filter_name}.gamma": (0.0,),
            f"{filter_name}.beta_small": (0.0,),
            f"{filter_name}.beta_large": (0.0,),
        },
    )
    assert results["answered"].tolist() == [LARGE] + [SMALL] * (FRAMES - 1)
    expected = np.where(np.arange(FRAMES) < taken, 0, taken)
    assert np.array_equal(results["values"][:, 0], expected)
