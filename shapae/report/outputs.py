"""Features beside outputs: a matrix of importances, clustered, and a list of the outputs."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shapae.explainer.importance import Importance
from shapae.plots._figure import cluster_order
from shapae.report.words import clean, show

# Largest numbers of features and of outputs in the matrix, of outputs in the list, and of shades of a cell.
ROWS, COLUMNS, LISTED, SHADES = 30, 24, 50, 8
# Number of features of an output in the list.
NAMED = 5


@dataclass(frozen=True, eq=False)
class Outputs:
    """Outputs beside features.

    Attributes:
        columns: Names of the outputs in the matrix, similar ones beside each other.
        rows: (feature, cells) of the matrix, similar ones beside each other; a cell is (shade, importance in words).
        largest: Largest importance in the matrix, in words.
        features: Number of all features.
        count: Number of all outputs.
        listed: (output, mean score, importance of all features, the most important ones) of the outputs.
    """

    columns: list[str]
    rows: list[tuple[str, list[tuple[int, str]]]]
    largest: str
    features: int
    count: int
    listed: list[tuple[str, str, str, str]]


def describe_outputs(importance: Importance, scores: NDArray[np.floating], features: list[str]) -> Outputs:
    """Prepare the outputs.

    Args:
        importance: Of d features for k outputs.
        scores: (n, k).
        features: d names, as they are shown.
    """
    sizes, outputs = importance.mean_abs, [clean(name) for name in importance.output_names]
    total = sizes.sum(axis=0)
    by_size = np.argsort(-total, kind="stable")
    columns = by_size[:COLUMNS]
    # Each output counts the same: those with large units would choose all features otherwise.
    shares = sizes[:, columns] / np.where(total[columns] > 0, total[columns], 1)
    rows = np.argsort(-shares.max(axis=1), kind="stable")[:ROWS]
    rows = rows[cluster_order(shares[rows])]
    columns = columns[cluster_order(shares[rows].T)]
    cells = sizes[np.ix_(rows, columns)]
    shades = np.minimum(SHADES - 1, (cells / (cells.max() or 1) * SHADES).astype(int))
    return Outputs(
        [outputs[column] for column in columns],
        [
            (features[row], [(int(shade), show(cell)) for shade, cell in zip(shades[line], cells[line], strict=True)])
            for line, row in enumerate(rows)
        ],
        show(float(cells.max())),
        len(features),
        len(outputs),
        [
            (outputs[at], show(float(scores[:, at].mean())), show(float(total[at])), _largest(sizes[:, at], features))
            for at in by_size[:LISTED]
        ],
    )


def _largest(sizes: NDArray[np.floating], features: list[str]) -> str:
    top = np.argsort(-sizes, kind="stable")[:NAMED]
    return ", ".join(f"{features[at]} {show(sizes[at])}" for at in top if sizes[at] > 0)
