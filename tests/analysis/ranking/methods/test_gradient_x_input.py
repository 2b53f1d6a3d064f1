"""Gradient x input against the closed form of a linear autoencoder."""

import numpy as np
import pytest

from tests import cases
from tests.analysis.ranking.methods.tasks import FEATURES, GROUPS, Constant, D, N, make_task, measure


@pytest.mark.parametrize("players", [FEATURES, GROUPS], ids=["features", "groups"])
def test_gradient_x_input_of_a_linear_autoencoder_has_its_closed_form(players):
    """error(z) = |W z + c - t|^2 / d, with t = z or fixed: its gradient is 2 (W - I)' r / d or 2 W' r / d."""
    task = make_task(cases.build(cases.Linear), players=players)
    model, x = task.autoencoder.model, task.rows.numpy()
    W = (model.decoder.weight @ model.encoder.weight).detach().numpy()
    residual = task.autoencoder(task.rows).detach().numpy() - x
    got = measure("gradient_x_input", task)
    for column, jacobian in enumerate((W - np.eye(D), W)):
        products = 2 / D * residual @ jacobian * x
        want = np.abs(np.stack([products[:, list(player)].sum(axis=1) for player in players], axis=1))
        np.testing.assert_allclose(got[:, column, 0], want.mean(axis=0), rtol=1e-10)
        np.testing.assert_allclose(got[:, column, 1], want.std(axis=0, ddof=1) / np.sqrt(N), rtol=1e-10)


def test_the_gradient_of_a_model_that_ignores_its_rows_is_zero():
    assert (measure("gradient_x_input", make_task(Constant()), ["fixed"]) == 0).all()
