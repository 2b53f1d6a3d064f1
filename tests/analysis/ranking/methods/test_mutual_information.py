"""Mutual information against its closed form for normal columns."""

import numpy as np
import pytest
import torch
from torch import nn

from shapae.analysis.ranking.task import RankingTask
from shapae.models.adapters import as_autoencoder
from tests import cases
from tests.analysis.ranking.methods.tasks import measure


class Mixed(nn.Module):
    """One latent, with correlations of 0.8 and 0.6 with the first two of independent features."""

    def encode(self, rows):
        return rows[:, :2] @ rows.new_tensor([[0.8], [0.6]])

    def forward(self, rows):
        return rows


class Doubled(Mixed):
    """The latent of ``Mixed`` twice, and a constant latent."""

    def encode(self, rows):
        latent = super().encode(rows)
        return torch.cat([latent, torch.ones_like(latent), -latent], dim=1)


def test_mutual_information_of_normal_columns_has_its_closed_form():
    """-1/2 log(1 - rho^2), within its standard error."""
    rows = torch.tensor(cases.table(2000, 2))
    got = measure("mutual_information", RankingTask(as_autoencoder(Mixed()), rows, rows, ((0,), (1,)), 10))
    want = -np.log(1 - np.array([0.8, 0.6]) ** 2) / 2
    assert (np.abs(got[:, 0, 0] - want) < 2.5 * got[:, 0, 1]).all()
    assert (got[:, 0, 1] < 0.1 * want).all()


def test_mutual_information_is_summed_over_latents_and_a_group_counts_as_its_best_feature():
    rows = torch.tensor(cases.table(60, 3))
    rows[:, 2] = 1
    single, group = (
        measure("mutual_information", RankingTask(as_autoencoder(model), rows, rows, players, 3))[:, 0, 0]
        for model, players in ((Mixed(), ((0,), (1,), (2,))), (Doubled(), ((0, 1, 2),)))
    )
    assert single[2] == 0
    assert group == pytest.approx(2 * single.max())


def test_mutual_information_of_few_rows_has_no_standard_error():
    rows = torch.tensor(cases.table(12, 2))
    got = measure("mutual_information", RankingTask(as_autoencoder(Mixed()), rows, rows, ((0,), (1,)), 3))
    assert np.isnan(got[..., 1]).all()
    assert (got[..., 0] >= 0).all()
