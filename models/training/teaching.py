"""Distillation: labels moved towards what a better network says of the frame."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from gearshift.models.evaluating.dataset import Dataset
from gearshift.models.networks.folding import INPUT_RANGE
from gearshift.models.networks.torch_network import PoseNetwork
from gearshift.models.training.augmentation import PHI, Y
from gearshift.runtime.errors import ConfigurationError
from gearshift.runtime.types import FloatArray

BATCH = 128


def taught(data: Dataset, teacher: PoseNetwork, share: float) -> Dataset:
    """The flights with the labels of scored frames moved by `share` towards the teacher's outputs.

    What even the teacher cannot see in a frame is noise to a smaller network. The labels turn with
    the frame under augmentation as the truth does, so the teacher runs once per frame, not per
    step; it sees each frame and its mirror image, and the mean counts. Raises ConfigurationError
    for a share outside 0..1.
    """
    if not 0 <= share <= 1:
        raise ConfigurationError(f"a teacher's share is between 0 and 1, not {share}")
    rows = np.flatnonzero(data.scored)
    distance = _outputs(teacher, data, rows) - data.values[rows]
    distance[:, PHI] = np.mod(distance[:, PHI] + np.pi, 2 * np.pi) - np.pi
    values = data.values.copy()
    values[rows] += np.float32(share) * distance
    return replace(data, values=values)


def _outputs(teacher: PoseNetwork, data: Dataset, rows: NDArray[np.int64]) -> FloatArray:
    """(rows, 4) mean of the outputs for each frame and, mirrored back, its mirror image."""
    sign = torch.ones(data.values.shape[1])
    sign[[Y, PHI]] = -1
    outputs = []
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for start in range(0, len(rows), BATCH):
            frames = torch.from_numpy(data.images[rows[start : start + BATCH]])[:, None]
            image = (frames.float() / INPUT_RANGE).to(memory_format=torch.channels_last)
            plain = teacher.in_units(teacher(image).float())
            mirrored = teacher.in_units(teacher(image.flip(-1)).float())
            outputs.append((plain + sign * mirrored) / 2)
    return np.asarray(torch.cat(outputs).numpy(), dtype=np.float32)
