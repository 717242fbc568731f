"""What networks say of real frames beside the truth: the report behind `gearshift models real`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gearshift.models.evaluating.real_frames import (
    ComponentScore,
    Mounting,
    RealFrames,
    apply_mounting,
    constant_at_mean,
    fit_mounting,
    read_real_frames,
    score,
)
from gearshift.runtime.cameras.rectifier import Rectifier, network_view
from gearshift.runtime.engines.engine import Engine
from gearshift.runtime.engines.engine_registry import load_engine
from gearshift.runtime.engines.network import read_manifest
from gearshift.runtime.errors import ConfigurationError
from gearshift.runtime.types import Camera, FloatArray

CONSTANT = "constant at the mean"
"""The control that sees no picture: the mean of the very truth it is scored on."""
ALL = "all"

Scores = Mapping[str, ComponentScore]
"""By component."""


@dataclass(frozen=True, slots=True, eq=False)
class RealReport:
    """Networks on real frames.

    scores: by clip (`ALL` first) and network, the control last. counts: frames per clip. views: how
    pictures were turned into each network's own. mounting: as fitted, and on which clip, which is
    then left out. likeness: by network, compared with what `beside` says instead of the truth.
    """

    frames: RealFrames
    scores: Mapping[str, Mapping[str, Scores]]
    counts: Mapping[str, int]
    views: Mapping[str, str]
    mounting: tuple[str, Mounting] | None
    beside: str | None
    likeness: Mapping[str, Scores]


def judge(
    folder: Path,
    names: Sequence[str] | None = None,
    *,
    truth: Path | None = None,
    zoo: Path | None = None,
    camera: Camera | None = None,
    mounting_clip: str | None = None,
    beside: str | None = None,
) -> RealReport:
    """Run every network over every picture and score it.

    names: default every network of the zoo that gives values. camera: that took the pictures; each
    network then sees what its own camera would have shown. mounting_clip: fit how the camera is
    mounted on this clip, apply it to the others. Raises RecordingError, NetworkError and
    ConfigurationError.
    """
    frames: RealFrames | None = None
    said: dict[str, FloatArray] = {}
    views: dict[str, str] = {}
    likened: str | None = None
    chosen = sorted(read_manifest(zoo)["networks"]) if names is None else names
    for name in dict.fromkeys([*chosen, *([beside] if beside is not None else [])]):
        with closing(load_engine(name, zoo)) as engine:
            network = engine.network
            if not network.components:
                if names is None:
                    continue
                raise ConfigurationError(f"{name} gives no values, only classes")
            frames = frames or read_real_frames(folder, network.components, truth)
            if [c.name for c in network.components] != [c.name for c in frames.components]:
                raise ConfigurationError(f"{name} gives other components than {chosen[0]}")
            if network.name in said:
                raise ConfigurationError(f"two networks are called {network.name}; import one anew")
            said[network.name], views[network.name] = _run(engine, frames, camera)
            if name == beside:
                likened = network.name
    if frames is None:
        raise ConfigurationError("there is no network to judge")
    mounting = None
    if mounting_clip is not None:
        if camera is None:
            raise ConfigurationError("a mounting can only be fitted with the pictures' camera")
        mounting = mounting_clip, fit_mounting(frames, mounting_clip, camera)
        said = {n: apply_mounting(v, frames.components, mounting[1]) for n, v in said.items()}
    groups = _groups(frames, mounting_clip)
    everything = groups[ALL]
    return RealReport(
        frames=frames,
        scores={clip: _scored(said, frames, chosen) for clip, chosen in groups.items()},
        counts={clip: int(chosen.sum()) for clip, chosen in groups.items()},
        views=views,
        mounting=mounting,
        beside=likened,
        likeness={}
        if likened is None
        else {
            name: score(
                values[everything],
                said[likened][everything].astype(np.float64),
                frames.components,
            )
            for name, values in said.items()
            if name != likened
        },
    )


def _groups(frames: RealFrames, left_out: str | None) -> dict[str, NDArray[np.bool_]]:
    """Frames by clip, and all of them first; one clip alone is all."""
    clips = [clip for clip in sorted(set(frames.clips.tolist())) if clip != left_out]
    if not clips:
        raise ConfigurationError("the mounting was fitted on the only clip; nothing is left")
    scored = {clip: frames.of_clip(clip) for clip in clips}
    everything = np.logical_or.reduce(list(scored.values()))
    return {ALL: everything, **(scored if len(clips) > 1 else {})}


def _scored(
    said: Mapping[str, FloatArray], frames: RealFrames, chosen: NDArray[np.bool_]
) -> dict[str, Scores]:
    truth, components = frames.truth[chosen], frames.components
    rows: dict[str, Scores] = {n: score(v[chosen], truth, components) for n, v in said.items()}
    rows[CONSTANT] = score(constant_at_mean(frames, chosen)[chosen], truth, components)
    return rows


def _run(engine: Engine, frames: RealFrames, camera: Camera | None) -> tuple[FloatArray, str]:
    """Outputs over all pictures, and how these were turned into the network's own."""
    height, width = frames.images[0].shape
    rectifier = Rectifier(camera, (width, height), network_view([engine.network]))
    outputs = np.stack([engine.run(rectifier.apply(image)).copy() for image in frames.images])
    if rectifier.passes_through:
        return outputs, "as they are"
    return outputs, "turned into its camera" if camera is not None else "cropped and scaled"
