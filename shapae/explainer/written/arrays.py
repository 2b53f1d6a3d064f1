"""The arrays of an explanation as they are written: all with the axes row, feature and output."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shapae.explainer.explanation import Explanation
from shapae.explainer.export import PER_ROW, ExplanationArrays
from shapae.tables.players import NO_CATEGORY, NO_ONE_HOT

# Arrays (n, d, k), and the beginnings of their names in tables.
PER_VALUE = {
    "values": "value",
    "standard_errors": "standard_error",
    "background_errors": "background_error",
}
# Arrays (n, d), in the same way.
PER_FEATURE = {"data": "data", "categories": "category"}


def to_arrays(explanation: Explanation) -> dict[str, NDArray[Any]]:
    """List the arrays of an explanation that are known, with all axes."""
    parts = ExplanationArrays.of(explanation)
    arrays = {"values": parts.values, **parts.errors, "data": parts.data}
    arrays |= {name: getattr(parts, name) for name in PER_ROW}
    if explanation.used is not None:
        arrays["used"] = explanation.used
    if explanation.made_by.get("groups"):  # in every block, also where no group is one of one-hot columns
        none = np.full(parts.data.shape, NO_ONE_HOT, dtype=np.intp)
        arrays["categories"] = (
            none if explanation.categories is None else np.reshape(explanation.categories, none.shape)
        )
    return arrays


def to_explanation(
    arrays: Mapping[str, NDArray[Any]],
    *,
    feature_names: list[str],
    output_names: str | list[str],
    row_names: Any,
    made_by: dict[str, Any],
) -> Explanation:
    """Make an explanation of its arrays; ``output_names`` is a single name for an explanation without that axis."""
    several = (*PER_VALUE, *PER_ROW) if isinstance(output_names, str) else ()
    parts = {name: np.ascontiguousarray(each[..., 0] if name in several else each) for name, each in arrays.items()}
    if "categories" in parts:
        categories = _agreed(parts.pop("categories"), parts["data"])
        parts |= {"categories": categories} if (categories >= 0).any() else {}
    return Explanation(
        **parts, feature_names=feature_names, output_names=output_names, row_names=row_names, made_by=made_by
    )


def _agreed(categories: NDArray[Any], data: NDArray[Any]) -> NDArray[Any]:
    """Decide which groups are one-hot columns in all rows; each block has decided it by its own rows."""
    others = categories == NO_ONE_HOT
    one_hot = (categories >= 0).any(axis=0) & ~(others & (data != 0)).any(axis=0)
    return np.where(one_hot, np.where(others, NO_CATEGORY, categories), NO_ONE_HOT)
