"""int8 static quantisation: scales calibrated on training frames, the best of several rules."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx
from numpy.typing import NDArray

from gearshift.models.evaluating.inference import open_session, run_frames
from gearshift.models.formats.onnx_graph import INPUT, float_model, quantised_model
from gearshift.models.networks.folding import FoldedNetwork
from gearshift.runtime.types import FloatArray

PERCENTILES = (100.0, 99.999, 99.99, 99.95, 99.9)
"""Share of an activation's values that its range covers; 100 is min-max."""
SAMPLES = 4096
"""Values of one activation that are kept per frame."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Quantisation:
    """The int8 model with the rule that was measured best, and its deviation from float.

    deviation: mean |int8 - float| over outputs, each in units of its standard deviation.
    """

    model: onnx.ModelProto
    percentile: float
    deviation: float


def quantise(network: FoldedNetwork, frames: NDArray[np.uint8]) -> Quantisation:
    """Calibrate on `frames` (n, h, w): half give the ranges, half choose between the rules.

    The head's bias is corrected by the mean deviation that quantisation leaves on the frames.
    """
    ranging, judging = frames[0::2], frames[1::2]
    values = _activations(network, ranging)
    expected = run_frames(float_model(network), judging)
    spread = np.maximum(expected.std(axis=0), 1e-6)
    best: Quantisation | None = None
    for percentile in PERCENTILES:
        scales = _scales(values, percentile)
        raw = run_frames(quantised_model(network, scales), judging)
        corrected = _shift_head(network, (expected - raw).mean(axis=0))
        model = quantised_model(corrected, scales)
        deviation = float((np.abs(run_frames(model, judging) - expected) / spread).mean())
        logger.info(
            "%s: percentile %s deviates %.4f", network.architecture.name, percentile, deviation
        )
        if best is None or deviation < best.deviation:
            best = Quantisation(model, percentile, deviation)
    assert best is not None
    return best


def _activations(
    network: FoldedNetwork, frames: NDArray[np.uint8]
) -> dict[str, tuple[FloatArray, float]]:
    """Per layer, values sampled over the frames, and the largest."""
    session = open_session(float_model(network, taps=True))
    names = [output.name for output in session.get_outputs()][1:]
    kept: dict[str, list[FloatArray]] = {name: [] for name in names}
    largest = dict.fromkeys(names, 0.0)
    generator = np.random.default_rng(0)
    for image in _single(frames):
        for name, value in zip(names, session.run(names, {INPUT: image}), strict=True):
            flat = value.reshape(-1)
            largest[name] = max(largest[name], float(flat.max()))
            chosen = generator.integers(0, len(flat), min(SAMPLES, len(flat)))
            kept[name].append(flat[chosen])
    return {name: (np.concatenate(kept[name]), largest[name]) for name in names}


def _scales(values: Mapping[str, tuple[FloatArray, float]], percentile: float) -> dict[str, float]:
    scales = {}
    for name, (sampled, largest) in values.items():
        top = largest if percentile >= 100 else float(np.percentile(sampled, percentile))
        scales[name] = max(top, 1e-3 * largest, 1e-6) / 255
    return scales


def _shift_head(network: FoldedNetwork, shift: FloatArray) -> FoldedNetwork:
    *body, head = network.layers
    assert head.bias is not None
    bias = (head.bias + shift).astype(np.float32)
    return replace(network, layers=(*body, replace(head, bias=bias)))


def _single(frames: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    for frame in frames:
        yield frame[None, None]
