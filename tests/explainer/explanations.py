"""Explanations that the tests slice, save and draw."""

import numpy as np
import pytest
import shap

from shapae import Explanation

N, D, K = 8, 6, 3
FEATURES = ["CD79A", "α-Globin", "gène 3", "遺伝子", "5", "a/b $x$"]
OUTPUTS = ["latent 0", "β", "two words"]
PARTS = ("values", "base_values", "data", "scores", "residual", "standard_errors")
NAMES = ("feature_names", "output_names")


def explanation(k=None, *, errors=True, n=N, outputs=OUTPUTS, **names):
    """Of one output, or of ``k``; ``names`` are other arguments of ``Explanation``."""
    shape, rng = (n, D) if k is None else (n, D, k), np.random.default_rng(0)
    per_row = (n, *shape[2:])
    return Explanation(
        rng.normal(size=shape),
        rng.normal(size=per_row),
        rng.normal(size=(n, D)),
        output_names="reconstruction error" if k is None else outputs[:k],
        scores=rng.normal(size=per_row),
        standard_errors=rng.random(size=shape) if errors else None,
        **{"feature_names": FEATURES, "made_by": {"head": "latent", "seed": 0, "versions": {"torch": "2"}}} | names,
    )


def assert_same(got, want):
    """All that ``want`` holds, bit for bit."""
    assert type(got) is type(want)
    for name in PARTS:
        one, other = getattr(got, name), getattr(want, name)
        assert (one is None) == (other is None), name
        if one is not None:
            assert (np.shape(one), np.asarray(one).dtype) == (np.shape(other), np.asarray(other).dtype), name
            assert np.asarray(one).tobytes() == np.asarray(other).tobytes(), name
    for name in NAMES:
        assert np.array_equal(getattr(got, name), getattr(want, name)), name
    assert got.made_by == want.made_by


several = pytest.mark.parametrize("k", [None, K])


MASK = np.arange(N) % 3 == 0
SLICES = {
    "all": ...,
    "rows": slice(2, 5),
    "a row": 3,
    "features": (slice(None), slice(1, 3)),
    "a feature": (slice(None), "CD79A"),
    "a number": (2, "CD79A"),
}


def plain(whole):
    """The same arrays in a shap.Explanation as shap makes them: with names of outputs only where there are several."""
    outputs = None if isinstance(whole.output_names, str) else list(whole.output_names)
    names = list(whole.feature_names)
    return shap.Explanation(whole.values, whole.base_values, whole.data, feature_names=names, output_names=outputs)
