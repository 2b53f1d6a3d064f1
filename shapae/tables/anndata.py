"""AnnData as people bring it: which matrix of it is meant, and what its rows and columns are called."""

import warnings
from typing import Any

from shapae.errors import DataError, NamesWarning, UnknownName
from shapae.utils.optional import import_optional, is_instance_of
from shapae.utils.text import enumerate_names


def is_anndata(table: object) -> bool:
    """Whether ``table`` is an AnnData."""
    return is_instance_of(table, "anndata", "AnnData")


def read_matrix(adata: Any, layer: str | None, raw: bool) -> tuple[Any, list[str]]:
    """A matrix of ``adata``, and the names of its columns.

    Args:
        adata: AnnData, also one that is backed by a file.
        layer: Name of a layer; None for X.
        raw: Take X and the names of ``adata.raw``.

    Returns:
        (n, d), dense or sparse, in memory or an array in a file; and d unique names.

    Raises:
        DataError: There is no such matrix.
        UnknownName: There is no such layer.
    """
    if layer is not None and raw:
        raise DataError("adata.raw has no layers; give either layer= or raw=True.")
    if raw and adata.raw is None:
        raise DataError("this AnnData has no .raw; leave raw=True out, or give a layer=.")
    if layer is not None and layer not in adata.layers:
        raise UnknownName("layer", layer, list(adata.layers))
    source = adata.raw if raw else adata
    matrix = source.X if layer is None else adata.layers[layer]
    if matrix is None:
        raise DataError(
            "this AnnData has no X; choose a layer of it, as in shapae.from_anndata(adata, layer='counts')."
        )
    if hasattr(matrix, "to_memory"):  # sparse, in a file
        matrix = matrix.to_memory()
    return matrix, unique_names(source.var_names)


def unique_names(names: Any) -> list[str]:
    """``names`` as scanpy makes them unique, with a warning if it has to.

    Args:
        names: A pandas Index.
    """
    repeated = list(dict.fromkeys(names[names.duplicated()]))
    if repeated:
        warnings.warn(
            f"{enumerate_names(repeated, 'name')} came repeatedly; they were made unique as "
            f"adata.var_names_make_unique() does: "
            f"{repeated[0]}-1 is the second. Call it yourself, before, and it is not said again.",
            NamesWarning,
            stacklevel=2,
        )
    return make_unique(names)


def make_unique(names: Any) -> list[str]:
    """``names`` as scanpy makes them unique: the second "CD8A" is "CD8A-1"."""
    utils = import_optional("anndata", "AnnData").utils
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Suffix used")  # in names that had one already
        return [str(name) for name in utils.make_index_unique(names.astype(str))]
