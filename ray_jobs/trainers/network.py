"""The network that a torch trainer builds by default, and what it wraps every network in.

This module imports torch: it is named by a dotted path in the config, and imported by workers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


def mlp(
    inputs: int, outputs: int, *, hidden: Sequence[int] = (64, 64), dropout: float = 0.0
) -> nn.Module:
    """A plain network of fully connected layers with ReLU between them."""
    layers: list[nn.Module] = []
    width = inputs
    for size in hidden:
        layers += [nn.Linear(width, size), nn.ReLU()]
        if dropout:
            layers.append(nn.Dropout(dropout))
        width = size
    return nn.Sequential(*layers, nn.Linear(width, outputs))


class Standardised(nn.Module):  # type: ignore[misc]  # torch is an extra: no types
    """A network between raw inputs and raw outputs: the scales are a part of the model.

    A missing input (NaN) becomes the mean of its column.
    """

    mean: torch.Tensor
    scale: torch.Tensor
    out_mean: torch.Tensor
    out_scale: torch.Tensor

    def __init__(
        self,
        inner: nn.Module,
        mean: torch.Tensor,
        scale: torch.Tensor,
        out_mean: float = 0.0,
        out_scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.inner = inner
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)
        self.register_buffer("out_mean", torch.tensor(out_mean))
        self.register_buffer("out_scale", torch.tensor(out_scale))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """(rows, inputs) float32 to (rows, outputs)."""
        outputs: torch.Tensor = self.inner(torch.nan_to_num((rows - self.mean) / self.scale))
        return outputs * self.out_scale + self.out_mean
