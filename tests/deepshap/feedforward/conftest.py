"""Feed-forward chains: merging and contraction leave the values unchanged."""

import pytest
import torch


@pytest.fixture(autouse=True)
def _without_gradients():
    with torch.no_grad():
        yield
