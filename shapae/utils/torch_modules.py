"""Pickles of the modules of torch that are objects of classes of their own, such as ``torch.backends``."""

import copyreg
import sys
from importlib import import_module
from types import ModuleType
from typing import Any


def pickle_torch_modules_by_name() -> None:
    """Let every pickler take them by their names, as it takes other modules; for all modules imported so far.

    cloudpickle puts a function of ``__main__`` into the pickle with each module of torch that it may name. The
    body of a backend that says ``torch.zeros`` and ``shapae.backends.Moments`` seems to name ``torch.backends``.
    """
    for name, module in list(sys.modules.items()):
        kind = type(module)
        if name.startswith("torch.") and kind is not ModuleType and getattr(module, "__name__", None) == name:
            copyreg.pickle(kind, _by_name)


def _by_name(module: ModuleType) -> tuple[Any, ...]:
    return import_module, (module.__name__,)
