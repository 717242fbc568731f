"""Training: it learns, repeats, resumes to the same weights, and refuses foreign checkpoints."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("tqdm")

from torch import Tensor  # noqa: E402

from gearshift.models.evaluating.dataset import Dataset, load_dataset  # noqa: E402
from gearshift.models.networks.catalogue import find_architecture  # noqa: E402
from gearshift.models.networks.torch_network import PoseNetwork, StridedDepthwise  # noqa: E402
from gearshift.models.training.teaching import taught  # noqa: E402
from gearshift.models.training.training import (  # noqa: E402
    Trainer,
    TrainingConfig,
    load_network,
    predict,
    split_off,
)
from gearshift.runtime.errors import ConfigurationError, NetworkError  # noqa: E402

pytestmark = pytest.mark.slow


CONFIG = TrainingConfig(epochs=2, batch=16, half=False)


@pytest.fixture(scope="module")
def data(flights: Path) -> Dataset:
    return load_dataset(flights / "train")


def run(data: Dataset, folder: Path, name: str = "F2", config: TrainingConfig = CONFIG) -> Trainer:
    trainer = Trainer(find_architecture(name), data, data, config)
    trainer.run(folder)
    return trainer


def weights(network: PoseNetwork) -> Tensor:
    return torch.cat([value.flatten().float() for value in network.state_dict().values()])


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_strided_depthwise_is_the_strided_convolution(stride: int) -> None:
    torch.manual_seed(0)
    fast = StridedDepthwise(6, 6, 3, stride, 1, groups=6, bias=False)
    image = torch.randn(2, 6, 12, 20)
    expected = torch.nn.functional.conv2d(image, fast.weight, None, stride, 1, 1, 6)
    assert torch.allclose(fast(image), expected, atol=1e-6)


def test_modules_have_the_parameters_that_the_description_counts() -> None:
    for name in ("F1", "F2", "M1.0", "aux"):
        architecture = find_architecture(name)
        network = PoseNetwork(architecture)
        normalisation = sum(
            parameter.numel()
            for module in network.modules()
            if isinstance(module, torch.nn.BatchNorm2d)
            for parameter in module.parameters()
        )
        total = sum(parameter.numel() for parameter in network.parameters())
        assert total - normalisation == architecture.parameters
        assert network(torch.zeros(2, 1, 96, 160)).shape == (2, architecture.outputs)


def test_loss_falls_and_is_logged(data: Dataset, tmp_path: Path) -> None:
    trainer = run(data, tmp_path, config=TrainingConfig(epochs=6, batch=16, half=False))
    losses = [progress.loss for progress in trainer.history]
    assert losses[-1] < losses[0]
    log = json.loads((tmp_path / "F2.json").read_text())
    assert [entry["epoch"] for entry in log["history"]] == [1, 2, 3, 4, 5, 6]
    assert set(log["history"][0]["mae"]) == {"x", "y", "z", "phi", "sum"}


def test_the_same_seed_gives_the_same_weights(data: Dataset, tmp_path: Path) -> None:
    first, second = run(data, tmp_path / "a"), run(data, tmp_path / "b")
    assert torch.equal(weights(first.averaged), weights(second.averaged))
    other = run(data, tmp_path / "c", config=TrainingConfig(epochs=2, batch=16, half=False, seed=1))
    assert not torch.equal(weights(first.averaged), weights(other.averaged))


def test_a_resumed_run_ends_where_an_unbroken_one_does(data: Dataset, tmp_path: Path) -> None:
    whole = run(data, tmp_path / "whole")
    broken = Trainer(find_architecture("F2"), data, data, CONFIG)
    broken._train_epoch()
    broken.epoch = 1
    broken.save(tmp_path / "F2.pt")
    resumed = Trainer(find_architecture("F2"), data, data, CONFIG)
    resumed.resume(tmp_path / "F2.pt")
    resumed.run(tmp_path)
    assert torch.equal(weights(resumed.network), weights(whole.network))
    assert torch.equal(weights(resumed.averaged), weights(whole.averaged))


def test_resuming_another_run_is_refused(data: Dataset, tmp_path: Path) -> None:
    run(data, tmp_path, config=TrainingConfig(epochs=1, batch=16, half=False))
    other = Trainer(find_architecture("F1"), data, None, CONFIG)
    with pytest.raises(NetworkError, match="is a checkpoint of F2"):
        other.resume(tmp_path / "F2.pt")
    changed = TrainingConfig(epochs=1, batch=16, half=False, seed=3)
    with pytest.raises(NetworkError, match="trained with another seed"):
        Trainer(find_architecture("F2"), data, None, changed).resume(tmp_path / "F2.pt")
    (tmp_path / "F2.pt").write_bytes(b"nothing")
    with pytest.raises(NetworkError, match="not a readable checkpoint"):
        load_network(tmp_path / "F2.pt")


def test_fine_tuning_starts_at_the_averaged_weights(data: Dataset, tmp_path: Path) -> None:
    earlier = run(data, tmp_path)
    trainer = Trainer(find_architecture("F2"), data, data, CONFIG)
    trainer.start_from(tmp_path / "F2.pt")
    assert torch.equal(weights(trainer.network), weights(earlier.averaged))
    assert trainer.epoch == 0
    with pytest.raises(NetworkError, match="is a checkpoint of F2"):
        Trainer(find_architecture("F1"), data, None, CONFIG).start_from(tmp_path / "F2.pt")


def test_a_teacher_moves_the_labels_of_scored_frames(data: Dataset, tmp_path: Path) -> None:
    run(data, tmp_path)
    teacher = load_network(tmp_path / "F2.pt")
    moved, wholly = taught(data, teacher, 0.5), taught(data, teacher, 1.0)
    rows = data.scored
    assert np.array_equal(moved.values[~rows], data.values[~rows], equal_nan=True)
    middle = (data.values[rows] + wholly.values[rows]) / 2
    assert moved.values[rows] == pytest.approx(middle, abs=1e-5)
    assert not np.allclose(moved.values[rows], data.values[rows])
    assert np.array_equal(taught(data, teacher, 0.0).values, data.values, equal_nan=True)
    with pytest.raises(ConfigurationError, match="between 0 and 1"):
        taught(data, teacher, 2.0)


def test_the_localiser_learns_from_every_frame(data: Dataset, tmp_path: Path) -> None:
    trainer = run(data, tmp_path, "aux", TrainingConfig(epochs=1, batch=16))
    assert trainer._steps == len(data) // 16
    assert {"accuracy", "false_present"} <= set(trainer.validate())


def test_outputs_are_in_units(data: Dataset, tmp_path: Path) -> None:
    trainer = run(data, tmp_path)
    outputs = predict(trainer.averaged, data)
    assert outputs.shape == (len(data), 4)
    assert outputs[:, 0].mean() == pytest.approx(data.values[data.scored, 0].mean(), abs=0.6)


def test_splitting_off_keeps_flights_apart(data: Dataset) -> None:
    training, validation = split_off(data, 3)
    assert not set(training.flight) & set(validation.flight)
    assert len(training) + len(validation) == len(data)


def test_a_localiser_needs_to_know_where_heads_are(data: Dataset) -> None:
    unknown = replace(data, head=np.full_like(data.head, np.nan))
    with pytest.raises(ConfigurationError, match="do not say where"):
        Trainer(find_architecture("aux"), unknown, None, CONFIG)
    Trainer(find_architecture("F2"), unknown, None, CONFIG)
