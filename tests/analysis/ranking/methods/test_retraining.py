"""Retraining importance on a task with a signal, noise and a copy; its cache; and wrong ``fit`` functions."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from shapae.analysis.ranking.methods import retraining
from shapae.analysis.ranking.task import RankingTask
from shapae.errors import ModelError
from shapae.models.adapters import as_autoencoder
from tests import cases
from tests.analysis.ranking.methods.tasks import FEATURES, measure


def make_task(copy=False, fit=cases.fit, **settings):
    """A signal in features 0 and 1, noise in feature 2, a single latent; optionally a copy of feature 0."""
    rng = np.random.default_rng(0)
    signal = rng.standard_normal((200, 1))
    columns = [signal + 0.5 * rng.standard_normal((200, 2)), 0.3 * rng.standard_normal((200, 1))]
    rows = torch.tensor(np.hstack([*columns, *([columns[0][:, :1]] if copy else [])]))
    model = cases.fit(cases.build(cases.Linear, rows.shape[1], 1), rows, 200)
    return RankingTask(
        as_autoencoder(model), rows, rows, tuple((j,) for j in range(rows.shape[1])), fit=fit, **settings
    )


@pytest.mark.parametrize("mode", ["zero", "shuffle"])
def test_retraining_without_a_feature_of_the_signal_raises_the_error_and_without_noise_does_not(mode):
    means, errors = measure("retraining", make_task(), [mode])[:, 0].T
    assert (means[:2] > 3 * errors[:2]).all()
    assert abs(means[2]) < 2 * errors[2]
    assert abs(means[2]) < 0.02 * means[:2].min()


class Projection(nn.Module):
    """Projection on the line through 0 that is nearest to the rows, of any number of features."""

    def __init__(self, rows):
        super().__init__()
        self.register_buffer("line", torch.tensor(np.linalg.svd(rows.numpy())[2][0]))

    def forward(self, rows):
        return (rows @ self.line)[:, None] * self.line


def test_retraining_without_columns_matches_a_fit_on_smaller_tables():
    players = ((0, 2), (1,), (3,))
    task = replace(make_task(copy=True, fit=lambda model, rows: Projection(rows)), players=players, repeats=3)
    rows, want = task.rows.numpy(), np.zeros((3, 3))
    for repeat, (place, player) in product(range(3), enumerate(players)):
        split, remaining = retraining.Split(task, repeat), [j for j in range(4) if j not in player]
        train, test = rows[split.train], rows[split.test]
        wide, narrow = (residual(train[:, columns], test[:, columns]) for columns in (slice(None), remaining))
        want[place, repeat] = (narrow**2 - wide[:, remaining] ** 2).mean()
    got = measure("retraining", task, ["drop"])[:, 0, 0]
    np.testing.assert_allclose(got, want.mean(axis=1), rtol=1e-9, atol=1e-14)


def residual(train, test):
    """Error of the projection of ``test`` on the main axis of ``train``."""
    line = np.linalg.eigh(train.T @ train)[1][:, -1]
    return np.outer(test @ line, line) - test


def test_a_fit_that_fails_with_fewer_columns_gets_a_note():
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied") as caught:
        measure("retraining", make_task(repeats=1), ["drop"])
    assert "fit must build a model of rows.shape[1] features, here 2" in caught.value.__notes__[0]


def test_a_group_of_all_features_can_not_be_dropped():
    task = replace(make_task(), players=((0, 1, 2),))
    with pytest.raises(ModelError, match="a group holds all 3 features, so no column is left to train on"):
        measure("retraining", task, ["zero", "drop"])


def test_modes_of_retraining_are_independent_of_each_other():
    def by_batches(model, rows):
        for _ in range(3):
            cases.fit(model, rows[torch.randperm(len(rows))[:50]], 1)
        return model

    task = make_task(repeats=2, fit=by_batches)
    alone = {mode: measure("retraining", task, [mode])[:, 0] for mode in ("zero", "shuffle")}
    for modes in (["zero", "shuffle"], ["shuffle", "zero"]):
        both = measure("retraining", task, modes)
        np.testing.assert_array_equal(both, np.stack([alone[mode] for mode in modes], axis=1))


def test_a_model_with_nan_weights_after_training_is_an_error():
    def overflowing(model, rows):
        model(rows)
        with torch.no_grad():
            model.decoder.bias[1] = torch.nan
        return model

    with pytest.raises(ModelError, match="the model that fit returned gives NaN or infinity for 1 of 3 features"):
        measure("retraining", make_task(fit=overflowing), ["zero"])


def test_a_copied_feature_is_unimportant_to_retraining_and_important_to_permutation():
    task = make_task(copy=True)
    retrained, permuted = (
        measure(name, task, [quantity])[:, 0] for name, quantity in (("retraining", "zero"), ("permutation", "error"))
    )
    assert abs(retrained[0, 0]) < 0.1 * retrained[1, 0]
    assert permuted[0, 0] > 0.5 * permuted[1, 0]


def test_retraining_trains_copies_that_do_not_see_the_feature():
    seen = []

    def watch(model, rows):
        assert model.training
        handle = model.encoder.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].clone()))
        model(rows)
        handle.remove()
        with torch.no_grad():
            model.decoder.weight.zero_()
        assert torch.is_grad_enabled()
        return model

    task = make_task(repeats=1)
    before, world = cases.snapshot(task.autoencoder), cases.world()
    measure("retraining", RankingTask(task.autoencoder, task.rows, task.rows, task.players, 1, fit=watch))
    assert cases.snapshot(task.autoencoder) == before
    assert cases.world() == world
    assert [(rows == 0).all(dim=0).tolist() for rows in seen] == [[k == j for k in range(3)] for j in (-1, 0, 1, 2)]
    assert {len(rows) for rows in seen} == {100}


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (None, "retraining needs fit=, a function"),
        (lambda model, rows: None, r"fit returned NoneType\. It must return the trained model: return model\."),
        (lambda model, rows: nn.Linear(3, 3), "fit returned a model without calling the given one"),
        (lambda model, rows: model(rows=rows), r"fit must call the model with rows \(m, 3\): model\(rows\)"),
        (lambda model, rows: model(rows[:, :2]), r"fit must call the model with rows \(m, 3\): model\(rows\)"),
    ],
)
def test_a_fit_that_does_not_train_the_model_is_an_error(wrong, text):
    task = make_task()
    with pytest.raises(ModelError, match=text):
        measure("retraining", RankingTask(task.autoencoder, task.rows, task.rows, task.players, fit=wrong))


class Killed(Exception):
    pass


def test_retraining_continues_after_an_interruption(tmp_path):
    task, calls = make_task(repeats=2), []

    def run(folder, max_calls, seed=0, mode="zero"):
        calls.clear()

        def counting(model, rows):
            calls.append(1)
            if len(calls) > max_calls:
                raise Killed
            return cases.fit(model, rows, 3)

        counted = RankingTask(
            task.autoencoder, task.rows, task.rows, task.players, 2, seed, fit=counting, folder=folder
        )
        return measure("retraining", counted, [mode])

    want = run(None, 8)
    assert len(calls) == 8
    with pytest.raises(Killed):
        run(tmp_path, 5)
    np.testing.assert_array_equal(run(tmp_path, 8), want)
    assert len(calls) == 4  # two repeats each with all features and without the first player were cached
    np.testing.assert_array_equal(run(tmp_path, 0), want)
    run(tmp_path, 8, seed=1)
    assert len(calls) == 8
    run(tmp_path, 6, mode="shuffle")
    assert len(calls) == 6  # the baseline with all features is cached


SCRIPT = """
import os, signal, torch
from pathlib import Path
from shapae.models.adapters import as_autoencoder
from shapae.analysis.ranking.methods import retraining
from shapae.analysis.ranking.task import RankingTask
from tests import cases

def fit(model, rows):
    with open("log", "a") as log:
        log.write("one ")
    if Path("log").read_text().count("one") == 6:
        os.kill(os.getpid(), signal.SIGKILL)
    return cases.fit(model, rows, 3)

model, rows = cases.build(cases.Linear, 3, 1), torch.tensor(cases.table(20, 3))
task = RankingTask(as_autoencoder(model), rows, rows, ((0,), (1,), (2,)), 2, fit=fit, folder=Path("cache"))
retraining.measure(task, ["zero"])
"""


def test_the_cache_of_a_killed_process_holds_complete_arrays_only(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[4])}
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=tmp_path, env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    (cache,) = (tmp_path / "cache").iterdir()
    assert sorted(path.name for path in cache.iterdir()) == ["all.npy", "zero-0.npy"]
    calls = []

    def fit(model, rows):
        calls.append(1)
        return cases.fit(model, rows, 3)

    model, rows = cases.build(cases.Linear, 3, 1), torch.tensor(cases.table(20, 3))
    got, want = (
        measure("retraining", RankingTask(as_autoencoder(model), rows, rows, FEATURES[:3], 2, fit=fit, folder=folder))
        for folder in (tmp_path / "cache", None)
    )
    assert len(calls) == 4 + 8
    np.testing.assert_array_equal(got, want)


def test_workers_change_nothing():
    alone, shared = (measure("retraining", make_task(repeats=1, n_jobs=jobs))[..., 0] for jobs in (1, 2))
    np.testing.assert_allclose(alone, shared, rtol=1e-9, atol=1e-14)
