"""Python's integer engine and the firmware's kernels agree on every byte of every layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gearshift.firmware_bridge.board.network_image import pack_network
from gearshift.runtime.engines.gap8_folder import read_gap8_folder
from gearshift.runtime.engines.integer_engine import IntegerEngine, layer_outputs
from gearshift.runtime.engines.integer_network import IntegerNetwork
from gearshift.runtime.engines.network import zoo_folder
from gearshift.runtime.types import Image

DEPLOYMENT = Path(__file__).parents[4] / "shared" / "data" / "gap8-frontnet-160x32"
FOLDERS = [*sorted((zoo_folder() / "gap8").glob("*/")), DEPLOYMENT]
GOLDEN_OUTPUTS = [335499, 41994, 74053, -78690]
GOLDEN_SUMS = (141585, 51732, 20816, 19410, 5783, 7242, 1511, 12249, 1322)


def any_image(network: IntegerNetwork, seed: int) -> Image:
    shape = (network.network.height, network.network.width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def check_equal(core: Any, network: IntegerNetwork, frame: Image, cores: int = 1) -> None:
    """The core's layers, outputs and values are the integer engine's to the bit, whether layers are
    stored whole or pooled a few rows at a time."""
    run = core.run(pack_network(network), frame, cores)
    assert run.status == 0, core.status_text(run.status)
    expected = layer_outputs(network, frame)
    position = 0
    for layer, array in zip(network.layers, expected, strict=True):
        content = array.astype("<i4").tobytes() if array.dtype != np.uint8 else array.tobytes()
        found = run.layer_bytes[position : position + len(content)]
        assert found == content, layer.name
        position += len(content)
    outputs = len(network.output_scale)
    assert run.outputs[:outputs].tolist() == expected[-1].tolist()
    values = IntegerEngine(network).run(frame)
    assert run.values[:outputs].tobytes() == values.tobytes()
    flown = core.run(pack_network(network), frame, cores, observed=False)
    assert flown.status == 0, core.status_text(flown.status)
    assert flown.outputs.tobytes() == run.outputs.tobytes()
    assert flown.values.tobytes() == run.values.tobytes()


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_real_networks(core: Any, folder: Path) -> None:
    if not folder.is_dir():
        pytest.skip("../shared/data/gap8-frontnet-160x32 is not there")
    network, golden = read_gap8_folder(folder)
    assert golden is not None
    check_equal(core, network, golden.image)
    run = core.run(pack_network(network), golden.image)
    assert run.sums[: len(golden.sums)] == golden.sums
    if folder == DEPLOYMENT:
        assert run.sums[: len(GOLDEN_SUMS)] == GOLDEN_SUMS
        assert run.outputs[:4].tolist() == GOLDEN_OUTPUTS
    for seed in range(3):
        check_equal(core, network, any_image(network, seed), cores=seed + 1)


@pytest.mark.slow
@settings(max_examples=150)
@given(data=st.data(), seed=st.integers(0, 99), cores=st.integers(1, 9))
def test_random_networks(
    core: Any, integer_networks: Any, data: Any, seed: int, cores: int
) -> None:
    """Any geometry, numbers up to the edge of int64, and any split of the rows among cores."""
    network = data.draw(integer_networks)
    check_equal(core, network, any_image(network, seed), cores)


@settings(max_examples=30)
@given(data=st.data(), seed=st.integers(0, 99))
def test_halved_networks(core: Any, integer_networks: Any, data: Any, seed: int) -> None:
    """Frames of twice the size are halved first."""
    network = data.draw(integer_networks.map(doubled))
    assert network.halves
    check_equal(core, network, any_image(network, seed))


def doubled(network: IntegerNetwork) -> IntegerNetwork:
    from dataclasses import replace

    description = network.network
    larger = replace(description, height=2 * description.height, width=2 * description.width)
    return IntegerNetwork(larger, network.layers, network.output_scale)


@settings(max_examples=20)
@given(data=st.data())
def test_an_arena_that_is_too_small_is_refused(core: Any, integer_networks: Any, data: Any) -> None:
    network = data.draw(integer_networks.filter(lambda network: len(network.layers) > 1))
    image = pack_network(network)
    frame = any_image(network, 0)
    for observed in (False, True):
        assert core.run(image, frame, observed=observed).status == 0
        short = core.run(image, frame, missing_bytes=1, observed=observed)
        assert core.status_text(short.status) == "not enough memory"
