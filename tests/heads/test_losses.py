"""Losses, compared with torch.nn.functional."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from shapae import Autoencoder, Explainer, heads
from shapae.errors import DataError, ModelError, UnknownName
from shapae.heads import losses
from tests import cases

R, X = torch.tensor(cases.table(5, seed=1)), torch.tensor(cases.table(5, seed=2))
VARIANCE = torch.tensor([0.5, 1, 2, 3, 4, 5]).double()
TORCH = {
    "mse": (losses.Square(), lambda r, x: functional.mse_loss(r, x, reduction="none")),
    "mae": (losses.Absolute(), lambda r, x: functional.l1_loss(r, x, reduction="none")),
    "huber": (losses.Huber(0.7), lambda r, x: functional.huber_loss(r, x, reduction="none", delta=0.7)),
    "gaussian_nll": (
        losses.GaussianNLL(VARIANCE),
        lambda r, x: functional.gaussian_nll_loss(r, x, VARIANCE.expand(5, 6), full=True, reduction="none"),
    ),
    "l2": (losses.Distance(), lambda r, x: functional.pairwise_distance(r, x, eps=0)),
    "bce_with_logits": (
        losses.CrossEntropyWithLogits(),
        lambda r, x: functional.binary_cross_entropy_with_logits(r, x, reduction="none"),
    ),
    "cosine": (losses.Cosine(), lambda r, x: functional.cosine_embedding_loss(r, x, torch.ones(5), reduction="none")),
}


@pytest.mark.parametrize("name", TORCH)
def test_a_loss_equals_the_loss_of_torch(name):
    loss, reference = TORCH[name]
    torch.testing.assert_close(loss(R, X), reference(R, X), rtol=1e-12, atol=0)
    assert isinstance(losses.LOSSES[name](), type(loss))


def test_cross_entropy_equals_the_loss_of_torch():
    r, x = R.sigmoid(), X.sigmoid()
    want = functional.binary_cross_entropy(r, x, reduction="none")
    torch.testing.assert_close(losses.as_loss("bce")(r, x), want, rtol=1e-12, atol=0)


def test_the_loss_of_logarithms_compares_with_the_logarithms_of_counts():
    counts = X.square()
    got = losses.as_loss("mse_of_log1p")(R, counts)
    torch.testing.assert_close(got, functional.mse_loss(R, counts.log1p(), reduction="none"), rtol=1e-12, atol=0)
    torch.testing.assert_close(losses.LogSquare().expected(counts.log1p()), counts)
    with pytest.raises(DataError, match=r"targets that are not negative, such as counts, but the rows begin at -"):
        Explainer(cases.build(cases.Question), X.numpy(), head=heads.ReconstructionError("mse_of_log1p"))


def test_cross_entropy_is_finite_at_probabilities_0_and_1():
    got = losses.as_loss("bce")(torch.tensor([[0.0, 1.0, 0.0, 1.0]]), torch.tensor([[0.0, 1.0, 1.0, 0.0]]))[0]
    assert got[:2].abs().max() < 1e-30
    assert torch.isfinite(got[2:]).all()
    assert got[2:].min() > 80


@pytest.mark.parametrize("name", losses.LOSSES)
def test_the_error_of_a_row_is_the_loss_averaged_over_its_features(name):
    model = torch.nn.Sequential(cases.build(cases.Question), torch.nn.Sigmoid())
    rows = X.sigmoid()
    each = losses.as_loss(name)(model(rows), rows)
    got = heads.ReconstructionError(name)(Autoencoder(model), rows)
    torch.testing.assert_close(got, each.mean(dim=1) if each.ndim == 2 else each)


def test_a_loss_may_be_a_module(model):
    head = heads.FeatureError(loss=torch.nn.SmoothL1Loss(reduction="none"))
    want = functional.smooth_l1_loss(model(X), X, reduction="none")
    torch.testing.assert_close(head(Autoencoder(model), X), want)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: losses.Huber(0), "delta must be a positive number, got 0"),
        (lambda: losses.GaussianNLL([1, -2]), r"variance must be a positive number, .* got \[1, -2\]"),
        (lambda: losses.GaussianNLL(np.nan), "variance must be a positive number, .* got nan"),
        (
            lambda: losses.as_loss(len),
            "must be a name or a torch.nn.Module of .reconstruction, target., got builtin_function_or_method",
        ),
        (
            lambda: heads.FeatureError(loss="l2"),
            r"'l2' gives one number per row, not one per feature\. Use one of \['mse', 'mae', 'huber', ",
        ),
        (lambda: heads.ELBO("cosine"), "'cosine' gives one number per row"),
    ],
)
def test_other_losses_are_refused(make, message):
    with pytest.raises((DataError, ModelError), match=message):
        make()


def test_an_unknown_loss_is_refused():
    with pytest.raises(UnknownName, match="no loss is called 'mes'; there are: mse, mae, huber"):
        losses.as_loss("mes")
