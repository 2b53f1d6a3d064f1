"""Every style of writing autoencoders: the values of the native engine add up, or it names an unsupported operator."""

import numpy as np
import pytest
import torch

from shapae import Explainer
from shapae.errors import UnsupportedOperator
from tests.cases import build, table
from tests.deepshap.zoo import REFUSED, ZOO, D

ROWS, BACKGROUND = table(5, D, seed=1), table(11, D, seed=2)


def explain(make, dtype, **settings):
    return Explainer(build(make, dtype=dtype), BACKGROUND, **settings)(ROWS)


def test_the_zoo_has_more_than_a_hundred_styles():
    assert len(ZOO) > 100
    assert {*REFUSED} <= {*ZOO}
    assert len(REFUSED) < 5


@pytest.mark.parametrize("name", sorted({*ZOO} - {*REFUSED}))
@pytest.mark.parametrize(("dtype", "precision"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_the_values_of_every_model_add_up(name, dtype, precision):
    got = explain(ZOO[name], dtype)
    model = build(ZOO[name], dtype=torch.float64)
    with torch.no_grad():
        scores, others = (((model(x) - x) ** 2).mean(1).numpy() for x in map(torch.tensor, (ROWS, BACKGROUND)))
    spread = np.ptp(np.concatenate([scores, others]))
    assert spread > 0
    assert np.abs(got.residual).max() <= precision * spread
    np.testing.assert_allclose(got.scores, scores, rtol=0, atol=30 * precision * spread)
    assert np.abs(got.values).max() > 1e-3 * spread


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_models_with_unsupported_operators_are_refused_by_name_and_explained_by_the_exact_backend(name):
    with pytest.raises(UnsupportedOperator, match=rf"{REFUSED[name]}.*or use backend='sampling'"):
        explain(ZOO[name], torch.float64)
    got = explain(ZOO[name], torch.float64, backend="exact")
    np.testing.assert_allclose(got.residual, 0, atol=1e-10)
