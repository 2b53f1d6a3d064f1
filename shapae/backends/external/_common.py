"""What keeps other libraries harmless: one thread at a time, generators and log as they were, nothing said."""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import RLock

import numpy as np
import torch
from torch import Tensor, nn

from shapae.heads.losses import Elementwise
from shapae.utils.context import preserve_rng

# Element by element, but not in the tables of shap 0.51 or captum 0.9.
ACTIVATIONS = (
    Elementwise,
    *(nn.CELU, nn.GELU, nn.Hardshrink, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh, nn.LogSigmoid, nn.Mish, nn.PReLU),
    *(nn.ReLU6, nn.RReLU, nn.SELU, nn.SiLU, nn.Softshrink, nn.Softsign, nn.Tanhshrink, nn.Threshold),
)
# So many rows are scored at once where a library has more.
AT_ONCE = 2**11

# Their tables and the generators that they draw from belong to the whole process.
_LOCK = RLock()


@contextmanager
def alone(seed: int | None = None) -> Iterator[None]:
    """No other library at the same time; what this one draws, it draws from ``seed``; and it says nothing."""
    log = logging.getLogger("shap")
    with _LOCK, preserve_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before, log.disabled = log.disabled, True
        try:
            if seed is not None:
                np.random.seed(seed)  # noqa: NPY002 (they draw from it)
                torch.default_generator.manual_seed(seed)
            yield
        finally:
            log.disabled = before


def in_pieces(score: nn.Module) -> Callable[[Tensor], Tensor]:
    """``score`` as a function (n, d) -> (n, k) without a gradient, however large n is."""

    def function(rows: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.cat([score(part) for part in torch.split(rows, AT_ONCE)])

    return function
