"""Indexing as in numpy, also by names, of arrays that share the axes row, feature and output."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from shapae.errors import UnknownName, WrongIndex
from shapae.tables.convert import index_names
from shapae.utils.text import enumerate_names

Index: TypeAlias = int | slice | NDArray[Any]

# Axes of each part of an explanation, also of those that only shap's plots read.
AXES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("values", "standard_errors", "background_errors", "lower_bounds", "upper_bounds"), ("row", "feature", "output")
    ),
    **dict.fromkeys(("data", "display_data", "categories"), ("row", "feature")),
    **dict.fromkeys(("base_values", "scores", "residual"), ("row", "output")),
    **dict.fromkeys(("used", "row_names"), ("row",)),
    "feature_names": ("feature",),
    "output_names": ("output",),
}
# Types of values that are names, as pandas calls them.
NAMES = {"string", "datetime", "datetime64", "date"}


@dataclass(frozen=True, eq=False)
class Axis:
    """One of the axes that are left.

    Attributes:
        noun: "row", "feature" or "output".
        place: Position among the axes that are left.
        size: Length of the axis.
        names: Names along the axis; None if it has numbers only.
    """

    noun: str
    place: int
    size: int
    names: Any

    def code(self, index: str) -> str:
        """Write code that indexes this axis, for messages.

        >>> Axis("feature", 1, 20, None).code("mask")
        '[:, mask]'
        """
        return f"[{':, ' * self.place}{index}]"


def axes_of(explanation: Any) -> dict[str, Axis]:
    """Find the axes that an ``Explanation`` still has; an axis that was indexed away left one name or none."""
    names = {"feature": explanation.feature_names, "output": explanation.output_names}
    sizes = {noun: len(each) for noun, each in names.items() if not isinstance(each, str)}
    shape = np.shape(explanation.values)
    if len(shape) > len(sizes):
        sizes, names = {"row": shape[0], **sizes}, {"row": explanation.row_names, **names}
    return {noun: Axis(noun, place, size, names[noun]) for place, (noun, size) in enumerate(sizes.items())}


def take(part: Any, indices: Sequence[Index]) -> Any:
    """Index each axis of an array, or of a list of names, by itself; a single number or name stays as it is."""
    array = np.array(part, dtype=object) if isinstance(part, list) else np.asarray(part)
    if array.ndim == 0:
        return part
    # From the last axis to the first, so that no axis moves: numpy moves one for array[0, :, [1, 2]].
    for place in reversed(range(len(indices))):
        array = array[(*[slice(None)] * place, indices[place])]
    return array.tolist() if isinstance(part, list) and isinstance(array, np.ndarray) else array


def resolve(item: Any, axes: Mapping[str, Axis]) -> dict[str, Index]:
    """Translate an index to an index of numpy for each axis.

    Args:
        item: An index, or a tuple of them, as in numpy. Each is a number, a slice, a name, or a list, array, tensor,
            Series or Index of numbers, of names, or of truth values.
        axes: Axes by their nouns.

    Raises:
        WrongIndex: The axes do not have such an index, or it leaves no table.
        UnknownName: There is no such name.
    """
    items = _complete(item if isinstance(item, tuple) else (item,), axes)
    indices = {noun: _resolve(each, axis, axes) for each, (noun, axis) in zip(items, axes.items(), strict=True)}
    lists = [axes[noun].code(f"{noun}s") for noun, index in indices.items() if isinstance(index, np.ndarray)]
    if len(lists) > 1:
        raise WrongIndex(
            f"numpy pairs the entries of {len(lists)} lists or masks, which leaves no table. Index one axis after the "
            f"other: explanation{''.join(lists)}."
        )
    return indices


def _complete(items: tuple[Any, ...], axes: Mapping[str, Axis]) -> list[Any]:
    # An axis takes all of its entries where there is an ellipsis, or no index.
    dots = [place for place, each in enumerate(items) if each is Ellipsis]
    given = len(items) - len(dots)
    if given > len(axes) or len(dots) > 1:
        raise WrongIndex(
            f"got {given} indices and {len(dots)} ellipses; the axes are: {', '.join(axes) or 'none'}. Give one index "
            f"for each axis and one ellipsis at most."
        )
    place = dots[0] if dots else len(items)
    return [*items[:place], *[slice(None)] * (len(axes) - given), *items[place + 1 :]]


def _resolve(item: Any, axis: Axis, axes: Mapping[str, Axis]) -> Index:
    if isinstance(item, slice):
        return _check_slice(item, axis)
    values = _to_array(item)
    kind = pd.api.types.infer_dtype(values.ravel(), skipna=False)
    if kind == "boolean" and values.ndim == 1:
        return _read_mask(item, values, axis)
    if values.ndim > 1 or kind not in {"integer", "empty", *NAMES}:
        raise WrongIndex(_describe(item, values, kind, axis))
    found = _find(values, axis, axes) if kind in NAMES else _read_numbers(item, values, axis)
    if axis.noun != "row" and len(np.unique(found)) < len(found):
        raise WrongIndex(f"the names of {axis.noun}s must be unique, but this index repeats some. Choose each once.")
    return found if values.ndim else int(found[0])


def _describe(item: Any, values: NDArray[Any], kind: str, axis: Axis) -> str:
    got = f"{type(item).__name__} of {kind} values, shape {values.shape}" if values.ndim else repr(item)
    hint = f"Give each axis an index of its own, as in explanation{axis.code('[0, 1]')}."
    if values.ndim and pd.isna(values).any():
        hint = "Choose for missing values first, as in mask.fillna(False)."
    return (
        f"{axis.noun}s are chosen by an integer, a slice, a name, or a list of integers, of names, or of {axis.size} "
        f"truth values, got {got}. {hint}"
    )


def _to_array(item: Any) -> NDArray[Any]:
    if isinstance(item, torch.Tensor | np.ma.MaskedArray):
        item = item.tolist()  # from any device; None where masked
    # As objects, because numpy would make one type of all entries: "2" of 2, and 1 of True.
    return np.asarray(item, dtype=object if isinstance(item, list | tuple) else None)


def _check_slice(item: slice, axis: Axis) -> slice:
    try:
        item.indices(axis.size)
    except (TypeError, ValueError) as error:
        raise WrongIndex(
            f"a slice of {axis.noun}s takes integers and a step other than 0, got {item}. Write names as a list: "
            f"explanation{axis.code('[name, other_name]')}."
        ) from error
    return item


def _read_mask(item: Any, mask: NDArray[Any], axis: Axis) -> NDArray[Any]:
    if isinstance(item, pd.Series):
        _check_labels(item, axis)
    if len(mask) != axis.size:
        raise WrongIndex(
            f"a mask of {axis.noun}s needs {axis.size} entries, one for each {axis.noun}, got {len(mask)}. Compute it "
            f"from the same {axis.noun}s, and write explanation{axis.code('mask')}."
        )
    return np.flatnonzero(mask)


def _check_labels(mask: pd.Series, axis: Axis) -> None:
    """Check that the index of ``mask`` can't mean another order than that of the axis.

    Raises:
        WrongIndex: Its labels are others, or in another order; or they are positions, and the axis has names like them.
    """
    labels = index_names(mask.index)
    given = [*map(str, range(len(mask)) if labels is None else labels)]
    names = [*map(str, range(axis.size) if axis.names is None else axis.names)]
    nameless = labels is None or axis.names is None
    if given != names and (not nameless or {*names} <= {*given}):
        names_code = f"range({axis.size})" if axis.names is None else f"explanation.{axis.noun}_names"
        raise WrongIndex(
            f"the index of this Series differs from the names of the {axis.noun}s, or from their order. Write "
            f"explanation{axis.code(f'mask.loc[{names_code}]')} to go by names, or "
            f"explanation{axis.code('mask.to_numpy()')} to go by positions."
        )


def _read_numbers(item: Any, numbers: NDArray[Any], axis: Axis) -> NDArray[Any]:
    numbers = numbers.ravel()
    if isinstance(item, pd.Index) and axis.names is not None:
        _check_numbers(item, axis)
    beyond = numbers[(numbers >= axis.size) | (numbers < -axis.size)]
    if len(beyond):
        raise WrongIndex(
            f"there are {axis.size} {axis.noun}s, got the {enumerate_names([*beyond], 'number')}. Numbers start at 0, "
            f"or at -1 for the last."
        )
    return numbers.astype(np.intp) % max(1, axis.size)


def _check_numbers(item: pd.Index, axis: Axis) -> None:
    """Check that the numbers in ``item`` are not the names of other positions.

    Raises:
        WrongIndex: They are; pandas would go by names, and numpy by positions.
    """
    named = pd.Index([*map(str, axis.names)]).get_indexer_for(item.astype(str))
    if (named >= 0).all() and not np.array_equal(named, item):
        raise WrongIndex(
            f"the numbers in this Index are positions of {axis.noun}s and names of others. Write "
            f"explanation{axis.code('index.to_numpy()')} to go by positions, or "
            f"explanation{axis.code(f'numpy.isin(explanation.{axis.noun}_names, index)')} to go by names."
        )


def _find(names: NDArray[Any], axis: Axis, axes: Mapping[str, Axis]) -> NDArray[Any]:
    wanted = pd.Index(names.ravel().astype(object) if names.dtype.kind != "M" else names.ravel())
    known = pd.Index([] if axis.names is None else axis.names)
    repeated = known[known.duplicated()].intersection(wanted)
    if len(repeated):
        raise WrongIndex(
            f"several {axis.noun}s have the {enumerate_names(repeated, 'name')}. Choose by numbers, or all of them by "
            f"explanation{axis.code(f'explanation.{axis.noun}_names == {repeated[0]!r}')}."
        )
    places: NDArray[Any] = known.get_indexer_for(wanted)
    missing = [*wanted[places < 0]]
    if missing:
        raise _unknown(missing, axis, axes)
    return places


def _unknown(missing: list[Any], axis: Axis, axes: Mapping[str, Axis]) -> Exception:
    named = [other for other in axes.values() if other.names is not None]
    for other in named:
        if missing[0] in [*other.names]:
            return WrongIndex(
                f"{missing[0]!r} is one of the {other.noun}s, not of the {axis.noun}s. Write "
                f"explanation{other.code(repr(missing[0]))}."
            )
    looked_at = [axis] if axis in named else named
    noun, known = " or ".join(each.noun for each in looked_at), [str(name) for each in looked_at for name in each.names]
    return UnknownName(noun, missing[0] if len(missing) == 1 else missing, known)
