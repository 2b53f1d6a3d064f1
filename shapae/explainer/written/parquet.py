"""Blocks as Parquet files: one line for each row and output."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shapae.explainer.export import PER_ROW
from shapae.explainer.written.arrays import PER_FEATURE, PER_VALUE
from shapae.utils.atomic import put_file
from shapae.utils.optional import import_optional
from shapae.utils.resumable import Arrays

SUFFIX = ".parquet"
# Names of the columns of numbers of a row.
COLUMNS = {"scores": "score", "base_values": "base_value", "residual": "residual"}


class ParquetFiles:
    """One Parquet file for each block, which any reader of Parquet takes, alone or with the others of the folder.

    A line is a row, for a head with several outputs a row and an output. Its columns are ``position``, the number of
    the row; ``row``, its name; ``output``; ``score``, ``base_value``, ``residual``, ``used``; and for each feature
    ``value:<feature>``, ``standard_error:<feature>``, ``background_error:<feature>``, ``data:<feature>`` and
    ``category:<feature>``, as far as they are known.

    Args:
        features: d names.
        outputs: k names.
        names_as_text: Whether the column ``row`` is text, since not all names of rows are of one type.
    """

    def __init__(self, features: Sequence[str], outputs: Sequence[str], *, names_as_text: bool = False) -> None:
        self._features, self._outputs, self._names_as_text = list(features), list(outputs), names_as_text
        import_optional("pyarrow", "format='parquet'", extra="parquet")

    def write(self, folder: Path, block: str, arrays: Arrays, facts: dict[str, Any]) -> list[Path]:
        """Write the file of a block; ``facts`` has the number of its first row and the names of its rows."""
        import pyarrow
        from pyarrow import parquet

        (first, last), names, k = facts["rows"], facts["row_names"], len(self._outputs)
        columns = {"position": np.arange(first, last).repeat(k)}
        if names is not None:
            column = np.array([*map(str, names)], dtype=object) if self._names_as_text else np.array(names)
            columns["row"] = column.repeat(k)
        table = pyarrow.table(columns | dict(to_columns(arrays, self._features, self._outputs)))
        settings = {"compression": "zstd", "use_dictionary": ["row", "output"]}
        path = folder / f"{block}{SUFFIX}"
        put_file(path, lambda fresh: parquet.write_table(table, fresh, **settings))
        return [path]

    def read(self, folder: Path, block: str) -> dict[str, NDArray[Any]]:
        """Read the arrays of a block."""
        from pyarrow import parquet

        table = parquet.ParquetFile(folder / f"{block}{SUFFIX}").read()
        k = len(self._outputs)
        arrays = {name: table[column].to_numpy().reshape(-1, k) for name, column in COLUMNS.items()}
        for name, prefix in (PER_VALUE | PER_FEATURE).items():
            names = [f"{prefix}:{feature}" for feature in self._features]
            if names[0] in table.column_names:
                stacked = np.stack([table[each].to_numpy() for each in names])
                arrays[name] = np.ascontiguousarray(stacked.reshape(len(names), -1, k).transpose(1, 0, 2))
        arrays |= {name: np.ascontiguousarray(arrays[name][..., 0]) for name in PER_FEATURE if name in arrays}
        return arrays | ({"used": table["used"].to_numpy()[::k]} if "used" in table.column_names else {})


def to_columns(arrays: Arrays, features: Sequence[str], outputs: Sequence[str]) -> Iterator[tuple[str, NDArray[Any]]]:
    """Make the columns of ``ParquetFiles`` with their names, but for those that name the rows.

    Args:
        arrays: Arrays of ``to_arrays``.
        features: d names.
        outputs: k names.
    """
    n, _, k = arrays["values"].shape
    if k > 1:
        yield "output", np.array([*outputs] * n, dtype=object)
    yield from ((COLUMNS[name], arrays[name].reshape(-1)) for name in PER_ROW)
    if "used" in arrays:
        yield "used", np.repeat(arrays["used"], k)
    for name, prefix in PER_VALUE.items():
        if name in arrays:
            by_feature = np.ascontiguousarray(arrays[name].transpose(1, 0, 2)).reshape(len(features), -1)
            yield from ((f"{prefix}:{feature}", column) for feature, column in zip(features, by_feature, strict=True))
    for name, prefix in PER_FEATURE.items():
        if name in arrays:
            by_feature = np.repeat(np.ascontiguousarray(arrays[name].T), k, axis=1)
            yield from ((f"{prefix}:{feature}", column) for feature, column in zip(features, by_feature, strict=True))
