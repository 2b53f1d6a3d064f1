"""Fixtures of the tests of explanations."""

import pytest

from tests.explainer.explanations import K, explanation


@pytest.fixture(params=[None, 1, K], ids=["one output", "a list of one", "three outputs"])
def whole(request):
    return explanation(request.param)
