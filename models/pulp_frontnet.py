"""PULP-Frontnet's published checkpoints as networks of ours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gearshift.models.catalogue import HEIGHT, WIDTH
from gearshift.models.folding import INPUT_RANGE
from gearshift.models.gap8 import frontnet
from gearshift.models.torch_network import PoseNetwork
from gearshift.runtime.errors import FrameError, NetworkError
from gearshift.runtime.types import FloatArray

STAGES = ("layer1", "layer2", "layer3")


def load_frontnet(path: Path) -> PoseNetwork:
    """A PULP-Frontnet checkpoint for 160x96 images, of any width; raises NetworkError.

    Its outputs are x, y, z [m] and phi [rad] in the same frame as ours.
    """
    try:
        document = torch.load(path, weights_only=True, map_location="cpu")
        state: Mapping[str, Tensor] = document["model"]
        network = PoseNetwork(frontnet(HEIGHT, WIDTH, len(state["conv.weight"])))
        network.load_state_dict(_renamed(state), strict=False)
    except (OSError, RuntimeError, KeyError, TypeError, UnpicklingError) as error:
        raise NetworkError(f"{path}: not a PULP-Frontnet checkpoint for 160x96 images") from error
    return network.eval()  # type: ignore[no-any-return]


def read_frames(folder: Path) -> NDArray[np.uint8]:
    """(n, height, width) grey frames from the PNG files of a folder, by name; raises FrameError."""
    from PIL import Image

    paths = sorted(folder.glob("*.png"))
    if not paths:
        raise FrameError(f"{folder} holds no frames (*.png)")
    frames = [np.asarray(Image.open(path).convert("L")) for path in paths]
    for path, frame in zip(paths, frames, strict=True):
        if frame.shape != (HEIGHT, WIDTH):
            raise FrameError(f"{path}: {frame.shape[1]}x{frame.shape[0]}, not {WIDTH}x{HEIGHT}")
    return np.stack(frames)


def run_frontnet(network: PoseNetwork, frames: NDArray[np.uint8]) -> FloatArray:
    """(n, 4) outputs of a module of ours or a loaded checkpoint."""
    with torch.no_grad():
        outputs = network.in_units(network(torch.tensor(frames)[:, None].float() / INPUT_RANGE))
    return np.asarray(outputs.numpy(), dtype=np.float32)


def _renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Their names as ours: body.0 is the stem, body.1 the pooling, body.2.. the convolutions."""
    pairs = [("conv", "bn", 0)]
    for stage, name in enumerate(STAGES):
        for half in (1, 2):
            pairs.append((f"{name}.conv{half}", f"{name}.bn{half}", 1 + 2 * stage + half))
    renamed = {"head.weight": state["fc.weight"], "head.bias": state["fc.bias"]}
    for convolution, normalisation, index in pairs:
        renamed[f"body.{index}.0.weight"] = state[f"{convolution}.weight"]
        for entry in ("weight", "bias", "running_mean", "running_var"):
            renamed[f"body.{index}.1.{entry}"] = state[f"{normalisation}.{entry}"]
    # Theirs read 0..255, ours 0..1.
    renamed["body.0.0.weight"] = renamed["body.0.0.weight"] * INPUT_RANGE
    return renamed
