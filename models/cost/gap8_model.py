"""What a network would cost on GAP8: a per-layer model fitted to published measurements.

Cycles of a layer are a linear function of what its kernel must do, one term per kind of work:

    convolution      launch + a * MAC
    pointwise        launch + b * MAC + c * outputs            (matrix product, then requantisation)
    depthwise        launch + d * input bytes + e * outputs    (bound by data movement, not by MAC)
    maximum pooling  launch + f * input bytes
    fully connected  launch + b * MAC                          (weights in L2)
    weights from L3  + g * bytes while a layer's weights fit in L2, h * bytes beyond

The nine coefficients are least-squares fitted, in relative error, to the 21 published layers of
1.0-MobileNetV1-128 (DORY, Burrello et al., IEEE Trans. Comp. 2021, figure in its repository; fabric
controller and cluster at 100 MHz, 1.0 V) and to PULP-Frontnet's two end-to-end throughputs (Palossi
et al., IEEE IoT J. 2022; cluster at 175 MHz, 1.2 V). Every figure of this module is *modelled*.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from gearshift.models.networks.architecture import Architecture, Layer, LayerKind
from gearshift.models.networks.published import frontnet

CLOCK_HZ = 175e6
"""Cluster clock at which latencies are stated: PULP-Frontnet's operating point (1.2 V)."""
POWER_MW = 96.0
"""Mean power of PULP-Frontnet 160x32 at that operating point."""
L2_BYTES = 512 * 1024
"""On-chip memory for weights, activations and code."""
MEASURED_CLOCK_HZ = 100e6
COEFFICIENTS = (
    "convolution, per MAC",
    "pointwise, per MAC",
    "pointwise, per output",
    "depthwise, per input byte",
    "depthwise, per output",
    "pooling, per input byte",
    "L3 weights that fit in L2, per byte",
    "L3 weights beyond L2, per byte",
    "launch, per layer",
)


@dataclass(frozen=True, slots=True)
class Measurement:
    """Published time and power: of one layer, or of a whole network run layer by layer."""

    name: str
    layers: tuple[Layer, ...]
    milliseconds: float
    milliwatts: float
    clock_hz: float = MEASURED_CLOCK_HZ
    from_l3: bool = False

    @property
    def cycles(self) -> float:
        """Cluster cycles."""
        return self.milliseconds * 1e-3 * self.clock_hz

    @property
    def kind(self) -> LayerKind:
        """The kind of layer that it tells most about."""
        return max(self.layers, key=lambda layer: layer.mac).kind


@dataclass(frozen=True, slots=True)
class LayerCost:
    """Modelled cost of one layer at `CLOCK_HZ`."""

    layer: Layer
    cycles: float
    energy_mj: float
    relative_error: float

    @property
    def milliseconds(self) -> float:
        """Time at `CLOCK_HZ`."""
        return 1e3 * self.cycles / CLOCK_HZ


@dataclass(frozen=True, slots=True)
class NetworkCost:
    """Modelled cost of a network: its layers' sum. low_ms and high_ms are the model's own error."""

    architecture: Architecture
    layers: tuple[LayerCost, ...]

    @property
    def cycles(self) -> float:
        """Cluster cycles of one run."""
        return sum(layer.cycles for layer in self.layers)

    @property
    def milliseconds(self) -> float:
        """Latency at `CLOCK_HZ`."""
        return sum(layer.milliseconds for layer in self.layers)

    @property
    def low_ms(self) -> float:
        """Latency if every layer is faster by its kind's leave-one-out error."""
        return sum(layer.milliseconds / (1 + layer.relative_error) for layer in self.layers)

    @property
    def high_ms(self) -> float:
        """Latency if every layer is slower by its kind's leave-one-out error."""
        return sum(layer.milliseconds * (1 + layer.relative_error) for layer in self.layers)

    @property
    def energy_mj(self) -> float:
        """Energy of one run."""
        return sum(layer.energy_mj for layer in self.layers)


@dataclass(frozen=True, slots=True)
class Residual:
    """Relative error of the model on one measurement: fitted with it, and without it."""

    measurement: Measurement
    fitted: float
    left_out: float


@dataclass(frozen=True, slots=True, eq=False)
class CostModel:
    """Fitted coefficients (cycles per unit of `COEFFICIENTS`) and how well they predict."""

    coefficients: NDArray[np.float64]
    residuals: tuple[Residual, ...]
    milliwatts: dict[LayerKind, float]

    @property
    def error(self) -> float:
        """Root mean square of the leave-one-out relative errors over all measurements."""
        return _rms([residual.left_out for residual in self.residuals])

    def kind_error(self, kind: LayerKind) -> float:
        """The same over measurements of one kind, and never less than over all of them."""
        errors = [r.left_out for r in self.residuals if r.measurement.kind is kind]
        return max(self.error, _rms(errors)) if errors else self.error

    def cycles(self, layer: Layer, *, from_l3: bool = False) -> float:
        """Cluster cycles of one layer, its weights in L2 or streamed from L3."""
        return float(_features(layer, from_l3) @ self.coefficients)

    def cost(self, architecture: Architecture, *, from_l3: bool = False) -> NetworkCost:
        """Cost of a network layer by layer."""
        return NetworkCost(
            architecture,
            tuple(self.layer_cost(layer, from_l3=from_l3) for layer in architecture.layers),
        )

    def layer_cost(self, layer: Layer, *, from_l3: bool = False) -> LayerCost:
        """Cost of one layer, its weights in L2 or streamed from L3."""
        cycles = self.cycles(layer, from_l3=from_l3)
        energy = cycles / CLOCK_HZ * self.milliwatts[layer.kind]
        return LayerCost(layer, cycles, energy, self.kind_error(layer.kind))


@cache
def gap8_model() -> CostModel:
    """The model fitted to every published measurement; its residuals come with it."""
    measurements = published_measurements()
    matrix = np.array(
        [sum(_features(layer, m.from_l3) for layer in m.layers) for m in measurements]
    )
    cycles = np.array([m.cycles for m in measurements])
    coefficients = _fit(matrix, cycles)
    residuals = []
    for index, measurement in enumerate(measurements):
        others = np.arange(len(cycles)) != index
        left_out = _fit(matrix[others], cycles[others])
        residuals.append(
            Residual(
                measurement,
                float(matrix[index] @ coefficients / cycles[index] - 1),
                float(matrix[index] @ left_out / cycles[index] - 1),
            )
        )
    return CostModel(coefficients, tuple(residuals), _milliwatts(coefficients, measurements))


def published_measurements() -> tuple[Measurement, ...]:
    """MobileNetV1's layers as measured on GAP8, and PULP-Frontnet's frame rates."""
    # name, input channels, input size, output channels, stride, ms, mW, weights from L3
    depthwise = (
        ("DwConv1", 32, 64, 1, 9.13, 35.4),
        ("DwConv2", 64, 64, 2, 10.16, 32.0),
        ("DwConv3", 128, 32, 1, 8.72, 38.9),
        ("DwConv4", 128, 32, 2, 4.62, 33.4),
        ("DwConv5", 256, 16, 1, 4.75, 40.4),
        ("DwConv6", 256, 16, 2, 2.56, 35.6),
        ("DwConv7-11", 512, 8, 1, 2.56, 38.9),
        ("DwConv12", 512, 8, 2, 1.45, 33.3),
        ("DwConv13", 1024, 4, 1, 1.78, 38.1),
    )
    pointwise = (
        ("PwConv2", 32, 64, 64, 10.91, 47.9, False),
        ("PwConv3", 64, 32, 128, 7.84, 48.0, False),
        ("PwConv4", 128, 32, 128, 13.31, 48.4, False),
        ("PwConv5", 128, 16, 256, 6.58, 48.5, False),
        ("PwConv6", 256, 16, 256, 11.91, 48.4, False),
        ("PwConv7", 256, 8, 512, 5.94, 48.5, False),
        ("PwConv8-12", 512, 8, 512, 13.08, 36.5, True),
        ("PwConv13", 512, 4, 1024, 9.11, 31.4, True),
        ("PwConv14", 1024, 4, 1024, 27.31, 44.1, True),
    )
    rows = [
        Measurement("Conv1", (Layer("", LayerKind.CONV, 3, 128, 128, 32, 3, 2, 1),), 8.30, 46.0)
    ]
    for name, channels, size, stride, ms, mw in depthwise:
        layer = Layer("", LayerKind.DEPTHWISE, channels, size, size, channels, 3, stride, 1)
        rows.append(Measurement(name, (layer,), ms, mw))
    for name, channels, size, out, ms, mw, from_l3 in pointwise:
        layer = Layer("", LayerKind.POINTWISE, channels, size, size, out)
        rows.append(Measurement(name, (layer,), ms, mw, from_l3=from_l3))
    pool = Layer("", LayerKind.POOL, 1024, 4, 4, 1024, 4, 4)
    rows.append(Measurement("Pool", (pool,), 0.56, 19.8))
    head = Layer("", LayerKind.FULLY_CONNECTED, 1024, 1, 1, 1000)
    rows.append(Measurement("FC", (head,), 15.78, 18.3, from_l3=True))
    for (height, width), rate in (((96, 160), 48.0), ((48, 80), 135.0)):
        network = frontnet(height, width)
        rows.append(
            Measurement(network.name, network.layers, 1e3 / rate, POWER_MW, clock_hz=CLOCK_HZ)
        )
    return tuple(rows)


def _features(layer: Layer, from_l3: bool) -> NDArray[np.float64]:
    """Amount of each kind of work, in the order of `COEFFICIENTS`."""
    row = np.zeros(len(COEFFICIENTS))
    outputs = layer.out_channels * layer.out_pixels
    match layer.kind:
        case LayerKind.CONV:
            row[0] = layer.mac
        case LayerKind.POINTWISE:
            row[1], row[2] = layer.mac, outputs
        case LayerKind.DEPTHWISE:
            row[3], row[4] = layer.input_bytes, outputs
        case LayerKind.POOL:
            row[5] = layer.input_bytes
        case LayerKind.FULLY_CONNECTED:
            # Streamed from L3, the product hides behind the transfer of its weights.
            row[1] = 0 if from_l3 else layer.mac
    if from_l3:
        row[6 if _fits_beside(layer) else 7] = layer.weights
    row[8] = 1
    return row


def _fits_beside(layer: Layer) -> bool:
    # In DORY's runs PwConv13 (512 KiB of weights) still overlapped its transfer, PwConv14 and the
    # classifier (1 MB) did not.
    return layer.kind is not LayerKind.FULLY_CONNECTED and layer.weights <= L2_BYTES


def _fit(matrix: NDArray[np.float64], cycles: NDArray[np.float64]) -> NDArray[np.float64]:
    scaled = matrix / cycles[:, None]
    solution = np.linalg.lstsq(scaled, np.ones(len(cycles)), rcond=None)[0]
    return np.asarray(solution, dtype=np.float64)


def _milliwatts(
    coefficients: NDArray[np.float64], measurements: tuple[Measurement, ...]
) -> dict[LayerKind, float]:
    """Mean power per kind at `CLOCK_HZ`.

    The published per-layer powers (100 MHz, 1.0 V; layers with weights in L2 only) keep their
    ratios and are scaled together so that PULP-Frontnet 160x32 draws its published 96 mW at 175
    MHz.
    """
    powers: dict[LayerKind, list[float]] = {}
    for m in measurements:
        if len(m.layers) == 1 and not m.from_l3:
            powers.setdefault(m.kind, []).append(m.milliwatts)
    mean = {kind: float(np.mean(values)) for kind, values in powers.items()}
    # No fully connected layer was measured with its weights in L2; its kernel is the pointwise one.
    mean[LayerKind.FULLY_CONNECTED] = mean[LayerKind.POINTWISE]
    layers = frontnet(96, 160).layers
    cycles = np.array([_features(layer, False) @ coefficients for layer in layers])
    drawn = cycles @ np.array([mean[layer.kind] for layer in layers]) / cycles.sum()
    return {kind: value * POWER_MW / float(drawn) for kind, value in mean.items()}


def _rms(values: list[float]) -> float:
    return math.sqrt(sum(value * value for value in values) / len(values))
