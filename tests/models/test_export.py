"""Exported networks compute what torch computes, take uint8, and are described and hashed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
pytest.importorskip("tqdm")

from gearshift.models.evaluating.dataset import Dataset, load_dataset  # noqa: E402
from gearshift.models.evaluating.inference import open_session, run_frames  # noqa: E402
from gearshift.models.formats.onnx_graph import (  # noqa: E402
    float_model,
    quantise_weights,
    quantised_model,
)
from gearshift.models.formats.quantisation import quantise  # noqa: E402
from gearshift.models.networks.catalogue import find_architecture  # noqa: E402
from gearshift.models.networks.folding import fold  # noqa: E402
from gearshift.models.networks.torch_network import PoseNetwork  # noqa: E402
from gearshift.models.training.training import Trainer, TrainingConfig, predict  # noqa: E402
from gearshift.models.zoo_making.export import export  # noqa: E402
from gearshift.models.zoo_making.zoo_writer import gap8_profile, write_gap8_profile  # noqa: E402
from gearshift.runtime.engines.network import METADATA_KEY, Network, find_network  # noqa: E402
from gearshift.runtime.ensembles.profile import ProfileKind, read_profile  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(flights: Path) -> Dataset:
    return load_dataset(flights / "train")


def network_of(name: str) -> PoseNetwork:
    """Random weights with statistics that normalise, and outputs in units."""
    torch.manual_seed(0)
    network = PoseNetwork(find_architecture(name))
    network.train()
    for _ in range(8):
        network(torch.rand(8, 1, 96, 160))
    if network.architecture.outputs == 4:
        network.standardisation.copy_(torch.tensor([[2.0, 0.0, 0.1, 0.0], [0.8, 0.5, 0.3, 0.9]]))
    network.eval()
    return network


@pytest.mark.parametrize("name", ["F1", "F2", "M1.0", "aux"])
def test_the_float_graph_equals_torch(name: str, data: Dataset) -> None:
    network = network_of(name)
    outputs = run_frames(float_model(fold(network)), data.images[:16])
    assert outputs == pytest.approx(predict(network, data)[:16], abs=1e-4)


@pytest.mark.parametrize("name", ["F2", "M1.0", "aux"])
def test_int8_stays_near_float_and_takes_uint8(name: str, data: Dataset) -> None:
    folded = fold(network_of(name))
    quantised = quantise(folded, np.asarray(data.images[:32]))
    session = open_session(quantised.model)
    assert [i.name for i in session.get_inputs()] == ["image"]
    assert session.get_inputs()[0].type == "tensor(uint8)"
    assert session.get_inputs()[0].shape == [1, 1, 96, 160]
    assert [o.name for o in session.get_outputs()] == ["output"]
    expected = run_frames(float_model(folded), data.images[32:64])
    outputs = run_frames(quantised.model, data.images[32:64])
    assert outputs.dtype == np.float32
    assert np.corrcoef(outputs.ravel(), expected.ravel())[0, 1] > 0.98


def test_no_float_convolution_is_left_in_the_int8_graph(data: Dataset, tmp_path: Path) -> None:
    import onnxruntime

    model = quantised_model(
        fold(network_of("M1.0")),
        {layer.name: 0.05 for layer in find_architecture("M1.0").layers},
    )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    content = model.SerializeToString()
    onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    kinds = {node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node}
    assert "QLinearConv" in kinds
    assert not kinds & {"Conv", "Gemm", "DequantizeLinear", "QuantizeLinear", "MaxPool"}


def test_weights_are_symmetric_per_channel() -> None:
    weight = np.array([[1.0, -2.0], [0.0, 0.0], [0.5, 0.25]], np.float32)
    scale, quantised = quantise_weights(weight)
    assert quantised.tolist()[0] == [64, -127]
    assert quantised.tolist()[1] == [0, 0]
    assert (scale > 0).all()
    assert np.abs(quantised * scale[:, None] - weight).max() <= scale.max() / 2


def test_a_checkpoint_becomes_a_described_and_hashed_network(flights: Path, tmp_path: Path) -> None:
    data = load_dataset(flights / "train")
    for name in ("F2", "aux"):
        trainer = Trainer(find_architecture(name), data, None, TrainingConfig(epochs=1, batch=16))
        trainer.run(tmp_path)
        exported = export(
            tmp_path / f"{name}.pt", flights, tmp_path / "zoo", float_folder=tmp_path / "float"
        )
        assert set(exported.loss) == {"val"}
    manifest = json.loads((tmp_path / "zoo" / "manifest.json").read_text())
    assert set(manifest["networks"]) == {"F2", "aux"}
    entry = manifest["networks"]["F2"]
    content = (tmp_path / "zoo" / entry["file"]).read_bytes()
    assert hashlib.sha256(content).hexdigest() == entry["sha256"]
    assert find_network("F2", tmp_path / "zoo").verified_bytes() == content
    assert set(entry["mae"]["val"]["int8"]) == {"x", "y", "z", "phi", "sum"}
    assert set(manifest["networks"]["aux"]["mae"]["val"]["float"]) >= {"accuracy"}
    metadata = open_session(content).get_modelmeta().custom_metadata_map[METADATA_KEY]
    network = Network.from_json(metadata, "F2")
    assert network.output_size == 4
    assert network.components[0].scale == pytest.approx(data.values[data.scored, 0].std(), abs=1e-5)
    assert network.camera == data.camera
    assert network.mac == find_architecture("F2").mac
    assert network.mae["val"]["sum"] == pytest.approx(entry["mae"]["val"]["int8"]["sum"])
    aux = open_session(find_network("aux", tmp_path / "zoo").verified_bytes())
    described = Network.from_json(aux.get_modelmeta().custom_metadata_map[METADATA_KEY], "aux")
    assert described.grid is not None
    assert described.output_size == 49
    profile = read_profile(write_gap8_profile(tmp_path / "zoo"))
    assert profile == gap8_profile(tmp_path / "zoo")
    assert profile.kind is ProfileKind.MODELLED
    assert profile.networks["F2"].sha256 == entry["sha256"]
