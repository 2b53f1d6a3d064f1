"""SAGE against exact Shapley values and the total loss."""

import numpy as np
import pytest
import torch

from shapae import Explainer
from shapae.analysis.ranking.task import RankingTask
from shapae.heads import ReconstructionError
from tests import cases
from tests.analysis.ranking.methods.tasks import FEATURES, GROUPS, make_task, measure, squared_error


def test_sage_of_a_linear_autoencoder_is_the_mean_of_exact_shapley_values():
    """Its features interact in pairs, so one background row with a permutation and its reverse is exact."""
    task = make_task(cases.build(cases.Linear), n=9, repeats=60)
    head = ReconstructionError(target="fixed")
    want = -Explainer(task.autoencoder, task.background, head=head, backend="exact")(task.rows).values.mean(axis=0)
    got = measure("sage", task)[:, 0]
    single = RankingTask(task.autoencoder, task.rows, task.background[:1], FEATURES, 1)
    exact = -Explainer(single.autoencoder, single.background, head=head, backend="exact")(single.rows).values
    np.testing.assert_allclose(measure("sage", single)[:, 0, 0], exact.mean(axis=0), atol=1e-12)
    assert (np.abs(got[:, 0] - want) < 3 * got[:, 1]).all()


def losses(task, start):
    """Errors (n,) of the reconstruction of ``start`` as a reconstruction of each row."""
    return squared_error(task.autoencoder, start.expand_as(task.rows), task.rows)


@pytest.mark.parametrize("players", [FEATURES, GROUPS], ids=["features", "groups"])
def test_sage_sums_to_the_explained_loss(players):
    task = make_task(players=players)
    single = RankingTask(task.autoencoder, task.rows, task.background[:1], players, 2)
    explained = losses(single, single.background) - losses(single, single.rows)
    np.testing.assert_allclose(measure("sage", single)[..., 0].sum(), explained.mean(), rtol=1e-10)
    many = RankingTask(task.autoencoder, task.rows, task.background, players, 100)
    explained = torch.stack([losses(many, start) for start in many.background[:, None]]) - losses(many, many.rows)
    got = measure("sage", many)[:, 0]
    assert abs(got[:, 0].sum() - explained.mean().item()) < np.linalg.norm(got[:, 1])
