"""What keeps shap's explainers harmless and right: a copy of the score, a lock, its operator table borrowed."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

from shap.explainers._deep import deep_pytorch
from torch import nn

from shapae.borrow import generators
from shapae.losses import Elementwise
from shapae.score import Connected
from shapae.unwrap import copied

# Element by element, but not in shap's own table (0.51).
ACTIVATIONS = (
    Elementwise,
    *(nn.CELU, nn.Hardshrink, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh, nn.LogSigmoid, nn.Mish, nn.PReLU),
    *(nn.ReLU6, nn.RReLU, nn.SiLU, nn.Softshrink, nn.Softsign, nn.Tanhshrink, nn.Threshold),
)


# shap's table and the generator that it draws from belong to the whole process, so one thread at a time.
_LOCK = RLock()


@contextmanager
def lent(score: nn.Module) -> Iterator[nn.Module]:
    """A copy of ``score`` for shap to mutate, with rules for all of its modules in shap's table.

    Elementwise functions get the rescale rule of DeepLIFT. Modules that shap does not know keep their plain
    gradient, as shap does with a warning: what that breaks is in the residual.
    """
    table = deep_pytorch.op_handler
    with _LOCK, generators():
        before = dict(table)
        try:
            for module in score.modules():
                table.setdefault(type(module).__name__, deep_pytorch.passthrough)
            table.update({kind.__name__: deep_pytorch.nonlinear_1d for kind in ACTIVATIONS})
            # shap has softmax as elementwise, which it is not: wrong values that add up, so that no residual tells.
            table["Softmax"] = deep_pytorch.passthrough
            yield Connected(copied(score))
        finally:
            table.clear()
            table.update(before)
