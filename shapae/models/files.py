"""Weights in files; no code in such a file is run."""

import pickle
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import torch
from safetensors.torch import load_file
from torch.serialization import get_unsafe_globals_in_checkpoint

from shapae.errors import ModelError
from shapae.utils.text import one_line


def load_weights(path: Path) -> dict[str, Any]:
    """Load the state_dict in a file: ``.safetensors``, or of ``torch.save``.

    Raises:
        ModelError: The file can't be read, or holds more than weights.
    """
    try:
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except Exception as error:
        if isinstance(error, pickle.UnpicklingError) and is_zipfile(path):
            raise ModelError(
                f"{path} holds more than weights: loading it would run "
                f"{', '.join(get_unsafe_globals_in_checkpoint(path))}. Only a state_dict is loaded. If you trust the "
                f"file, load it and save the weights: torch.save(model.state_dict(), 'weights.pt')."
            ) from error
        raise ModelError(f"can't read the weights in {path}: {one_line(error)}") from error
    if not isinstance(state, dict):
        raise ModelError(f"{path} must hold a state_dict, got {type(state).__name__}.")
    nested = state.get("state_dict")  # of a checkpoint
    return nested if isinstance(nested, dict) else state
