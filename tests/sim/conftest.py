from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from gearshift.runtime.network import Network
from gearshift.runtime.types import POSE_COMPONENTS, HeadGrid
from gearshift.sim.trace import Trace, TracedFlight, TracedNetwork

GRID = HeadGrid()
BIAS = {"F1": 0.8, "F2": 1.0, "M1.0": 0.75}
SCALES = (0.9, 0.4, 0.3, 0.8)

TraceFactory = Callable[..., Trace]


def network(name: str, *, aux: bool = False) -> TracedNetwork:
    components = tuple(replace(c, scale=s) for c, s in zip(POSE_COMPONENTS, SCALES, strict=True))
    return TracedNetwork(
        Network(
            name=name,
            height=96,
            width=160,
            components=() if aux else components,
            grid=GRID if aux else None,
            frame_of_reference="drone_level",
            camera=None,
            architecture="synthetic",
            parameters=1,
            mac=1,
            training_set="none",
            licence="CC0-1.0",
        ),
        sha256=hashlib.sha256(name.encode()).hexdigest(),
    )


def correlated(rng: np.random.Generator, frames: int, flights: int, width: int) -> np.ndarray:
    """(flights, frames, width) noise that drifts slowly: an AR(1) of unit variance."""
    noise = rng.standard_normal((flights, frames, width))
    for index in range(1, frames):
        noise[:, index] = 0.9 * noise[:, index - 1] + np.sqrt(1 - 0.81) * noise[:, index]
    return noise


def build_trace(
    seed: int = 0, flights: int = 12, frames: int = 24, split: str = "val", empty: bool = True
) -> Trace:
    """Flights whose networks err slowly, small more so where the person moves fast."""
    rng = np.random.default_rng(seed)
    scale = np.array(SCALES)
    truth = np.array([1.8, 0.0, 0.1, 0.0]) + 0.5 * scale * correlated(rng, frames, flights, 4)
    hard = np.abs(correlated(rng, frames, flights, 1))
    outputs = {}
    for name, bias in BIAS.items():
        error = 0.2 * bias * scale * correlated(rng, frames, flights, 4)
        if name != "M1.0":
            error *= 0.4 + 0.75 * hard
        outputs[name] = (truth + error).reshape(-1, 4).astype(np.float32)
    cell = rng.integers(0, GRID.no_head, (flights, frames))
    visible = np.ones((flights, frames), dtype=np.bool_)
    if empty:
        truth[::4, frames // 2 : frames // 2 + 4] = np.nan
        visible[::4, frames // 2 : frames // 2 + 4] = False
        cell[::4, frames // 2 : frames // 2 + 4] = GRID.no_head
    scores = rng.standard_normal((flights, frames, GRID.classes))
    np.put_along_axis(scores, cell[..., None], 3.0, axis=-1)
    outputs["aux"] = scores.reshape(-1, GRID.classes).astype(np.float32)
    time_ns = np.arange(frames, dtype=np.int64) * 66_666_667
    networks = {name: network(name, aux=name == "aux") for name in outputs}
    return Trace(
        split=split,
        components=networks["F1"].network.components,
        networks=networks,
        outputs=outputs,
        time_ns=np.tile(time_ns, flights),
        flight=np.repeat(np.arange(flights, dtype=np.int32), frames),
        flights=tuple(
            TracedFlight(f"{split}-{i:03d}.mcap", f"room{i % 3}", f"person{i % 4}")
            for i in range(flights)
        ),
        truth=truth.reshape(-1, 4).astype(np.float32),
        visible=visible.reshape(-1),
        head_cell=cell.reshape(-1).astype(np.int16),
    )


@pytest.fixture(scope="session")
def make_trace() -> TraceFactory:
    return build_trace
