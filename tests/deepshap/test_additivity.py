"""The warning that values do not add up to the scores of the function."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from shapae import Autoencoder, Explainer, deepshap
from shapae.errors import AdditivityWarning
from tests import cases
from tests.deepshap.helpers import tensor

X, B = tensor(5, 6, 1, dtype=torch.float32), tensor(7, 6, 2, dtype=torch.float32)
WEIGHTS = torch.arange(1.0, 8.0)


def rounded(x):
    """The identity with only few digits: the multipliers are 1, but the scores jump."""
    return (x + 1e6) - 1e6


FUNCTIONS = {
    "one output": (lambda x: rounded(x).sum(1), {}),
    "several outputs": (lambda x: torch.cat([x, rounded(x)], 1), {}),
    "weights": (lambda x: rounded(x).sum(1), {"weights": WEIGHTS}),
    "anchors": (lambda x, anchors: rounded(x * anchors).sum(1), {"anchors": X + 1}),
    "anchors and weights": (lambda x, anchors: rounded(x) * anchors, {"anchors": X + 1, "weights": WEIGHTS}),
}


def true_residuals(name, values):
    """Row by row in float64, from the scores as the function returns them."""
    function, settings = FUNCTIONS[name]
    weights = settings.get("weights", torch.ones(7)).double().numpy()
    sums = values.double().sum(1).reshape(5, -1).numpy()
    for row, total in zip(range(5), sums, strict=True):
        anchor = [settings["anchors"][row : row + 1]] if "anchors" in settings else []
        score, *base = (
            function(each, *anchor).double().flatten().numpy()
            for each in (X[row : row + 1], *(other[None] for other in B))
        )
        yield np.abs(score - weights @ np.array(base) / weights.sum() - total).max()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_that_do_not_add_up_are_a_warning_in_the_line_of_the_caller(name):
    function, settings = FUNCTIONS[name]
    with pytest.warns(
        AdditivityWarning, match=r"of 5 rows do not add up to their scores: .*values that over"
    ) as caught:
        values = deepshap.attribute(function, X, B, **settings)
    assert [Path(warning.filename).name for warning in caught] == [Path(__file__).name]
    said = float(re.search(r"up to ([\d.e-]+),", str(caught[0].message))[1])
    np.testing.assert_allclose(said, max(true_residuals(name, values)), rtol=0.01)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_a_deepshap_used_alone_warns_once(weights):
    deep_shap = deepshap.DeepShap(FUNCTIONS["one output"][0], B, weights=weights)
    with pytest.warns(AdditivityWarning, match="do not add up") as caught:
        got = deep_shap.attribute(X)
    assert [Path(warning.filename).name for warning in caught] == [Path(__file__).name]
    np.testing.assert_array_equal(deep_shap.moments(X).mean, got.mean)  # a warning would be an error


def test_the_explainer_gives_one_warning_not_two():
    model = Autoencoder(cases.build(cases.Linear, dtype=torch.float32), reconstruct=lambda m, x: rounded(m(x)))
    explainer = Explainer(model, B.numpy(), head="reconstruction", backend="deep")
    with pytest.warns(AdditivityWarning, match=r"do not add up") as caught:
        explainer(X.numpy())
    assert len(caught) == 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_coarse_numbers_on_the_way_are_allowed_their_rounding(dtype):
    def function(x):
        return (x.to(dtype) @ torch.ones(6, 2, dtype=dtype)).tanh().to(x.dtype)

    values = deepshap.attribute(function, X, B)  # a warning would be an error
    residual = values.sum(1) - (function(X) - function(B).mean(0))
    assert residual.abs().max() < 0.1


def test_scores_that_are_coarse_themselves_are_checked():
    values = deepshap.attribute(lambda x: x.sum(1).bfloat16(), X, B)
    np.testing.assert_allclose(values, X - B.mean(0), rtol=0, atol=1e-6)
