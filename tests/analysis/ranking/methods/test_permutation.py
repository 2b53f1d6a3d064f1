"""Permutation importance against scikit-learn, captum, the mean over all permutations, and a known expectation."""

from itertools import permutations

import numpy as np
import pytest
import torch
from captum.attr import FeaturePermutation
from sklearn.inspection import permutation_importance

from shapae.analysis.ranking.methods.permutation import permutation_effects
from shapae.analysis.ranking.task import RankingTask
from shapae.models.adapters import as_autoencoder
from tests import cases
from tests.analysis.ranking.methods.tasks import (
    FEATURES,
    GROUPS,
    D,
    N,
    effects_by_loop,
    make_task,
    measure,
    squared_error,
)


def donors_of(calls, table, j):
    """Positions of the rows that gave their values of column ``j`` in the calls that permuted it."""
    permuted = [X for X in calls if (X[:, j] != table[:, j]).any()]
    return np.stack([(X[:, j, None] == table[:, j]).argmax(axis=1) for X in permuted])


def test_permutation_matches_scikit_learn_with_the_same_permutations():
    task = make_task()
    model, table = task.autoencoder.model, task.rows.numpy()

    class Estimator:
        def fit(self, X, y):
            return self

    def score(estimator, X, y):
        calls.append(X.copy())
        return -squared_error(model, X, torch.as_tensor(y)).mean().item()

    calls = []
    want = permutation_importance(Estimator(), table, table, scoring=score, n_repeats=3, random_state=0)
    for j in range(D):
        donors = donors_of(calls, table, j)
        assert donors.shape == (3, N)
        got = permutation_effects(task, (j,), ["error"], donors)
        assert got.mean().item() == pytest.approx(want.importances_mean[j], rel=1e-9)


def test_permutation_matches_captum_with_one_permutation():
    task, donors = make_task(), np.random.default_rng(0).permutation(N)

    def permute(rows, mask):
        return torch.where(mask.bool(), rows[donors], rows)

    with torch.no_grad():
        peer = FeaturePermutation(lambda rows: squared_error(task.autoencoder, rows, task.rows), perm_func=permute)
        want = -peer.attribute(task.rows).mean(dim=0)
        got = [permutation_effects(task, (j,), ["error"], donors[None]).mean() for j in range(D)]
    np.testing.assert_allclose(got, want, rtol=1e-9)


@pytest.mark.parametrize("players", [FEATURES, GROUPS], ids=["features", "groups"])
def test_permutation_estimates_the_mean_over_all_joint_permutations_of_a_player(players):
    task = make_task(cases.build(cases.Nested), n=4, players=players, repeats=400)
    every = [
        [
            effects.mean(axis=0)
            for effects in effects_by_loop(task, lambda place, j, donors=donors: task.rows[donors[place], j])
        ]
        for donors in permutations(range(4))
    ]
    got, error = measure("permutation", task), np.std(every, axis=0) / np.sqrt(400)
    assert (np.abs(got[..., 0] - np.mean(every, axis=0)) < 4 * error).all()


@pytest.mark.parametrize("repeats", [1, 5])
def test_standard_errors_of_permutation_cover_the_expectation_over_samples(repeats):
    """For independent standard normal features and f(x) = W x, the expected rise of the error is 2 W_ii / d."""
    model, results = cases.build(cases.Linear, D, D), []
    with torch.no_grad():
        for layer, weight in ((model.encoder, torch.eye(D)), (model.decoder, 0.9 * torch.eye(D))):
            layer.weight.copy_(weight)
            layer.bias.zero_()
    for seed in range(100):
        rows = torch.tensor(cases.table(200, seed=seed))
        task = RankingTask(as_autoencoder(model), rows, rows, FEATURES, repeats, seed)
        results.append(measure("permutation", task, ["error"]))
    means, errors = np.moveaxis(results, -1, 0)[..., 0]
    covered = (np.abs(means - 2 * 0.9 / D) < 1.96 * errors).mean()
    assert 0.93 <= covered <= 0.98  # few permutations make the errors slightly too large
