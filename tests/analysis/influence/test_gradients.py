"""Influences equal inner products of gradients that plain autograd computes one row at a time."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

import shapae
from shapae.analysis.influence.influence import set_up
from tests import cases
from tests.deepshap.zoo import ZOO
from tests.deepshap.zoo.base import D

TRAIN, ROWS = torch.tensor(cases.table(11, D)), torch.tensor(cases.table(5, D, seed=1))


def mse(model):
    return lambda row: ((model(row) - row) ** 2).mean()


def true_gradients(function, model, rows):
    """(n, P): autograd, one row at a time, of all parameters of floating point; zeros where one is not used."""
    parameters = [each for each in model.parameters() if each.is_floating_point()]
    found = []
    for row in rows:
        gradients = torch.autograd.grad(function(row[None]), parameters, allow_unused=True)
        filled = (torch.zeros_like(p) if g is None else g for p, g in zip(parameters, gradients, strict=True))
        found.append(torch.cat([each.flatten() for each in filled]))
    return torch.stack(found).detach().numpy()


def check(influence, tested, trained, rtol=1e-10):
    want = tested @ trained.T
    np.testing.assert_allclose(influence.values, want, rtol=rtol, atol=rtol * np.abs(want).max())
    np.testing.assert_allclose(influence.self_influence, (trained**2).sum(axis=1), rtol=rtol)


@pytest.mark.parametrize("name", sorted(ZOO))
def test_each_style_of_model_has_the_gradients_of_autograd(name):
    model = cases.build(ZOO[name]).eval()
    if not any(each.is_floating_point() for each in model.parameters()):
        return
    tested, trained = (true_gradients(mse(model), model, rows) for rows in (ROWS, TRAIN))
    check(shapae.influence(model, TRAIN, ROWS), tested, trained)


class Tied(nn.Module):
    """The decoder shares the weight of the encoder by a function."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(D, 3)

    def forward(self, rows):
        return torch.nn.functional.linear(torch.tanh(self.encoder(rows)), self.encoder.weight.T)


class SharedParameter(nn.Module):
    """Two layers have one weight, and each has its own bias."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(D, D), nn.Linear(D, D)
        self.second.weight = self.first.weight

    def forward(self, rows):
        return self.second(torch.tanh(self.first(rows)))


class Reused(nn.Module):
    """One layer is run three times."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(D, D)

    def forward(self, rows):
        for _ in range(3):
            rows = torch.tanh(self.layer(input=rows))
        return rows


class Tokens(nn.Module):
    """Each feature is a token; the rows are the second axis, or flattened with the tokens, in either order."""

    def __init__(self, form):
        super().__init__()
        self.form, self.embed, self.mix, self.out = form, nn.Linear(1, 4), nn.Linear(4, 4), nn.Linear(4, 1)

    def forward(self, rows):
        n, tokens = len(rows), rows.unsqueeze(-1)
        if self.form != "rows first":
            tokens = tokens.transpose(0, 1)
        if self.form == "flat":
            tokens = tokens.flatten(0, 1)
        found = self.out(torch.tanh(self.mix(self.embed(tokens))))
        if self.form == "flat":
            return found.reshape(D, n).T
        return (found if self.form == "rows first" else found.transpose(0, 1)).squeeze(-1)


class Overwriting(nn.Module):
    """The output of each layer is overwritten in place."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(D, 4), nn.LeakyReLU(inplace=True), nn.Linear(4, D), nn.Hardtanh(inplace=True)
        )

    def forward(self, rows):
        return self.net(rows).mul_(2)


class Computed(nn.Module):
    """Weights are computed from parameters, some without a bias, and a parameter is no layer's."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(D))
        self.net = nn.Sequential(
            nn.utils.parametrizations.weight_norm(nn.Linear(D, 4)), nn.Tanh(), nn.Linear(4, D, bias=False)
        )

    def forward(self, rows):
        return self.net(rows * self.scale)


def batch_norm():
    model = nn.Sequential(nn.Linear(D, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, D))
    model.train()(torch.randn(50, D))
    return model


def convolution():
    return nn.Sequential(
        nn.Unflatten(1, (1, D)), nn.Conv1d(1, 3, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(3 * D, D)
    )


def transformer(batch_first):
    layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=batch_first)

    class Transformer(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.layer, self.out = nn.Linear(1, 4), layer, nn.Linear(4, 1)

        def forward(self, rows):
            tokens = self.embed(rows.unsqueeze(-1))
            tokens = tokens if batch_first else tokens.transpose(0, 1)
            found = self.layer(tokens)
            return self.out(found if batch_first else found.transpose(0, 1)).squeeze(-1)

    return Transformer()


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.out = nn.LSTM(1, 4, batch_first=True), nn.Linear(4 * D, D)

    def forward(self, rows):
        return self.out(self.lstm(rows.unsqueeze(-1))[0].flatten(1))


def scripted():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit.trace")
        return torch.jit.trace(nn.Sequential(nn.Linear(D, 3), nn.Tanh(), nn.Linear(3, D)).double(), TRAIN)


OTHERS = {
    "tied": Tied,
    "shared parameter": SharedParameter,
    "reused": Reused,
    "tokens, rows first": lambda: Tokens("rows first"),
    "tokens, rows second": lambda: Tokens("rows second"),
    "tokens, flat": lambda: Tokens("flat"),
    "overwriting": Overwriting,
    "computed weights": Computed,
    "batch norm": batch_norm,
    "convolution": convolution,
    "transformer, batch first": lambda: transformer(True),
    "transformer, batch second": lambda: transformer(False),
    "recurrent": Recurrent,
    "scripted": scripted,
}


@pytest.mark.parametrize("name", OTHERS)
def test_layers_that_are_no_plain_layers_have_the_gradients_of_autograd(name):
    model = cases.build(OTHERS[name])
    tested, trained = (true_gradients(mse(model), model, rows) for rows in (ROWS, TRAIN))
    check(shapae.influence(model, TRAIN, ROWS), tested, trained)


class Gated(nn.Module):
    """A layer that is also used by a function, for rows only whose first feature is large."""

    def __init__(self):
        super().__init__()
        self.layer, self.rest = nn.Linear(D, D), nn.Linear(D, D)

    def forward(self, rows):
        twice = self.layer(rows) + torch.nn.functional.linear(rows, self.layer.weight)
        return self.rest(rows) + torch.relu(rows[:, :1] - 5) * twice


def test_a_layer_without_any_gradient_on_the_tried_rows_is_not_taken_for_a_plain_one():
    model, train = cases.build(Gated), torch.tensor(cases.table(40, D))
    train[1:5, 0] = 9
    tried = np.linspace(0, 39, 8).astype(int)
    assert not {1, 2, 3, 4} & {*tried.tolist()}
    tested, trained = (true_gradients(mse(model), model, rows) for rows in (ROWS, train))
    check(shapae.influence(model, train, ROWS), tested, trained)


@pytest.mark.parametrize(
    ("name", "factored"),
    [
        ("tied", 0),
        ("shared parameter", 0),
        ("reused", 1),
        ("tokens, flat", 3),
        ("overwriting", 2),
        ("computed weights", 2),
    ],
)
def test_linear_layers_are_kept_as_factors_wherever_these_are_right(name, factored):
    model = cases.build(OTHERS[name])
    setup = set_up(model, (TRAIN, ROWS), "reconstruction_error", None)
    for each in setup.row_gradients([name for name, _ in model.named_parameters()], None, 0):
        assert len(each.layers) == factored
