"""Sweeps: the changes of all decoded features while one latent unit moves through its quantiles."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from shapae.analysis.latents.decoding import Decoder
from shapae.errors import DataError
from shapae.utils.constraints import check_arguments

# Quantiles of a unit at which its sweep decodes; and those between which its effects are measured.
QUANTILES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
LOW, HIGH = 0.01, 0.99


@dataclass(frozen=True, eq=False)
class Sweep:
    """Changes of d decoded features while one unit moves and the other units stay.

    Attributes:
        unit: Name of the unit.
        quantiles: (q,), increasing.
        positions: (q,). Quantiles of the unit over all rows.
        changes: (q, d). Decoded features minus ``middle``.
        middle: (d,). Decoded reference: the unit at its median, the others at their mean; or the latents of a row.
        drives: (d,). Signed importances of the features for the unit, the other direction of the same question.
        feature_names: d names.
        units: Units of ``changes`` and ``middle``: "the table"; "the model", if its preprocessing can't be undone.
        row: The row at whose latents the other units stay; None for the mean.
    """

    unit: str
    quantiles: NDArray[Any]
    positions: NDArray[Any]
    changes: NDArray[Any]
    middle: NDArray[Any]
    drives: NDArray[Any]
    feature_names: Sequence[str]
    units: str
    row: Any = None

    def __repr__(self) -> str:
        where = "the mean of the others" if self.row is None else f"row {self.row!s}"
        largest = ", ".join(map(str, self.table.index[:3]))
        return f"Sweep of {self.unit} at {where}, in units of {self.units}\nmoves most: {largest}"

    @property
    def range(self) -> NDArray[Any]:
        """(d,): largest minus smallest decoded value of each feature."""
        return np.asarray(np.ptp(self.changes, axis=0))

    @property
    def table(self) -> pd.DataFrame:
        """d lines, by descending range: signed importance (``drives``), ``range``, and the change at each quantile."""
        columns: dict[Any, NDArray[Any]] = {"drives": self.drives, "range": self.range}
        columns |= {float(quantile): change for quantile, change in zip(self.quantiles, self.changes, strict=True)}
        table = pd.DataFrame(columns, pd.Index(self.feature_names, name="feature"))
        return table.sort_values("range", ascending=False, kind="stable")

    def top(self, most: int = 10) -> pd.DataFrame:
        """Select the features that change most; see ``table``.

        Raises:
            DataError: ``most`` is not an integer, or less than 1.
        """
        check_arguments(most=most)
        return self.table.head(most)


def path_of(
    latents: NDArray[Any], unit: int, quantiles: NDArray[Any], row: int | None
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Make the latents of a sweep: (q,) positions of the unit, and (q + 1, m) latents, the last of which is the middle.

    Args:
        latents: (n, m).
        unit: Position of the unit that moves.
        quantiles: (q,).
        row: Position of the row whose latents the others have; None for the mean.
    """
    positions = np.quantile(latents[:, unit], quantiles)
    reference = latents.mean(axis=0) if row is None else latents[row].copy()
    if row is None:
        reference[unit] = np.median(latents[:, unit])
    path = np.repeat(reference[None], len(quantiles) + 1, axis=0)
    path[:-1, unit] = positions
    return positions, path


def check_quantiles(quantiles: Sequence[float]) -> NDArray[Any]:
    """Check and sort quantiles.

    Raises:
        DataError: They are fewer than two different numbers, or not between 0 and 1.
    """
    try:
        array = np.unique(np.asarray(quantiles, dtype=np.float64))
    except (TypeError, ValueError):
        array = np.empty(0)
    if array.size < 2 or not ((array >= 0) & (array <= 1)).all():
        raise DataError(
            f"quantiles must be two or more different numbers between 0 and 1, got {quantiles!r}. Give "
            f"quantiles=(0.05, 0.5, 0.95)."
        )
    return array


def measure_effects(decoder: Decoder, latents: NDArray[Any]) -> NDArray[Any]:
    """Decode each unit at its 1 % and 99 % quantiles, the others at their mean: (d, m), high minus low.

    Args:
        decoder: It decodes m units.
        latents: (n, m).
    """
    m = latents.shape[1]
    low, high = np.quantile(latents, (LOW, HIGH), axis=0)
    ends = np.repeat(latents.mean(axis=0)[None], 2 * m, axis=0)
    ends[range(m), range(m)], ends[range(m, 2 * m), range(m)] = low, high
    rows = decoder(ends)
    return np.asarray((rows[m:] - rows[:m]).T)
