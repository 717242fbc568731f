"""The description of layers and the GAP8 cost model against published figures."""

from __future__ import annotations

import json

import numpy as np
import pytest

from gearshift.models.commands.cost_tables import cost_json, cost_table, fit_table
from gearshift.models.cost.gap8_memory import plan_memory
from gearshift.models.cost.gap8_model import gap8_model, published_measurements
from gearshift.models.networks.architecture import Conv, LayerKind, Pool, Separable, chain
from gearshift.models.networks.catalogue import architectures, find_architecture, is_localiser
from gearshift.models.networks.published import frontnet
from gearshift.runtime.errors import ConfigurationError

MODEL = gap8_model()


@pytest.mark.parametrize(
    ("height", "width", "channels", "parameters", "mac"),
    [
        (96, 160, 32, 303_396, 14_138_880),
        (96, 160, 16, 77_972, 4_304_640),
        (48, 80, 32, 298_788, 4_033_536),
    ],
)
def test_frontnet_has_the_published_size(
    height: int, width: int, channels: int, parameters: int, mac: int
) -> None:
    network = frontnet(height, width, channels)
    assert network.parameters == parameters
    assert network.mac == mac


def test_frontnet_has_the_weights_of_the_real_deployment() -> None:
    assert frontnet(96, 160).weight_bytes == 311_088


def test_mobilenet_rows_have_the_published_mac() -> None:
    mac = {m.name: sum(layer.mac for layer in m.layers) / 1e6 for m in published_measurements()}
    published = {"Conv1": 3.54, "DwConv2": 0.59, "PwConv4": 16.78, "DwConv12": 0.07, "FC": 1.02}
    for name, value in published.items():
        assert mac[name] == pytest.approx(value, abs=0.005)


def test_every_coefficient_costs_something() -> None:
    assert (MODEL.coefficients > 0).all()


def test_the_model_is_within_its_stated_error() -> None:
    left_out = np.array([r.left_out for r in MODEL.residuals])
    assert len(left_out) == 23
    assert MODEL.error == pytest.approx(np.sqrt((left_out**2).mean()))
    assert MODEL.error < 0.08
    assert np.abs(left_out).max() < 0.21


@pytest.mark.parametrize("name", ["Frontnet160x32", "Frontnet80x32"])
def test_end_to_end_points_are_predicted_without_them(name: str) -> None:
    residual = next(r for r in MODEL.residuals if r.measurement.name == name)
    assert abs(residual.left_out) < 0.05


def test_left_out_residuals_are_not_the_fitted_ones() -> None:
    assert all(abs(r.left_out) >= abs(r.fitted) for r in MODEL.residuals)


def test_published_power_is_reproduced() -> None:
    cost = MODEL.cost(frontnet(96, 160))
    assert cost.energy_mj / cost.milliseconds * 1e3 == pytest.approx(96.0)
    assert cost.energy_mj == pytest.approx(96.0 / 48, rel=0.03)


def test_low_and_high_enclose_the_latency() -> None:
    for architecture in architectures().values():
        cost = MODEL.cost(architecture)
        assert cost.low_ms < cost.milliseconds < cost.high_ms


def test_weights_from_l3_cost_more() -> None:
    large = find_architecture("M1.0")
    assert MODEL.cost(large, from_l3=True).milliseconds > MODEL.cost(large).milliseconds


def test_networks_keep_their_budgets() -> None:
    latency = {name: MODEL.cost(a).milliseconds for name, a in architectures().items()}
    assert find_architecture("M1.0").mac <= 14.2e6
    assert 0.35 <= latency["F1"] / latency["M1.0"] <= 0.60
    assert 0.12 <= latency["F2"] / latency["M1.0"] <= 0.30
    assert latency["aux"] <= 0.25 * latency["F2"]


@pytest.mark.parametrize("small", ["F1", "F2"])
def test_ensembles_fit_into_l2(small: str) -> None:
    members = tuple(find_architecture(name) for name in (small, "M1.0", "aux"))
    assert plan_memory(members).all_resident


def test_only_the_auxiliary_network_localises() -> None:
    assert [n for n, a in architectures().items() if is_localiser(a)] == ["aux"]


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match=r"unknown network 'F9'.*M1\.0"):
        find_architecture("F9")


def test_chain_lays_out_shapes() -> None:
    network = chain("n", "f", (Conv(8, 5, 2), Pool(), Separable(16, 2)), 3, (96, 160))
    kinds = [layer.kind for layer in network.layers]
    assert kinds == [
        LayerKind.CONV,
        LayerKind.POOL,
        LayerKind.DEPTHWISE,
        LayerKind.POINTWISE,
        LayerKind.FULLY_CONNECTED,
    ]
    head = network.layers[-1]
    assert (head.in_channels, head.height, head.width) == (16, 12, 20)
    assert network.outputs == 3


def test_chain_refuses_to_vanish() -> None:
    with pytest.raises(ConfigurationError, match="nothing of the image is left after pool2"):
        chain("n", "f", (Pool(8), Pool(16)), 3, (96, 160))


def test_tables_state_the_error_and_mark_what_is_modelled() -> None:
    table = cost_table([find_architecture("F2")], layers=True)
    assert "ms m" in table
    assert "leave-one-out error" in table
    assert "DwConv13" in fit_table()
    document = json.loads(json.dumps(cost_json([find_architecture("F2")])))
    modelled = document["networks"]["F2"]["modelled"]["latency_ms"]
    assert modelled == pytest.approx(MODEL.cost(find_architecture("F2")).milliseconds)
