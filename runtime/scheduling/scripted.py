"""Flights and networks that follow a script, to test schedulers without a network or a camera."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gearshift.runtime.decide.calibration import Calibration
from gearshift.runtime.engines.engine import check_image
from gearshift.runtime.engines.network import Network
from gearshift.runtime.ensembles.ensemble import Ensemble
from gearshift.runtime.errors import EngineError
from gearshift.runtime.types import (
    POSE_COMPONENTS,
    Component,
    FloatArray,
    Frame,
    HeadGrid,
    Image,
    NetworkRole,
)

FRAME_NS = 33_333_333
GRID = HeadGrid()
SIZE = (8, 8)


def scripted_network(
    name: str,
    components: tuple[Component, ...] = POSE_COMPONENTS,
    grid: HeadGrid | None = None,
    size: tuple[int, int] = SIZE,
) -> Network:
    """The interface of a network that exists only as a script; size is (height, width)."""
    return Network(
        name=name,
        height=size[0],
        width=size[1],
        components=components,
        grid=grid,
        frame_of_reference="drone, yaw-levelled, FLU",
        camera=None,
        architecture="script",
        parameters=0,
        mac=0,
        training_set="none",
        licence="Apache-2.0",
    )


class ScriptedEngine:
    """Gives outputs[i], float32 (frames, k), for frame i of `scripted_image`; raises at
    `failing`."""

    def __init__(
        self, network: Network, outputs: FloatArray, failing: frozenset[int] = frozenset()
    ) -> None:
        self.network = network
        self.outputs = outputs
        self.failing = failing
        self.runs: list[int] = []
        self._output: FloatArray = np.zeros(outputs.shape[1], dtype=np.float32)

    def run(self, image: Image) -> FloatArray:
        """See `Engine.run`."""
        check_image(image, self.network)
        index = int(image[0, 0]) + 256 * int(image[0, 1])
        self.runs.append(index)
        if index in self.failing:
            raise EngineError(f"{self.network.name} fails on frame {index} by its script")
        self._output[:] = self.outputs[index]
        return self._output

    def close(self) -> None:
        """See `Engine.close`."""


def scripted_image(index: int, size: tuple[int, int] = SIZE) -> Image:
    """The image of frame `index` (below 65536) of a script: black but for its number."""
    image = np.zeros(size, dtype=np.uint8)
    image[0, 0], image[0, 1] = index % 256, index // 256
    return image


@dataclass(frozen=True, slots=True, eq=False)
class Script:
    """What the networks say on every frame: times (frames,) ns, outputs float32 (frames, k)."""

    times: NDArray[np.int64]
    small: FloatArray
    large: FloatArray
    aux: FloatArray

    @classmethod
    def random(cls, frames: int = 60, seed: int = 0, n: int = len(POSE_COMPONENTS)) -> Script:
        """A smooth flight at 30 Hz with noisy networks."""
        generator = np.random.default_rng(seed)
        truth = np.cumsum(generator.normal(0, 0.05, (frames, n)), axis=0)
        return cls(
            times=np.arange(frames, dtype=np.int64) * FRAME_NS + 1_000_000_000,
            small=(truth + generator.normal(0.1, 0.1, (frames, n))).astype(np.float32),
            large=(truth + generator.normal(0, 0.05, (frames, n))).astype(np.float32),
            aux=generator.normal(0, 3, (frames, GRID.classes)).astype(np.float32),
        )

    def ensemble(
        self,
        failing: Mapping[NetworkRole, frozenset[int]] | None = None,
        calibration: Calibration | None = None,
    ) -> Ensemble:
        """Engines that follow the script, raising on the frames of `failing`."""
        failing = failing or {}
        calibration = calibration or scripted_calibration()
        engines = {
            role: ScriptedEngine(
                scripted_network(
                    role,
                    () if role is NetworkRole.AUX else calibration.components,
                    GRID if role is NetworkRole.AUX else None,
                ),
                outputs,
                failing.get(role, frozenset()),
            )
            for role, outputs in self.outputs.items()
        }
        return Ensemble(
            "script",
            engines[NetworkRole.SMALL],
            engines[NetworkRole.LARGE],
            engines[NetworkRole.AUX],
            calibration,
        )

    @property
    def outputs(self) -> dict[NetworkRole, FloatArray]:
        """The outputs by role."""
        return {
            NetworkRole.SMALL: self.small,
            NetworkRole.LARGE: self.large,
            NetworkRole.AUX: self.aux,
        }

    def frames(self) -> list[Frame]:
        """The frames whose images carry their number."""
        return [
            Frame(scripted_image(i), int(time), i, "script") for i, time in enumerate(self.times)
        ]

    def with_nan(self, role: NetworkRole, frames: Sequence[int]) -> Script:
        """A copy in which one network says NaN on some frames."""
        outputs = self.outputs[role].copy()
        outputs[list(frames), 0] = np.nan
        changed = {**self.outputs, role: outputs}
        return Script(
            self.times,
            changed[NetworkRole.SMALL],
            changed[NetworkRole.LARGE],
            changed[NetworkRole.AUX],
        )

    def with_times(self, times: NDArray[np.int64]) -> Script:
        """A copy with other capture times."""
        return dataclasses.replace(self, times=times)


def scripted_calibration() -> Calibration:
    """A calibration of the pose components with a table for every head cell."""
    n = len(POSE_COMPONENTS)
    deviation = np.full(n, 0.1, dtype=np.float32)
    return dataclasses.replace(
        Calibration.from_components(POSE_COMPONENTS),
        head_cell_gain=np.linspace(-0.5, 0.5, GRID.classes, dtype=np.float32),
        standard_deviation={NetworkRole.SMALL: 2 * deviation, NetworkRole.LARGE: deviation},
    )
