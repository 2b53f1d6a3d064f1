"""Readings of anomalies beside the readings that the model expected, in the units of the table where that is known."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shapae.explainer.explainer import Explainer
from shapae.heads import ErrorFromOthers, ReconstructionError
from shapae.heads.losses import as_loss, expected_targets
from shapae.models.autoencoder import Autoencoder
from shapae.tables.table import Table
from shapae.utils.context import inference_state

# Quantiles of the background between which a reading is usual, and its median.
USUAL = (0.05, 0.5, 0.95)
SEPARATORS = r"[=_:./| -]"


@dataclass(frozen=True, eq=False)
class Readings:
    """Readings of m rows, and the readings that the model expected.

    Attributes:
        reading: m x d.
        expected: m x d. Reconstructions.
        errors: m x d. Error of each feature.
        units: "table" for the units of the rows as they were given; "model" for those behind the preprocessing, if it
            can't be undone, see ``Autoencoder.in_table_units``.
        usual: 3 x d. Quantiles 0.05, 0.5 and 0.95 of the background, in the same units.
        groups: From the names of all p groups and features outside of groups to the names of their features.
        one_hot: Names of the groups that are the one-hot columns of an attribute; none if the units are of the model.
    """

    reading: pd.DataFrame
    expected: pd.DataFrame
    errors: pd.DataFrame
    units: str
    usual: pd.DataFrame
    groups: Mapping[str, Sequence[str]]
    one_hot: frozenset[str]

    @property
    def has_groups(self) -> bool:
        """Whether there are groups, not only single features."""
        return any([name] != [*members] for name, members in self.groups.items())

    @property
    def grouped_errors(self) -> pd.DataFrame:
        """m x p. Sums of the errors of the features of each group."""
        if not self.has_groups:
            return self.errors
        sums = {name: self.errors[[*members]].sum(axis=1) for name, members in self.groups.items()}
        return pd.DataFrame(sums, self.errors.index, columns=[*self.groups])

    def member(self, row: int, group: str) -> str:
        """Choose the feature whose reading stands for a group in one row.

        Returns:
            The active column of one-hot columns; otherwise the feature with the largest error.
        """
        members = [*self.groups[group]]
        if len(members) == 1:
            return members[0]
        by = self.reading if group in self.one_hot else self.errors
        return members[int(by.iloc[row][members].to_numpy().argmax())]

    def category(self, row: int, group: str) -> str | None:
        """Name the active category of one-hot columns, or all of them; None for other groups and features."""
        if group not in self.one_hot:
            return None
        active = self.reading.iloc[row][[*self.groups[group]]].to_numpy() != 0
        labels = category_labels(self.groups[group])
        return " and ".join(label for label, is_active in zip(labels, active, strict=True) if is_active) or "none"

    def expected_category(self, row: int, group: str) -> str | None:
        """Name the category with the largest expected reading; None for other groups and features."""
        if group not in self.one_hot:
            return None
        expected = self.expected.iloc[row][[*self.groups[group]]].to_numpy()
        return category_labels(self.groups[group])[int(expected.argmax())]


def category_labels(columns: Sequence[str]) -> list[str]:
    """Remove the common beginning of the names of one-hot columns, up to a separator.

    >>> category_labels(["goods=fuel", "goods=rent"]), category_labels(["red", "rust"])
    (['fuel', 'rent'], ['red', 'rust'])
    """
    separators = [*re.finditer(SEPARATORS, os.path.commonprefix([*columns]))]
    start = separators[-1].end() if separators else 0
    return [column[start:] or column for column in columns]


def read(explainer: Explainer, rows: Table | None, names: Sequence[str], index: Any) -> Readings:
    """Compute the readings of some rows.

    Args:
        explainer: Explainer of the reconstruction error.
        rows: (m, d); None for no rows.
        names: d names of columns.
        index: (m,). Names of the rows, or their positions.
    """
    background = Table(explainer.background.cpu().numpy(), None)
    units = "table" if _has_table_units(explainer) else "model"
    usual = background.values if units == "table" else _compare(explainer, background)[0]
    reading, expected, errors = _compare(explainer, rows)
    if units == "table" and rows is not None:
        reading = rows.dense(slice(None))  # in the precision of the table
    groups = _groups(explainer, names)

    def frame(numbers: NDArray[Any], index: Any) -> pd.DataFrame:
        return pd.DataFrame(np.asarray(numbers, dtype=np.float64), index, [*names])

    return Readings(
        reading=frame(reading, index),
        expected=frame(expected, index),
        errors=frame(errors, index),
        units=units,
        usual=frame(weighted_quantiles(usual, USUAL, explainer._game.weights), [*USUAL]),
        groups=groups,
        one_hot=_one_hot(frame(background.values, None), groups) if units == "table" else frozenset(),
    )


def weighted_quantiles(values: NDArray[Any], levels: Sequence[float], weights: Any) -> NDArray[Any]:
    """Compute quantiles along the first axis of ``values``, of rows with weights (n,) or, if None, without."""
    if weights is None:
        return np.asarray(np.quantile(values, levels, axis=0))
    counts = np.asarray(torch.as_tensor(weights).cpu())
    return np.asarray(np.quantile(values, levels, axis=0, weights=counts, method="inverted_cdf"))


class _Compared(nn.Module):
    """Targets, expected readings and errors, side by side: (n, d) -> (n, 3 d)."""

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, autoencoder: Autoencoder, rows: Tensor) -> Tensor:
        target, reconstruction = autoencoder.target(rows), autoencoder.reconstruct(rows)
        errors = self.loss(reconstruction, target)
        expected = expected_targets(self.loss, reconstruction)
        original = autoencoder.in_table_units(expected)
        errors = errors if errors.ndim == 2 else (reconstruction - target).square()
        return torch.cat([target, expected if original is None else original, errors], dim=1)


class _Worst(nn.Module):
    """Positions of the worst features of a head, as numbers: (n, d) -> (n, w)."""

    def __init__(self, head: ErrorFromOthers) -> None:
        super().__init__()
        self.head = head

    def forward(self, autoencoder: Autoencoder, rows: Tensor) -> Tensor:
        return self.head.worst_features(self.head.losses(autoencoder, rows)).to(rows)


def worst_of(explainer: Explainer, rows: Table | None, head: ErrorFromOthers) -> NDArray[Any]:
    """Find the features with the largest errors as the head orders them, also if some errors are equal: (m, w)."""
    count = len(_groups(explainer, explainer.feature_names))
    width = min(head.worst or count, count)
    if rows is None:
        return np.zeros((0, width), dtype=np.intp)
    return explainer._score_of(_Worst(head)).predict(rows).reshape(len(rows), width).astype(np.intp)


def _compare(explainer: Explainer, rows: Table | None) -> list[NDArray[Any]]:
    """Compute targets, expected readings and errors, each (m, d)."""
    if rows is None:
        return [np.zeros((0, explainer.background.shape[1]))] * 3
    return np.split(explainer._score_of(_Compared(_loss(explainer))).predict(rows), 3, axis=1)


def feature_loss(explainer: Explainer) -> nn.Module:
    """Return the loss of the reconstruction error; squares, if it has one number per row and not per feature."""
    autoencoder, rows, loss = explainer._score.autoencoder, explainer.background[[0, -1]], _loss(explainer)
    with inference_state(explainer._score, rows):
        losses = loss(autoencoder.reconstruct(rows), autoencoder.target(rows))
    return loss if losses.ndim == 2 else as_loss("mse")


def _loss(explainer: Explainer) -> nn.Module:
    head = explainer._score.head
    assert isinstance(head, ReconstructionError)
    return head.loss


def _has_table_units(explainer: Explainer) -> bool:
    autoencoder, row = explainer._score.autoencoder, explainer.background[:1]
    with inference_state(autoencoder, row):
        return autoencoder.in_table_units(row) is not None


def _groups(explainer: Explainer, names: Sequence[str]) -> dict[str, list[str]]:
    players = explainer._game.players
    if players is None:
        return {name: [name] for name in names}
    return {name: [names[j] for j in at] for name, at in zip(players.names, players.positions, strict=True)}


def _one_hot(rows: pd.DataFrame, groups: Mapping[str, Sequence[str]]) -> frozenset[str]:
    """Find the groups whose columns are 0 and 1, with a single 1 in each row."""
    columns = {name: rows[[*members]].to_numpy() for name, members in groups.items() if len(members) > 1}
    return frozenset(
        name for name, each in columns.items() if np.isin(each, (0, 1)).all() and (each.sum(axis=1) == 1).all()
    )
