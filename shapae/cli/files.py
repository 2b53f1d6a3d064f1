"""Loading of models and tables from files; no code in a file of weights or a table is run."""

import pickle
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file
from torch import nn
from torch.serialization import get_unsafe_globals_in_checkpoint

from shapae.errors import DataError, MissingPackage, ModelError
from shapae.utils.optional import import_optional


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
        missing, unexpected = model.load_state_dict(_load_weights(weights), strict=False)
    except RuntimeError as error:
        raise ModelError(f"the weights in {weights} do not fit the model of {factory}: {_one_line(error)}") from error
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


def _load_weights(path: Path) -> dict[str, Any]:
    try:
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except Exception as error:
        if isinstance(error, pickle.UnpicklingError) and is_zipfile(path):
            raise ModelError(
                f"{path} holds more than weights: loading it would run "
                f"{', '.join(get_unsafe_globals_in_checkpoint(path))}. Only a state_dict is loaded. If you trust the "
                f"file, load it and save the weights: torch.save(model.state_dict(), 'weights.pt')."
            ) from error
        raise ModelError(f"can't read the weights in {path}: {_one_line(error)}") from error
    if not isinstance(state, dict):
        raise ModelError(f"{path} must hold a state_dict, got {type(state).__name__}.")
    nested = state.get("state_dict")  # of a checkpoint
    return nested if isinstance(nested, dict) else state


def load_table(path: Path) -> Any:
    """Load a table by its file extension: .csv, .parquet, .h5ad or .npy.

    The first column of a .csv is an index if it has text or no name. A .h5ad is loaded as an AnnData. A .npy is
    memory-mapped.

    Raises:
        DataError: The table can't be read, or has another extension.
        MissingPackage: The table is a .h5ad, and anndata is not installed.
    """
    mapped = partial(np.load, mmap_mode="r")
    readers: dict[str, Any] = {".csv": _read_csv, ".parquet": pd.read_parquet, ".h5ad": _read_h5ad, ".npy": mapped}
    if path.suffix not in readers:
        raise DataError(f"{path} must end with {', '.join(readers)}, got {path.suffix or 'no extension'!r}.")
    try:
        return readers[path.suffix](path)
    except MissingPackage:
        raise
    except Exception as error:
        raise DataError(f"can't read the table in {path}: {_one_line(error)}") from error


def _read_csv(path: Path) -> pd.DataFrame:
    table = pd.read_csv(path, float_precision="round_trip")
    first = table.columns[0]
    is_index = first == "Unnamed: 0" or not pd.api.types.is_numeric_dtype(table[first])
    return table.set_index(first) if is_index else table


def _read_h5ad(path: Path) -> Any:
    return import_optional("anndata", "reading a .h5ad").read_h5ad(path)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
