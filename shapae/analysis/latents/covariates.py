"""Covariates: numbers or groups that are known of each row beside its features."""

import numbers
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from shapae.errors import DataError
from shapae.tables.anndata import column_of_obs, is_anndata
from shapae.tables.columns import check_unique_names
from shapae.tables.labels import check_same_rows
from shapae.tables.table import Table
from shapae.utils.text import enumerate_names

# Kinds of columns, in the words of pandas, that are neither numbers nor groups.
TIMES = {"datetime", "datetime64", "date", "time", "timedelta", "timedelta64", "period"}


@dataclass(frozen=True, eq=False)
class Covariate:
    """Numbers or groups of n rows, some of which may be missing.

    Attributes:
        name: Name of the covariate.
        values: (n,), float64: numbers, or positions in ``groups``; NaN where they are missing.
        groups: Names of the groups that are there; None for numbers.
    """

    name: str
    values: NDArray[Any]
    groups: list[str] | None = None

    @property
    def known(self) -> NDArray[Any]:
        """(n,), bool: whether the row has a value."""
        return np.asarray(~np.isnan(self.values))

    @property
    def varies(self) -> bool:
        """Whether there are two different values."""
        return len(np.unique(self.values[self.known])) > 1

    @property
    def standard(self) -> NDArray[Any]:
        """(n,): numbers shifted and scaled to mean 0 and sizes up to 1, without overflow; positions of groups as is."""
        if self.groups is not None or not self.varies:
            return self.values
        scaled = self.values / np.nanmax(np.abs(self.values))
        scaled -= np.nanmean(scaled)
        return np.asarray(scaled / np.nanmax(np.abs(scaled)))

    def columns(self, rows: NDArray[Any]) -> NDArray[Any]:
        """(r, q): numbers on a common scale, q = 1, or an indicator for each of q groups, of rows (r,) with a value."""
        values = self.standard[rows]
        indicators = values[:, None] == np.arange(len(self.groups or []))
        return np.asarray(values[:, None] if self.groups is None else indicators, dtype=np.float64)


def read_covariates(X: Any, rows: Table, covariates: Any) -> list[Covariate]:
    """Read the covariates of each row.

    Args:
        X: The table as the user gave it, not a path.
        rows: The same table, n rows.
        covariates: A DataFrame of pandas or polars, or a dict, with n rows; a named Series; or, for an AnnData, names
            of columns of its ``obs``. Names of rows must be those of the table. Numbers are numbers; all else,
            also booleans and categories, is groups.

    Raises:
        DataError: There are not n rows, they have other names, or a covariate is neither numbers nor groups.
        UnknownName: ``obs`` has no such column.
    """
    return [_read(name, column, X, rows) for name, column in _as_dict(X, covariates).items()]


def _as_dict(X: Any, covariates: Any) -> dict[str, Any]:
    """Make a dict from names to columns.

    Raises:
        DataError: ``covariates`` is something else.
        UnknownName: ``obs`` has no such column.
    """
    if covariates is None:
        return {}
    if isinstance(covariates, str):
        covariates = [covariates]
    if isinstance(covariates, pd.DataFrame):
        check_unique_names([str(name) for name in covariates.columns], "covariates")
        return {str(name): covariates[name] for name in covariates.columns}
    if isinstance(covariates, pd.Series):
        return {str(covariates.name) if covariates.name is not None else "covariate": covariates}
    if isinstance(covariates, Mapping):
        check_unique_names([str(name) for name in covariates], "covariates")
        return {str(name): column for name, column in covariates.items()}
    if isinstance(covariates, list | tuple) and all(isinstance(name, str) for name in covariates):
        return _columns_of_obs(X, list(covariates))
    frame = nw.from_native(covariates, pass_through=True)
    if isinstance(frame, nw.DataFrame):
        return {str(name): frame[name].to_list() for name in frame.columns}
    raise DataError(
        f"covariates must be a DataFrame, a Series, a dict from names to arrays, or names of columns of obs, got "
        f"{type(covariates).__name__}. Give covariates={{'my name': values}}."
    )


def _columns_of_obs(X: Any, names: list[str]) -> dict[str, Any]:
    if not is_anndata(X):
        raise DataError(
            f"{enumerate_names([repr(name) for name in names], 'covariate')} can be columns of obs only of an AnnData, "
            f"and the table is of type {type(X).__name__}. Give the values: covariates={{'my name': values}}, or "
            f"adata.obs[{names!r}]."
        )
    return {name: column_of_obs(X, name) for name in names}


def _read(name: str, column: Any, X: Any, rows: Table) -> Covariate:
    remedy = "Give covariates.loc[X.index], or covariates.loc[adata.obs_names]"
    check_same_rows(column, X, rows, f"the covariate {name!r} and the table", remedy)
    column = column.detach().cpu().numpy() if isinstance(column, Tensor) else column
    shape = _shape(column)
    if shape != (len(rows),):
        raise DataError(
            f"the covariate {name!r} must have one value for each of the {len(rows)} rows, got shape {shape}."
        )
    series = pd.Series(column)
    series = _from_objects(series) if series.dtype == object else series
    return _numbers(name, series) if _is_number(series) else _groups(name, series)


def _shape(column: Any) -> tuple[int, ...] | str:
    try:
        return tuple(np.shape(column))
    except ValueError:  # lists of different lengths
        return "of uneven lists"


def _from_objects(series: "pd.Series[Any]") -> "pd.Series[Any]":
    """Find the common type of Python objects: numbers of any type, which are made float64, or another one."""
    known = series.dropna()
    if all(isinstance(each, numbers.Number) and not isinstance(each, bool | complex) for each in known):
        return pd.to_numeric(series.map(float, na_action="ignore"))
    return series.convert_dtypes()


def _is_number(series: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(series.dtype) and not pd.api.types.is_bool_dtype(series.dtype)


def _numbers(name: str, series: pd.Series) -> Covariate:
    if pd.api.types.is_complex_dtype(series.dtype):
        raise DataError(f"the covariate {name!r} has complex numbers. Give their real parts, or their sizes.")
    values = series.to_numpy(dtype=np.float64, na_value=np.nan)
    if np.isinf(values).any():
        infinite = np.flatnonzero(np.isinf(values)).tolist()
        raise DataError(
            f"the covariate {name!r} is infinite in {enumerate_names(infinite, 'row')}. Replace these values, or make "
            f"them NaN to leave the rows out."
        )
    return Covariate(name, values)


def _groups(name: str, series: pd.Series) -> Covariate:
    if pd.api.types.infer_dtype(series, skipna=True) in TIMES:
        raise DataError(
            f"the covariate {name!r} holds times. Make numbers of them, (times - times.min()).dt.total_seconds(), or "
            f"strings for groups."
        )
    known = ~series.isna().to_numpy()
    if isinstance(series.dtype, pd.CategoricalDtype):
        series = series.cat.remove_unused_categories()
        groups = list(dict.fromkeys(map(str, series.cat.categories)))
        labels = np.array([*map(str, series.cat.categories), ""], dtype=object)[series.cat.codes]
    else:
        labels = series.astype(str).to_numpy(dtype=object)
        groups = sorted({*labels[known]})
    place = {group: position for position, group in enumerate(groups)}
    return Covariate(name, np.array([place[a] if b else np.nan for a, b in zip(labels, known, strict=True)]), groups)
