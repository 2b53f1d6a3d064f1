"""Explanations as tables of other libraries: pandas, xarray, AnnData."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from shapae.errors import DataError
from shapae.explainer.indexing import axes_of
from shapae.tables import anndata as annotated
from shapae.utils.constraints import check_optional
from shapae.utils.context import ignored_warnings
from shapae.utils.optional import import_optional
from shapae.utils.records import to_json
from shapae.utils.text import enumerate_names


@dataclass(frozen=True, eq=False)
class ExplanationArrays:
    """The arrays of an explanation with all axes, also if one row, feature or output was selected.

    Attributes:
        values: (n, d, k).
        errors: From names of known standard errors to (n, d, k).
        data: (n, d).
        scores: (n, k).
        base_values: (n, k).
        residual: (n, k).
        rows: n names of rows, or None.
        features: d names.
        outputs: k names.
    """

    values: NDArray[Any]
    errors: dict[str, NDArray[Any]]
    data: NDArray[Any]
    scores: NDArray[Any]
    base_values: NDArray[Any]
    residual: NDArray[Any]
    rows: Any
    features: list[str]
    outputs: list[str]

    @classmethod
    def of(cls, explanation: Any) -> "ExplanationArrays":
        """Take the arrays of an ``Explanation``, or of a slice of one."""
        features, outputs = axis_names(explanation.feature_names), axis_names(explanation.output_names)
        n = axes_of(explanation)["row"].size if "row" in axes_of(explanation) else 1
        shape, rows = (n, len(features), len(outputs)), explanation.row_names
        errors = {name: getattr(explanation, name) for name in ("standard_errors", "background_errors")}
        return cls(
            values=np.reshape(explanation.values, shape),
            errors={name: np.reshape(each, shape) for name, each in errors.items() if each is not None},
            data=np.reshape(explanation.data, shape[:2]),
            **{name: np.reshape(getattr(explanation, name), (n, len(outputs))) for name in PER_ROW},
            rows=None if rows is None else pd.Index(np.atleast_1d(rows)),
            features=features,
            outputs=outputs,
        )


PER_ROW = ("scores", "base_values", "residual")


def axis_names(names: Any) -> list[str]:
    """List the names of an axis, or the one name that is left if the axis was indexed away."""
    return [names] if isinstance(names, str) else list(names)


def to_frame(parts: ExplanationArrays) -> pd.DataFrame:
    """Convert the values: n rows; d columns for one output, k * d columns (output, feature) for several outputs."""
    names: Any = pd.Index(parts.features, name="feature")
    if len(parts.outputs) != 1:
        names = pd.MultiIndex.from_product([parts.outputs, parts.features], names=["output", "feature"])
    table = parts.values.transpose(0, 2, 1).reshape(len(parts.values), len(names))
    return pd.DataFrame(table, parts.rows, names, copy=True)


def to_xarray(parts: ExplanationArrays, made_by: dict[str, Any]) -> Any:
    """Convert all arrays to an xarray.Dataset with the axes row, feature and output."""
    axes = ("row", "feature", "output")
    arrays = {"values": (axes, parts.values), "data": (axes[:2], parts.data)}
    arrays |= {name: ((axes[0], axes[2]), getattr(parts, name)) for name in PER_ROW}
    arrays |= {name: (axes, errors) for name, errors in parts.errors.items()}
    rows = range(len(parts.data)) if parts.rows is None else parts.rows
    names = {axis: list(names) for axis, names in zip(axes, (rows, parts.features, parts.outputs), strict=True)}
    xarray = import_optional("xarray", "to_xarray()")
    copies = {name: (dims, array.copy()) for name, (dims, array) in arrays.items()}
    return xarray.Dataset(copies, names, {"made_by": to_json(made_by)})


def to_anndata(parts: ExplanationArrays, made_by: dict[str, Any], adata: Any, name: str | None) -> Any:
    """Convert all arrays to an AnnData; see ``Explanation.to_anndata``."""
    place = Place.of(name)
    earlier = place.earlier(adata, made_by)
    out = _new(parts) if adata is None else select_rows(adata, len(parts.data), parts.rows, parts.features)
    keys = _keys("", place.layers(parts.outputs))
    for at, key in enumerate(keys):
        out.layers[key] = parts.values[..., at].copy()
    sizes = np.abs(parts.values)
    out.varm[f"{place.prefix}_mean_abs"] = sizes.mean(axis=0) if len(sizes) else np.full(sizes.shape[1:], np.nan)
    out.obsm[_keys("X_", [name or _snake(str(made_by.get("head", "score")))])[0]] = parts.scores.copy()
    out.obsm[f"{place.prefix}_base_values"] = parts.base_values.copy()
    record = {"made_by": to_json(made_by), "output_names": parts.outputs, "layers": keys}
    arrays = {key: value if isinstance(value, str) else np.array(value) for key, value in record.items()}
    out.uns[place.record] = {**earlier, **arrays}
    return out


@dataclass(frozen=True)
class Place:
    """The keys of a result in an AnnData, which hold the name of the result if it has one.

    >>> Place.of(None), Place.of("fixed")
    (Place(name='', prefix='shap', record='shapae'), Place(name='fixed', prefix='shap_fixed', record='shapae_fixed'))
    """

    name: str
    prefix: str
    record: str

    @classmethod
    def of(cls, name: str | None) -> "Place":
        """Make the keys of a name; None for a result without a name."""
        check_optional(name=name)
        plain = "" if name is None else name.replace("/", "_")
        return cls(plain, *(f"{start}_{plain}" if plain else start for start in ("shap", "shapae")))

    def layers(self, outputs: Sequence[str]) -> list[str]:
        """Make the key of each output, in which the name is not said twice.

        >>> Place.of("latent").layers(["latent 0", "latent 1"]), Place.of("fixed").layers(["error"])
        (['shap_latent 0', 'shap_latent 1'], ['shap_fixed'])
        """
        if not self.name:
            return [f"shap_{output}" for output in outputs]
        if len(outputs) == 1:
            return [self.prefix]
        return [f"{self.prefix} {output.removeprefix(self.name).strip()}" for output in outputs]

    def earlier(self, adata: Any, made_by: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the record of an earlier result of the same head, which may be replaced; empty if there is none.

        Raises:
            DataError: The earlier result is of another head, and would be lost.
        """
        record = adata.uns.get(self.record) if annotated.is_anndata(adata) else None
        if not isinstance(record, Mapping):
            return {}
        theirs, ours = _head_of(record), made_by.get("head")
        if theirs is not None and theirs != ours:
            raise DataError(
                f"the AnnData holds a result of the head {theirs!r} already, which this result of {ours!r} would "
                f"replace. Give it a name of its own: to_anndata(adata, name={_free_name(adata, str(ours))!r})."
            )
        return record


def _head_of(record: Mapping[str, Any]) -> Any:
    """Return the head in a record that may be of another origin; None if there is none."""
    try:
        return json.loads(record["made_by"]).get("head")
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def _free_name(adata: Any, head: str) -> str:
    """Suggest a name that no result in ``adata`` has."""
    names = [_snake(head), *(f"{_snake(head)}_{number}" for number in range(2, len(adata.obsm) + 3))]
    return next(name for name in names if f"X_{name}" not in adata.obsm and Place.of(name).record not in adata.uns)


def _new(parts: ExplanationArrays) -> Any:
    anndata = import_optional("anndata", "to_anndata()")
    rows = range(len(parts.data)) if parts.rows is None else parts.rows
    obs, var = (pd.DataFrame(index=[str(name) for name in names]) for names in (rows, parts.features))
    return anndata.AnnData(parts.data.copy(), obs, var)


def averages_to_anndata(
    features: Sequence[str],
    varm: Mapping[str, NDArray[Any]],
    made_by: Mapping[str, Any],
    adata: Any,
    /,  # a record has an entry "varm", too
    *,
    place: Place,
    **record: Any,
) -> Any:
    """Write averages over rows to an AnnData; see ``Importance.to_anndata``.

    Args:
        features: d names.
        varm: Arrays (d, m) by their keys.
        made_by: Record of the result.
        adata: The explained AnnData; None for a new one without rows.
        place: Keys of the result.
        **record: Further entries of ``uns["shapae"]``; others of the same head stay.
    """
    earlier = place.earlier(adata, made_by)
    if adata is None:
        anndata = import_optional("anndata", "to_anndata()")
        out = anndata.AnnData(var=pd.DataFrame(index=[*features]))
    else:
        out = _copy(adata, slice(None), features)
    out.varm.update({key: np.array(array) for key, array in varm.items()})
    out.uns[place.record] = {**earlier, "made_by": to_json(made_by), **record}
    return out


def keys_per_output(prefix: str, measures: Sequence[str], outputs: Sequence[str]) -> dict[str, list[str]]:
    """Make unique keys for each measure of each output, without white space and slashes."""
    words = [re.sub(r"\s+", "_", output) for output in outputs]
    keys, k = _keys(f"{prefix}_", [f"{measure}_{word}" for measure in measures for word in words]), len(outputs)
    return {measure: keys[place * k :][:k] for place, measure in enumerate(measures)}


def select_rows(adata: Any, n: int, row_names: Any, features: Sequence[str]) -> Any:
    """Copy the rows and the features of a result from the AnnData that they came from.

    Args:
        adata: AnnData in memory.
        n: Number of rows of the result.
        row_names: Their names; None if rows have numbers only.
        features: d names.

    Raises:
        DataError: ``adata`` is no AnnData in memory, or lacks rows or features.
    """
    _check_anndata(adata)
    return _copy(adata, _rows(n, row_names, adata.obs_names.astype(str)), features)


def _check_anndata(adata: Any) -> None:
    if not annotated.is_anndata(adata):
        raise DataError(f"to_anndata takes an AnnData or None, got {type(adata).__name__}.")
    if adata.isbacked:
        raise DataError("this AnnData is backed by a file, which is not written to. Read it without backed=.")


def _copy(adata: Any, rows: Any, features: Sequence[str]) -> Any:
    """Copy rows and the columns of the features, which get unique names."""
    _check_anndata(adata)
    columns = _places(annotated.make_unique(adata.var_names), features, "column")
    with ignored_warnings(start="Variable names are not unique"):  # they are made so
        out = adata[rows, columns].copy()
    out.var_names = [*features]
    return out


def _rows(n: int, row_names: Any, names: pd.Index) -> list[int]:
    explained = None if row_names is None else [str(name) for name in row_names]
    if explained is None or explained == list(names):
        if n != len(names):
            raise DataError(
                f"{n} rows without names were explained, and the AnnData has {len(names)} rows. Explain "
                f"an AnnData or a DataFrame, whose rows have names, or give the explained rows: adata[...]."
            )
        return [*range(len(names))]
    repeated = [name for name, count in Counter(names).items() if count > 1 and name in {*explained}]
    if repeated:
        raise DataError(
            f"the AnnData has {enumerate_names(repeated, 'row')} repeatedly. Call adata.obs_names_make_unique() first."
        )
    return _places(list(names), explained, "row")


def _places(names: Sequence[str], explained: Iterable[str], noun: str) -> list[int]:
    place = {name: at for at, name in enumerate(names)}
    missing = [name for name in explained if name not in place]
    if missing:
        raise DataError(
            f"the AnnData has no {enumerate_names(missing, noun)}. Give the explained AnnData; for its .raw it is "
            f"adata.raw.to_adata()."
        )
    return [place[name] for name in explained]


def _keys(prefix: str, names: Sequence[str]) -> list[str]:
    """Make unique keys without slashes, as files of HDF5 need them."""
    return annotated.make_unique(pd.Index([f"{prefix}{name}".replace("/", "_") for name in names]))


def _snake(head: str) -> str:
    """Convert the name of a head, such as "latent:3" or "FeatureError(...)", to snake case."""
    word = re.match(r"\w*", head)
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", word[0] if word and word[0] else "score").lower()
