"""Models and tables read from files. Nothing in a file is run."""

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
    """Build a model and give it its weights.

    Args:
        factory: "package.module:name" of something that is called without arguments and returns the model.
        weights: Its state_dict, as ``.safetensors`` or as written by ``torch.save(model.state_dict(), path)``.

    Raises:
        ModelError: There is no such factory, or the weights can't be read or are for another model.
    """
    model = _factory(factory)()
    if not isinstance(model, nn.Module):
        raise ModelError(f"{factory} must return a torch.nn.Module, got {type(model).__name__}.")
    try:
        missing, unexpected = model.load_state_dict(_load_weights(weights), strict=False)
    except RuntimeError as error:
        raise ModelError(f"the weights in {weights} do not fit the model of {factory}: {_line(error)}") from error
    if missing or unexpected:
        raise ModelError(
            f"the weights in {weights} are not those of the model of {factory}: "
            f"they lack {missing or 'nothing'} and have {unexpected or 'nothing'} too many."
        )
    return model


def _factory(spec: str) -> Any:
    module, _, name = spec.partition(":")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ModelError(
            f"can't find {spec!r}: {error}. Give it as package.module:factory, from the folder that holds the package."
        ) from error


def _load_weights(path: Path) -> dict[str, Any]:
    try:
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except Exception as error:
        if isinstance(error, pickle.UnpicklingError) and is_zipfile(path):
            raise ModelError(
                f"{path} holds more than weights: to read it, Python would have to run "
                f"{', '.join(get_unsafe_globals_in_checkpoint(path))}. Save it again where you trust it: "
                f"torch.save(model.state_dict(), 'weights.pt')."
            ) from error
        raise ModelError(f"can't read the weights in {path}: {_line(error)}") from error
    if not isinstance(state, dict):
        raise ModelError(f"{path} must hold a state_dict, got {type(state).__name__}.")
    inner = state.get("state_dict")
    return inner if isinstance(inner, dict) else state


def load_table(path: Path) -> Any:
    """Read a table by the ending of its name: .csv, .parquet, .h5ad or .npy.

    In a .csv, a first column of text, or without a name, holds the names of the rows. Of a .h5ad, an AnnData comes
    back. A .npy stays in its file, and is read as it is needed.

    Raises:
        DataError: It can't be read, or has another ending.
        MissingPackage: anndata is not installed, and it is a .h5ad.
    """
    stays = partial(np.load, mmap_mode="r")
    readers: dict[str, Any] = {".csv": _read_csv, ".parquet": pd.read_parquet, ".h5ad": _read_h5ad, ".npy": stays}
    if path.suffix not in readers:
        raise DataError(f"{path} must end with {', '.join(readers)}, got {path.suffix or 'no ending'!r}.")
    try:
        return readers[path.suffix](path)
    except MissingPackage:
        raise
    except Exception as error:
        raise DataError(f"can't read the table in {path}: {_line(error)}") from error


def _read_csv(path: Path) -> pd.DataFrame:
    table = pd.read_csv(path, float_precision="round_trip")
    first = table.columns[0]
    named = first == "Unnamed: 0" or not pd.api.types.is_numeric_dtype(table[first])
    return table.set_index(first) if named else table


def _read_h5ad(path: Path) -> Any:
    return import_optional("anndata", "reading a .h5ad").read_h5ad(path)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
