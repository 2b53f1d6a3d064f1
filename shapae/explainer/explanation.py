"""The result: a shap.Explanation with scores, residual and standard errors."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import shap
from numpy.typing import NDArray
from shap.utils import OpChain

from shapae.errors import DataError, UnknownName
from shapae.explainer.described import Derived, DescribedExplanation, as_cohorts
from shapae.explainer.export import ExplanationArrays, axis_names, to_anndata, to_frame, to_xarray
from shapae.explainer.files import load_result, save_result
from shapae.explainer.importance import Importance
from shapae.explainer.indexing import AXES, axes_of, resolve, take
from shapae.explainer.layout import adds_up
from shapae.explainer.reporting import Reporting
from shapae.tables.players import players
from shapae.utils.constraints import check_arguments

_KEPT = ("scores", "residual", "standard_errors", "background_errors", "used", "categories")


class Explanation(Reporting, DescribedExplanation, shap.Explanation):  # type: ignore[misc]  # shap has no type hints
    """Attributions of n rows over d features, of one output or of k.

    Every plot of shap that takes a shap.Explanation takes it as it is. All arrays and names are indexed alike, as in
    numpy, by numbers, masks and names: ``explanation[:50]``, ``explanation[table["age"] > 60]``,
    ``explanation[:, ["CD79A", "CD3D"]]``, ``explanation[..., "latent 3"]``. Arithmetic on it
    (``explanation.abs.mean(0)``) gives a plain shap.Explanation, because its values no longer sum to a score.

    Args:
        values: (n, d), or (n, d, k). Positive means: this feature raised the score of this row.
        base_values: (n,), or (n, k). Mean score of the background.
        data: (n, d). The rows, in the units of the model's input.
        feature_names: d unique names.
        output_names: One name; k names for several outputs.
        scores: (n,), or (n, k). The explained scores.
        standard_errors: Standard errors of ``values`` over the background or the samples, in the same shape; None where
            they are not known.
        background_errors: Standard errors over other backgrounds.
        made_by: Head, backend, b, seed, versions, seconds: enough to compute the values again.
        residual: (n,), or (n, k). score - base value - sum of values, which is the default.
        used: (n,). Number of background rows, or of samples, that each row took until it met a tolerance; None without
            a tolerance.
        row_names: n names of rows, as the index of a DataFrame; None if rows have numbers only.
        categories: (n, d). Of groups of one-hot columns, the position of the row's column in its group, or -2 if the
            row has none; -1 for all other features. None if there are no such groups.
    """

    _s: Any

    def __init__(
        self,
        values: NDArray[Any],
        base_values: NDArray[Any],
        data: NDArray[Any],
        *,
        feature_names: Sequence[str],
        output_names: str | Sequence[str],
        scores: NDArray[Any],
        standard_errors: NDArray[Any] | None = None,
        background_errors: NDArray[Any] | None = None,
        made_by: dict[str, Any] | None = None,
        residual: NDArray[Any] | None = None,
        used: NDArray[Any] | None = None,
        row_names: Any = None,
        categories: NDArray[Any] | None = None,
    ) -> None:
        super().__init__(values)
        self.output_dims = () if isinstance(output_names, str) else (values.ndim - 1,)
        self.made_by = dict(made_by or {})
        # Instead of shap's slicer, which takes masks for numbers and loses step with two lists: see __getitem__.
        parts = {name: part for name, part in vars(self._s).items() if not name.startswith("_")}
        parts |= {"base_values": base_values, "data": data, "scores": scores}
        parts |= {"standard_errors": standard_errors, "background_errors": background_errors}
        parts["residual"] = scores - base_values - values.sum(axis=1) if residual is None else residual
        for noun, names in (("feature_names", feature_names), ("output_names", output_names)):
            parts[noun] = names if isinstance(names, str) else list(names)
        parts["row_names"] = row_names if np.ndim(row_names) == 0 else pd.Index(row_names).to_numpy()
        self._s = SimpleNamespace(**parts, used=used, categories=categories)

    @property
    def scores(self) -> Any:
        """(n,), or (n, k): the explained scores."""
        return self._s.scores

    @property
    def residual(self) -> Any:
        """(n,), or (n, k): score - base value - sum of the values of all features; 0 for an additive backend."""
        return self._s.residual

    @property
    def standard_errors(self) -> Any:
        """Standard errors of ``values``, in the same shape, over the background or the samples; None where unknown."""
        return self._s.standard_errors

    @property
    def background_errors(self) -> Any:
        """Standard errors over other backgrounds, beside ``standard_errors`` over samples; None where unknown."""
        return self._s.background_errors

    @property
    def used(self) -> Any:
        """(n,): number of background rows, or of samples, that each row took; None without a tolerance."""
        return self._s.used

    @property
    def row_names(self) -> Any:
        """(n,): names of the rows, as the index of a DataFrame; None if rows have numbers only."""
        return self._s.row_names

    @property
    def categories(self) -> Any:
        """(n, d): the active column of each group of one-hot columns, -1 for other features; None without such groups.

        Positions are those in ``made_by["groups"]``.
        """
        return self._s.categories

    def output(self, name: str) -> "Explanation":
        """Select one output.

        Args:
            name: One of ``output_names``.

        Raises:
            UnknownName: There is no such output.
        """
        check_arguments(name=name)
        names = axis_names(self.output_names)
        if name not in names:
            raise UnknownName("output", name, names)
        return self if isinstance(self.output_names, str) else self[..., name]

    def grouped(self, groups: Mapping[str, Sequence[str]]) -> "Explanation":
        """Sum the values over groups of features.

        A feature in two groups counts in both groups; the residual says how much is counted twice.

        Args:
            groups: From names of groups to names of their features; ``shapae.groups`` finds groups.

        Returns:
            The groups, and then the features outside of groups. The data of a group is the mean over its features; its
            standard errors are not known.

        Raises:
            DataError: A group is empty, or names a missing feature; or this is an explanation of one feature.
        """
        check_arguments(groups=groups)
        if isinstance(self.feature_names, str):
            raise DataError(
                f"the values of one feature, {self.feature_names!r}, can't be grouped. Group the explanation of all "
                f"features."
            )
        by = players(groups, axis_names(self.feature_names), disjoint=False)
        axis = np.ndim(self.data) - 1
        values = by.sums(self.values, axis)
        return Explanation(
            values,
            self.base_values,
            by.means(self.data, axis),
            feature_names=by.names,
            categories=by.categories(self.data),
            residual=self.residual + self.values.sum(axis=axis) - values.sum(axis=axis),
            made_by=self.made_by | {"groups": {str(name): list(members) for name, members in groups.items()}},
            **{name: getattr(self, name) for name in ("output_names", "scores", "used", "row_names")},
        )

    def grouped_outputs(self, groups: Mapping[str, Sequence[str]]) -> "Explanation":
        """Sum over groups of outputs: feature errors become the error of a gene set, or of a one-hot attribute.

        Args:
            groups: From names of groups to names of outputs, see ``grouped``.

        Returns:
            The groups, and then the outputs outside of groups, as outputs. Standard errors are not known.

        Raises:
            DataError: A group is empty, or names a missing output; or this is an explanation of one output.
        """
        check_arguments(groups=groups)
        if isinstance(self.output_names, str):
            raise DataError(
                f"there is only one output, {self.output_names!r}. Explain several outputs, as with "
                f"head='feature_error'."
            )
        by = players(groups, axis_names(self.output_names), disjoint=False)
        sums: dict[str, Any] = {
            name: by.sums(getattr(self, name), np.ndim(self.scores) - 1)
            for name in ("base_values", "scores", "residual")
        }
        return Explanation(
            by.sums(self.values, np.ndim(self.values) - 1),
            data=self.data,
            output_names=by.names,
            made_by=self.made_by | {"output groups": {str(name): list(members) for name, members in groups.items()}},
            **{name: getattr(self, name) for name in ("feature_names", "used", "row_names", "categories")},
            **sums,
        )

    def top(self, most: int = 10) -> pd.DataFrame:
        """Select the features with the largest mean |value| of each output; see ``Importance.top``.

        Args:
            most: Number of features per output.

        Returns:
            At most k * most rows, with the output and the feature as their index.
        """
        return Importance.of(self).top(most)

    def to_frame(self) -> pd.DataFrame:
        """Convert the values to a DataFrame with the names of the rows.

        Returns:
            (n, d), one column per feature; for several outputs (n, k * d), with (output, feature) as columns, so that
            ``frame["latent 3"]`` has the values of one output.
        """
        return to_frame(ExplanationArrays.of(self))

    def to_xarray(self) -> Any:
        """Convert all arrays to an ``xarray.Dataset`` with the axes row, feature and output; ``made_by`` as JSON.

        Raises:
            MissingPackage: xarray is not installed.
        """
        return to_xarray(ExplanationArrays.of(self), self.made_by)

    def to_anndata(self, adata: Any = None, *, name: str | None = None) -> Any:
        """Convert all arrays to an AnnData, for scanpy.

        ``layers["shap_<output>"]`` holds the values, ``varm["shap_mean_abs"]`` their mean size with one column per
        output, ``obsm["X_<name>"]`` the scores, ``obsm["shap_base_values"]`` the base values, and ``uns["shapae"]`` the
        record (JSON), the names of the outputs and the keys of their layers. A "/", which no file takes, is replaced by
        "_" in keys.

        Args:
            adata: The explained AnnData, which stays as it is. The result is a copy of its explained rows and columns,
                with unique names of columns. None: a new AnnData, with the data as X.
            name: Name of the result in all keys, so that an AnnData holds several: ``layers["shap_<name>"]``, or
                ``layers["shap_<name> <output>"]``; ``varm["shap_<name>_mean_abs"]``; ``obsm["X_<name>"]``;
                ``obsm["shap_<name>_base_values"]``; ``uns["shapae_<name>"]``. None for the keys above, with the name
                of the head in ``X_<name>``. An earlier result of the same head and name is replaced.

        Raises:
            DataError: ``adata`` does not have the explained rows or columns, or it is backed by a file, or it holds a
                result of another head.
            MissingPackage: anndata is not installed.
        """
        return to_anndata(ExplanationArrays.of(self), self.made_by, adata, name)

    def save(self, folder: str | Path) -> Path:
        """Write all to ``folder``, and return it: arrays as safetensors, the rest as JSON. It replaces earlier results.

        Raises:
            OutputError: The folder holds other files.
        """
        check_arguments(folder=folder)
        arrays = {name: getattr(self, name) for name in ("values", "base_values", "data", *_KEPT)}
        record = {name: getattr(self, name) for name in ("feature_names", "output_names", "made_by", "row_names")}
        return save_result(folder, "explanation", arrays, record | {"complete": adds_up(arrays | record)})

    @classmethod
    def load(cls, folder: str | Path) -> "Explanation":
        """Read a folder of ``save``. Nothing in the files is run.

        Raises:
            OutputError: The files are missing, or they are not files of ``save``.
        """
        check_arguments(folder=folder)
        return load_result(folder, "explanation", lambda complete=None, **parts: cls(**parts))

    def __getitem__(self, item: Any) -> "Explanation":
        """Index all arrays and lists of names alike, as numpy indexes arrays.

        Args:
            item: An index for each axis that is left of row, feature and output: a number, a slice, a name, or a list,
                array, tensor, Series or Index of numbers, of names, or of truth values. Rows have names if
                ``row_names`` are known. At most one of the indices is such a list: ``explanation[rows][:, features]``.

        Returns:
            Axes that were indexed by a number or a name are gone, as in numpy, and the others keep their order.
            ``residual`` stays that of all features.

        Raises:
            WrongIndex: The axes do not have such an index, it repeats a feature or an output, or it is not clear.
            UnknownName: A name is not on its axis.
        """
        items = [self._evaluate(each) for each in (item if isinstance(item, tuple) else (item,))]
        indices, part = resolve(tuple(items), axes_of(self)), copy.copy(self)
        for name, axes in AXES.items():
            setattr(part._s, name, take(getattr(self, name), [indices[axis] for axis in axes if axis in indices]))
        part.clustering = None  # shap's tree of all features
        return part

    def sample(self, max_samples: int, replace: bool = False, random_state: int = 0) -> "Explanation":
        """Draw rows at random: the same rows as shap, in its order, without its use of the global generator.

        Args:
            max_samples: Number of rows; all rows if there are fewer and ``replace`` is false.
            replace: Whether rows may be drawn several times.
            random_state: Random seed.
        """
        n, draw = len(self.values), np.random.RandomState(random_state).choice  # noqa: NPY002 (shap draws from it)
        return self[draw(n, min(max_samples, n), replace=replace)]

    def _evaluate(self, index: Any) -> Any:
        """Take the values of an index that shap computes: another explanation, or shap.Explanation.abs.mean(0)."""
        index = index.apply(self) if isinstance(index, OpChain) else index
        return index.values if isinstance(index, shap.Explanation) else index

    def __copy__(self) -> "Explanation":
        new = object.__new__(type(self))
        new.__dict__.update(self.__dict__, _s=copy.copy(self._s), op_history=copy.copy(self.op_history))
        return new

    def _plain(self) -> shap.Explanation:
        """Make a plain copy for shap's arithmetic, without the name of a single output, which shap can't copy."""
        outputs = None if isinstance(self.output_names, str) else self.output_names
        plain = Derived(
            self.values, self.base_values, self.data, feature_names=self.feature_names, output_names=outputs
        )
        plain.op_history = copy.copy(self.op_history)
        return plain

    def _numpy_func(self, fname: str, **kwargs: Any) -> shap.Explanation:
        return self._plain()._numpy_func(fname, **kwargs)

    def _apply_binary_operator(self, *args: Any) -> shap.Explanation:
        return self._plain()._apply_binary_operator(*args)

    def cohorts(self, cohorts: Any) -> shap.Cohorts:
        """Split the rows into cohorts, as in shap."""
        return as_cohorts(super().cohorts(cohorts))

    def percentile(self, q: float, axis: int | None = None) -> shap.Explanation:
        """Compute a percentile, as in shap."""
        check_arguments(q=q)
        return self._plain().percentile(q, axis)
