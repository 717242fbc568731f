"""Float networks in GAP8's arithmetic, and what that costs in error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gearshift.models.evaluating.agreement import agreement
from gearshift.models.evaluating.dataset import load_dataset
from gearshift.models.evaluating.evaluation import relative_loss, scores
from gearshift.models.evaluating.inference import run_frames
from gearshift.models.formats.gap8_conversion import integers_of_onnx
from gearshift.models.formats.gap8_writer import run_integer_frames
from gearshift.models.formats.onnx_graph import with_metadata
from gearshift.models.formats.quantisation import quantise
from gearshift.models.networks.folding import FoldedNetwork
from gearshift.runtime.engines.integer_network import IntegerNetwork
from gearshift.runtime.engines.network import Network


def quantise_to_integers(
    network: FoldedNetwork, frames: NDArray[np.uint8], description: Network
) -> IntegerNetwork:
    """Quantise float weights with ranges calibrated on frames (n, height, width)."""
    model = quantise(network, frames).model
    return integers_of_onnx(with_metadata(model, description.to_json()), description.name)


def measure_integers(network: IntegerNetwork, int8: bytes, folder: Path) -> str:
    """One line: errors of the int8 model and of its integer network on a folder of recordings, and
    how far apart their outputs are."""
    data = load_dataset(folder)
    reference, outputs = run_frames(int8, data.images), run_integer_frames(network, data.images)
    before, after = scores(reference, data), scores(outputs, data)
    shown = ", ".join(f"{key} {before[key]:.4f} -> {after[key]:.4f}" for key in before)
    loss = 100 * relative_loss(before, after)
    found = agreement(reference, outputs)
    apart = (
        f"outputs {found.mean.mean():.3f} LSB apart in the mean, {found.largest.max():.2f} at most"
    )
    return f"{folder}, int8 ONNX -> integers: {shown} ({loss:+.2f} %, {len(data)} frames); {apart}"
