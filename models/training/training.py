"""Training one network on recorded flights: seeded, resumable, on a CPU.

Every epoch draws its order, augmentation and dropout from (seed, epoch) alone, so that a run that
was stopped and resumed takes the same steps as one that was not.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from gearshift.models.evaluating.dataset import Dataset
from gearshift.models.evaluating.evaluation import scores
from gearshift.models.networks.architecture import Architecture
from gearshift.models.networks.catalogue import find_architecture, is_localiser
from gearshift.models.networks.torch_network import PoseNetwork
from gearshift.models.training.augmentation import AugmentationConfig, Augmenter, Batch
from gearshift.models.training.guide import Guide
from gearshift.runtime.errors import ConfigurationError, NetworkError
from gearshift.runtime.files.whole_file import WholeFile, make_folder, write_whole
from gearshift.runtime.scoring.counted_frames import ANGLE_LIMIT
from gearshift.runtime.types import FloatArray

SCHEMA_VERSION = 1
VALIDATION_FRAMES = 2000
"""At most about this many frames are looked at after each epoch."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """Everything that a run depends on besides its data.

    metric_share: how far components weigh by their deviation (the metric sums raw units) rather
    than equally.
    """

    epochs: int = 30
    seed: int = 0
    batch: int = 64
    learning_rate: float = 4e-3
    weight_decay: float = 0.02
    warmup: float = 0.06
    dropout: float = 0.1
    averaging: float = 0.998
    """Decay per step of the averaged weights, which are what is evaluated and exported."""
    beta: float = 0.05
    """Standardised error below which the loss is quadratic."""
    metric_share: float = 0.5
    guide_share: float = 0.3
    """Weight of the guide, coarser tasks that shape a pose network's features (see `Guide`)."""
    half: bool = True
    """bfloat16 autocast."""
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)


@dataclass(frozen=True, slots=True)
class Progress:
    """What an epoch left behind. mae: per component in its unit (accuracies for a localiser)."""

    epoch: int
    loss: float
    mae: dict[str, float]
    seconds: float


class Trainer:
    """One network, its optimiser and its averaged copy."""

    def __init__(
        self,
        architecture: Architecture,
        data: Dataset,
        validation: Dataset | None,
        config: TrainingConfig,
    ) -> None:
        if data.camera is None:
            raise ConfigurationError(f"{data.name}: flights without a camera cannot be turned")
        self.architecture = architecture
        self.config = config
        self.epoch = 0
        self.history: list[Progress] = []
        self._data = data
        self._validation = _thinned(validation) if validation is not None else None
        self._localiser = is_localiser(architecture)
        if self._localiser and np.isnan(data.head[data.visible]).any():
            raise ConfigurationError(
                f"{architecture.name} learns where the head is, but some frames with a visible "
                "head do not say where: convert them with a camera, or with head_u and head_v"
            )
        torch.manual_seed(config.seed)
        self.network = PoseNetwork(architecture, config.dropout)
        if not self._localiser:
            self.network.standardisation.copy_(torch.from_numpy(standardisation(data)))
        self.network.to(memory_format=torch.channels_last)
        self._guide = Guide(self.network.head.in_features, data)
        self._guide_share = config.guide_share
        self.averaged = PoseNetwork(architecture)
        self.averaged.load_state_dict(self.network.state_dict())
        self.averaged.to(memory_format=torch.channels_last).eval()
        self._optimiser = torch.optim.AdamW(
            _groups([*self.network.parameters(), *self._guide.parameters()], config.weight_decay)
        )
        self._usable = np.flatnonzero(data.visible) if not self._localiser else np.arange(len(data))
        self._steps = max(1, len(self._usable) // config.batch)
        self._weights = _component_weights(self.network.standardisation[1], config.metric_share)

    def run(self, folder: Path) -> None:
        """Train to the last epoch, leaving a checkpoint and a log in `folder` after each."""
        make_folder(folder)
        while self.epoch < self.config.epochs:
            started = time.perf_counter()
            loss = self._train_epoch()
            mae = self.validate()
            self.epoch += 1
            progress = Progress(self.epoch, loss, mae, time.perf_counter() - started)
            self.history.append(progress)
            logger.info("%s", _line(self.architecture.name, progress, self.config.epochs))
            self.save(folder / f"{self.architecture.name}.pt")

    def validate(self) -> dict[str, float]:
        """Errors of the averaged network on the validation flights (empty without any)."""
        if self._validation is None:
            return {}
        outputs = predict(self.averaged, self._validation)
        return scores(outputs, self._validation)

    def save(self, path: Path) -> None:
        """Write everything that resuming or exporting needs."""
        document = {
            "schema_version": SCHEMA_VERSION,
            "architecture": self.architecture.name,
            "config": asdict(self.config),
            "training_set": self._data.identity,
            "epoch": self.epoch,
            "history": [asdict(progress) for progress in self.history],
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "guide": self._guide.state_dict(),
            "optimiser": self._optimiser.state_dict(),
        }
        with WholeFile(path) as stream:
            torch.save(document, stream)
        log = {key: document[key] for key in ("architecture", "config", "training_set", "history")}
        write_whole(path.with_suffix(".json"), json.dumps(log, indent=1))

    def resume(self, path: Path) -> None:
        """Continue from a checkpoint; raises NetworkError when it is of another run."""
        document = read_checkpoint(path)
        if document["architecture"] != self.architecture.name:
            raise NetworkError(f"{path} is a checkpoint of {document['architecture']}")
        config = asdict(self.config)
        changed = [
            entry.name
            for entry in fields(self.config)
            # A run may be given more or fewer epochs: the schedule is relative to their number.
            if entry.name != "epochs" and document["config"].get(entry.name) != config[entry.name]
        ]
        if changed:
            raise NetworkError(f"{path} was trained with another {', '.join(changed)}")
        self.epoch = document["epoch"]
        self.history = [Progress(**progress) for progress in document["history"]]
        self.network.load_state_dict(document["network"])
        self.averaged.load_state_dict(document["averaged"])
        self._guide.load_state_dict(document["guide"])
        self._optimiser.load_state_dict(document["optimiser"])

    def start_from(self, path: Path) -> None:
        """Begin a new run at the averaged weights of an earlier one; raises NetworkError."""
        document = read_checkpoint(path)
        if document["architecture"] != self.architecture.name:
            raise NetworkError(f"{path} is a checkpoint of {document['architecture']}")
        for network in (self.network, self.averaged):
            network.load_state_dict(document["averaged"])
        self._guide.load_state_dict(document["guide"])

    def _train_epoch(self) -> float:
        self.network.train()
        generator = torch.Generator().manual_seed(1_000_003 * self.config.seed + self.epoch)
        torch.manual_seed(1_000_003 * self.config.seed + self.epoch)
        total = 0.0
        label = f"{self.architecture.name} {self.epoch + 1}/{self.config.epochs}"
        with tqdm(self._batches(generator), label, self._steps, leave=False, mininterval=2) as bar:
            for index, batch in enumerate(bar):
                self._set_rate(self.epoch * self._steps + index)
                total += self._step(batch)
                bar.set_postfix(loss=f"{total / (index + 1):.4f}", refresh=False)
        return total / self._steps

    def _batches(self, generator: torch.Generator) -> Iterator[Batch]:
        data, size = self._data, self.config.batch
        assert data.camera is not None
        augment = Augmenter(data.camera, data.grid, self.config.augmentation, generator)
        order = self._usable[torch.randperm(len(self._usable), generator=generator).numpy()]
        for step in range(self._steps):
            rows = order[step * size : (step + 1) * size]
            yield augment(
                Batch(
                    torch.from_numpy(data.images[rows])[:, None],
                    torch.from_numpy(data.values[rows]),
                    torch.from_numpy(data.visible[rows]),
                    torch.from_numpy(data.head[rows]),
                    torch.from_numpy(data.cell[rows]),
                )
            )

    def _set_rate(self, step: int) -> None:
        """Linear warm-up, then half a cosine down to a hundredth; the guide fades with it."""
        done = step / (self.config.epochs * self._steps)
        if done < self.config.warmup:
            factor = max(done / self.config.warmup, 0.01)
        else:
            along = (done - self.config.warmup) / (1 - self.config.warmup)
            factor = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * along))
            self._guide_share = self.config.guide_share * factor
        for group in self._optimiser.param_groups:
            group["lr"] = self.config.learning_rate * factor

    def _step(self, batch: Batch) -> float:
        image = (batch.image / 255).to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.config.half):
            features = self.network.features(image)
            outputs, guesses = self.network.head(features), self._guide(features)
        loss = self._loss(outputs.float(), batch)
        if not self._localiser and self._guide_share:
            loss = loss + self._guide_share * self._guide.loss(guesses.float(), batch)
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self._optimiser.step()
        self._average()
        return float(loss.detach())

    def _loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        if self._localiser:
            return functional.cross_entropy(outputs, batch.cell, label_smoothing=0.05)
        mean, deviation = self.network.standardisation
        truth = (batch.values - mean) / deviation
        counts = batch.visible[:, None] & torch.isfinite(batch.values)
        counts[:, 3] &= batch.values[:, 3].abs() <= ANGLE_LIMIT
        loss = functional.smooth_l1_loss(
            outputs, torch.nan_to_num(truth), reduction="none", beta=self.config.beta
        )
        return (loss * self._weights * counts).sum() / counts.sum().clamp(min=1)

    def _average(self) -> None:
        # Early on the average is short, so that it does not drag the initial weights along.
        step = int(self._optimiser.state[_first(self._optimiser)]["step"])
        decay = min(self.config.averaging, (1 + step) / (10 + step))
        with torch.no_grad():
            averaged, current = self.averaged.state_dict(), self.network.state_dict()
            floats = [name for name, value in current.items() if value.is_floating_point()]
            torch._foreach_lerp_(
                [averaged[name] for name in floats], [current[name] for name in floats], 1 - decay
            )


def standardisation(data: Dataset) -> FloatArray:
    """(2, k) mean and standard deviation of each component over the scored frames."""
    values = data.values[data.scored]
    return np.stack([values.mean(axis=0), values.std(axis=0)]).astype(np.float32)


def predict(network: PoseNetwork, data: Dataset, batch: int = 256) -> FloatArray:
    """(n, k) outputs in their units, or class scores, float32."""
    network.eval()
    outputs = []
    with torch.no_grad():
        for start in range(0, len(data), batch):
            image = torch.from_numpy(np.array(data.images[start : start + batch]))[:, None]
            image = (image.float() / 255).to(memory_format=torch.channels_last)
            outputs.append(network.in_units(network(image)).float().numpy())
    return np.concatenate(outputs)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a checkpoint; raises NetworkError when it is none of ours."""
    try:
        document: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
    except (OSError, RuntimeError, ValueError, UnpicklingError) as error:
        raise NetworkError(f"{path}: not a readable checkpoint") from error
    if document.get("schema_version") != SCHEMA_VERSION:
        raise NetworkError(f"{path}: not a checkpoint of schema version {SCHEMA_VERSION}")
    return document


def load_network(path: Path) -> PoseNetwork:
    """The averaged network of a checkpoint, in evaluation mode."""
    document = read_checkpoint(path)
    network = PoseNetwork(find_architecture(document["architecture"]))
    network.load_state_dict(document["averaged"])
    network.to(memory_format=torch.channels_last).eval()
    return network


def split_off(data: Dataset, flights: int) -> tuple[Dataset, Dataset]:
    """Training and validation flights of one folder: every n-th flight validates."""
    count = len(data.flights)
    flights = min(flights, count // 2)
    held = np.zeros(count, dtype=bool)
    if flights:
        held[np.linspace(0, count - 1, flights).astype(int)] = True
    return data.subset(~held), data.subset(held)


def configured(config: TrainingConfig, **changes: Any) -> TrainingConfig:
    """The configuration with every change that is not None."""
    return replace(config, **{key: value for key, value in changes.items() if value is not None})


def _groups(parameters: list[Tensor], weight_decay: float) -> list[dict[str, Any]]:
    """Only weights of convolutions and the head decay; scales and offsets do not."""
    decayed = [p for p in parameters if p.dim() > 1]
    free = [p for p in parameters if p.dim() <= 1]
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]


def _thinned(data: Dataset) -> Dataset:
    return data.take(np.arange(0, len(data), max(1, len(data) // VALIDATION_FRAMES)))


def _component_weights(deviation: Tensor, metric_share: float) -> Tensor:
    relative = deviation / deviation.mean()
    return (1 - metric_share) + metric_share * relative


def _first(optimiser: torch.optim.Optimizer) -> Tensor:
    return optimiser.param_groups[0]["params"][0]


def _line(name: str, progress: Progress, epochs: int) -> str:
    figures = "  ".join(f"{key} {value:.4f}" for key, value in progress.mae.items())
    return (
        f"{name} {progress.epoch}/{epochs}  loss {progress.loss:.4f}  {figures}  "
        f"{progress.seconds:.0f} s"
    )
