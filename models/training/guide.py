"""Coarser tasks that are learnt beside the pose, only to shape a network's features.

Regression alone finds the person slowly: a linear layer on the features that the head reads also
names the head's cell on the grid, and the interval of each component of the pose. It is dropped
when training ends.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from gearshift.models.evaluating.dataset import Dataset
from gearshift.models.training.augmentation import Batch

INTERVALS = 16
"""Per component, equally often used in the training flights."""


class Guide(nn.Module):  # type: ignore[misc]
    """Scores of head cells, then of the intervals of each component, from (b, n) features."""

    def __init__(self, features: int, data: Dataset) -> None:
        super().__init__()
        values = data.values[data.visible]
        shares = np.linspace(0, 1, INTERVALS + 1)[1:-1]
        edges = np.quantile(values, shares, axis=0).astype(np.float32)
        self._cells = data.grid.classes
        self.register_buffer("edges", torch.from_numpy(np.ascontiguousarray(edges.T)))
        self.scores = nn.Linear(features, self._cells + INTERVALS * values.shape[1])

    def forward(self, features: Tensor) -> Tensor:
        """(b, cells + components * INTERVALS)."""
        return self.scores(features)

    def loss(self, scores: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy of the cell on every frame, and of intervals where a head is in view."""
        located = functional.cross_entropy(scores[:, : self._cells], batch.cell)
        seen = batch.visible
        if not bool(seen.any()):
            return located
        values = batch.values[seen].T.contiguous()
        interval = torch.searchsorted(self.edges, values).T
        guesses = scores[seen, self._cells :].view(len(interval), -1, INTERVALS)
        return located + functional.cross_entropy(guesses.transpose(1, 2), interval)
