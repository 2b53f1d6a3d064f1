"""Stores of HDF5 and Zarr: arrays, and AnnData. The rows of a large table stay in the store."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from shapae.errors import DataError, UnknownName
from shapae.tables.stored import is_large
from shapae.utils.context import ignored_warnings
from shapae.utils.optional import import_optional
from shapae.utils.text import enumerate_names


def read_h5ad(path: Path) -> Any:
    """Read an AnnData as a whole.

    Args:
        path: Path of the file; "cells.h5ad/layers/counts" and "cells.h5ad/raw" have this matrix as X.

    Raises:
        DataError: There is no such matrix.
        UnknownName: There is no such layer.
    """
    file, matrix = split_h5ad(path)
    with _repeated_names_ignored():
        return _with_matrix(import_optional("anndata", "reading a .h5ad").read_h5ad(file), matrix)


def split_h5ad(path: Path) -> tuple[Path, str]:
    """Split the path of a matrix in a .h5ad into the file and the place of the matrix in it; "" for X.

    >>> split_h5ad(Path("cells.h5ad/layers/counts"))
    (PosixPath('cells.h5ad'), 'layers/counts')

    Raises:
        DataError: The place is neither a layer nor raw.
    """
    file = next((each for each in path.parents if each.suffix.lower() == ".h5ad" and not each.is_dir()), path)
    matrix = "" if file == path else path.relative_to(file).as_posix()
    if matrix not in ("", "raw", "raw/X") and not matrix.startswith("layers/"):
        raise DataError(
            f"a .h5ad has no matrix {matrix!r} that shapae reads. Behind the name of the file, write layers/counts for "
            f"the layer counts, raw for adata.raw, and nothing for X."
        )
    return file, matrix


def _repeated_names_ignored() -> AbstractContextManager[None]:
    """Ignore anndata's warning of repeated names while a file is read: shapae's own says more."""
    return ignored_warnings(UserWarning, start="Variable names are not unique")


def _with_matrix(adata: Any, matrix: str) -> Any:
    """Make a matrix of an AnnData its X, with the names of its columns; see ``read_h5ad``.

    Raises:
        DataError: There is no ``raw``.
        UnknownName: There is no such layer.
    """
    kind, _, name = matrix.partition("/")
    if not matrix:
        return adata
    if kind == "raw" and adata.raw is None:
        raise DataError("this AnnData has no .raw. Leave raw out behind the name of the file, or choose a layer.")
    if kind == "layers" and name not in adata.layers:
        raise UnknownName("layer", name, [each for each in adata.layers if each is not None])
    X, var = (adata.raw.X, adata.raw.var) if kind == "raw" else (adata.layers[name], adata.var)
    return type(adata)(X, adata.obs, var)


def open_h5ad(path: Path) -> Any:
    """Open an AnnData; of a large one, X stays in the file, and of the rest only ``obs`` and ``var`` are read.

    Args:
        path: See ``read_h5ad``, also for what is raised.
    """
    file, matrix = split_h5ad(path)
    store = import_optional("h5py", "reading a .h5ad", "anndata").File(file, "r")
    with _repeated_names_ignored():
        return _open_anndata(store, path, read_h5ad, matrix)


def open_zarr(path: Path) -> Any:
    """Open a .zarr: an array with two axes, which stays in the store, or an AnnData.

    Raises:
        DataError: It is something else.
    """
    zarr = import_optional("zarr", "reading a .zarr")
    store = zarr.open(path, mode="r")
    if isinstance(store, zarr.Array):
        return store
    if store.attrs.get("encoding-type") == "anndata":
        return _open_anndata(store, path, import_optional("anndata", "reading an AnnData").read_zarr)
    arrays = sorted(name for name, _ in store.arrays())
    raise DataError(
        f"{path} must be one array (n, d) or an AnnData, but is a group"
        f"{' of ' + enumerate_names(arrays, 'array') if arrays else ' without arrays'}. Choose one array: "
        f"xarray.open_zarr({str(path)!r})[name] has its names, zarr.open({str(path)!r})[name] has none."
    )


def _open_anndata(store: Any, path: Path, read: Callable[[Path], Any], matrix: str = "") -> Any:
    anndata = import_optional("anndata", "reading an AnnData")
    of_raw = "raw/" if matrix.startswith("raw") else ""
    place = matrix if matrix.startswith("layers/") else f"{of_raw}X"
    X: Any = store[place] if place in store else None
    is_sparse = getattr(X, "attrs", {}).get("encoding-type") == "csr_matrix"
    if X is None or not is_large(X.attrs["shape"] if is_sparse else getattr(X, "shape", ())):
        return read(path)
    obs, var = (anndata.io.read_elem(store[name]) for name in ("obs", f"{of_raw}var"))
    return anndata.AnnData(anndata.io.sparse_dataset(X) if is_sparse else X, obs, var)
