"""Models in files: their weights, and the name of the function that makes the model. Files of weights run no code."""

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from shapae.errors import ModelError, OutputError
from shapae.models.autoencoder import Autoencoder
from shapae.models.unreadable import describe_unreadable, refuse_compressed
from shapae.utils.context import ignored_warnings, preserve_rng
from shapae.utils.text import enumerate_names, one_line

# Names of the state_dict of a model in a checkpoint.
NESTED = ("state_dict", "model_state_dict")


def load_model(factory: str, weights: Path) -> nn.Module:
    """Make a model and load its weights.

    Args:
        factory: See ``make_model``.
        weights: File of its state_dict: ``.safetensors``, or from ``torch.save(model.state_dict(), path)``.

    Raises:
        ModelError: There is no such factory, or the weights can't be read or are for another model.
    """
    model = make_model(factory)
    load_state(model, read_state(weights), f"the weights in {weights}", factory)
    return model


def make_model(factory: str) -> nn.Module:
    """Import a factory and call it.

    Args:
        factory: "package.module:name" of a function without arguments that returns the model, or an Autoencoder.

    Raises:
        ModelError: There is no such factory, it fails, or it returns no model.
    """
    make = import_object(factory)
    try:
        with preserve_rng():  # the factory draws initial weights
            model = make()
    except Exception as error:
        reason = one_line(error).rstrip(".")
        raise ModelError(f"{factory} can't be called without arguments: {type(error).__name__}: {reason}.") from error
    if not isinstance(model, nn.Module):
        raise ModelError(f"{factory} must return a torch.nn.Module, got {type(model).__name__}.")
    return model


def import_object(spec: str, kind: str = "factory") -> Any:
    """Import an object by "package.module:name".

    Args:
        spec: Where it is.
        kind: A noun for it, for messages.

    Raises:
        ModelError: It is not there, or the module can't be imported.
    """
    module, _, name = spec.partition(":")
    try:
        return attrgetter(name)(import_module(module))
    except (ImportError, AttributeError, ValueError) as error:
        raise ModelError(
            f"can't find {spec!r}: {error}. A {kind} is given as package.module:{kind}. Run in the folder of the "
            f"package."
        ) from error
    except Exception as error:
        reason = one_line(error).rstrip(".")
        raise ModelError(f"{module} can't be imported: {type(error).__name__}: {reason}.") from error


def name_factory(factory: Callable[[], Any]) -> str:
    """Name a function or a class by which another process can import it: "package.module:name".

    Raises:
        ModelError: It can't be imported by its name.
    """
    module, name = getattr(factory, "__module__", None), getattr(factory, "__qualname__", type(factory).__name__)
    spec = f"{module}:{name}"
    try:
        found: Any = None if module == "__main__" else import_object(spec)
    except ModelError:
        found = None
    if found != factory:
        raise ModelError(f"no other process can import {name} of {module}. Move it into a module, such as my_model.py.")
    return spec


def read_state(path: Path) -> dict[str, Any]:
    """Read a state_dict, also that of a checkpoint; no code in the file is run.

    Raises:
        ModelError: The file can't be read, or holds something else.
    """
    try:
        refuse_compressed(path)
        with ignored_warnings(start="Detected pickle protocol"):  # an error says it in our words
            state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(describe_unreadable(path, error)) from error
    nested = state
    if isinstance(state, dict):
        nested = next((state[name] for name in NESTED if isinstance(state.get(name), dict)), state)
    if not isinstance(nested, dict) or not all(isinstance(name, str) for name in nested):
        raise ModelError(f"{path} must hold a state_dict, from names to tensors, got {type(nested).__name__}.")
    return nested


def write_state(state: Mapping[str, Any], path: Path) -> None:
    """Write a state_dict as safetensors; tensors that share their memory are written each for itself.

    Raises:
        OutputError: It holds something that is no dense tensor.
    """
    others = [f"{name} ({_kind(each)})" for name, each in state.items() if not _is_plain(each)]
    if others:
        raise OutputError(
            f"only dense tensors can be saved, but the state_dict of the model has {enumerate_names(others, 'entry')}. "
            f"Leave out what get_extra_state returns, or make it a tensor."
        )
    own = {name: each.detach().cpu().clone(memory_format=torch.contiguous_format) for name, each in state.items()}
    path.write_bytes(save(own))  # save_file writes files that no other user may read


def _is_plain(each: Any) -> bool:
    if not isinstance(each, Tensor):
        return False
    return each.layout == torch.strided and not (each.is_quantized or each.is_complex() or each.is_meta)


def _kind(each: Any) -> str:
    if not isinstance(each, Tensor):
        return type(each).__name__
    return "on the device meta" if each.is_meta else f"{each.dtype}, {each.layout}"


def load_state(model: nn.Module, state: Mapping[str, Any], what: str, factory: str) -> None:
    """Load a state_dict into a model; into the inner model of an Autoencoder, unless it is of the Autoencoder itself.

    Args:
        model: It is changed.
        state: From names to tensors.
        what: Name of the weights, for messages.
        factory: Name of the model, for messages.

    Raises:
        ModelError: The weights are for another model.
    """
    for _, each in _tensors(model):
        if 0 in each.stride():  # torch does not write into expanded tensors
            each.data = each.data.clone(memory_format=torch.contiguous_format)
    wraps = isinstance(model, Autoencoder) and model.state_dict().keys() != state.keys()
    inner: Any = model.model if wraps else model
    _check_entries(inner.state_dict(), state, what, factory)
    try:
        missing, unexpected = inner.load_state_dict(state, strict=False)
    except Exception as error:  # of entries that a module reads by itself
        raise ModelError(f"{what} do not fit the model of {factory}: {one_line(error)}") from error
    if missing or unexpected:
        parts = [f"without {enumerate_names(missing, 'entry')}"] if missing else []
        parts += [f"with unexpected {enumerate_names(unexpected, 'entry')}"] if unexpected else []
        raise ModelError(f"{what} are not of the model of {factory}: they come {' and '.join(parts)}.")


def _check_entries(own: Mapping[str, Any], state: Mapping[str, Any], what: str, factory: str) -> None:
    """Check that the tensors of a state_dict are of the kinds and the shapes of those of the same names in another one.

    Raises:
        ModelError: They are not.
    """
    start = f"{what} do not fit the model of {factory}"
    both = [(name, each, state[name]) for name, each in own.items() if name in state and isinstance(each, Tensor)]
    kinds = [f"{name} ({_kind(given)})" for name, each, given in both if _is_plain(each) and not _is_plain(given)]
    if kinds:
        raise ModelError(f"{start}, which takes dense tensors of real numbers: {enumerate_names(kinds, 'entry')}.")
    shapes = [
        f"{name} {tuple(given.shape)} instead of {tuple(each.shape)}"
        for name, each, given in both
        if not is_lazy(each) and isinstance(given, Tensor) and given.shape != each.shape
    ]
    if shapes:
        raise ModelError(f"{start}, by their shapes: {enumerate_names(shapes, 'entry')}.")


def match_dtypes(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Give floating point parameters and buffers the dtypes of a state_dict, as ``model.double()`` does.

    Args:
        model: It is changed.
        state: From names to tensors. If all have one dtype, buffers that are not in a state_dict get it, too.
    """
    floats = {name: each.dtype for name, each in state.items() if each.is_floating_point()}
    changed = [(each, floats[name]) for name, each in _tensors(model) if name in floats and each.dtype != floats[name]]
    for each, dtype in changed:
        each.data = each.data.to(dtype)
    if changed and len({*floats.values()}) == 1:
        model.to(changed[0][1])


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for named in (model.named_parameters, model.named_buffers):
        yield from ((name, each) for name, each in named(remove_duplicate=False) if not is_lazy(each))
