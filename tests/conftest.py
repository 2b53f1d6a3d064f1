"""Fixtures of all tests: a background, some rows, a small model; figures are drawn to nowhere."""

import sys
import warnings
from pathlib import Path

import matplotlib
import pytest
from hypothesis import settings

matplotlib.use("Agg")
# The same examples in each run, however busy the machine is.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")
# Workers in other processes find the models of the tests by this, too.
sys.path.insert(0, str(Path(__file__).parents[1]))
with warnings.catch_warnings():  # shap's own, at import only
    warnings.simplefilter("ignore")
    import shap  # noqa: F401

from tests import cases  # noqa: E402


@pytest.fixture
def rows():
    """(5, 6)."""
    return cases.table(5, seed=1)


@pytest.fixture
def background():
    """(7, 6): a prime number, so that any cut leaves unequal parts."""
    return cases.table(7, seed=2)


@pytest.fixture
def model():
    """The autoencoder of the question, for six features."""
    return cases.build(cases.Question)


@pytest.fixture(autouse=True)
def _figures_closed():
    yield
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        pyplot.close("all")
