"""The result of pairs: interaction values, with names, standard errors and files."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from shapae.explainer.files import load_result, save_result
from shapae.explainer.record import lines_on_errors
from shapae.utils.constraints import check_arguments
from shapae.utils.described import Described, count, largest, made, shorten, some_rows
from shapae.utils.pictures import draw

_ARRAYS = ("values", "standard_errors", "data", "scores", "base_values")


@dataclass(frozen=True, eq=False, repr=False)
class Interactions(Described):
    """Shapley interaction values of n rows and m features.

    The interaction of two features is the part of their joint effect that neither has alone: the Shapley interaction
    index of order 2. Half of it stands at (i, j) and half at (j, i), as in shap's TreeExplainer. The diagonal has the
    main effects: what is left of each Shapley value without the interactions with the other m - 1 features.

    Attributes:
        values: (n, m, m), symmetric. Each row of each matrix sums to the Shapley value of its feature.
        standard_errors: (n, m, m). Standard errors of ``values`` over the random coalitions alone, not over the
            background; zeros where all coalitions were enumerated.
        data: (n, m). The features, in the units of the model's input; means over groups.
        scores: (n,). The explained scores.
        base_values: (n,). Mean score of the background.
        feature_names: m unique names.
        made_by: Head, b, seed, versions, seconds: enough to compute the values again.
        row_names: n names of rows, as the index of a DataFrame; None if rows have numbers only.

    Reference:
        Lundberg et al., 2020, section on SHAP interaction values, https://doi.org/10.1038/s42256-019-0138-9
    """

    values: NDArray[Any]
    standard_errors: NDArray[Any]
    data: NDArray[Any]
    scores: NDArray[Any]
    base_values: NDArray[Any]
    feature_names: Sequence[str]
    made_by: dict[str, Any] = field(default_factory=dict)
    row_names: Any = None

    def __post_init__(self) -> None:
        if self.row_names is not None:
            object.__setattr__(self, "row_names", pd.Index(self.row_names).to_numpy())

    def _description(self) -> Sequence[str]:
        (values,), (n, m) = some_rows(self.values), self.data.shape
        first, second = self._pairs
        sizes = 2 * np.abs(values).mean(axis=0)[first, second] if n else np.zeros(0)
        names = [shorten(str(name)) for name in self.feature_names]
        pairs = [f"{names[i]} with {names[j]}" for i, j in zip(first, second, strict=True)]
        return [
            f"Interactions of {count(m, 'feature')} in {count(n, 'row')}",
            made(self.made_by),
            *lines_on_errors(values, some_rows(self.standard_errors)[0], self.made_by),
            f"largest mean |interaction|: {largest(pairs, sizes, 2)}" if sizes.size else "",
            "next: .top(), .plot(), .shapley_values, shapae.plots.interaction_network(interactions)",
        ]

    def _preview(self) -> pd.DataFrame | None:
        return self.top() if len(self.data) else None

    def plot(self, *, row: int | None = None, max_display: int = 20, ax: Any = None) -> Any:
        """Draw the interactions of all pairs; see ``shapae.plots.interactions``.

        Args:
            row: Position of one row; None for the mean over all rows.
            max_display: Maximum number of features.
            ax: Axes to draw on; None for a new figure.
        """
        return draw("interactions", self, row=row, max_display=max_display, ax=ax)

    @property
    def shapley_values(self) -> NDArray[Any]:
        """(n, m): Shapley values, the sums of main effects and halves of interactions."""
        return np.asarray(self.values.sum(axis=2))

    @property
    def _pairs(self) -> tuple[NDArray[Any], NDArray[Any]]:
        first, second = np.triu_indices(len(self.feature_names), 1)
        return first, second

    def top(self, most: int = 10) -> pd.DataFrame:
        """Select the pairs with the largest mean |interaction| over the rows.

        Args:
            most: Number of pairs.

        Returns:
            At most ``most`` rows, indexed by both features: mean |interaction|, mean interaction, and the standard
            error of the latter over the random coalitions. An interaction is the whole index, both halves together.
        """
        check_arguments(most=most)
        wholes, errors = (2 * part[:, *self._pairs] for part in (self.values, self.standard_errors))
        columns = {
            "mean_abs_interaction": np.abs(wholes).mean(axis=0),
            "mean_interaction": wholes.mean(axis=0),
            "standard_error": np.sqrt(np.square(errors).mean(axis=0) / len(errors)),
        }
        names = [np.asarray(self.feature_names, dtype=object)[part] for part in self._pairs]
        table = pd.DataFrame(columns, pd.MultiIndex.from_arrays(names, names=["feature", "other_feature"]))
        return table.sort_values("mean_abs_interaction", ascending=False, kind="stable").head(most)

    def to_frame(self) -> pd.DataFrame:
        """Convert the interactions to a long table, row by row, the largest of each row first.

        Returns:
            n m (m - 1) / 2 lines: row, feature, other_feature, interaction (the whole index, both halves together) and
            its standard_error.
        """
        wholes, errors = (2 * part[:, *self._pairs] for part in (self.values, self.standard_errors))
        order = np.argsort(-np.abs(wholes), axis=1, kind="stable")
        rows = np.arange(len(wholes)) if self.row_names is None else self.row_names
        first, second = (np.asarray(self.feature_names, dtype=object)[part[order]].ravel() for part in self._pairs)
        wholes, errors = (np.take_along_axis(part, order, axis=1).ravel() for part in (wholes, errors))
        columns = {"row": np.repeat(rows, order.shape[1]), "feature": first, "other_feature": second}
        return pd.DataFrame(columns | {"interaction": wholes, "standard_error": errors})

    def save(self, folder: str | Path) -> Path:
        """Write everything to ``folder``: arrays as safetensors, the rest as JSON. An earlier result is replaced.

        Returns:
            The folder.

        Raises:
            OutputError: The folder holds other files.
        """
        check_arguments(folder=folder)
        record = {"feature_names": list(self.feature_names), "made_by": self.made_by, "row_names": self.row_names}
        return save_result(folder, "interactions", {name: getattr(self, name) for name in _ARRAYS}, record)

    @classmethod
    def load(cls, folder: str | Path) -> "Interactions":
        """Read a folder of ``save``. Nothing in the files is run.

        Raises:
            OutputError: The files are missing, or they are not files of ``save``.
        """
        check_arguments(folder=folder)
        return load_result(folder, "interactions", cls)
