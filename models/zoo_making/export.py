"""From a checkpoint to the zoo: fold, quantise, measure on every split, describe, write."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gearshift.models.evaluating.dataset import SPLITS, Dataset, load_dataset
from gearshift.models.evaluating.evaluation import relative_loss, scores
from gearshift.models.evaluating.inference import run_frames
from gearshift.models.formats.onnx_graph import float_model, with_metadata
from gearshift.models.formats.quantisation import Quantisation, quantise
from gearshift.models.networks.catalogue import GRID, HEIGHT, WIDTH, find_architecture, is_localiser
from gearshift.models.networks.folding import FoldedNetwork, fold
from gearshift.models.training.training import load_network, read_checkpoint
from gearshift.models.zoo_making.zoo_writer import Scores, ZooEntry, write_network
from gearshift.runtime.engines.network import Network
from gearshift.runtime.errors import RecordingError
from gearshift.runtime.files.whole_file import make_folder, write_whole
from gearshift.runtime.types import Component

TRAIN = "train"
LICENCE = "Apache-2.0"
FRAME_OF_REFERENCE = "drone, yaw-levelled FLU"
CALIBRATION_FRAMES = 768

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written."""

    path: Path
    entry: ZooEntry
    loss: Mapping[str, float]
    """Per split, what int8 costs against float."""


def export(
    checkpoint: Path, flights: Path, zoo: Path, *, float_folder: Path | None = None
) -> Exported:
    """Quantise a checkpoint and put it into a zoo, measured on every split under `flights`.

    flights: a folder with `train` (calibrates the quantisation) and those of `val`, `known`,
    `unseen` that are there. float_folder: where a float ONNX file goes for comparison.
    """
    document = read_checkpoint(checkpoint)
    name = document["architecture"]
    network = fold(load_network(checkpoint))
    train = load_dataset(flights / TRAIN)
    quantised = quantise(network, _calibration_frames(train))
    measured = measure(network, quantised, flights)
    description = _describe(name, train, document["training_set"])
    int8_mae = {split: formats["int8"] for split, formats in measured.items()}
    content = with_metadata(quantised.model, replace(description, mae=int8_mae).to_json())
    entry = ZooEntry(
        name=name,
        architecture=description.architecture,
        parameters=description.parameters,
        mac=description.mac,
        training_set=description.training_set,
        licence=LICENCE,
        mae=measured,
        calibration=f"percentile {quantised.percentile:g} of {CALIBRATION_FRAMES} training frames",
    )
    path = write_network(zoo, content, entry)
    if float_folder is not None:
        float_mae = {split: formats["float"] for split, formats in measured.items()}
        make_folder(float_folder)
        float_content = with_metadata(
            float_model(network), replace(description, mae=float_mae).to_json()
        )
        write_whole(float_folder / f"{name}.onnx", float_content)
    loss = {split: relative_loss(f["float"], f["int8"]) for split, f in measured.items()}
    return Exported(path, entry, loss)


def measure(network: FoldedNetwork, quantised: Quantisation, flights: Path) -> Scores:
    """Errors of the float and the int8 network on the splits that are there."""
    measured = {}
    for split in SPLITS:
        try:
            data = load_dataset(flights / split)
        except RecordingError as error:
            logger.warning("not measured on %s: %s", split, error)
            continue
        measured[split] = {
            "float": scores(run_frames(float_model(network), data.images), data),
            "int8": scores(run_frames(quantised.model, data.images), data),
        }
    return measured


def _calibration_frames(train: Dataset) -> NDArray[np.uint8]:
    rows = np.linspace(0, len(train) - 1, min(CALIBRATION_FRAMES, len(train))).astype(int)
    return np.asarray(train.images[rows])


def _describe(name: str, train: Dataset, training_set: str) -> Network:
    architecture = find_architecture(name)
    localiser = is_localiser(architecture)
    deviation = train.values[train.scored].std(axis=0)
    components = tuple(
        Component(c.name, c.unit, c.angular, round(float(scale), 6))
        for c, scale in zip(train.components, deviation, strict=True)
    )
    return Network(
        name=name,
        height=HEIGHT,
        width=WIDTH,
        components=() if localiser else components,
        grid=GRID if localiser else None,
        frame_of_reference="image" if localiser else FRAME_OF_REFERENCE,
        camera=train.camera,
        architecture=architecture.family,
        parameters=architecture.parameters,
        mac=architecture.mac,
        training_set=training_set,
        licence=LICENCE,
    )
