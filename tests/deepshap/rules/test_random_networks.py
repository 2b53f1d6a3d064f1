"""Laws of the attributions, on random networks."""

import numpy as np
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from shapae.deepshap import attribute
from tests import cases
from tests.deepshap.helpers import run, tensor


class Skip(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return x + self.inner(x)


class Gate(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.first, self.second = nn.Linear(d, d), nn.Linear(d, d)

    def forward(self, x):
        return self.first(x) * torch.sigmoid(self.second(x))


class Softmax(nn.Module):
    def forward(self, x):
        return torch.softmax(2 * x, 1)


class Largest(nn.Module):
    def forward(self, x):
        return torch.maximum(x, x.roll(1, 1)) + x.amax(1, keepdim=True)


LAYERS = {
    "relu": lambda d: nn.ReLU(),
    "gelu": lambda d: nn.GELU(),
    "tanh": lambda d: nn.Tanh(),
    "softplus": lambda d: nn.Softplus(),
    "norm": nn.LayerNorm,
    "softmax": lambda d: Softmax(),
    "largest": lambda d: Largest(),
    "gate": Gate,
    "skip": lambda d: Skip(nn.Sequential(nn.Linear(d, d), nn.SiLU())),
    "batch norm": nn.BatchNorm1d,
    "elu": lambda d: nn.ELU(),
}


@st.composite
def networks(draw):
    """A network of 1 to 4 layers, its number of features, and a seed."""
    d, width = draw(st.integers(2, 6)), draw(st.integers(2, 6))
    names, seed = draw(st.lists(st.sampled_from(sorted(LAYERS)), min_size=1, max_size=4)), draw(st.integers(0, 99))

    def make():
        layers = [nn.Linear(d, width)]
        for name in names:
            layers += [LAYERS[name](width), nn.Linear(width, width)]
        return nn.Sequential(*layers)

    return cases.build(make, seed=seed), d, seed


random_networks = given(networks())
few = settings(max_examples=25)


@few
@random_networks
def test_values_add_up_for_any_network(example):
    network, d, seed = example
    x, b = tensor(3, d, seed), tensor(4, d, seed + 1)
    rise = run(network, x) - run(network, b).mean(0)
    np.testing.assert_allclose(attribute(network, x, b).sum(1), rise, rtol=0, atol=1e-9)


@few
@random_networks
def test_a_row_has_the_same_values_alone_and_in_a_batch(example):
    network, d, seed = example
    x, b = tensor(3, d, seed), tensor(4, d, seed + 1)
    alone = torch.cat([attribute(network, row[None], b) for row in x])
    np.testing.assert_allclose(attribute(network, x, b), alone, rtol=0, atol=1e-9)


@few
@random_networks
def test_the_values_are_the_mean_over_the_parts_of_a_background(example):
    network, d, seed = example
    x, b = tensor(3, d, seed), tensor(7, d, seed + 1)
    first, rest = attribute(network, x, b[:2]), attribute(network, x, b[2:])
    np.testing.assert_allclose(attribute(network, x, b), (2 * first + 5 * rest) / 7, rtol=0, atol=1e-9)


@few
@random_networks
def test_a_feature_equal_to_the_background_has_the_value_zero(example):
    network, d, seed = example
    x, b = tensor(3, d, seed), tensor(4, d, seed + 1)
    x[:, 1] = b[:, 1] = 0.7
    assume((run(network, x) - run(network, b).mean(0)).abs().max() > 1e-9)  # not constant, as with inactive ReLU
    values = attribute(network, x, b)
    np.testing.assert_array_equal(values[:, 1], 0)
    assert (values[:, 0] != 0).any()


@few
@random_networks
def test_twin_features_have_the_same_values(example):
    network, d, seed = example
    x, b = tensor(3, d, seed), tensor(4, d, seed + 1)
    x[:, 1], b[:, 1] = x[:, 0], b[:, 0]
    with torch.no_grad():
        network[0].weight[:, 1] = network[0].weight[:, 0]
    values = attribute(network, x, b)
    np.testing.assert_allclose(values[:, 0], values[:, 1], rtol=0, atol=1e-12)


@few
@random_networks
def test_values_are_linear_in_the_outputs(example):
    network, d, seed = example
    x, b = tensor(3, d, seed), tensor(4, d, seed + 1)
    values = attribute(network, x, b)
    both = attribute(lambda rows: network(rows)[:, 0] + 2 * network(rows)[:, 1], x, b)
    np.testing.assert_allclose(both, values[..., 0] + 2 * values[..., 1], rtol=0, atol=1e-9)
