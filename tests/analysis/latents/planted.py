"""Variational autoencoders with weights set by hand: some units are used, each for a block of features."""

import numpy as np
import pandas as pd
import torch
from torch import nn

from tests import cases

UNITS, USED, SIZE, OUTSIDE = 7, (1, 4, 6), 3, 2
D = SIZE * len(USED) + OUTSIDE
FEATURES = [f"g{j}" for j in range(D)]
# Features that each used unit reads and writes.
BLOCKS = {unit: slice(SIZE * place, SIZE * (place + 1)) for place, unit in enumerate(USED)}
LOADINGS = np.array([1.0, -0.5, 2.0])


class Planted(nn.Module):
    """The used units have the least squares estimate of their cause as their mean; the others are their prior."""

    def __init__(self):
        super().__init__()
        self.mean, self.log_variance = nn.Linear(D, UNITS), nn.Linear(D, UNITS)
        self.decoder = nn.Linear(UNITS, D)
        with torch.no_grad():
            for each in self.parameters():
                each.zero_()
            for unit, block in BLOCKS.items():
                self.mean.weight[unit, block] = torch.tensor(LOADINGS / (LOADINGS**2).sum())
                self.log_variance.weight[unit, block] = torch.tensor([0.1, 0.0, 0.0])
                self.log_variance.bias[unit] = np.log(0.05)
                self.decoder.weight[block, unit] = torch.tensor(LOADINGS)

    def encoder(self, rows):
        return self.mean(rows), self.log_variance(rows)

    def forward(self, rows):
        mean, log_variance = self.encoder(rows)
        return self.decoder(mean + torch.exp(log_variance / 2) * torch.randn_like(mean)), mean, log_variance


def causes(n=300, seed=0):
    """(n, 3), standard normal: one cause for each used unit."""
    table = cases.table(n, len(USED), seed=seed)
    return pd.DataFrame(table, columns=[f"cause {unit}" for unit in USED])


def rows(n=300, seed=0, noise=0.1):
    """(n, D): each block follows its cause; the last features follow nothing."""
    table = noise * cases.table(n, D, seed=seed + 1)
    for place, block in enumerate(BLOCKS.values()):
        table[:, block] += causes(n, seed).to_numpy()[:, [place]] * LOADINGS
    return pd.DataFrame(table, [f"row {i}" for i in range(n)], FEATURES)


def vae(dtype=torch.float64):
    return cases.build(Planted, dtype=dtype)
