"""Intervals from few large differences."""

import torch
from torch import Tensor

# Widening of an interval by Student's t, times the degrees of freedom, to the first order: (z**2 + 1) / 4 for 95 %.
WIDENING = (1.96**2 + 1) / 4


def widen(variance: Tensor, squares: Tensor, freedom: float) -> Tensor:
    """Enlarge a sum of estimated variances, so that 1.96 standard errors are an interval of Student's t.

    A sum that consists of a few large terms is known less well than one of many equal terms.

    Args:
        variance: Sum of the terms.
        squares: Sum of the squares of the terms.
        freedom: Degrees of freedom of each term.

    Reference:
        Satterthwaite, 1946, An approximate distribution of estimates of variance components (with estimates in place
        of the squares, which are too large by (freedom + 2) / freedom); Peiser, 1943 (the first order of Student's t)
    """
    few = squares / ((freedom + 2) * variance.square()).clamp(min=torch.finfo(variance.dtype).tiny)
    return variance * (1 + WIDENING * few).square()
