"""The choice of parameters, by name or by the order in which layers run."""

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from shapae.errors import DataError, ModelError, UnknownName
from shapae.heads.score import Score

LAST = re.compile(r"last(?::(\d+))?")
# Paths of modules that compute a weight of a layer.
INNER = re.compile(r"(^|\.)parametrizations(\.|$)")


def choose_parameters(model: nn.Module, chosen: str | Sequence[str], score: Score, rows: Tensor) -> list[str]:
    """Choose parameters of a model.

    Args:
        model: The model, which is run by ``score``.
        chosen: "all" for all parameters that were trained, which are those with ``requires_grad``, or all if none has
            it; "last" for those of the last layer that is run, "last:2" for two layers; or patterns of names, such as
            "decoder.*".
        score: The score whose layers are counted.
        rows: Some rows.

    Returns:
        Names, in the order of ``model.named_parameters()``. A parameter that several layers share has its first name.

    Raises:
        ModelError: The model has no parameters of floating point.
        UnknownName: A pattern matches none of them.
        DataError: ``chosen`` is neither a string nor a list of strings, or counts no layer.
    """
    named = {name: each for name, each in model.named_parameters(remove_duplicate=False) if each.is_floating_point()}
    if not named:
        raise ModelError("the model has no parameters of floating point, so that no row can have changed them.")
    patterns = [chosen] if isinstance(chosen, str) else list(chosen) if isinstance(chosen, Iterable) else []
    if not patterns or not all(isinstance(each, str) for each in patterns):
        raise DataError(
            f"parameters must be 'all', 'last', 'last:2', or patterns of names such as 'decoder.*', got {chosen!r}."
        )
    trained = [name for name, each in named.items() if each.requires_grad] or list(named)
    found: set[str] = set()
    for pattern in patterns:
        found |= {*_match(pattern, list(named), trained, model, score, rows)}
    wanted = {id(named[name]) for name in found}
    return [name for name, each in model.named_parameters() if id(each) in wanted]


def _match(
    pattern: str, names: list[str], trained: list[str], model: nn.Module, score: Score, rows: Tensor
) -> Sequence[str]:
    last = LAST.fullmatch(pattern)
    if pattern == "all":
        return trained
    if last and pattern not in names:
        return _of_last_layers(int(last[1] or 1), names, model, score, rows)
    matching = [name for name in names if fnmatchcase(name, pattern)]
    if not matching:
        raise UnknownName("parameter", pattern, names)
    return matching


def _of_last_layers(count: int, names: list[str], model: nn.Module, score: Score, rows: Tensor) -> list[str]:
    """Name the parameters of the last layers that are run; a layer is a module with parameters of its own.

    Those of which a parametrization computes the weight of a layer are the layer's own.

    Raises:
        DataError: There are fewer layers.
    """
    paths = {module: path for path, module in model.named_modules()}
    layers = {module: path for module, path in paths.items() if _own_names(module) and not INNER.search(path)}
    order: list[str] = []
    handles = [module.register_forward_hook(lambda each, *_: order.append(layers[each])) for module in layers]
    try:
        with torch.no_grad():
            score.self_scores(rows)
    finally:
        for handle in handles:
            handle.remove()
    run = list(dict.fromkeys(order[::-1]))
    if not 1 <= count <= len(run):
        raise DataError(f"the model runs {len(run)} layers with parameters, so that parameters='last:{count}' is none.")
    modules = ((path, model.get_submodule(path)) for path in run[:count])
    chosen = {f"{path}.{own}".lstrip(".") for path, module in modules for own in _own_names(module)}
    return [name for name in names if name in chosen]


def _own_names(module: nn.Module) -> list[str]:
    """Name the parameters of a layer itself, also those of its parametrizations."""
    names = [name for name, _ in module.named_parameters(recurse=False)]
    inner = module.parametrizations if is_parametrized(module) else None
    if isinstance(inner, nn.Module):
        names += [f"parametrizations.{name}" for name, _ in inner.named_parameters(remove_duplicate=False)]
    return names
