"""Checks of what is given to losses, while rows are as they are: none is mixed with others."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from torch import Tensor, nn

from shapae.heads.losses import Loss, check_shares


@contextmanager
def checked_losses(score: Any) -> Iterator[None]:
    """Check inside what is given to the losses of ``score``, if it is a module or a method of one.

    Torch's own losses for shares are checked, too: on a CPU they raise an exception of torch, and on a GPU nothing runs
    any more after them. Other threads that run the same losses, and copies of the losses, are not checked.
    """
    owner = getattr(score, "__self__", score)
    losses = [each for each in owner.modules() if isinstance(each, CHECKED)] if isinstance(owner, nn.Module) else []
    handles, token = [loss.register_forward_pre_hook(_check_inputs) for loss in losses], _checking.set(True)
    try:
        yield
    finally:
        _checking.reset(token)
        for handle in handles:
            handle.remove()


_checking: ContextVar[bool] = ContextVar("checking", default=False)
CHECKED = (Loss, nn.BCELoss, nn.BCEWithLogitsLoss)


def _check_inputs(loss: nn.Module, inputs: tuple[Any, ...]) -> None:
    tensors = all(isinstance(each, Tensor) and each.numel() for each in inputs)
    if not _checking.get() or not tensors or len(inputs) != 2:
        return
    if isinstance(loss, Loss):
        loss.check(*inputs)
    else:
        check_shares(str(loss), inputs[1], inputs[0] if isinstance(loss, nn.BCELoss) else None)
