"""The error that the cost model claims for itself is the larger of the two that it knows."""

from __future__ import annotations

import numpy as np
import pytest

from gearshift.models.cost.gap8_model import gap8_model
from gearshift.models.networks.architecture import LayerKind
from gearshift.models.networks.catalogue import architectures

MODEL = gap8_model()
OVERALL = float(np.sqrt(np.mean([r.left_out**2 for r in MODEL.residuals])))


def error_of(kind: LayerKind) -> float:
    """Root mean square over the measurements of one kind; NaN where there are none."""
    errors = [r.left_out for r in MODEL.residuals if r.measurement.kind is kind]
    return float(np.sqrt(np.mean(np.square(errors)))) if errors else float("nan")


@pytest.mark.parametrize("kind", LayerKind)
def test_a_kind_s_error_is_never_less_than_that_over_all(kind: LayerKind) -> None:
    assert MODEL.kind_error(kind) == pytest.approx(np.fmax(OVERALL, error_of(kind)))


def test_both_happen_so_that_the_smaller_one_would_be_noticed() -> None:
    errors = [error_of(kind) for kind in LayerKind]
    assert min(e for e in errors if e == e) < 0.9 * OVERALL  # noqa: PLR0124 -- not NaN
    assert max(e for e in errors if e == e) > 1.1 * OVERALL  # noqa: PLR0124 -- not NaN


def test_low_and_high_are_each_layer_off_by_the_error_of_its_kind() -> None:
    for architecture in architectures().values():
        cost = MODEL.cost(architecture)
        assert len(cost.layers) == len(architecture.layers)
        low = high = nominal = 0.0
        for layer, modelled in zip(architecture.layers, cost.layers, strict=True):
            error = np.fmax(OVERALL, error_of(layer.kind))
            assert modelled.relative_error == pytest.approx(error)
            ms = MODEL.cycles(layer) / 175e3
            assert modelled.milliseconds == pytest.approx(ms)
            low, high, nominal = low + ms / (1 + error), high + ms * (1 + error), nominal + ms
        assert cost.milliseconds == pytest.approx(nominal)
        assert cost.low_ms == pytest.approx(low)
        assert cost.high_ms == pytest.approx(high)
        assert cost.energy_mj == pytest.approx(sum(layer.energy_mj for layer in cost.layers))
        assert cost.cycles == pytest.approx(nominal * 175e3)


def test_left_out_errors_are_relative_to_the_measurement() -> None:
    for residual in MODEL.residuals:
        layers, measured = residual.measurement.layers, residual.measurement.cycles
        modelled = sum(MODEL.cycles(x, from_l3=residual.measurement.from_l3) for x in layers)
        assert residual.fitted == pytest.approx(modelled / measured - 1)
