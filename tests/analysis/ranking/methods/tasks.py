"""Small ranking tasks, and slow independent computations of the effects of perturbations."""

import numpy as np
import torch
from torch import nn

from shapae.analysis.ranking import methods
from shapae.analysis.ranking.task import RankingTask
from shapae.models.adapters import as_autoencoder
from tests import cases

N, D = 11, cases.D
FEATURES = tuple((j,) for j in range(D))
GROUPS = ((0, 3), (1,), (5, 2), (4,))


def make_task(model=None, n=N, players=FEATURES, **settings):
    model = cases.build(cases.Question) if model is None else model
    rows, background = (torch.tensor(cases.table(count, seed=seed)) for count, seed in ((n, 1), (7, 2)))
    return RankingTask(as_autoencoder(model), rows, background, players, **settings)


def measure(name, task, quantities=None):
    """Importances and standard errors by the method ``name``: (p, q, 2)."""
    method = methods.named(name)
    with torch.no_grad():
        return method.measure(task, method.DEFAULT if quantities is None else quantities)


def squared_error(model, rows, target):
    """Mean squared errors by their formula: (n,)."""
    with torch.no_grad():
        return ((model(torch.as_tensor(rows)) - target) ** 2).mean(dim=1)


def effects_by_loop(task, value):
    """Rise of the error and change of the reconstruction of each player, row by row: (n, 2) each.

    ``value(place, j)`` is the new value of feature j in the row at ``place``.
    """
    for player in task.players:
        effects = []
        for place, row in enumerate(task.rows):
            perturbed = row.clone()
            for j in player:
                perturbed[j] = value(place, j)
            with torch.no_grad():
                old, new = (task.autoencoder(each[None])[0] for each in (row, perturbed))
            effects.append([((new - row) ** 2 - (old - row) ** 2).mean(), ((new - old) ** 2).mean()])
        yield np.array(effects)


class Constant(nn.Module):
    """Ignores its rows."""

    def forward(self, rows):
        return torch.ones(rows.shape, dtype=rows.dtype)
