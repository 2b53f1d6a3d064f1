"""A comparison that many tests look at."""

import pytest

from tests.analysis.comparison.small import compare_small


@pytest.fixture(scope="session")
def comparison():
    return compare_small()
