"""Values that are not finite, or too large to be added up, are refused."""

import numpy as np
import pytest

from shapae.errors import ModelError
from shapae.explainer.additivity import Additivity, Sums
from shapae.utils.moments import Moments


@pytest.mark.parametrize("values", [[1.5e308, 1.5e308], [np.inf, -np.inf]])
def test_values_whose_sum_overflows_are_refused(values):
    sums = Sums.of(Moments(1, np.array(values).reshape(1, 2, 1)))
    with pytest.raises(ModelError, match=r"sums of the values of 1 of 1 rows are NaN or infinite, first in row 7"):
        Additivity(np.zeros((9, 1))).put(slice(7, 8), sums)
