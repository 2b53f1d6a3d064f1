"""Blocks as chunks of Zarr arrays."""

import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shapae.explainer.export import PER_ROW
from shapae.explainer.written.arrays import PER_VALUE
from shapae.utils.optional import import_optional
from shapae.utils.resumable import Arrays, scratch_in

STORE = "explanation.zarr"
# Names of the axes of the arrays, as xarray reads them.
AXES = {"data": ("row", "feature"), "used": ("row",)}
ROW_AXES, VALUE_AXES = ("row", "output"), ("row", "feature", "output")
KNOWN = {*AXES, *PER_ROW, *PER_VALUE}


class ZarrFiles:
    """One Zarr array of each kind for all rows, in the group "explanation.zarr"; a block is a chunk of it.

    Args:
        blocks: From names of all blocks to their rows.
        attributes: Attributes of the group, which JSON can hold.
    """

    def __init__(self, blocks: dict[str, slice], attributes: dict[str, Any]) -> None:
        self._blocks, self._attributes = blocks, attributes
        import_optional("zarr", "format='zarr'")

    def write(self, folder: Path, block: str, arrays: Arrays, facts: dict[str, Any]) -> None:
        """Write the chunks of a block; the arrays are made by the first one."""
        import zarr

        rows = self._blocks[block]
        for name, array in arrays.items():
            if not (folder / STORE / name).exists():
                self._create(folder, name, array)
            whole = zarr.open_array(folder / STORE / name, mode="r+")
            whole[rows] = array

    def _create(self, folder: Path, name: str, like: NDArray[Any]) -> None:
        """Create an array elsewhere, and move it to its place, unless another process was faster."""
        import zarr

        (first, *_), n = self._blocks.values(), max(rows.stop for rows in self._blocks.values())
        axes = AXES.get(name) or (ROW_AXES if name in PER_ROW else VALUE_AXES)
        with scratch_in(folder) as scratch:
            fresh = zarr.open_group(scratch / STORE, mode="w", attributes=self._attributes)
            fresh.create_array(
                name,
                shape=(n, *like.shape[1:]),
                chunks=(first.stop, *like.shape[1:]),
                dtype=like.dtype,
                fill_value=np.nan if like.dtype.kind == "f" else 0,
                dimension_names=axes,
            )
            (folder / STORE).mkdir(exist_ok=True)
            for part in ("zarr.json", name):
                with suppress(OSError):  # it is there already
                    (scratch / STORE / part).rename(folder / STORE / part)

    def read(self, folder: Path, block: str) -> dict[str, NDArray[Any]]:
        """Read the arrays of a block."""
        import zarr

        group = zarr.open_group(folder / STORE, mode="r")
        ours = ((name, array) for name, array in group.arrays() if name in KNOWN)  # others may have added their own
        return {name: np.asarray(array[self._blocks[block]]) for name, array in ours}

    def delete(self, folder: Path) -> None:
        """Delete the arrays."""
        shutil.rmtree(folder / STORE, ignore_errors=True)
