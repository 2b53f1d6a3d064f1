"""Backends from outside: as objects, by registered names, with groups, anchors, weights, tolerance and workers."""

import numpy as np
import pandas as pd
import pytest
import torch
from joblib import parallel_config

from shapae import Explainer, backends, compare, heads
from shapae import background as backgrounds
from shapae.backends import Backend, Moments, RowwiseBackend
from shapae.errors import AdditivityWarning, ModelError, ShapeError, UnknownName
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
    with pytest.raises(ModelError, match=r"got <class .*\. Did you mean MidpointGradient\(\)\?"):
        Explainer(linear, background, backend=MidpointGradient)
    with pytest.raises(ModelError, match="a name or an object of a subclass of shapae.backends.Backend, got 3"):
        Explainer(linear, background, backend=3)
    with pytest.raises(UnknownName, match="no backend is called 'midpoint'; there are: "):
        Explainer(linear, background, backend="midpoint")


class Wrong(Backend):
    """Returns what it was made with."""

    def __init__(self, returned):
        self.returned = returned

    def bind(self, game):
        return lambda rows, *, seeds: self.returned


@pytest.mark.parametrize(
    ("returned", "got"),
    [(np.zeros((5, 6)), "ndarray"), (None, "NoneType"), (Moments(7, np.zeros((5, 6))), r"a mean of shape \(5, 6\)"),
     (Moments(7, np.zeros((1, 6, 1))), r"a mean of shape \(1, 6, 1\)")],
)  # fmt: skip
def test_a_backend_that_returns_something_else_is_refused(returned, got, linear, rows, background):
    with pytest.raises(ShapeError, match=rf"the backend Wrong returned {got}\. Expected are Moments .* \(5, 6, 1\): "):
        Explainer(linear, background, backend=Wrong(returned))(rows)


def test_values_of_a_backend_of_ones_own_that_do_not_add_up_are_a_warning(linear, rows, background):
    with pytest.warns(AdditivityWarning, match="do not add up to their scores: .* or the backend may be wrong"):
        Explainer(linear, background, backend=Wrong(Moments(7, np.zeros((5, 6, 1)))))(rows)
