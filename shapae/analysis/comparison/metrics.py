"""How good attributions are: beside others, beside the score that they attribute, beside a known truth.

Attributions ``values`` are (n, d): of n rows, one output.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor, nn

from shapae.utils.memory import batches

__all__ = [
    "area",
    "auroc",
    "coalitions_of_order",
    "infidelity",
    "overlap",
    "rank_correlation",
    "reciprocal_rank",
    "relative_error",
    "sensitivity",
    "worths",
]

# Numbers that are mixed at once.
AT_ONCE = 2**22


def relative_error(values: NDArray[Any], reference: NDArray[Any]) -> float:
    """|values - reference| / |reference|, over all rows; NaN or infinite if the reference is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.linalg.norm(values - reference) / np.linalg.norm(reference))


def rank_correlation(values: NDArray[Any], reference: NDArray[Any]) -> float:
    """Spearman's correlation of the features of each row, averaged over the rows.

    Equal values share their rank; a row in which all are equal orders nothing, and counts 0.
    """
    one, other = (_standardized(rankdata(each, axis=1)) for each in (values, reference))
    return float((one * other).mean(axis=1).mean())


def overlap(values: NDArray[Any], reference: NDArray[Any], most: int) -> float:
    """Part of the ``most`` features with the largest |value| of a row that both have, averaged over the rows."""
    one, other = (np.abs(each).argsort(axis=1, kind="stable")[:, ::-1][:, :most] for each in (values, reference))
    shared = (one[:, :, None] == other[:, None]).any(axis=2)
    return float(shared.mean())


def infidelity(values: NDArray[Any], removed: NDArray[Any], falls: NDArray[Any]) -> NDArray[Any]:
    """Mean squared difference of what a set of features is said to contribute, and of what it does.

    mean over sets S of (sum_{i in S} value_i - (score - score without S))**2

    Args:
        values: (n, d).
        removed: (n, m, d), bool. m sets of features for each row.
        falls: (n, m). By how much the score falls when these are removed.

    Returns:
        (n,), in the square of the units of the score.

    Reference:
        Yeh et al., 2019, definition 2.1, https://arxiv.org/abs/1901.09392
    """
    said = np.einsum("nmd,nd->nm", removed, values)
    return np.asarray(np.square(said - falls).mean(axis=1))


def sensitivity(values: NDArray[Any], moved: NDArray[Any]) -> NDArray[Any]:
    """How far the values move at most when the row moves a little, as a part of their length.

    Args:
        values: (n, d).
        moved: (m, n, d). Values of the same rows, moved in m ways.

    Returns:
        (n,).

    Reference:
        Yeh et al., 2019, definition 2.3, https://arxiv.org/abs/1901.09392
    """
    lengths = np.linalg.norm(values, axis=1)
    return np.asarray(np.linalg.norm(moved - values, axis=2).max(axis=0) / np.where(lengths == 0, 1, lengths))


def coalitions_of_order(values: NDArray[Any], counts: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Which features are left when those of the largest values are removed first, and which when they come first.

    Args:
        values: (n, d). The largest are those that raise the score most.
        counts: (m,). How many are removed, or have come.

    Returns:
        Twice (n, m, d), bool: for deletion, and for insertion.
    """
    places = (-values).argsort(axis=1, kind="stable").argsort(axis=1)
    came = places[:, None] < np.asarray(counts)[:, None]
    return ~came, came


def worths(
    score: Callable[[Tensor], nn.Module],
    rows: Tensor,
    background: Tensor,
    coalitions: NDArray[Any],
    weights: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """v(S) = mean over the background of score(x_S, b_rest), of the score that is attributed.

    Args:
        score: From a row (d,) to what is attributed for it: (n, d) -> (n, 1).
        rows: (n, d).
        background: (b, d).
        coalitions: (n, m, d), bool. True where a feature has the value of the row.
        weights: (b,), how much each background row counts; None where all count the same.

    Returns:
        (n, m).
    """
    few = max(1, AT_ONCE // background.numel())
    found = np.empty(coalitions.shape[:2], np.float64)
    for place, row in enumerate(rows):
        at = score(row)
        for part in batches(coalitions.shape[1], few):
            chosen = torch.as_tensor(coalitions[place, part], device=rows.device)
            mixed = torch.where(chosen.unsqueeze(1), row, background)
            with torch.no_grad():
                scores: Tensor = at(mixed.flatten(0, 1)).reshape(mixed.shape[:2])
            found[place, part] = np.average(scores.double().cpu().numpy(), axis=1, weights=weights)
    return found


def area(curve: NDArray[Any], at: NDArray[Any]) -> float:
    """Under a curve, by trapezes; the mean of the curve if ``anchored_at`` goes from 0 to 1."""
    return float(np.trapezoid(curve, at))


def auroc(sizes: NDArray[Any], truth: NDArray[Any]) -> NDArray[Any]:
    """Probability that a feature that matters has a larger size than one that does not; ties count half.

    Args:
        sizes: (n, d).
        truth: (n, d), bool. Which features matter in which row.

    Returns:
        (n,); NaN for a row in which all features matter, or none.
    """
    inside = truth.sum(axis=1)
    pairs = inside * (~truth).sum(axis=1)
    ranks = (rankdata(sizes, axis=1) * truth).sum(axis=1)
    with np.errstate(invalid="ignore"):
        return np.asarray((ranks - inside * (inside + 1) / 2) / pairs)


def reciprocal_rank(sizes: NDArray[Any], truth: NDArray[Any]) -> NDArray[Any]:
    """1 / rank of the first feature that matters, the largest size first; 1 is a hit at 1.

    Args:
        sizes: (n, d).
        truth: (n, d), bool, at least one in each row.

    Returns:
        (n,).
    """
    best = np.where(truth, sizes, -np.inf).max(axis=1, keepdims=True)
    # Those that are as large come half before it.
    ranks = 1 + (sizes > best).sum(axis=1) + ((sizes == best) & ~truth).sum(axis=1) / 2
    return np.asarray(1 / ranks)


def _standardized(ranks: NDArray[Any]) -> NDArray[Any]:
    """Mean 0 and standard deviation 1 in each row, or 0 where all are equal."""
    apart = ranks - ranks.mean(axis=1, keepdims=True)
    spread = ranks.std(axis=1, keepdims=True)
    return np.asarray(apart / np.where(spread == 0, 1, spread))
