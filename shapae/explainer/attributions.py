"""The attributions of all rows, filled block by block."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from shapae.explainer.additivity import Additivity, Sums
from shapae.utils.blocks import on_processor
from shapae.utils.moments import Array, Moments


class Attributions(Additivity):
    """Values of n rows, with their scores and standard errors.

    Args:
        scores: (n, k), scores of the rows.
        d: Number of features, or of players.

    Attributes:
        values: (n, d, k).
        standard_errors: (n, d, k), standard errors of the values; None where they are not known.
        background_errors: (n, d, k), those over other backgrounds, apart from the samples; None where not known.
    """

    def __init__(self, scores: NDArray[Any], d: int) -> None:
        super().__init__(scores)
        n, k = scores.shape
        self.values: NDArray[Any] = np.empty((n, d, k), scores.dtype)
        self.standard_errors: NDArray[Any] | None = None
        self.background_errors: NDArray[Any] | None = None

    def put_values(self, block: slice, moments: Moments) -> None:
        """Write the moments of a block of rows.

        Raises:
            ModelError: Some values are NaN or infinite.
        """
        torch.from_numpy(self.values)[block] = torch.as_tensor(moments.mean)
        self.put(block, Sums.of(_in_result(moments, self.values[block])))
        self.standard_errors = self._put_known(self.standard_errors, block, moments.standard_error)
        self.background_errors = self._put_known(self.background_errors, block, moments.background_error)

    def _put_known(self, whole: NDArray[Any] | None, block: slice, part: Array | None) -> NDArray[Any] | None:
        if part is None:
            return whole
        whole = np.empty_like(self.values) if whole is None else whole
        torch.from_numpy(whole)[block] = torch.as_tensor(part)
        return whole


def _in_result(moments: Moments, values: NDArray[Any]) -> Moments:
    """Take the mean from the result, whose ``values`` are in the cache of the processor, if it was computed there."""
    return replace(moments, mean=values) if on_processor(torch.as_tensor(moments.mean)) else moments
