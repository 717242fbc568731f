"""Scores, and intervals over groups."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gearshift.models.commands.model_tables import difference_table, evaluation_table
from gearshift.models.evaluating.dataset import Dataset, load_dataset
from gearshift.models.evaluating.evaluation import (
    absolute_errors,
    difference,
    mae_interval,
    relative_loss,
    scores,
)
from gearshift.runtime.errors import ConfigurationError


@pytest.fixture(scope="module")
def data(flights: Path) -> Dataset:
    return load_dataset(flights / "train")


def off_by(data: Dataset, amount: float) -> np.ndarray:
    return (np.nan_to_num(data.values) + np.float32(amount)).astype(np.float32)


def test_mae_counts_scored_frames_only(data: Dataset) -> None:
    outputs = off_by(data, 0.1)
    outputs[~data.scored] += 100
    assert scores(outputs, data) == pytest.approx(
        {"x": 0.1, "y": 0.1, "z": 0.1, "phi": 0.1, "sum": 0.4}, abs=1e-5
    )


def test_angles_are_wrapped(data: Dataset) -> None:
    outputs = np.nan_to_num(data.values)
    outputs[:, 3] += np.float32(2 * np.pi - 0.2)
    errors = absolute_errors(outputs, data)[data.scored]
    assert errors[:, 3] == pytest.approx(0.2, abs=1e-4)


def test_a_constant_difference_has_no_width_and_excludes_zero(data: Dataset) -> None:
    interval = difference(off_by(data, 0.1), off_by(data, 0.2), data)["sum"]
    assert interval.value == pytest.approx(0.4, abs=1e-4)
    assert interval.low == pytest.approx(interval.high, abs=1e-4)
    assert interval.excludes_zero


def test_noise_does_not_exclude_zero(data: Dataset) -> None:
    generator = np.random.default_rng(0)
    first, second = (
        off_by(data, 0.0) + generator.normal(0, 0.1, data.values.shape).astype(np.float32)
        for _ in range(2)
    )
    interval = difference(first, second, data)["x"]
    assert interval.low < interval.value < interval.high
    assert not interval.excludes_zero


def test_intervals_enclose_the_mean(data: Dataset) -> None:
    outputs = off_by(data, 0.0) + np.linspace(0, 0.3, len(data), dtype=np.float32)[:, None]
    for interval in mae_interval(outputs, data).values():
        assert interval.low <= interval.value <= interval.high


def test_a_localiser_is_scored_by_accuracy(data: Dataset) -> None:
    outputs = np.eye(49, dtype=np.float32)[data.cell]
    figures = scores(outputs, data)
    assert figures == {
        "accuracy": 1.0,
        "with_head": 1.0,
        "false_present": 0.0,
        "false_absent": 0.0,
    }
    assert relative_loss(figures, {"accuracy": 0.9}) == pytest.approx(0.1)


def test_networks_of_different_outputs_are_not_compared(data: Dataset) -> None:
    with pytest.raises(ConfigurationError, match="different outputs"):
        difference(off_by(data, 0), np.zeros((len(data), 49), np.float32), data)


def test_tables_print(data: Dataset) -> None:
    outputs = {"a": off_by(data, 0.1), "b": np.eye(49, dtype=np.float32)[data.cell]}
    assert "0.4000 [0.4" in evaluation_table(outputs, data)
    assert "yes" in difference_table(
        "a", "c", difference(outputs["a"], off_by(data, 0.2), data), data
    )
