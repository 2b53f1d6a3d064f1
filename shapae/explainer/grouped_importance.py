"""Importance of each feature for each output, in each group of rows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from shapae.errors import UnknownName
from shapae.explainer.additivity import Additivity
from shapae.explainer.export import ExplanationArrays, Place, averages_to_anndata, keys_per_output
from shapae.explainer.files import load_result, plain_name, save_result
from shapae.explainer.importance import MEASURES, Importance, RowAverages, average_groups
from shapae.tables.labels import RowGroups, read_groups
from shapae.tables.table import Table
from shapae.utils.constraints import check_arguments
from shapae.utils.described import TABLE_LINES, Described, count, shorten
from shapae.utils.pictures import draw


@dataclass(frozen=True, eq=False, repr=False)
class GroupedImportance(Described, Mapping[Any, Importance]):
    """Mean absolute values and mean values over each of g groups of rows, such as cell types.

    It maps each label to the ``Importance`` over the rows with this label: ``grouped["CD4 T"].table``.

    Attributes:
        groups: From g labels to the importances, all of the same d features and k outputs.
        overall: Importance over all rows.
    """

    groups: Mapping[Any, Importance]
    overall: Importance

    @classmethod
    def of(cls, explanation: Any, by: Any) -> "GroupedImportance":
        """Average an ``Explanation`` of one output or several over groups of its rows.

        Args:
            explanation: Explanation of n rows.
            by: n labels; a Series with the names of the rows, or labels in their order.

        Raises:
            DataError: There is not one label for each row, or some are missing; or the explanation has no rows,
                features or outputs.
        """
        overall, parts = Importance.of(explanation), ExplanationArrays.of(explanation)
        _, groups = read_groups(Table(parts.data, None, None if parts.rows is None else parts.rows.to_numpy()), by)
        assert groups is not None
        return cls._of_groups(groups, average_groups(parts.values, groups.numbers), overall, parts.residual)

    @classmethod
    def _of_groups(
        cls, groups: RowGroups, averages: Mapping[int, RowAverages], overall: Importance, residual: NDArray[Any]
    ) -> "GroupedImportance":
        parts = {}
        for number, label in enumerate(groups.labels):
            rows = groups.numbers == number
            used = None if overall.used is None else np.atleast_1d(overall.used)[rows]
            mean = residual[rows].mean(axis=0)
            parts[label] = replace(overall, over=averages[number], residual=mean, used=used)
        return cls(parts, overall)

    def __getitem__(self, label: Any) -> Importance:
        """Select the importance in one group.

        Args:
            label: One of ``labels``.

        Raises:
            UnknownName: There is no such group.
        """
        try:
            return self.groups[label]
        except (KeyError, TypeError) as error:  # of a list, which is no label
            raise UnknownName("group", label, [str(each) for each in self.groups]) from error

    def __iter__(self) -> Iterator[Any]:
        return iter(self.groups)

    def __len__(self) -> int:
        return len(self.groups)

    def _description(self) -> Sequence[str]:
        counts = ", ".join(f"{shorten(str(label))} ({one.rows})" for label, one in [*self.groups.items()][:8])
        more = f" and {len(self) - 8} more" if len(self) > 8 else ""
        first, *others = self.overall._description()[:-1]
        groups = f"{count(len(self), 'group')} of rows: {counts}{more}"
        return [f"Grouped{first}", groups, *others, "next: .table, .top(), .plot(), grouped[label]"]

    def _preview(self) -> pd.DataFrame:
        sizes = np.abs(self.mean[..., 0])  # (g, d), of the first output
        order = np.argsort(-sizes.max(axis=0), kind="stable")[:TABLE_LINES]
        columns = [f"mean value in {label}" for label in self.labels]
        return pd.DataFrame(self.mean[:, order, 0].T, [self.feature_names[at] for at in order], columns)

    def plot(self, *, output: str | None = None, max_display: int = 30, ax: Any = None) -> Any:
        """Draw the mean value of each feature in each group; see ``shapae.plots.groups``.

        Args:
            output: Name of the output; it may be left out if there is only one.
            max_display: Maximum number of features.
            ax: Axes to draw on; None for a new figure.
        """
        return draw("groups", self, output=output, max_display=max_display, ax=ax)

    @property
    def labels(self) -> list[Any]:
        """Labels of the g groups: sorted, or in the order of their categories."""
        return list(self.groups)

    @property
    def counts(self) -> NDArray[Any]:
        """(g,): number of rows of each group."""
        return np.array([one.rows for one in self.groups.values()])

    @property
    def feature_names(self) -> Sequence[str]:
        """Names of the d features."""
        return self.overall.feature_names

    @property
    def output_names(self) -> Sequence[str]:
        """Names of the k outputs."""
        return self.overall.output_names

    @property
    def made_by(self) -> dict[str, Any]:
        """Head, backend, b, seed, versions, seconds: enough to compute the averages again."""
        return self.overall.made_by

    @property
    def mean(self) -> NDArray[Any]:
        """(g, d, k): mean value, whether the feature raises the output in the group or lowers it."""
        return self._stack("mean")

    @property
    def mean_abs(self) -> NDArray[Any]:
        """(g, d, k): mean of |value|, the importance of the feature for the output in the group."""
        return self._stack("mean_abs")

    @property
    def mean_error(self) -> NDArray[Any]:
        """(g, d, k): standard error of ``mean`` over the rows of the group; NaN for a single row."""
        return self._stack("mean_error")

    @property
    def mean_abs_error(self) -> NDArray[Any]:
        """(g, d, k): standard error of ``mean_abs`` over the rows of the group; NaN for a single row."""
        return self._stack("mean_abs_error")

    def _stack(self, measure: str) -> NDArray[Any]:
        return np.stack([getattr(one, measure) for one in self.groups.values()])

    @property
    def table(self) -> pd.DataFrame:
        """g * d rows, or g * k * d rows for several outputs; in each group the most important feature first.

        The index has the group, the output if there are several, and the feature; the columns are those of
        ``Importance.output``.
        """
        if len(self.output_names) == 1:
            return self._concatenate({label: one.table for label, one in self.groups.items()})
        return self.top(len(self.feature_names))

    def top(self, most: int = 10) -> pd.DataFrame:
        """Select the most important features of each output in each group.

        Args:
            most: Number of features per group and output.

        Returns:
            At most g * k * most rows, with the group, the output and the feature as their index.

        Raises:
            DataError: ``most`` is not an integer, or less than 1.
        """
        return self._concatenate({label: one.top(most) for label, one in self.groups.items()})

    def _concatenate(self, tables: dict[Any, pd.DataFrame]) -> pd.DataFrame:
        whole = pd.concat([*tables.values()], keys=range(len(tables)), names=["group"])
        labels: list[Any] = [pd.Index([*tables], dtype=object, tupleize_cols=False)]
        assert isinstance(whole.index, pd.MultiIndex)
        return whole.set_axis(whole.index.set_levels(labels, level=["group"]))

    def to_anndata(self, adata: Any = None, *, name: str | None = None) -> Any:
        """Convert the averages to an AnnData, for scanpy.

        ``varm["shap_mean_<output>"]`` and ``varm["shap_mean_abs_<output>"]`` hold the means, (d, g), and those with
        "error" their standard errors. ``uns["shapae"]`` has the labels of the groups in the order of the columns, as
        "groups"; the numbers of their rows, as "group_rows"; the names of the outputs; their keys in ``varm``, by the
        kind of average; and the record (JSON). White space and "/" become "_" in keys.

        Args:
            adata: See ``Importance.to_anndata``, also for what is raised.
            name: Name of the result in the keys: ``varm["shap_<name>_mean_<output>"]``.
        """
        place = Place.of(name)
        keys = keys_per_output(place.prefix, MEASURES, self.output_names)
        varm = {
            key: array
            for measure in MEASURES
            for key, array in zip(keys[measure], self._stack(measure).transpose(2, 1, 0), strict=True)
        }
        record = {
            "output_names": np.array([*self.output_names]),
            "groups": np.array([str(label) for label in self.labels]),
            "group_rows": self.counts,
            "varm": {measure: np.array(names) for measure, names in keys.items()},
        }
        return averages_to_anndata(self.feature_names, varm, self.made_by, adata, place=place, **record)

    def save(self, folder: str | Path) -> Path:
        """Write everything to ``folder``: arrays as safetensors, the rest as JSON. An earlier result is replaced.

        Labels that are neither names, numbers nor truth values become names.

        Returns:
            The folder.

        Raises:
            OutputError: The folder holds other files.
        """
        check_arguments(folder=folder)
        parts = [*self.groups.values(), self.overall]
        each = [one.over.to_arrays() | ({} if one.residual is None else {"residual": one.residual}) for one in parts]
        arrays = {name: np.stack([one[name] for one in each]) for name in each[0]}
        used = [one.used for one in parts if one.used is not None]
        arrays |= {"used": np.hstack(used)} if used else {}
        labels = [plain_name(label) for label in self.labels]
        names = {name: list(getattr(self, name)) for name in ("feature_names", "output_names")}
        record = {"labels": labels, "rows": [one.rows for one in parts], "made_by": self.made_by, **names}
        return save_result(folder, "grouped_importance", arrays, record)

    @classmethod
    def load(cls, folder: str | Path) -> "GroupedImportance":
        """Read a folder of ``save``. Nothing in the files is run.

        Raises:
            OutputError: The files are missing, or they are not files of ``save``.
        """
        check_arguments(folder=folder)
        return load_result(folder, "grouped_importance", cls._of_arrays)

    @classmethod
    def _of_arrays(
        cls,
        labels: list[Any],
        rows: list[int],
        *,
        residual: Any = None,
        used: Any = None,
        feature_names: list[str],
        output_names: list[str],
        made_by: dict[str, Any],
        **arrays: Any,
    ) -> "GroupedImportance":
        ends, parts = np.cumsum(rows), []
        for at, number in enumerate(rows):
            over = RowAverages.of_arrays(number, **{name: array[at] for name, array in arrays.items()})
            few = None if used is None else used[ends[at] - number : ends[at]]
            parts.append(
                Importance(over, feature_names, output_names, made_by, None if residual is None else residual[at], few)
            )
        return cls(dict(zip(labels, parts[:-1], strict=True)), parts[-1])


def summarize_groups(
    averages: Mapping[int, RowAverages], sums: Additivity, groups: RowGroups | None, **names: Any
) -> Importance | GroupedImportance:
    """Put the averages over the rows of each group together.

    Args:
        averages: By the numbers of the groups.
        sums: Sums of the values of each row, beside its score and its base value.
        groups: Groups of the rows; None for one group, whose importance is returned.
        **names: Names of features and outputs, and the record.
    """
    residual, whole = sums.residual, reduce(add, averages.values())
    overall = Importance(whole, **names, residual=residual.mean(axis=0), used=sums.used)
    return overall if groups is None else GroupedImportance._of_groups(groups, averages, overall, residual)
