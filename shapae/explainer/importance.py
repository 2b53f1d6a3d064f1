"""Importance of each feature for each output, averaged over many rows."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from shapae.errors import DataError, UnknownName
from shapae.explainer.export import ExplanationArrays, Place, averages_to_anndata
from shapae.explainer.files import load_result, save_result
from shapae.explainer.record import describe_errors
from shapae.utils.blocks import block_bytes
from shapae.utils.constraints import check_argument, check_arguments
from shapae.utils.described import TABLE_LINES, Described, count, largest, made, size_of_residual
from shapae.utils.kinds import Kind
from shapae.utils.moments import Array, Moments, concatenate
from shapae.utils.pictures import draw

# Bytes of the values that are averaged at once, so that they stay in the cache of a processor.
CACHE_BYTES = 2**22
# Names of the averages and of their standard errors.
# Entries of the record that say of which values an importance is the average.
SAME = ("head", "backend", "b", "background", "groups", "source", "quantity")
MEASURES = ("mean_abs", "mean_abs_error", "mean", "mean_error")


@dataclass(frozen=True, eq=False)
class RowAverages:
    """Averages over rows.

    Attributes:
        values: Averages of the values, (d, k).
        sizes: Averages of their absolute values, (d, k).
    """

    values: Moments
    sizes: Moments

    def __add__(self, other: "RowAverages") -> "RowAverages":
        """Merge the averages over other rows."""
        return RowAverages(self.values + other.values, self.sizes + other.sizes)

    def to_arrays(self) -> dict[str, Any]:
        """List the arrays of ``of_arrays``, to save them."""
        values, sizes = self.values, self.sizes
        squares = {"value_squares": values.sum_of_squares, "size_squares": sizes.sum_of_squares}
        return {"values": values.mean, "sizes": sizes.mean} | squares

    @classmethod
    def of_arrays(
        cls, rows: int, *, values: Array, sizes: Array, value_squares: Array, size_squares: Array
    ) -> "RowAverages":
        """Make averages over a number of rows from their arrays, (d, k) each."""
        return cls(Moments(rows, values, value_squares), Moments(rows, sizes, size_squares))


def average_over_rows(values: Array) -> RowAverages:
    """Average ``values`` (n, d, k) over the rows, where they are."""
    rows = values if isinstance(values, torch.Tensor) else torch.from_numpy(np.ascontiguousarray(values))
    n_cached = max(1, block_bytes(CACHE_BYTES, rows) // rows[:, :1].nbytes)
    features = torch.split(rows, n_cached, dim=1)
    pairs = [(_moments(few), _moments(few.abs())) for few in features]
    averaged, sizes = (concatenate(parts, axis=0) for parts in zip(*pairs, strict=True))
    return RowAverages(averaged, sizes)


def _moments(values: torch.Tensor) -> Moments:
    mean = values.mean(dim=0)
    squares = (values - mean).square_().sum(dim=0)
    return Moments(len(values), mean.cpu().double(), squares.cpu().double())  # not every device has float64


def average_groups(values: Array, groups: NDArray[Any]) -> dict[int, RowAverages]:
    """Average ``values`` (n, d, k) over the rows of each group; ``groups`` is (n,), the number of each row's group."""
    present = np.unique(groups).tolist()
    if len(present) == 1:  # without a copy
        return {present[0]: average_over_rows(values)}
    return {group: average_over_rows(values[np.flatnonzero(groups == group)]) for group in present}


def merge_groups(parts: Iterable[dict[int, RowAverages]]) -> dict[int, RowAverages]:
    """Merge the averages over groups of other rows; the parts are emptied, so that nothing is held twice."""
    merged: dict[int, RowAverages] = {}
    for part in parts:
        for group in [*part]:
            merged[group] = merged[group] + part.pop(group) if group in merged else part.pop(group)
    return merged


@dataclass(frozen=True, eq=False, repr=False)
class Importance(Described):
    """Mean absolute values and mean values over n rows.

    Standard errors say how much the means would change with other rows from the same population. They do not say how
    much another background would change them.

    Attributes:
        over: Averages over the rows, (d, k).
        feature_names: d names.
        output_names: k names.
        made_by: Head, backend, b, seed, versions, seconds: enough to compute the averages again.
        residual: (k,). Mean score - base value - sum of ``mean``; None where the scores are not known.
        used: (n,). Number of background rows, or of samples, that each row took; None without a ``tolerance``.
    """

    over: RowAverages
    feature_names: Sequence[str]
    output_names: Sequence[str]
    made_by: dict[str, Any] = field(default_factory=dict)
    residual: NDArray[Any] | None = None
    used: NDArray[Any] | None = None

    @classmethod
    def of(cls, explanation: Any) -> "Importance":
        """Average an ``Explanation`` of one output or several.

        Raises:
            DataError: It has no rows, features or outputs; or it is another result.
        """
        import shap  # which the explainer does not need

        check_argument("explanation", explanation, Kind(shap.Explanation, "an Explanation"))
        parts = ExplanationArrays.of(explanation)
        if not parts.values.size:
            n, d, k = parts.values.shape
            raise DataError(
                f"this explanation has {n} rows, {d} features and {k} outputs, so there is nothing to average. Choose "
                f"at least one of each."
            )
        made_by = explanation.made_by
        residual = parts.residual.mean(axis=0)
        return cls(average_over_rows(parts.values), parts.features, parts.outputs, made_by, residual, explanation.used)

    def _description(self) -> Sequence[str]:
        d, k = self.mean.shape
        of_outputs = " for any output" if k > 1 else ""
        return [
            f"Importance of {count(d, 'feature')} for {count(k, 'output')}, over {count(self.rows, 'row')}",
            made(self.made_by),
            describe_errors(self.mean, None, self.made_by),
            size_of_residual(self.residual).replace("residual", "mean residual"),
            f"largest mean |value|{of_outputs}: {largest(self.feature_names, self.mean_abs.max(axis=1))}",
            "next: .table, .top(), .plot()",
        ]

    def _preview(self) -> pd.DataFrame:
        if len(self.output_names) == 1:
            return self.table
        order = np.argsort(-self.mean_abs.max(axis=1), kind="stable")[:TABLE_LINES]
        names = [self.feature_names[at] for at in order]
        return pd.DataFrame(self.mean_abs[order], names, [f"mean |value| for {name}" for name in self.output_names])

    def plot(self, *, output: str | None = None, max_display: int = 20, ax: Any = None) -> Any:
        """Draw the features with the largest mean |value|; see ``shapae.plots.bar``, and ``latents`` for all outputs.

        Args:
            output: Name of the output; None for the only one, or for a matrix of all of them.
            max_display: Maximum number of features.
            ax: Axes to draw on; None for a new figure.
        """
        if output is None and len(self.output_names) > 1:
            return draw("latents", self, max_display=max_display, ax=ax)
        return draw("bar", self, output=output, max_display=max_display, ax=ax)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self.over.values.count)

    @property
    def mean_abs(self) -> NDArray[Any]:
        """(d, k): mean of |value|, the importance of the feature for the output."""
        return np.asarray(self.over.sizes.mean)

    @property
    def mean(self) -> NDArray[Any]:
        """(d, k): mean value, whether the feature raises the output or lowers it, compared with the background."""
        return np.asarray(self.over.values.mean)

    @property
    def mean_abs_error(self) -> NDArray[Any]:
        """(d, k): standard error of ``mean_abs``; NaN for a single row."""
        return _standard_error(self.over.sizes)

    @property
    def mean_error(self) -> NDArray[Any]:
        """(d, k): standard error of ``mean``; NaN for a single row."""
        return _standard_error(self.over.values)

    @property
    def table(self) -> pd.DataFrame:
        """d rows: for one output see ``output``; for several outputs ``mean_abs``, with one column per output."""
        names = list(self.output_names)
        if len(names) == 1:
            return self.output(names[0])
        return pd.DataFrame(self.mean_abs, pd.Index(self.feature_names, name="feature"), names)

    def output(self, name: str) -> pd.DataFrame:
        """Tabulate one output: d rows, the most important feature first.

        Args:
            name: One of ``output_names``.

        Raises:
            UnknownName: There is no such output.
        """
        check_arguments(name=name)
        if name not in self.output_names:
            raise UnknownName("output", name, list(self.output_names))
        at = list(self.output_names).index(name)
        columns = {
            "mean_abs_value": self.mean_abs,
            "mean_abs_value_error": self.mean_abs_error,
            "mean_value": self.mean,
            "mean_value_error": self.mean_error,
        }
        features = pd.Index(self.feature_names, name="feature")
        table = pd.DataFrame({column: array[:, at] for column, array in columns.items()}, features)
        return table.sort_values("mean_abs_value", ascending=False, kind="stable")

    def top(self, most: int = 10) -> pd.DataFrame:
        """Select the most important features of each output.

        Args:
            most: Number of features per output.

        Returns:
            At most k * most rows, with the output and the feature as their index.

        Raises:
            DataError: ``most`` is not an integer, or less than 1.
        """
        check_arguments(most=most)
        tables = {name: self.output(name).head(most) for name in self.output_names}
        return pd.concat(tables, names=["output", "feature"])

    def to_anndata(self, adata: Any = None, *, name: str | None = None) -> Any:
        """Convert the averages to an AnnData, for scanpy.

        ``varm["shap_mean"]`` and ``varm["shap_mean_abs"]`` hold the means, (d, k), ``varm["shap_mean_error"]`` and
        ``varm["shap_mean_abs_error"]`` their standard errors, and ``uns["shapae"]`` the record (JSON) and the names of
        the outputs.

        Args:
            adata: The explained AnnData, which stays as it is. The result is a copy of its rows and its explained
                columns, with unique names of columns. None: a new AnnData without rows.
            name: Name of the result in the keys, as in ``Explanation.to_anndata``: ``varm["shap_<name>_mean"]``.

        Raises:
            DataError: ``adata`` lacks explained columns, is backed by a file, or holds a result of another head.
            MissingPackage: anndata is not installed.
        """
        place = Place.of(name)
        arrays = {f"{place.prefix}_{measure}": getattr(self, measure) for measure in MEASURES}
        names = np.array([*self.output_names])
        return averages_to_anndata(self.feature_names, arrays, self.made_by, adata, place=place, output_names=names)

    def merge(self, *others: "Importance") -> "Importance":
        """Merge the averages over other rows, such as those of other machines: as if all rows had been summarized.

        ``Importance.merge(*parts)`` merges a list of parts. Sums are in float64: they differ in their last digits only.

        Args:
            others: Importances of other rows by the same explainer.

        Raises:
            DataError: They are of other features, outputs, heads, backends or backgrounds, or no importances.
        """
        parts = (self, *others)
        for part in parts:
            check_argument("each part", part, Kind(Importance, "an Importance (a list of them is merge(*parts))"))
        check_same_quantity(parts)
        residual = None
        if all(part.residual is not None for part in parts):
            residual = np.average([part.residual for part in parts], axis=0, weights=[part.rows for part in parts])
        used = [part.used for part in parts if part.used is not None]
        return replace(
            self,
            over=reduce(add, (part.over for part in parts)),
            residual=residual,
            used=np.concatenate(used) if len(used) == len(parts) else None,
            made_by=merge_records([part.made_by for part in parts]),
        )

    def save(self, folder: str | Path) -> Path:
        """Write everything to ``folder``: arrays as safetensors, the rest as JSON. An earlier result is replaced.

        Returns:
            The folder.

        Raises:
            OutputError: The folder holds other files.
        """
        check_arguments(folder=folder)
        used = None if self.used is None else np.atleast_1d(self.used)  # of a single row
        arrays = self.over.to_arrays() | {"residual": self.residual, "used": used}
        record = {name: list(getattr(self, name)) for name in ("feature_names", "output_names")}
        return save_result(folder, "importance", arrays, record | {"rows": self.rows, "made_by": self.made_by})

    @classmethod
    def load(cls, folder: str | Path) -> "Importance":
        """Read a folder of ``save``. Nothing in the files is run.

        Raises:
            OutputError: The files are missing, or they are not files of ``save``.
        """
        check_arguments(folder=folder)
        return load_result(folder, "importance", cls._of_arrays)

    @classmethod
    def _of_arrays(cls, rows: int, residual: Any = None, used: Any = None, **parts: Any) -> "Importance":
        arrays = {name: parts.pop(name) for name in ("values", "value_squares", "sizes", "size_squares")}
        return cls(RowAverages.of_arrays(rows, **arrays), **parts, residual=residual, used=used)


def check_same_quantity(parts: Sequence[Importance]) -> None:
    """Check that averages are of the same values of other rows.

    Raises:
        DataError: They are not; the first difference is named.
    """
    first, *others = parts
    for other in others:
        differing = [
            name for name in ("feature_names", "output_names") if [*getattr(first, name)] != [*getattr(other, name)]
        ]
        differing += [name for name in SAME if first.made_by.get(name) != other.made_by.get(name)]
        if differing:
            raise DataError(
                f"only importances of other rows by the same explainer can be merged, but these have other "
                f"{', '.join(name.replace('_', ' ') for name in differing)}. Summarize the rows by one explainer."
            )


def merge_records(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Merge the records of the same work on other rows: the seconds are added."""
    seconds = sum(record.get("seconds", 0) for record in records)
    return records[0] | ({"seconds": round(seconds, 3)} if "seconds" in records[0] else {})


def _standard_error(moments: Moments) -> NDArray[Any]:
    error = moments.standard_error
    return np.full_like(moments.mean, np.nan) if error is None else error
