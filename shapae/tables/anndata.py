"""AnnData: the choice of one of its matrices, and the names of its columns."""

import warnings
from typing import Any

from shapae.errors import DataError, NamesWarning, UnknownName
from shapae.tables.stored import as_stored_sparse
from shapae.utils.context import ignored_warnings
from shapae.utils.optional import import_optional, is_instance_of
from shapae.utils.text import enumerate_names


def is_anndata(table: object) -> bool:
    """Return whether ``table`` is an AnnData."""
    return is_instance_of(table, "anndata", "AnnData")


def read_matrix(adata: Any, layer: str | None, raw: bool) -> tuple[Any, list[str]]:
    """Select a matrix of ``adata`` and the names of its columns.

    Args:
        adata: AnnData, in memory or backed by a file.
        layer: Name of a layer; None for X.
        raw: Whether to use X and the names of ``adata.raw``.

    Returns:
        (n, d), dense or sparse, in memory or an array in a file; and d unique names.

    Raises:
        DataError: There is no such matrix.
        UnknownName: There is no such layer.
    """
    if layer is not None and raw:
        raise DataError("adata.raw has no layers. Give either layer= or raw=True.")
    if raw and adata.raw is None:
        raise DataError("this AnnData has no .raw. Leave raw=True out, or give layer=.")
    if layer is not None and layer not in adata.layers:
        names = [name for name in adata.layers if name is not None]  # None is X, since anndata 0.13
        raise UnknownName("layer", layer, names)
    source = adata.raw if raw else adata
    matrix = source.X if layer is None else adata.layers[layer]
    if matrix is None:
        raise DataError("this AnnData has no X. Choose a layer, as in shapae.from_anndata(adata, layer='counts').")
    if hasattr(matrix, "to_memory"):  # a sparse matrix in a file
        stored = as_stored_sparse(matrix)
        matrix = matrix.to_memory() if stored is None else stored
    return matrix, unique_names(source.var_names)


def column_of_obs(adata: Any, name: str) -> Any:
    """Select a column of ``adata.obs``.

    Raises:
        UnknownName: There is no such column.
    """
    if name not in adata.obs:
        raise UnknownName("column of obs", name, [str(column) for column in adata.obs])
    return adata.obs[name]


def unique_names(names: Any) -> list[str]:
    """Make ``names`` unique as scanpy does, with a warning if some are repeated.

    Args:
        names: A pandas Index.
    """
    repeated = list(dict.fromkeys(names[names.duplicated()]))
    if repeated:
        warnings.warn(
            f"{enumerate_names(repeated, 'name')} came repeatedly. Repeated names were made unique as by "
            f"adata.var_names_make_unique(): {repeated[0]}-1 is the second. Call it yourself to avoid this warning.",
            NamesWarning,
            stacklevel=2,
        )
    return make_unique(names)


def make_unique(names: Any) -> list[str]:
    """Make ``names`` unique as scanpy does: the second "CD8A" becomes "CD8A-1"."""
    utils = import_optional("anndata", "AnnData").utils
    with ignored_warnings(start="Suffix used"):  # in names that end with a suffix already
        return [str(name) for name in utils.make_index_unique(names.astype(str))]
