"""Layers that run on some rows only, layers with hooks or another forward, shared and parametrized ones."""

import numpy as np
import pytest
import torch
from torch import nn

import shapae
from tests import cases
from tests.analysis.influence.test_gradients import ROWS, TRAIN, SharedParameter, check, mse, true_gradients
from tests.deepshap.zoo.base import D

# Rows 1 to 4 are of a kind that is not among the rows on which layers are tried.
RARE = torch.tensor(cases.table(40, D))
RARE[1:5, 0] = 9


class Experts(nn.Module):
    """One layer for most rows, another one for rows whose first feature is large; run on their rows only, if any."""

    def __init__(self):
        super().__init__()
        self.usual, self.rare, self.out = nn.Linear(D, D), nn.Linear(D, D, bias=False), nn.Linear(D, D)

    def forward(self, rows):
        large, found = rows[:, 0] > 5, torch.zeros_like(rows)
        found[~large] = torch.tanh(self.usual(rows[~large]))
        if large.any():
            found[large] = torch.tanh(self.rare(rows[large]))
        return self.out(found)


class SometimesTied(nn.Module):
    """A plain layer, whose weight is used by a function, too; that counts for rows with a large feature only."""

    def __init__(self):
        super().__init__()
        self.layer, self.out = nn.Linear(D, D), nn.Linear(D, D)

    def forward(self, rows):
        more = torch.nn.functional.linear(rows, self.layer.weight)
        return self.out(rows) + torch.tanh(self.layer(rows)) + torch.relu(rows[:, :1] - 5) * more


@pytest.mark.parametrize("kind", [Experts, SometimesTied])
@pytest.mark.parametrize("memory", ["1GB", "150KB"])
def test_rows_of_a_kind_that_was_not_tried_have_the_gradients_of_autograd(kind, memory):
    model = cases.build(kind)
    for train, rows in ((RARE, ROWS), (TRAIN, RARE), (RARE, RARE)):
        tested, trained = (true_gradients(mse(model), model, each) for each in (rows, train))
        check(shapae.influence(model, train, rows, memory=memory), tested, trained)


class WithNothing(nn.Linear):
    def forward(self, rows):
        return super().forward(rows), None


class Named(nn.Linear):
    def forward(self, *, rows):
        return super().forward(rows)


class Squared(nn.Linear):
    def forward(self, rows):
        return nn.functional.linear(rows, self.weight**2, self.bias)


CALLS = {WithNothing: lambda layer, x: layer(x)[0], Named: lambda layer, x: layer(rows=x), Squared: nn.Module.__call__}


class Around(nn.Module):
    """An autoencoder around a layer with another forward."""

    def __init__(self, kind):
        super().__init__()
        self.layer, self.out = kind(D, 4), nn.Linear(4, D)

    def forward(self, rows):
        return self.out(torch.tanh(CALLS[type(self.layer)](self.layer, rows)))


def hooked():
    model = nn.Sequential(nn.Linear(D, 4), nn.Linear(4, D))
    model[0].register_forward_hook(lambda layer, args, output: (output * layer.weight.sum(), 1))
    model[1].register_forward_pre_hook(lambda layer, args: (torch.tanh(args[0][0]),))
    return model


KINDS = {kind.__name__: lambda kind=kind: Around(kind) for kind in CALLS} | {"hooked": hooked}


@pytest.mark.parametrize("name", KINDS)
def test_layers_with_another_call_have_the_gradients_of_autograd(name):
    model = cases.build(KINDS[name])
    tested, trained = (true_gradients(mse(model), model, rows) for rows in (ROWS, TRAIN))
    check(shapae.influence(model, TRAIN, ROWS), tested, trained)


def weight_norm():
    return nn.Sequential(nn.Linear(D, 4), nn.Tanh(), nn.utils.parametrizations.weight_norm(nn.Linear(4, D)))


LAST = {
    "shared": (SharedParameter, ["last", "second.*", ["second.weight", "second.bias"]], lambda m: m.second),
    "parametrized": (weight_norm, ["last", "2.*"], lambda m: m[2]),
}


@pytest.mark.parametrize("name", LAST)
def test_a_chosen_layer_has_its_shared_and_its_parametrized_weights(name):
    make, choices, layer = LAST[name]
    model = cases.build(make)
    own = {id(each) for each in layer(model).parameters()}
    mask = np.concatenate([np.full(each.numel(), id(each) in own) for each in model.parameters()])
    tested, trained = (true_gradients(mse(model), model, rows)[:, mask] for rows in (ROWS, TRAIN))
    for chosen in choices:
        check(shapae.influence(model, TRAIN, ROWS, parameters=chosen), tested, trained)
