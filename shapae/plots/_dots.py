"""Colours of dots: from the numbers of a feature, or from labels of the rows."""

from typing import Any

import numpy as np
import pandas as pd
import shap
from numpy.typing import NDArray
from torch import Tensor

from shapae.errors import DataError, UnknownName
from shapae.tables.labels import check_same_rows
from shapae.tables.table import Table

# Percentiles of a feature's numbers that have the colours at the ends, as in shap.
PERCENTILES = (5, 95)
# Colour of dots whose number or label is missing.
MISSING = "0.65"


def red_blue() -> Any:
    """Return the colours of shap from low to high."""
    return shap.plots.colors.red_blue


def clip_numbers(numbers: NDArray[Any]) -> NDArray[np.float64]:
    """Clip the numbers of a feature, (n,), to percentiles; they stay as they are if the percentiles are equal."""
    numbers = np.asarray(numbers, dtype=np.float64)
    known = numbers[np.isfinite(numbers)]
    low, high = np.percentile(known, PERCENTILES) if len(known) else (0, 0)
    return numbers.clip(low, high) if low < high else numbers


def find_feature(feature: str | int, names: list[str]) -> int:
    """Find the position of a feature.

    Raises:
        UnknownName: There is no such feature.
    """
    if isinstance(feature, str):
        if feature not in names:
            raise UnknownName("feature", feature, names)
        return names.index(feature)
    if not -len(names) <= feature < len(names):
        raise UnknownName("feature", feature, [*map(str, range(len(names)))])
    return int(feature)


def read_color(color: Any, explanation: shap.Explanation, names: list[str]) -> pd.Series:
    """Read numbers or labels, one for each row, in their order.

    Returns:
        Numbers, float64; or labels, categorical, NaN where they are missing.

    Raises:
        DataError: There is not one for each row, or they have other names than the rows.
        UnknownName: There is no such feature.
    """
    if isinstance(color, str):
        return pd.Series(clip_numbers(explanation.data[:, find_feature(color, names)]))
    rows = Table(explanation.data, None, getattr(explanation, "row_names", None))
    check_same_rows(color, None, rows, "color and the explanation", "Give color.loc[explanation.row_names]")
    given = color.detach().cpu() if isinstance(color, Tensor) else color
    kept = given if isinstance(given, pd.Series | pd.Categorical | list | tuple) else np.ma.asarray(given)
    if np.shape(kept) != (len(rows),):
        raise DataError(
            f"color must be the name of a feature, or one label for each of the {len(rows)} rows, got "
            f"{type(color).__name__} of shape {np.shape(kept)}."
        )
    labels = pd.Series(kept).reset_index(drop=True)
    if pd.api.types.is_numeric_dtype(labels) and not pd.api.types.is_bool_dtype(labels):
        return labels.astype(np.float64)
    return labels if isinstance(labels.dtype, pd.CategoricalDtype) else labels.map(str, "ignore").astype("category")
