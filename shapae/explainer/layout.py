"""The parts of each kind of result, and whether they fit together: axes, names, types, ranges and sums."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from shapae.explainer.indexing import AXES
from shapae.tables.players import NO_CATEGORY
from shapae.utils.constraints import COUNT
from shapae.utils.text import enumerate_names

Parts: TypeAlias = Mapping[str, Any]
# Number of values that are added up at once.
BLOCK = 2**20


@dataclass(frozen=True, eq=False)
class Layout:
    """Parts of a kind of result.

    Attributes:
        noun: The kind, with its article.
        axes: From names of arrays to their axes.
        names: From axes to the lists of their names; those of rows may repeat.
        optional: Names of arrays and of entries that may be missing.
        entries: Names of all other entries of the record.
        integers: Names of arrays of integers.
        unknown: Names of arrays in which NaN stands for a number that is not known, or that come from the user.
        selects: Axes of which a single place may have been selected, so that it is gone.
        check: Function of the parts that complains about more; None if there is no more to check.
    """

    noun: str
    axes: Mapping[str, tuple[str, ...]]
    names: Mapping[str, str]
    optional: Collection[str]
    entries: Collection[str] = ("made_by",)
    integers: Collection[str] = ("used",)
    unknown: Collection[str] = ("standard_errors", "background_errors")
    selects: Collection[str] = ()
    check: Callable[[Parts], str | None] = field(default=lambda parts: None)

    def complaint(self, arrays: Parts, record: Parts) -> str | None:
        """Say what is wrong with the parts of a result; None if nothing is."""
        parts = {**record, **arrays}
        known = {*self.axes, *self.names.values(), *self.entries}
        if missing := sorted(known - parts.keys() - {*self.optional}):
            return f"it lacks {enumerate_names(missing, 'part')}"
        if others := sorted({*parts} - known | (arrays.keys() - self.axes.keys()) | (record.keys() & self.axes.keys())):
            return f"it has {enumerate_names(others, 'part')} that no such result has"
        steps = (self._about_names, self._about_shapes, self._about_numbers, self.check)
        return next(filter(None, (step(parts) for step in steps)), None)

    def _about_names(self, parts: Parts) -> str | None:
        if not isinstance(parts["made_by"], dict):
            return "made_by is not a dict"
        for axis, entry in self.names.items():
            names = parts.get(entry)
            if names is None or (axis in self.selects and isinstance(names, str | int | float)):
                continue
            if not isinstance(names, list) or not all(isinstance(name, str | int | float) for name in names):
                return f"{entry} is not a list of names"
            twice = [name for name, count in Counter(map(str, names)).items() if count > 1]
            if twice and not axis.endswith("row"):
                return f"{entry} repeats {enumerate_names(twice, 'name')}"
        return None

    def _about_shapes(self, parts: Parts) -> str | None:
        sizes = {axis: len(parts[entry]) for axis, entry in self.names.items() if isinstance(parts.get(entry), list)}
        gone = {axis for axis in self.selects if axis in self.names and np.ndim(parts.get(self.names[axis], [])) == 0}
        first = next(iter(self.axes))
        left = [axis for axis in self.axes[first] if axis not in gone]
        gone |= {"row"} & {*self.selects} if np.ndim(parts[first]) < len(left) else set()
        for name in (name for name in self.axes if name in parts):
            axes, shape = [axis for axis in self.axes[name] if axis not in gone], np.shape(parts[name])
            if len(axes) == len(shape):
                sizes |= {axis: size for axis, size in zip(axes, shape, strict=True) if axis not in sizes}
            if shape != (expected := tuple(sizes.get(axis, f"number of {axis}s") for axis in axes)):
                return f"{name} has the shape {shape}, where {expected} is expected for ({', '.join(axes)})"
        return None

    def _about_numbers(self, parts: Parts) -> str | None:
        for name in (name for name in self.axes if name in parts):
            array = np.asarray(parts[name])
            kinds = "iu" if name in self.integers else "fiu" if name != "data" else "fiub"
            if array.dtype.kind not in kinds:
                return f"{name} has the type {array.dtype}"
            if array.size and (fault := self._about_range(name, array.min(), array.max())):
                return f"{name} has {fault}"
        return None

    def _about_range(self, name: str, least: Any, most: Any) -> str | None:
        if name not in (*self.unknown, "data") and not np.isfinite([least, most]).all():
            return "numbers that are NaN or infinite"
        return "negative numbers" if name in NEVER_NEGATIVE and least < 0 else None


NEVER_NEGATIVE = ("standard_errors", "background_errors", "sizes", "value_squares", "size_squares", "self_influence")


def adds_up(parts: Parts) -> bool:
    """Return whether the residuals are those of all values: those of selected features are not."""
    if not isinstance(parts["feature_names"], list):
        return False
    names = ("values", "scores", "base_values", "residual")
    has_rows = np.ndim(parts["data"]) > 1
    arrays = [np.asarray(parts[name]) if has_rows else np.asarray(parts[name])[None] for name in names]
    step = max(1, BLOCK // max(1, arrays[0][:1].size))
    return all(_adds_up(*(each[at : at + step] for each in arrays)) for at in range(0, len(arrays[0]), step))


def _adds_up(values: Any, scores: Any, base: Any, residual: Any) -> bool:
    """Return whether some rows add up: values (n, d) or (n, d, k), other arrays (n,) or (n, k)."""
    eps = max(np.finfo(each.dtype).eps if each.dtype.kind == "f" else 0 for each in (values, scores))
    with np.errstate(invalid="ignore", over="ignore"):  # numbers that are refused later
        sizes = abs(scores) + abs(base) + abs(residual) + abs(values).sum(axis=1)
        difference = abs(scores - base - values.sum(axis=1, dtype=float) - residual)
        return bool((difference <= eps * (16 + 4 * values.shape[1] ** 0.5) * sizes).all())


def _check_sums(parts: Parts) -> str | None:
    if parts.get("complete") and not adds_up(parts):
        return "score - base value - sum of values is not the residual"
    return _check_categories(parts)


def _check_categories(parts: Parts) -> str | None:
    """Complain if a category is not the position of a feature in its group."""
    categories, groups = parts.get("categories"), parts["made_by"].get("groups")
    if categories is None:
        return None
    names = np.atleast_1d(parts["feature_names"]).tolist()
    known = groups if isinstance(groups, dict) else {}
    sizes = np.array([len(known[name]) if isinstance(known.get(name), list) else 0 for name in names])
    columns = np.reshape(categories, (-1, len(names)))
    if ((columns < NO_CATEGORY) | (columns >= sizes) | ((columns == NO_CATEGORY) & (sizes == 0))).any():
        return "categories are not positions in the groups of made_by"
    return None


def _check_rows(parts: Parts) -> str | None:
    rows, used = parts["rows"], parts.get("used")
    if not COUNT.accepts(rows):
        return f"rows is {rows!r}, not a number of rows"
    if used is not None and len(used) != rows:
        return f"used has {len(used)} numbers for {rows} rows"
    return _check_sizes(parts)


def _check_groups(parts: Parts) -> str | None:
    labels, rows, used = parts["labels"], parts["rows"], parts.get("used")
    if not isinstance(labels, list) or not isinstance(rows, list) or not all(map(COUNT.accepts, rows)):
        return "labels and rows are not lists"
    if len({*map(repr, labels)}) < len(labels) or len(labels) + 1 != len(rows) or len(rows) != len(parts["values"]):
        return f"{len(parts['values'])} averages do not fit to {len(labels)} labels and {len(rows)} numbers of rows"
    if sum(rows[:-1]) != rows[-1]:
        return f"the groups have {sum(rows[:-1])} rows together, and not {rows[-1]}"
    if used is not None and len(used) != sum(rows):
        return f"used has {len(used)} numbers for {sum(rows)} rows"
    return _check_sizes(parts)


def _check_sizes(parts: Parts) -> str | None:
    """Complain if the size of a mean is larger than the mean of the sizes."""
    means, sizes = parts["values"], parts["sizes"]
    if (abs(means) > sizes * (1 + 1e-4)).any():  # values in half precision were averaged, too
        return "values are larger than their sizes"
    return None


def _check_places(parts: Parts) -> str | None:
    places, m = parts["places"], len(parts["losses"])
    if ((places < -1) | (places >= m)).any():
        return f"places are not those of {m} training rows"
    return None


_PAIRS = ("row", "feature", "feature")
_FEATURES = {"feature": "feature_names", "output": "output_names"}
_AVERAGES = ("values", "sizes", "value_squares", "size_squares")
LAYOUTS = {
    "explanation": Layout(
        "an explanation",
        {name: AXES[name] for name in ("values", "standard_errors", "background_errors", "data", "categories")}
        | {name: AXES[name] for name in ("base_values", "scores", "residual", "used")},
        {**_FEATURES, "row": "row_names"},
        ("standard_errors", "background_errors", "categories", "used", "row_names", "complete"),
        ("made_by", "complete"),
        integers=("used", "categories"),
        selects=("row", "feature", "output"),
        check=_check_sums,
    ),
    "importance": Layout(
        "an importance",
        dict.fromkeys(_AVERAGES, ("feature", "output")) | {"residual": ("output",), "used": ("row",)},
        _FEATURES,
        ("residual", "used"),
        ("made_by", "rows"),
        check=_check_rows,
    ),
    "grouped_importance": Layout(
        "a grouped importance",
        dict.fromkeys(_AVERAGES, ("group", "feature", "output")) | {"residual": ("group", "output"), "used": ("row",)},
        _FEATURES,
        ("residual", "used"),
        ("made_by", "rows", "labels"),
        check=_check_groups,
    ),
    "interactions": Layout(
        "interactions",
        {"values": _PAIRS, "standard_errors": _PAIRS, "data": ("row", "feature")}
        | {"scores": ("row",), "base_values": ("row",)},
        {"feature": "feature_names", "row": "row_names"},
        ("row_names",),
    ),
    "influence": Layout(
        "influences",
        {"values": ("row", "train row"), "self_influence": ("train row",), "losses": ("train row",)}
        | {
            "scores": ("row",),
            "places": ("row",),
            "latents": ("row", "latent"),
            "train_latents": ("train row", "latent"),
        },
        {"row": "row_names", "train row": "train_names"},
        ("latents", "train_latents", "row_names", "train_names"),
        integers=("places",),
        check=_check_places,
    ),
}
