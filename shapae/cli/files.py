"""Loading of models from files, by the names of their factories."""

from importlib import import_module
from pathlib import Path
from typing import Any

from torch import nn

from shapae.errors import ModelError
from shapae.models.files import load_weights
from shapae.utils.text import one_line


def load_model(factory: str, weights: Path) -> nn.Module:
    """Build a model and load its weights.

    Args:
        factory: "package.module:name" of a function without arguments that returns the model.
        weights: File of its state_dict: ``.safetensors``, or from ``torch.save(model.state_dict(), path)``.

    Raises:
        ModelError: There is no such factory, or the weights can't be read or are for another model.
    """
    model = _import_factory(factory)()
    if not isinstance(model, nn.Module):
        raise ModelError(f"{factory} must return a torch.nn.Module, got {type(model).__name__}.")
    try:
        missing, unexpected = model.load_state_dict(load_weights(weights), strict=False)
    except RuntimeError as error:
        raise ModelError(f"the weights in {weights} do not fit the model of {factory}: {one_line(error)}") from error
    if missing or unexpected:
        raise ModelError(
            f"the weights in {weights} are not of the model of {factory}: {missing or 'none'} are missing, "
            f"{unexpected or 'none'} are unexpected."
        )
    return model


def _import_factory(spec: str) -> Any:
    module, _, name = spec.partition(":")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ModelError(
            f"can't find {spec!r}: {error}. A factory is given as package.module:factory. Run the command in the "
            f"folder of the package."
        ) from error
