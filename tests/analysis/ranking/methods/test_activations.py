"""Activations against the closed form of a linear encoder."""

import numpy as np

from tests import cases
from tests.analysis.ranking.methods.tasks import N, make_task, measure


def test_activations_of_a_linear_encoder_are_its_weights_times_the_distance_to_the_mean():
    task = make_task(cases.build(cases.Linear))
    weights = task.autoencoder.model.encoder.weight.detach().abs().mean(dim=0)
    want = (task.rows - task.background.mean(dim=0)).abs() * weights
    got = measure("activations", task)[:, 0]
    np.testing.assert_allclose(got[:, 0], want.mean(dim=0), rtol=1e-10)
    np.testing.assert_allclose(got[:, 1], want.std(dim=0) / np.sqrt(N), rtol=1e-10)
