"""Blocks as chunks of Zarr arrays."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shapae.explainer.export import PER_ROW
from shapae.explainer.written.arrays import PER_FEATURE, PER_VALUE
from shapae.utils.atomic import scratch_in
from shapae.utils.optional import import_optional
from shapae.utils.resumable import Arrays

STORE = "explanation.zarr"
# Names of the axes of the arrays, as xarray reads them.
AXES = {**dict.fromkeys(PER_FEATURE, ("row", "feature")), "used": ("row",)}
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

    def write(self, folder: Path, block: str, arrays: Arrays, facts: dict[str, Any]) -> list[Path]:
        """Write the chunks of a block, and where they are missing the descriptions of the arrays."""
        import zarr

        rows, chunk, store = self._blocks[block], str([*self._blocks].index(block)), folder / STORE
        paths = self._describe(folder, arrays)
        for name, array in arrays.items():
            # A chunk of numbers that are all missing has a file, too.
            whole = zarr.open_array(store / name, mode="r+", config={"write_empty_chunks": True})
            whole[rows] = array
            paths.append(store.joinpath(name, "c", chunk, *["0"] * (array.ndim - 1)))
        return paths

    def _describe(self, folder: Path, arrays: Arrays) -> list[Path]:
        """Put the descriptions of the group and of its arrays in place; they are the same for each block."""
        import zarr

        (first, *_), n = self._blocks.values(), max(rows.stop for rows in self._blocks.values())
        with scratch_in(folder) as scratch:
            group = zarr.open_group(scratch / STORE, mode="w", attributes=self._attributes)
            for name, like in arrays.items():
                group.create_array(
                    name,
                    shape=(n, *like.shape[1:]),
                    chunks=(first.stop, *like.shape[1:]),
                    dtype=like.dtype,
                    fill_value=np.nan if like.dtype.kind == "f" else 0,
                    dimension_names=AXES.get(name) or (ROW_AXES if name in PER_ROW else VALUE_AXES),
                )
            fresh = sorted(scratch.rglob("zarr.json"))
            paths = [folder / path.relative_to(scratch) for path in fresh]
            for each, path in zip(fresh, paths, strict=True):
                if not path.exists() or path.read_bytes() != each.read_bytes():
                    path.parent.mkdir(parents=True, exist_ok=True)
                    each.replace(path)
        return paths

    def read(self, folder: Path, block: str) -> dict[str, NDArray[Any]]:
        """Read the arrays of a block."""
        import zarr

        group = zarr.open_group(folder / STORE, mode="r")
        ours = ((name, array) for name, array in group.arrays() if name in KNOWN)  # others may have added their own
        return {name: np.asarray(array[self._blocks[block]]) for name, array in ours}
