"""Stores of HDF5 and Zarr: arrays, and AnnData. The rows of a large table stay in the store."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from shapae.errors import DataError
from shapae.tables.stored import is_large
from shapae.utils.optional import import_optional
from shapae.utils.text import enumerate_names


def read_h5ad(path: Path) -> Any:
    """Read an AnnData as a whole."""
    return import_optional("anndata", "reading a .h5ad").read_h5ad(path)


def open_h5ad(path: Path) -> Any:
    """Open an AnnData; of a large one, X stays in the file, and of the rest only ``obs`` and ``var`` are read."""
    file = import_optional("h5py", "reading a .h5ad", "anndata").File(path, "r")
    return _open_anndata(file, path, read_h5ad)


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


def _open_anndata(store: Any, path: Path, read: Callable[[Path], Any]) -> Any:
    anndata = import_optional("anndata", "reading an AnnData")
    X: Any = store["X"] if "X" in store else None
    is_sparse = getattr(X, "attrs", {}).get("encoding-type") == "csr_matrix"
    if not is_large(X.attrs["shape"] if is_sparse else getattr(X, "shape", ())):
        return read(path)
    obs, var = (anndata.io.read_elem(store[name]) for name in ("obs", "var"))
    return anndata.AnnData(anndata.io.sparse_dataset(X) if is_sparse else X, obs, var)
