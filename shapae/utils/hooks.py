"""Hooks of other libraries, which must not see the modules that run on constants."""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from shapae.utils.torch_private import HOOKS, tree_leaves

Hook = Callable[..., Any]


def hide_constants(root: nn.Module) -> None:
    """Hide from hooks that are added later which modules of ``root`` run on constants, and freeze its parameters.

    Libraries with hooks keep one input and one output for each module. A module that runs on the rows and on a
    constant, such as the anchors of a head, would have the wrong ones. An input is a constant if it has no gradient
    in a pass of ``root`` whose inputs have one, because there are no gradients of parameters.

    Args:
        root: A copy, which is mutated.
    """
    root.requires_grad_(False)
    current = Pass()
    for module in [*root.modules()][1:]:
        if not isinstance(module, torch.jit.ScriptModule):  # no hooks are run inside
            for name in HOOKS:
                setattr(module, name, HooksOfPass(current, getattr(module, name).items()))
    root.register_forward_pre_hook(current.begin)
    root.register_forward_hook(current.end, always_call=True)


class Pass:
    """A forward pass through a module, which has gradients or not."""

    def __init__(self) -> None:
        self.has_gradients = False

    def begin(self, module: nn.Module, inputs: Any) -> None:
        """Begin a pass: a hook before the forward of the module."""
        self.has_gradients = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in _tensors(inputs))

    def end(self, module: nn.Module, inputs: Any, output: Any) -> None:
        """End the pass: a hook after the forward of the module."""
        self.has_gradients = False

    def sees(self, inputs: Any) -> bool:
        """Return whether a module with these inputs is seen by hooks."""
        tensors = _tensors(inputs)
        return not self.has_gradients or not tensors or any(tensor.requires_grad for tensor in tensors)


class HooksOfPass(OrderedDict[int, Hook]):
    """Hooks of a module, of which those that are added later see only what ``Pass.sees``.

    Args:
        current: The pass.
        hooks: Hooks that see everything.
    """

    def __init__(self, current: Pass, hooks: Iterable[tuple[int, Hook]]) -> None:
        super().__init__()
        self.current = current
        for key, hook in hooks:
            super().__setitem__(key, hook)

    def __setitem__(self, key: int, hook: Hook) -> None:
        super().__setitem__(key, HookOfPass(self.current, hook))

    def __reduce__(self) -> Any:
        return type(self), (self.current, [*self.items()])


class HookOfPass:
    """A hook that is skipped for inputs that are not seen.

    Args:
        current: The pass.
        hook: The hook.
    """

    def __init__(self, current: Pass, hook: Hook) -> None:
        self.current, self.hook = current, hook

    def __call__(self, module: nn.Module, inputs: Any, *rest: Any) -> Any:
        """Run the hook, unless the inputs are constants."""
        return self.hook(module, inputs, *rest) if self.current.sees(inputs) else None


def _tensors(inputs: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(inputs) if isinstance(leaf, Tensor)]
