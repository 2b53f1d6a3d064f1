"""Importances from weights against weights written by hand and an enumeration of all paths."""

from itertools import product

import numpy as np
import pytest
import torch
from torch import nn

from shapae import Autoencoder
from shapae.analysis.ranking.task import RankingTask
from shapae.errors import ModelError
from shapae.models.adapters import as_autoencoder
from tests import cases
from tests.analysis.ranking.methods.tasks import GROUPS, Constant, D, make_task, measure


class HandMade(nn.Module):
    """2 -> 2 -> 2, with weights written by hand."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(2, 2).double(), nn.Linear(2, 2).double()
        with torch.no_grad():
            self.encoder.weight.copy_(torch.tensor([[3.0, -1.0], [0.0, 2.0]]))
            self.decoder.weight.copy_(torch.tensor([[1.0, -3.0], [0.0, 0.0]]))

    def forward(self, rows):
        return self.decoder(torch.relu(self.encoder(rows)))


def test_gedeon_on_hand_made_weights():
    """Shares of the units: (3/4, 1/4) and (0, 1); of the first output: (1/4, 3/4); the second has no weights."""
    rows = torch.eye(2, dtype=torch.float64)
    got = measure("weights", RankingTask(as_autoencoder(HandMade()), rows, rows, ((0,), (1,))))
    by_gedeon = np.array([1 / 4 * 3 / 4, 1 / 4 * 1 / 4 + 3 / 4]) / 2
    np.testing.assert_allclose(got[..., 0], np.array([[3, 5**0.5], by_gedeon, [3, 1 + 6]]).T, rtol=1e-12)
    assert (got[..., 1] == 0).all()


def test_paths_sum_over_all_paths_and_the_shares_of_gedeon_sum_to_one():
    task = make_task(cases.build(cases.Question), players=GROUPS)
    layers = [
        layer.weight.detach().abs().numpy() for layer in task.autoencoder.modules() if isinstance(layer, nn.Linear)
    ]
    units = [range(len(layer)) for layer in layers]
    sums = np.zeros(D)
    for j, *path in product(range(D), *units):
        sums[j] += np.prod([layer[to, start] for layer, start, to in zip(layers, [j, *path], path, strict=False)])
    first, gedeon, paths = measure("weights", task)[..., 0].T
    np.testing.assert_allclose(paths, [sums[list(player)].sum() for player in GROUPS], rtol=1e-10)
    np.testing.assert_allclose(first, [np.linalg.norm(layers[0][:, list(player)]) for player in GROUPS], rtol=1e-12)
    assert gedeon.sum() == pytest.approx(1)


def test_layers_that_are_not_one_chain_from_features_to_outputs_are_an_error():
    variational = Autoencoder(cases.build(cases.Variational), reconstruct=lambda m, x: m(x)[0])
    with pytest.raises(
        ModelError, match=r"layers: 6 to 5, 5 to 3, 5 to 3, 3 to 5, 5 to 6\. .* chain .* from 6 features to 6 outputs\."
    ):
        measure("weights", make_task(variational))
    with pytest.raises(ModelError, match=r"the model runs these torch\.nn\.Linear layers: none\."):
        measure("weights", make_task(Constant()))
