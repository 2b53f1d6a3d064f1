"""The rules of the native engine against Jacobians, Shapley values by enumeration, and laws."""

import warnings

import pytest


@pytest.fixture(autouse=True)
def _ignore_performance_warnings():
    """Ignore the warning of torch about operators that vmap runs one by one."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "There is a performance drop")
        yield
