"""Gradients of all outputs at points, and functions that are no chains."""

import pickle
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from shapae.deepshap import ManyOutputs
from shapae.deepshap.feedforward import contraction
from shapae.deepshap.feedforward.factors import Points
from shapae.errors import DataError
from tests import cases
from tests.deepshap.feedforward.chains import CHAINS, assert_near, every_chain, net
from tests.deepshap.helpers import BOTH, B, X

POINTS, FACTORS = (torch.tensor(cases.table(33, seed=seed)).view(3, 11, 6) for seed in (8, 9))


def jacobians(function, points):
    """Derivatives of all outputs at all points, (n, m, k, d), by autograd."""
    flat = points.flatten(0, 1).requires_grad_()
    with torch.enable_grad():
        outputs = function(flat).reshape(len(flat), -1).sum(dim=0)
        rows = [torch.autograd.grad(each, flat, retain_graph=True)[0] for each in outputs]
    return torch.stack(rows, dim=1).unflatten(0, points.shape[:2])


def summed(function, points=POINTS, factors=FACTORS):
    return torch.einsum("nmi,nmki->nik", factors, jacobians(function, points))


@every_chain
@BOTH
def test_weighted_gradients_are_those_of_autograd(name, dtype):
    chain = CHAINS[name]
    model = cases.build(chain.make, dtype=dtype)
    many = ManyOutputs(lambda x: chain.run(model, x), B.to(dtype))
    want = summed(many.function, POINTS.to(dtype), FACTORS.to(dtype))
    got, precision = (
        many.weighted_gradients(POINTS.to(dtype), FACTORS.to(dtype)),
        1e-5 if dtype.itemsize == 4 else 1e-12,
    )
    if got is not None:
        assert_near(got, want, precision)
    for order in contraction.orders(many._chain, 11):
        values = Points(many._chain_values(POINTS.to(dtype)), FACTORS.to(dtype))
        assert_near(contraction.contract_factors(many._chain, order, values), want, precision)


@pytest.mark.parametrize("activation", [nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.PReLU, nn.Hardtanh])
def test_weighted_gradients_of_feature_errors_are_those_of_autograd(activation):
    model = net(6, 4, 3, 4, 6, activation=activation)
    many = ManyOutputs(lambda x: (model(x) - x) ** 2, B)
    assert_near(many.weighted_gradients(POINTS, FACTORS), summed(many.function))


@pytest.mark.parametrize("block", [1, 2000])
def test_the_size_of_the_blocks_and_of_the_replays_makes_no_difference(block, monkeypatch):
    model = net(6, 4, 3, 7)
    monkeypatch.setattr(contraction, "BLOCK_BYTES", block)
    monkeypatch.setattr("shapae.deepshap.recording.REPLAY_BYTES", block)
    many = ManyOutputs(model, B)
    assert many._batch_size < 33
    assert_near(many.weighted_gradients(POINTS, FACTORS), summed(model))


def test_few_outputs_are_left_to_the_backward_pass():
    assert ManyOutputs(net(6, 9, 9, 1), B).weighted_gradients(POINTS, FACTORS) is None
    assert ManyOutputs(net(6, 9, 9, 9), B).weighted_gradients(POINTS, FACTORS) is not None


def branching(x):
    """A function that chooses its operators by the values of the first row."""
    return net(6, 4, 5)(x) * (2 if x[0, 0] > 0 else 1)


NO_CHAINS = {
    "two branches": lambda x: net(6, 4, 5)(x) + net(6, 4, 5, seed=1)(x),
    "softmax": lambda x: F.softmax(net(6, 4, 5)(x), dim=1),
    "no rule": lambda x: torch.linalg.svdvals(x.view(-1, 2, 3)),
    "random": lambda x: net(6, 4, 5)(x) * torch.rand(1),
    "branching": branching,
}


@pytest.mark.parametrize("name", NO_CHAINS)
def test_other_functions_have_no_values(name):
    many = ManyOutputs(NO_CHAINS[name], B)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert many.closed_form(X) is None
        assert many.weighted_gradients(POINTS, FACTORS) is None


SUITED = [torch.relu, torch.tanh, torch.sigmoid, torch.square, torch.abs, lambda u: u * u, lambda u: u.clamp(min=0)]
SUITED += [nn.LeakyReLU(), nn.PReLU(), nn.ELU(), nn.SELU(), nn.GELU(), nn.SiLU(), nn.Softplus(), nn.Hardtanh()]


@pytest.mark.parametrize("activation", SUITED)
def test_usual_activations_have_a_closed_form(activation):
    model = net(6, 4, 5)
    function = activation.double() if isinstance(activation, nn.Module) else activation
    assert ManyOutputs(lambda x: model[2](function(model[0](x))), B).has_closed_form


@pytest.mark.parametrize("activation", [torch.exp, torch.sin, torch.sign, torch.round, torch.reciprocal, torch.log])
def test_functions_that_are_far_from_their_closed_form_have_none(activation):
    model = net(6, 4, 5)
    assert not ManyOutputs(lambda x: model[2](activation(model[0](x) + 20)), B).has_closed_form


def test_a_function_that_differs_at_the_points_has_no_values():
    """The background does not show the branch, the points do."""
    model = net(6, 4, 5)
    many = ManyOutputs(lambda x: model(x) * (1 + (x.detach().abs().amax() > 50).item()), B)
    assert many.closed_form(X) is not None
    assert many.closed_form(100 * X) is None
    assert many.weighted_gradients(POINTS, FACTORS) is not None
    assert many.weighted_gradients(100 * POINTS, FACTORS) is None


def test_rows_that_do_not_fit_the_background_are_refused():
    many = ManyOutputs(net(6, 4, 5), B)
    with pytest.raises(DataError, match="both be float32 or both float64"):
        many.closed_form(X.float())


def test_the_arguments_alone_are_pickled():
    many = ManyOutputs(net(6, 4, 5), B, weights=torch.arange(1, 8).double())
    size, want = len(pickle.dumps(many)), many.closed_form(X)
    assert len(pickle.dumps(many)) == size
    assert_near(pickle.loads(pickle.dumps(many)).closed_form(X), want)


def test_the_function_runs_without_a_graph_after_it_was_recorded():
    model, modes = net(6, 4, 7), []
    many = ManyOutputs(lambda x: modes.append(torch.is_grad_enabled()) or model(x), B)
    assert many.closed_form(X) is not None
    modes.clear()
    assert many.weighted_gradients(POINTS, FACTORS) is not None
    assert many.closed_form(X) is not None
    assert modes
    assert not any(modes)
