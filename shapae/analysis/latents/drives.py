"""The features that drive each latent unit: how much, and in which direction."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from shapae.explainer.explainer import Explainer
from shapae.explainer.importance import Importance
from shapae.tables.table import Table
from shapae.utils.memory import batches

# Number of copies of the values of a block of rows: the values, their errors, both in float64, and differences of them.
COPIES = 8


@dataclass(frozen=True, eq=False)
class Drives:
    """Importance of d features for m latent units, with directions.

    A mean value says little about direction, since it is near 0 for rows like those of the background. Direction is the
    sign of sum_i v_ijk (x_ij - b_j) instead, with v the values, x the rows and b the mean of the background: positive
    if readings above the background raise the unit, or if readings below it lower the unit. For a linear encoder it is
    the sign of the weight.

    Attributes:
        importance: Mean |value| and its standard error, (d, m).
        covariation: (d, m). Sum over the rows of v_ijk (x_ij - b_j).
        size: (d, m). Sum over the rows of |v_ijk (x_ij - b_j)|.
    """

    importance: Importance
    covariation: NDArray[Any]
    size: NDArray[Any]

    def __add__(self, other: "Drives") -> "Drives":
        """Merge the drives over other rows."""
        return Drives(
            _merge(self.importance, other.importance), self.covariation + other.covariation, self.size + other.size
        )

    @property
    def direction(self) -> NDArray[Any]:
        """(d, m): 1 if high readings raise the unit, -1 if they lower it, 0 for features without any value."""
        return np.asarray(np.sign(self.covariation))

    @property
    def consistency(self) -> NDArray[Any]:
        """(d, m): |covariation| / size, 1 if all rows agree on the direction, near 0 if not; 0 without values."""
        return np.asarray(np.abs(self.covariation) / np.where(self.size > 0, self.size, 1))

    @property
    def signed(self) -> NDArray[Any]:
        """(d, m): signed importances, mean |value| times direction."""
        return np.asarray(self.importance.mean_abs * self.direction)


def _merge(ours: Importance, theirs: Importance) -> Importance:
    weight = theirs.rows / (ours.rows + theirs.rows)
    assert ours.residual is not None
    assert theirs.residual is not None
    residual = (1 - weight) * ours.residual + weight * theirs.residual
    return replace(ours, over=ours.over + theirs.over, residual=residual)


def measure_drives(explainer: Explainer, rows: Table, center: NDArray[Any]) -> Drives:
    """Explain the latents of all rows, block by block, so that the values (n, d, m) are never held at once.

    Args:
        explainer: Explainer of the latents.
        rows: (n, d).
        center: (d,), mean of the background.
    """
    row_bytes = rows.shape[1] * len(explainer.output_names) * explainer.background.element_size()
    blocks = batches(len(rows), max(1, int(explainer.memory // (COPIES * row_bytes))))
    total = _explain_block(explainer, rows, center, blocks[0])
    for block in blocks[1:]:
        total += _explain_block(explainer, rows, center, block)
    return total


def _explain_block(explainer: Explainer, rows: Table, center: NDArray[Any], block: slice) -> Drives:
    explanation = explainer(rows.of(np.arange(block.start, block.stop)))
    values = torch.from_numpy(np.reshape(explanation.values, (*explanation.data.shape, -1))).double()
    deviations = torch.from_numpy(explanation.data - center)
    covariation = torch.einsum("ijk,ij->jk", values, deviations)
    size = torch.einsum("ijk,ij->jk", values.abs(), deviations.abs())
    return Drives(Importance.of(explanation), covariation.numpy(), size.numpy())
