"""Refusals of parts of a model that are not clear: what was found, and the line to write for each candidate."""

import re
from collections.abc import Callable, Sequence
from inspect import Parameter, signature
from typing import Any, NoReturn

from torch import nn

from shapae.errors import ModelError, ShapeError
from shapae.models import outputs
from shapae.models.accessors import Given
from shapae.models.trials import Candidate, Trials
from shapae.utils.text import DEVICES_DIFFER, SEVERAL_DEVICES

# Noun of each part, what its tensor must be, and an example of its code.
PARTS = {
    "reconstruct": ("reconstruction", "(n, {d})", "lambda m, x: m(x)[0]"),
    "encode": ("latents", "(n, m)", "lambda m, x: m.layers[:4](x)"),
    "decode": ("decoder", "(n, {d})", "lambda m, z: m.layers[4:](z)"),
    "latent_distribution": ("latent distribution", "(n, m), twice", "lambda m, x: (m.mu(x), m.logvar(x))"),
}


def refuse(part: str, trials: Trials, reason: str, candidates: list[Candidate], roots: list[Any]) -> NoReturn:
    """Raise the error for a part that is not clear.

    Args:
        part: Name of the argument of ``Autoencoder`` that would give the part.
        trials: The model, on a few rows.
        reason: Why the part is not clear.
        candidates: Tensors among which the user may choose.
        roots: Accessors that were run; None is left out.

    Raises:
        ModelError: There are candidates, or a part that was given failed.
        ShapeError: There are no candidates.
    """
    noun, shape, example = PARTS[part]
    n, d = trials.rows.shape
    outcomes = {root: trials.output(root) for root in roots if root}
    failed = [error for error in outcomes.values() if isinstance(error, Exception)]
    cause = failed[0] if failed else None
    if isinstance(cause, ModelError):
        raise cause
    gives = "; ".join(f"{root} gives {outputs.describe_output(output)}" for root, output in outcomes.items())
    start = f"the {noun} of {type(trials.runner.model).__name__} can't be found: {reason}."
    start += f" For {n} rows of {d} columns, {gives}. Expected is the shape {shape.format(d=d)}." if gives else ""
    failing = outcomes if len(failed) == len(outcomes) else ()
    hint = next((hint for root in failing if (hint := _input_hint(trials, root, part))), None)
    if hint:
        name, error = type(trials.runner.model).__name__, outputs.describe_output(cause)
        raise ShapeError(f"{name} can't be run on {n} rows of {d} columns: {error}. {hint}") from cause
    lines = "; or ".join(dict.fromkeys(each.line(part) for each in candidates if hasattr(each.accessor, "code")))
    if lines:
        raise ModelError(f"{start} Write the line that is meant: {lines}.") from cause
    raise ShapeError(f"{start} Say how to compute it: Autoencoder(model, {part}={example}).") from cause


def refuse_decoder(model: nn.Module) -> NoReturn:
    """Raise the error for a model without a decoder.

    Raises:
        ModelError: Always.
    """
    raise ModelError(
        f"{type(model).__name__} has neither `decode` nor `decoder`. Say how it decodes: "
        f"Autoencoder(model, decode={PARTS['decode'][2]})."
    )


def _input_hint(trials: Trials, root: Any, part: str) -> str | None:
    """Say how to call a part that takes something else than rows (n, d); None if it takes rows."""
    error, d = trials.output(root), trials.rows.shape[1]
    if not isinstance(error, Exception):
        return None
    if any(part in str(error) for part in DEVICES_DIFFER):
        return f"It {SEVERAL_DEVICES}"
    if isinstance(root, Given) and DIFFERENT_SIZES.search(str(error)):
        return (
            f"{ANY_ROWS} It gets {len(trials.rows)} of them here, and makes all that the model takes as long as these."
        )
    model = trials.runner.model
    required, optional = _inputs(model.forward)
    if len(required) > 1:
        return f"It takes {len(required)} inputs, {', '.join(required)}. {_held_fixed(required[1:], part)}"
    more = f" {_also_takes(optional, part)}" if optional else ""
    found = ((hint, each) for each in model.modules() for kind, hint in LAYERS.items() if isinstance(each, kind))
    hint, layer = next(found, (None, None))
    if more and not TABLE_UNFIT.search(str(error)):
        return more.strip()
    said = hint(layer, d) if hint else None
    return said + more if said and more and getattr(layer, "in_features", 0) > d else said


# Messages of torch about tensors of other lengths, such as labels of all rows beside a few rows.
DIFFERENT_SIZES = re.compile("[Ss]izes? of tensor|[Ee]xpected size")
# Messages of torch about a table that a layer can't take.
TABLE_UNFIT = re.compile("cannot be multiplied|[Ee]xpected .*input")
# Sentence on a function of the user.
ANY_ROWS = (
    "The function is called with any number of rows x, which are mixtures of rows of the table. What else the model "
    "takes must be as long as x: Autoencoder(model, reconstruct=lambda m, x: m(x, torch.zeros(len(x)).long()))."
)


def _held_fixed(names: Sequence[str], part: str) -> str:
    """Say how to call a model with other inputs than the rows: the same ones for all rows."""
    others = ", ".join(f"{name}=torch.zeros(len(x)).long()" for name in names)
    return f"Hold {' and '.join(names)} fixed: Autoencoder(model, {part}=lambda m, x: m(x, {others}))."


def _also_takes(names: Sequence[str], part: str) -> str:
    return f"Its forward also takes {', '.join(names)}, which was not given. {_held_fixed(names, part)}"


def _inputs(function: Callable[..., Any]) -> tuple[list[str], list[str]]:
    """List the arguments that a function must be given, and those whose default is None: inputs, not settings."""
    try:
        parameters = signature(function).parameters.values()
    except (TypeError, ValueError):  # of a scripted module
        return [], []
    kinds = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
    named = [each for each in parameters if each.kind in kinds]
    required = [each.name for each in named if each.default is Parameter.empty]
    return required, [each.name for each in named[1:] if each.default is None]


def _shaped(view: str, what: str) -> str:
    return (
        f"Its first layer takes {what}. Shape the columns for it, and flatten what it returns: Autoencoder(model, "
        f"reconstruct=lambda m, x: m({view}).flatten(1), encode=lambda m, x: m.encoder({view}).flatten(1))."
    )


def _linear(layer: Any, d: int) -> str | None:
    width = layer.in_features
    if width == d:
        return None
    if d % width == 0:
        return _shaped(
            f"x.unflatten(1, ({d // width}, {width}))", f"{width} columns, of which there are {d // width} times"
        )
    return f"Its first layer takes {width} columns, and the table has {d}. Give the table that it was trained on."


def _recurrent(layer: Any, d: int) -> str:
    return _shaped(f"x.unflatten(1, (-1, {layer.input_size}))", f"a sequence (n, steps, {layer.input_size})")


def _convolution(layer: Any, d: int) -> str:
    channels = layer.in_channels
    view = "x.unsqueeze(1)" if channels == 1 else f"x.unflatten(1, ({channels}, -1))"
    return _shaped(view, f"{channels} channel{'s' * (channels > 1)}, (n, {channels}, length)")


LAYERS: dict[type[nn.Module], Callable[[Any, int], str | None]] = {
    nn.Linear: _linear,
    nn.RNNBase: _recurrent,
    nn.Conv1d: _convolution,
}
