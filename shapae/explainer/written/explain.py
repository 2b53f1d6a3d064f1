"""The explanation of one block of rows."""

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from shapae.explainer.core import Core
from shapae.explainer.store import Store
from shapae.explainer.written.arrays import to_arrays
from shapae.explainer.written.parquet import to_columns
from shapae.tables.table import read_table
from shapae.utils.constraints import check_arguments

if TYPE_CHECKING:
    from shapae.explainer.explanation import Explanation


def explain_block(rows: Any, explainer: Core, *, start: int = 0) -> pd.DataFrame:
    """Explain a block of rows, as a function for engines that map blocks of a large table over many machines.

    It fits ``map_partitions`` of Dask, ``map_batches`` of Ray and ``mapInPandas`` of Spark: it takes and returns a
    DataFrame, depends on its arguments alone, and changes nothing.

    Args:
        rows: (m, d), with the columns of the background.
        explainer: An ``Explainer``, which can be pickled; it explains the block in this process alone.
        start: Position of the first row in the whole table. Draws of backends that sample depend on it.

    Returns:
        A line for each row, or for each row and output; the index has the names of the rows. The columns are those of
        ``shapae.explainer.written.parquet``, such as ``score`` and ``value:<feature>``.

    Raises:
        DataError: ``start`` is not a position; for others see ``Explainer.__call__``.
    """
    check_arguments(start=start)
    table = read_table(rows, "rows")
    explainer = alone(explainer, explainer.memory)
    with explainer._running(table) as (names, stream, game):
        explainer._warn(explainer._check_gradients(names, stream))
        explanation, message = explainer._explain(names, stream, game, start)
    explainer._warn(message)
    features, outputs = explanation.feature_names, np.atleast_1d(explanation.output_names).tolist()
    index = pd.RangeIndex(start, start + len(table)) if table.row_names is None else pd.Index(table.row_names)
    columns = dict(to_columns(to_arrays(explanation), features, outputs))
    return pd.DataFrame(columns, index.repeat(len(outputs)))


def alone(explainer: Core, memory: float) -> Core:
    """Copy an explainer, to explain blocks in this process within a number of bytes, without a bar."""
    twin = copy.copy(explainer)
    twin.n_jobs, twin.memory, twin.progress, twin._store = 1, memory, False, Store()
    return twin


def explain_rows(explainer: Core, rows: Any, first_row: int) -> tuple["Explanation", str | None]:
    """Explain rows, of which the first is ``first_row`` in its table; and describe the values that don't add up."""
    with explainer._running(rows) as (names, stream, game):
        return explainer._explain(names, stream, game, first_row)
