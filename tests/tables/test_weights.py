"""Weights of background rows, in everything that is averaged over the background."""

import pickle

import numpy as np
import pytest
import torch

from shapae import Explainer, backends, heads
from shapae.errors import DataError
from shapae.tables.background import weighted
from tests import cases

TABLE = cases.table(40)
COUNTS = np.array([3, 1, 4, 1, 5, 2, 6])  # weights of the seven background rows
every_backend = pytest.mark.parametrize("backend", backends.names())
# Backends that use all background rows, and backends that sample background rows.
PRECISE = [
    name for name in backends.names() if not backends.named(name).n_samples and backends.named(name).splits_background
]
DRAWN = ["gradient", "shap_gradient", "captum_gradient_shap"]
HEADS = {
    "error": "reconstruction_error",
    "latent": "latent",
    "all outputs": "reconstruction",
    "anchored": lambda: heads.ReconstructionError(target="fixed"),
}


def explain(background, rows, head="error", **settings):
    made = HEADS[head]() if callable(HEADS[head]) else HEADS[head]
    return Explainer(cases.build(cases.Question), background, head=made, **settings)(rows)


@pytest.mark.parametrize("backend", PRECISE)
@pytest.mark.parametrize("head", HEADS)
def test_a_row_of_weight_two_counts_as_two_rows(backend, head, rows, background):
    want = explain(np.repeat(background, COUNTS, axis=0), rows, head, backend=backend)
    got = explain(weighted(background, COUNTS * 10.0), rows, head, backend=backend)
    for name in ("values", "base_values", "scores", "residual"):
        np.testing.assert_allclose(getattr(got, name), getattr(want, name), rtol=0, atol=1e-12, err_msg=name)
    assert got.standard_errors is None
    assert got.made_by["b"] == 7


@pytest.mark.parametrize("backend", PRECISE)
@pytest.mark.parametrize("memory", [14_000, "1GB"])
def test_weights_stay_with_their_rows_if_the_background_is_cut_into_blocks(backend, memory, background):
    rows = cases.table(2, seed=1)
    memory = 200_000 if backend == "exact" and memory != "1GB" else memory
    want = explain(np.repeat(background, COUNTS, axis=0), rows, backend=backend)
    got = explain(weighted(background, COUNTS), rows, backend=backend, memory=memory)
    np.testing.assert_allclose(got.values, want.values, rtol=0, atol=1e-12)


@pytest.mark.parametrize("backend", DRAWN)
def test_rows_are_sampled_as_often_as_their_weights_say(backend, background):
    """The values of a linear score against sampled rows are (x - mean of the sampled rows) times a slope."""
    model, rows = cases.build(cases.Linear), np.tile(cases.table(1, seed=1), (30, 1))
    weights = np.array([1, 1, 1, 1, 1, 1, 30.0])
    got = Explainer(model, weighted(background, weights), head="latent:0", backend=backend)(rows)
    slope = model.encoder.weight.detach().numpy()[0]
    want = (rows[0] - np.average(background, axis=0, weights=weights)) * slope
    np.testing.assert_allclose(got.base_values, np.average(_latents(model, background)[:, 0], weights=weights))
    spread = got.values.std(axis=0)
    rounding = 1e-12  # all there is of "gradient", which takes every row by its weight
    assert (np.abs(got.values.mean(axis=0) - want) < 4.5 * spread / np.sqrt(30) + rounding).all()
    plain = (rows[0] - background.mean(axis=0)) * slope
    assert (np.abs(got.values.mean(axis=0) - plain) > 10 * spread / np.sqrt(30)).any()
    np.testing.assert_allclose(got.standard_errors.mean(axis=0), spread, rtol=0.4, atol=rounding)


def _latents(model, table):
    return table @ model.encoder.weight.detach().numpy().T + model.encoder.bias.detach().numpy()


@every_backend
def test_equal_weights_change_nothing(backend, rows, background):
    plain = explain(background, rows, backend=backend)
    got = explain(weighted(background, [0.3] * 7), rows, backend=backend)
    if backend in PRECISE:
        np.testing.assert_allclose(got.values, plain.values, rtol=0, atol=1e-12)
    np.testing.assert_allclose(got.base_values, plain.base_values, rtol=0, atol=1e-14)


@pytest.mark.parametrize("head", ["error", "latent", "anchored"])
def test_a_summary_uses_the_weights(head, rows, background):
    made = HEADS[head]() if callable(HEADS[head]) else HEADS[head]
    explainer = Explainer(cases.build(cases.Question), weighted(background, COUNTS), head=made)
    got, explanation = explainer.summarize(rows), explainer(rows)
    values = explanation.values.reshape(5, 6, -1)
    np.testing.assert_allclose(got.mean_abs, np.abs(values).mean(axis=0), rtol=0, atol=1e-14)
    np.testing.assert_allclose(got.residual, 0, atol=1e-14)


@every_backend
def test_weights_reach_workers(backend, rows, background):
    explainer = Explainer(cases.build(cases.Question), weighted(background, COUNTS), backend=backend)
    here = cases.attribution(backends.named(backend), explainer._game)
    there, some = pickle.loads(pickle.dumps(here)), torch.tensor(rows[:2])
    np.testing.assert_array_equal(there(some, seeds=[3, 4]).mean, here(some, seeds=[3, 4]).mean)


def test_a_tolerance_is_refused_with_weights(background):
    with pytest.raises(DataError, match=r"not known with weights, .* Leave tolerance= out, or .*sample\(X, 100\)"):
        Explainer(cases.build(cases.Question), weighted(background, COUNTS), tolerance=0.1)


def test_weights_are_one_on_average_at_any_scale():
    for scale in (1e-300, 1.0, 1e308):
        got = weighted(TABLE[:3], np.array([0.25, 0.5, 1.0]) * scale)
        np.testing.assert_allclose(got.weights, [3 / 7, 6 / 7, 12 / 7])


BAD_WEIGHTS = {
    "negative": (
        [1, -1, 2],
        r"must be positive numbers, but the weights of row 1 are zero, negative or not finite\. Leave rows",
    ),
    "zero": ([0, 1, 0], "but the weights of rows 0, 2 are zero"),
    "all zero": ([0, 0, 0], "must be positive numbers, but all 3 are zero, negative or not finite"),
    "NaN": ([1, np.nan, np.inf], "but the weights of rows 1, 2 are"),
    "too few": ([1, 2], r"one number for each of the 3 background rows, got int64 of shape \(2,\)"),
    "a column": ([[1], [2], [3]], r"got int64 of shape \(3, 1\)"),
    "text": (["1", "2", "3"], "got <U1 of shape"),
}


@pytest.mark.parametrize("kind", BAD_WEIGHTS)
def test_other_weights_are_refused(kind):
    weights, message = BAD_WEIGHTS[kind]
    with pytest.raises(DataError, match=message):
        weighted(TABLE[:3], weights)


# Draws
