"""A sweep over the zoo: parts that are found fit together, print says so, and scores equal independent computations."""

import numpy as np
import pytest
import torch

from shapae import Autoencoder, Explainer
from shapae.errors import ModelError
from tests import cases
from tests.deepshap.zoo import ZOO
from tests.deepshap.zoo.base import D

X = torch.tensor(cases.table(12, D))
HEADS = {
    "reconstruction_error": lambda r, x: (r - x).square().mean(dim=1),
    "feature_error": lambda r, x: (r - x).square(),
    "reconstruction": lambda r, x: r,
}


def zoo(name):
    model = cases.build(ZOO[name]).eval()
    with torch.no_grad():
        return model, model(X)


def received(model):
    """What the decoder of ``model`` is called with, by a hook; None if it is not called once with a table."""
    calls = []
    if not isinstance(getattr(model, "decoder", None), torch.nn.Module):
        return None
    try:
        hook = model.decoder.register_forward_pre_hook(lambda _, inputs: calls.append(inputs[0]))
    except RuntimeError:  # scripted
        return None
    with torch.no_grad():
        model(X)
    hook.remove()
    return calls[0] if len(calls) == 1 and calls[0].ndim == 2 else None


@pytest.mark.parametrize("name", sorted(ZOO))
def test_the_scores_of_all_heads_on_the_reconstruction_are_those_of_forward(name):
    model, r = zoo(name)
    for head, score in HEADS.items():
        scores = Explainer(model, X, head=head).scores(X)
        np.testing.assert_allclose(scores, score(r, X), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", sorted(ZOO))
def test_the_latents_are_what_the_decoder_receives_or_are_refused(name):
    model, _ = zoo(name)
    want = received(model)
    try:
        explainer = Explainer(model, X, head="latent")
        scores = explainer.scores(X)
    except ModelError as error:
        assert "Autoencoder(model, encode=" in str(error)  # noqa: PT017
        return
    for head in ("latent_norm", "label_free"):  # each row is its own anchor
        squares = (scores.reshape(len(X), -1) ** 2).sum(axis=1)
        np.testing.assert_allclose(explainer.with_head(head).scores(X), squares, rtol=1e-9, atol=1e-12)
    if want is not None:
        np.testing.assert_allclose(scores.reshape(want.shape), want, rtol=1e-9, atol=1e-12)
    elif callable(getattr(model, "encode", None)):
        with torch.no_grad():
            np.testing.assert_allclose(scores.reshape(len(X), -1), model.encode(X), rtol=1e-9, atol=1e-12)


def parts_of(name):
    model, r = zoo(name)
    autoencoder = Autoencoder(model)
    holds = autoencoder.understand(X).holds
    return autoencoder, r, holds


@pytest.mark.parametrize("name", sorted(ZOO))
def test_print_says_yes_exactly_where_the_parts_fit_together(name):
    autoencoder, r, holds = parts_of(name)
    answer = {True: "yes", False: "no", None: ""}[holds]
    lines = [line for line in str(autoencoder).splitlines() if "decode(encode(x)) = reconstruct(x): " in line]
    assert [line.rpartition(" ")[2] for line in lines] == [answer] * (holds is not None)
    if holds is False:
        with pytest.raises(ModelError, match=r"differs from the reconstruction|has neither"):
            autoencoder.decode(autoencoder.encode(X))
    elif holds:
        with torch.no_grad():
            torch.testing.assert_close(autoencoder.decode(autoencoder.encode(X)), r)


def test_many_models_of_the_zoo_have_parts_that_fit_together():
    """Most others have an encoder, and no decoder of a usual name."""
    assert [parts_of(name)[2] for name in ZOO].count(True) > 30
