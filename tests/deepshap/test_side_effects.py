"""Models, tables and threads that the native engine leaves as they were."""

import copy
import threading
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from shapae import Explainer, deepshap
from shapae.errors import UnsupportedOperator
from tests import cases
from tests.deepshap.helpers import B, X, error
from tests.deepshap.zoo import ZOO


class Writing(nn.Module):
    """A model that writes into its input, with and without the knowledge of autograd."""

    def __init__(self, aside):
        super().__init__()
        self.linear, self.aside = nn.Linear(6, 6), aside

    def forward(self, rows):
        rows = rows if self.aside is None else self.aside(rows)
        rows.detach().clamp_(min=-0.5)
        rows[:, 0] = 0
        rows.data[:, 1] *= 2
        return self.linear(rows.relu_())


@pytest.mark.parametrize("backend", ["deep", "exact"])
def test_a_model_that_writes_into_its_input_changes_neither_values_nor_tables(backend):
    plain, writing = (cases.build(Writing, aside) for aside in (torch.clone, None))
    rows, background = X.clone(), B.clone()
    want, got = (
        Explainer(model, background, head="reconstruction", backend=backend)(rows) for model in (plain, writing)
    )
    for name in ("values", "base_values", "data"):
        np.testing.assert_array_equal(getattr(got, name), getattr(want, name))
    assert torch.equal(rows, X)
    assert torch.equal(background, B)
    deepshap.attribute(writing, rows, background)
    assert torch.equal(rows, X)


class Counting(nn.Module):
    """A model that stores its last row in a buffer."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 6)
        self.register_buffer("last", torch.zeros(6))

    def forward(self, rows):
        self.last.copy_(self.linear(rows)[-1])
        return self.linear(rows)


@pytest.mark.parametrize("backend", ["deep", "gradient"])
def test_buffers_that_a_model_writes_have_no_graph(backend):
    model = cases.build(Counting)
    Explainer(model, B, backend=backend)(X)
    assert model.last.grad_fn is None
    copy.deepcopy(model)


class Stopping(TorchDispatchMode):
    """Dispatch mode that raises KeyboardInterrupt at the n-th operator."""

    def __init__(self, n):
        super().__init__()
        self.remaining = n

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        self.remaining -= 1
        if self.remaining == 0:
            raise KeyboardInterrupt
        return op(*args, **(kwargs or {}))


def operators(explain):
    with Stopping(0) as counting:
        explain()
    return -counting.remaining


@pytest.mark.parametrize(
    ("make", "every"), [(cases.Question, 1), (ZOO["BatchNorm1d"], 5), (ZOO["in-place modules"], 5)]
)
def test_the_model_is_unchanged_whichever_operator_is_interrupted(make, every):
    model = cases.build(make).train()
    d = next(each.in_features for each in model.modules() if isinstance(each, nn.Linear))
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 2.0)
    rows, background = cases.table(2, d, seed=1), cases.table(3, d, seed=2)
    explainer = Explainer(model, background)
    total = operators(lambda: explainer(rows))
    before, around = cases.snapshot(model), cases.world()
    assert total > 100
    for n in range(1, total + 1, every):
        with pytest.raises(KeyboardInterrupt), Stopping(n):
            explainer(rows)
        assert cases.snapshot(model) == before
    assert cases.world() == around
    explainer(rows)


@pytest.mark.parametrize("make", [cases.Question, cases.Variational])
def test_the_model_is_unchanged_whichever_operator_is_interrupted_while_it_is_tried(make):
    """Hooks that record what the decoder receives are removed, and so is the noise at its mean."""
    model = cases.build(make).train()
    background = cases.table(6, 6, seed=2)
    total = operators(lambda: Explainer(model, background, head="latent"))
    before, around = cases.snapshot(model), cases.world()
    assert total > 100
    for n in range(1, total + 1, 9):
        with pytest.raises(KeyboardInterrupt), Stopping(n):
            Explainer(model, background, head="latent")
        assert cases.snapshot(model) == before
    assert cases.world() == around


class Keeping(nn.Module):
    """A model that stores its latents, and orders them by an index on request."""

    def __init__(self, ordered):
        super().__init__()
        self.ordered = ordered

    def forward(self, rows):
        self.latents = 2 * rows
        return (self.latents.gather(1, self.latents.argsort(dim=1)) if self.ordered else self.latents)[:, 0]


@pytest.mark.parametrize("ordered", [False, True])
def test_tensors_that_a_model_stores_can_be_used_also_after_a_refusal(ordered):
    model = Keeping(ordered)
    with pytest.raises(UnsupportedOperator, match="gather") if ordered else nullcontext():
        deepshap.attribute(model, X, B)
    np.testing.assert_array_equal(np.unique(copy.deepcopy(model.latents)), np.unique(2 * (B[:1] if ordered else X[:1])))


def test_threads_can_share_a_model():
    model = cases.build(cases.Question)
    want, got = deepshap.attribute(error(model), X, B), {}

    def run(number):
        got[number] = deepshap.attribute(error(model), X, B)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(4):
        np.testing.assert_array_equal(got[number], want)
