"""All ranking methods: unused features, workers, models that write into their input, names, errors."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from shapae import Autoencoder
from shapae.analysis.ranking import methods
from shapae.errors import ModelError, UnknownName
from tests import cases
from tests.analysis.ranking.methods.tasks import GROUPS, D, make_task, measure


class Blind(cases.Question):
    """Ignores the last feature."""

    def forward(self, rows):
        return super().forward(torch.cat([rows[:, :-1], 0 * rows[:, -1:]], dim=1))


@pytest.mark.parametrize(
    ("name", "quantities"),
    [
        ("sage", [""]),
        ("permutation", ["error", "reconstruction"]),
        ("ablation_mean", ["error", "reconstruction"]),
        ("ablation_zero", ["error", "reconstruction"]),
        ("gradient_x_input", ["fixed"]),
        ("shap", ["fixed"]),
    ],
)
def test_a_feature_that_the_model_ignores_has_importance_zero(name, quantities):
    got = measure(name, make_task(cases.build(Blind)), quantities)
    assert (got[-1] == 0).all()
    assert (np.abs(got[:-1, :, 0]) > 1e-9).all()


@pytest.mark.parametrize("name", ["permutation", "sage"])
def test_workers_change_nothing(name):
    alone, shared = (measure(name, make_task(players=GROUPS, n_jobs=jobs)) for jobs in (1, 2))
    np.testing.assert_allclose(alone, shared, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("name", [name for name in methods.names() if name != "retraining"])
def test_a_model_that_writes_into_its_input_is_measured_correctly(name):
    class Writing(cases.Question):
        def forward(self, rows):
            return super().forward(rows.mul_(2))

        def encode(self, rows):
            return self.encoder(rows.mul_(2))

    class Doubling(cases.Question):
        def forward(self, rows):
            return super().forward(2 * rows)

        def encode(self, rows):
            return self.encoder(2 * rows)

    quantities = ["fixed"] if name in {"gradient_x_input", "shap"} else None
    got, want = (measure(name, make_task(cases.build(model)), quantities) for model in (Writing, Doubling))
    np.testing.assert_allclose(got, want, rtol=1e-9)


def test_the_methods_are_the_files_of_their_folder():
    files = [file.stem for file in Path(methods.__path__[0]).glob("[!_]*.py")]
    assert sorted(methods.names()) == sorted(files)
    with pytest.raises(UnknownName, match="no method is called 'permutations'; there are: permutation, "):
        methods.named("permutations")


@pytest.mark.parametrize("name", ["activations", "mutual_information"])
def test_a_method_of_latents_needs_an_encoder(name):
    without_encoder = Autoencoder(nn.Linear(D, D).double())
    with pytest.raises(ModelError, match="Linear can't be found: no encoder has a usual name"):
        measure(name, make_task(without_encoder))
