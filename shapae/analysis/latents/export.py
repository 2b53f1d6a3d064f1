"""Tables and rows for AnnData and its files."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from shapae.explainer.export import ExplanationArrays, _select


def select_rows(adata: Any, n: int, row_names: Any, feature_names: Sequence[str]) -> Any:
    """Copy the rows and the features of a result from the AnnData that they came from.

    Args:
        adata: AnnData in memory.
        n: Number of rows of the result.
        row_names: Their names; None if rows have numbers only.
        feature_names: d names.

    Raises:
        DataError: ``adata`` is no AnnData in memory, or lacks rows or features.
    """
    d, nothing = len(feature_names), np.empty((n, 0))
    parts = ExplanationArrays(
        values=np.empty((n, d, 0)),
        errors={},
        data=np.empty((n, d)),
        scores=nothing,
        base_values=nothing,
        residual=nothing,
        rows=None if row_names is None else pd.Index(row_names),
        features=list(feature_names),
        outputs=[],
    )
    return _select(parts, adata)


def plain_table(table: pd.DataFrame) -> pd.DataFrame:
    """Make a table that a file of AnnData can hold: no levels of names, and strings without gaps."""
    flat = table.reset_index()
    flat.index = flat.index.astype(str)
    for name in flat:
        if not pd.api.types.is_numeric_dtype(flat[name].dtype):
            flat[name] = flat[name].fillna("").astype(str)
    return flat
