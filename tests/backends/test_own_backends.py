"""Backends from outside: as objects, by registered names, with groups, anchors, weights, tolerance and workers."""

import numpy as np
import pandas as pd
import pytest
import torch
from joblib import parallel_config

from shapae import Explainer, backends, compare, heads
from shapae import background as backgrounds
from shapae.backends import Backend, Moments, RowwiseBackend
from shapae.errors import AdditivityWarning, DataError, ModelError, ShapeError, UnknownName
from tests import cases
from tests.closed_forms import CLOSED


class MidpointGradient(RowwiseBackend):
    """Gradient halfway between row and background row, times their difference: exact for quadratic scores."""

    def attribute_row(self, game, row, seed):
        points = ((row + game.background) / 2).requires_grad_()
        outputs = game.score(points).sum(dim=0)
        slopes = torch.stack([torch.autograd.grad(each, points, retain_graph=True)[0] for each in outputs], dim=-1)
        pairs = slopes * (row - game.background).unsqueeze(-1)
        weights = game.background_weights
        mean = torch.einsum("b,bdk->dk", weights / weights.sum(), pairs)[None]
        squares = (pairs - mean).square().sum(dim=0, keepdim=True) if game.weights is None else None
        count = float(weights.sum())
        return Moments(count, mean.numpy(), None if squares is None else squares.numpy())


class Halves(Backend):
    """Half of the score's difference to each of the first two players."""

    supports_groups = True

    def bind(self, game):
        def attribute(rows, *, seeds):
            with torch.no_grad():
                difference = game.score(rows) - game.score(game.background).mean(dim=0)
            values = np.zeros((len(rows), game.n_players, difference.shape[1]))
            values[:, :2] = difference[:, None] / 2
            return Moments(len(game.background), values)

        return attribute


@pytest.fixture
def linear():
    return cases.build(cases.Linear)


def test_a_backend_of_ones_own_explains_anchored_heads_row_by_row(linear, rows, background):
    fixed = heads.ReconstructionError(target="fixed")
    got, want = (Explainer(linear, background, head=fixed, backend=b)(rows) for b in (MidpointGradient(), "exact"))
    np.testing.assert_allclose(got.values, want.values, rtol=0, atol=1e-12)


@pytest.mark.parametrize("head", CLOSED)
def test_a_backend_of_ones_own_has_the_closed_form_for_any_head(head, linear, rows, background):
    got = Explainer(linear, background, head=head, backend=MidpointGradient())(rows)
    np.testing.assert_allclose(got.values, CLOSED[head](linear, rows, background), rtol=0, atol=1e-12)
    assert got.made_by["backend"] == "MidpointGradient"


@pytest.mark.parametrize("where", ["loky", "threading"])
def test_a_backend_of_ones_own_reaches_workers(where, linear, rows, background):
    want = Explainer(linear, background, backend=MidpointGradient())(rows)
    with parallel_config(backend=where):
        got = Explainer(linear, background, backend=MidpointGradient(), n_jobs=2)(rows)
    np.testing.assert_array_equal(got.values, want.values)


def test_a_backend_that_knows_no_groups_has_the_values_of_their_features_summed(linear, rows, background):
    tables = [pd.DataFrame(table, columns=list("abcdef")) for table in (background, rows)]
    settings = {"groups": {"x": ["a", "d"]}, "backend": MidpointGradient()}
    got = Explainer(linear, tables[0], **settings)(tables[1])
    alone = CLOSED["reconstruction_error"](linear, rows, background)
    np.testing.assert_allclose(got[:, "x"].values, alone[:, 0] + alone[:, 3], rtol=0, atol=1e-12)


def test_a_backend_that_knows_groups_gets_them_as_players(linear, rows, background):
    tables = [pd.DataFrame(table, columns=list("abcdef")) for table in (background, rows)]
    got = Explainer(linear, tables[0], groups={"x": ["a", "b", "c", "d", "e"]}, backend=Halves())(tables[1])
    assert got.values.shape == (5, 2)
    np.testing.assert_array_equal(got.values[:, 0], got.values[:, 1])
    np.testing.assert_allclose(got.residual, 0, atol=1e-12)


def test_a_backend_of_ones_own_gets_the_weights(linear, rows, background):
    counts = np.array([1, 2, 3, 1, 1, 2, 1])
    weighted = Explainer(linear, backgrounds.weighted(background, counts), backend=MidpointGradient())(rows)
    repeated = Explainer(linear, np.repeat(background, counts, axis=0), backend=MidpointGradient())(rows)
    np.testing.assert_allclose(weighted.values, repeated.values, rtol=0, atol=1e-12)


def test_a_backend_of_ones_own_stops_early(linear, rows):
    many = cases.table(400, seed=2)
    got = Explainer(linear, many, backend=MidpointGradient(), tolerance=0.2)(rows)
    assert (got.used < 400).any()
    np.testing.assert_allclose(got.residual, 0, atol=1e-12)


def test_a_registered_backend_has_a_name(linear, rows, background):
    backends.register("midpoint", MidpointGradient)
    backends.register("midpoint", MidpointGradient)  # as in a notebook cell that is run again
    assert "midpoint" in backends.names()
    assert isinstance(backends.named("midpoint"), MidpointGradient)
    got = Explainer(linear, background, backend="midpoint")(rows)
    np.testing.assert_allclose(got.values, CLOSED["reconstruction_error"](linear, rows, background), atol=1e-12)
    for own, name in (("midpoint", "midpoint"), (MidpointGradient(), "MidpointGradient")):
        table = compare(linear, background, rows, backends=["deep", own], reference="exact", probes=2).table
        assert table.loc[name, "relative error (fraction)"] < 1e-10
        assert table.loc[name, "error"] == ""


@pytest.fixture(autouse=True)
def _registered_names_are_forgotten(monkeypatch):
    monkeypatch.setattr(backends, "_REGISTERED", {})


def test_names_of_shapae_and_things_that_are_no_backend_are_refused(linear, background):
    with pytest.raises(ModelError, match="the name 'deep' belongs to a backend of shapae. Register yours under"):
        backends.register("deep", MidpointGradient)
    with pytest.raises(
        ModelError, match=r"registered by its class, got an object .* register\('m', MidpointGradient\)"
    ):
        backends.register("m", MidpointGradient())
    with pytest.raises(ModelError, match=r"got the class MidpointGradient\. Did you mean MidpointGradient\(\)\?"):
        Explainer(linear, background, backend=MidpointGradient)
    with pytest.raises(ModelError, match="a name or an object of a subclass of shapae.backends.Backend, got 3"):
        Explainer(linear, background, backend=3)
    with pytest.raises(ModelError, match="an object of a subclass of shapae.backends.Backend, got 3"):
        backends.register("three", lambda: 3)
    with pytest.raises(DataError, match="a string that is not empty, got ''"):
        backends.register("", MidpointGradient)
    assert "three" not in backends.names()
    with pytest.raises(UnknownName, match="no backend is called 'midpoint'; there are: "):
        Explainer(linear, background, backend="midpoint")


class Wrong(Backend):
    """Returns what it was made with."""

    def __init__(self, returned):
        self.returned = returned

    def bind(self, game):
        return lambda rows, *, seeds: self.returned


ZEROS = np.zeros((5, 6, 1))


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (ZEROS, r"'Wrong' returned ndarray. Expected are Moments with a mean of shape \(5, 6, 1\)"),
        (None, "'Wrong' returned NoneType"),
        (Moments(7, ZEROS[..., 0]), r"a mean of shape \(5, 6\). Expected is the shape \(5, 6, 1\)"),
        (Moments(7, ZEROS[:1]), r"a mean of shape \(1, 6, 1\)"),
        (Moments(7, ZEROS, ZEROS[:1]), r"a sum_of_squares of shape \(1, 6, 1\)"),
        (Moments(0, ZEROS), "count=0. Expected is one positive number"),
        (Moments(np.ones((5, 1, 1)), ZEROS), "Expected is one positive number"),
    ],
)
def test_a_backend_that_returns_something_else_is_refused(returned, message, linear, rows, background):
    with pytest.raises(ShapeError, match=message):
        Explainer(linear, background, backend=Wrong(returned))(rows)


class WrongRow(RowwiseBackend):
    """Returns an array for each row."""

    def attribute_row(self, game, row, seed):
        return np.zeros((1, len(row), 1))


def test_a_row_that_is_attributed_wrongly_is_refused_with_its_shape(linear, rows, background):
    with pytest.raises(ShapeError, match=r"'WrongRow' returned ndarray. .* a mean of shape \(1, 6, 1\)"):
        Explainer(linear, background, backend=WrongRow())(rows)


class Converted(MidpointGradient):
    """The same values in another form."""

    def __init__(self, convert):
        self.convert = convert

    def attribute_row(self, game, row, seed):
        moments = super().attribute_row(game, row, seed)
        return Moments(moments.count, self.convert(moments.mean))


@pytest.mark.parametrize(
    "convert",
    [torch.from_numpy, lambda mean: mean[:, ::-1].copy()[:, ::-1], lambda mean: mean.tolist(), np.asfortranarray],
    ids=["tensor", "reversed", "list", "order"],
)
@pytest.mark.parametrize("tolerance", [None, 0.5])
def test_values_may_come_in_any_form_of_an_array(convert, tolerance, linear, rows):
    settings = {"head": "latent", "tolerance": tolerance}
    many = cases.table(300, seed=2)
    want = Explainer(linear, many, backend=MidpointGradient(), head="latent")(rows)
    got = Explainer(linear, many, backend=Converted(convert), **settings)(rows)
    assert got.values.dtype == np.float64
    if tolerance is None:
        np.testing.assert_array_equal(got.values, want.values)
    np.testing.assert_allclose(got.residual, 0, atol=1e-12)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(value, linear, rows, background):
    values = ZEROS.copy()
    values[3, 2] = value
    backend = Wrong(Moments(7, values))
    backend.additive = False
    with pytest.raises(ModelError, match=r"values of 1 of .* rows are NaN or infinite, first in row 3"):
        Explainer(linear, background, backend=backend)(rows)
    with pytest.raises(ModelError, match="NaN or infinite"):
        Explainer(linear, background, backend=backend).summarize(rows)


class Random(RowwiseBackend):
    """Samples the background by the seed of the row: unbiased for linear scores."""

    additive = False
    n_samples = 30

    def rows_in_memory(self, n_background, n_players):
        return self.n_samples

    def attribute_row(self, game, row, seed):
        chosen = game.background[np.random.default_rng(seed).integers(len(game.background), size=self.n_samples)]
        values = (row - chosen).unsqueeze(2) * torch.ones(game.score(row[None]).shape[1])
        mean = values.mean(dim=0, keepdim=True)
        squares = (values - mean).square().sum(dim=0, keepdim=True)
        return Moments(self.n_samples, mean.numpy(), squares.numpy())


def test_a_backend_that_samples_gets_a_seed_for_each_row_and_may_sample_again(rows, background):
    head = lambda autoencoder, x: x.sum(dim=1)  # noqa: E731
    model = cases.build(cases.Linear)
    twins = np.stack([rows[0]] * 2)
    got, again, other = (
        Explainer(model, background, head=head, backend=Random(), seed=seed)(twins).values for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(got, again)
    assert (got[0] != got[1]).all()
    assert (got != other).all()
    sure = Explainer(model, background, head=head, backend=Random(), tolerance=0.05)(rows)
    assert (sure.used % 30 == 0).all()
    assert sure.used.max() > 30
    assert (np.abs(sure.values - (rows - background.mean(axis=0))) < 5 * sure.standard_errors).all()


def test_backends_of_one_name_are_not_confused(linear, rows, background):
    other = MidpointGradient()
    with pytest.raises(DataError, match=r"two backends are called 'MidpointGradient', .* backend.name = 'Midpoint"):
        compare(linear, background, rows, backends=[MidpointGradient(), other], reference="exact")
    exact = MidpointGradient()
    exact.name = "exact"
    with pytest.raises(DataError, match="two backends are called 'exact'"):
        compare(linear, background, rows, backends=[exact])
    other.name = "mine"
    got = compare(linear, background, rows, backends=[MidpointGradient(), other], reference=other, probes=2)
    assert [*got.table.index[:2]] == ["MidpointGradient", "mine"]
    assert got.reference_name == "mine"
    assert [*compare(linear, background, rows, backends="deep", probes=2).table.index[:1]] == ["deep"]


def test_values_of_a_backend_of_ones_own_that_do_not_add_up_are_a_warning(linear, rows, background):
    with pytest.warns(AdditivityWarning, match="do not add up to their scores: .* or the backend may be wrong"):
        Explainer(linear, background, backend=Wrong(Moments(7, np.zeros((5, 6, 1)))))(rows)
