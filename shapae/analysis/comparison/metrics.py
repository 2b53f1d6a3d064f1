"""Metrics of attributions: agreement with others, faithfulness to the score, recovery of a known ground truth.

Attributions ``values`` are (n, d): n rows, one output.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor, nn

from shapae.errors import DataError
from shapae.explainer.explanation import Explanation
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

# Maximum number of entries of the mixed rows per call of the score: about 32 MB in float64.
MAX_MIXED_NUMBERS = 2**22


def _arrays(values: Any, reference: Any) -> list[NDArray[Any]]:
    """Return arrays as they are, and the values of explanations.

    Raises:
        DataError: Two explanations are of other features.
    """
    both = [each for each in (values, reference) if isinstance(each, Explanation)]
    if len(both) == 2 and both[0].feature_names != both[1].feature_names:
        raise DataError(
            "the two explanations are of other features, or in another order. Explain both with the same columns, or "
            "select them: explanation[:, other.feature_names]."
        )
    return [each.values if isinstance(each, Explanation) else each for each in (values, reference)]


def relative_error(values: NDArray[Any] | Explanation, reference: NDArray[Any] | Explanation) -> float:
    """Compute |values - reference| / |reference| over all rows; NaN or infinite if the reference is 0.

    Explanations may be given as they are, and one row of each for the error of this row.

    Raises:
        DataError: Two explanations are of other features.
    """
    first, second = _arrays(values, reference)
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.linalg.norm(first - second) / np.linalg.norm(second))


def rank_correlation(values: NDArray[Any] | Explanation, reference: NDArray[Any] | Explanation) -> float:
    """Compute Spearman's correlation over the features of each row, averaged over the rows.

    Equal values share their mean rank. The correlation of a row of equal values is 0.

    Raises:
        DataError: Two explanations are of other features.
    """
    first, second = (_standardize(rankdata(each, axis=1)) for each in _arrays(values, reference))
    return float((first * second).mean(axis=1).mean())


def overlap(values: NDArray[Any] | Explanation, reference: NDArray[Any] | Explanation, most: int) -> float:
    """Compute the fraction of each row's ``most`` features with the largest |value| in common, averaged over rows.

    Raises:
        DataError: Two explanations are of other features.
    """
    both = _arrays(values, reference)
    first, second = (np.abs(each).argsort(axis=1, kind="stable")[:, ::-1][:, :most] for each in both)
    shared = (first[:, :, None] == second[:, None]).any(axis=2)
    return float(shared.mean())


def infidelity(values: NDArray[Any], removed: NDArray[Any], falls: NDArray[Any]) -> NDArray[Any]:
    """Compute the mean squared difference between the attributions of a set of features and the fall of the score.

    mean over sets S of (sum_{i in S} value_i - (score - score without S))**2

    Args:
        values: (n, d).
        removed: (n, m, d), bool. m sets of removed features for each row.
        falls: (n, m). Fall of the score after the removal of each set.

    Returns:
        (n,), in the square of the units of the score.

    Reference:
        Yeh et al., 2019, definition 2.1, https://arxiv.org/abs/1901.09392
    """
    attributed = np.einsum("nmd,nd->nm", removed, values)
    return np.asarray(np.square(attributed - falls).mean(axis=1))


def sensitivity(values: NDArray[Any], moved: NDArray[Any]) -> NDArray[Any]:
    """Compute the maximum change of the values after small perturbations of the row, relative to their norm.

    Args:
        values: (n, d).
        moved: (m, n, d). Values of the same rows after m perturbations.

    Returns:
        (n,).

    Reference:
        Yeh et al., 2019, definition 2.3, https://arxiv.org/abs/1901.09392
    """
    norms = np.linalg.norm(values, axis=1)
    return np.asarray(np.linalg.norm(moved - values, axis=2).max(axis=0) / np.where(norms == 0, 1, norms))


def coalitions_of_order(values: NDArray[Any], counts: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """List the coalitions of a deletion and an insertion of features in descending order of their values.

    Args:
        values: (n, d). The largest values raise the score most.
        counts: (m,). Numbers of features deleted or inserted.

    Returns:
        Two arrays (n, m, d), bool: the features present during the deletion, and during the insertion.
    """
    ranks = (-values).argsort(axis=1, kind="stable").argsort(axis=1)
    inserted = ranks[:, None] < np.asarray(counts)[:, None]
    return ~inserted, inserted


def worths(
    score: Callable[[Tensor], nn.Module],
    rows: Tensor,
    background: Tensor,
    coalitions: NDArray[Any],
    weights: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Compute the worths v(S) of coalitions S: the mean over background rows b of score(x_S, b_rest).

    Args:
        score: From a row (d,) to the score (n, d) -> (n, 1) that is attributed for it.
        rows: (n, d).
        background: (b, d).
        coalitions: (n, m, d), bool. True for a feature with the value of the row.
        weights: (b,). Weights of the background rows; None for equal weights.

    Returns:
        (n, m).
    """
    batch_size = max(1, MAX_MIXED_NUMBERS // background.numel())
    result = np.empty(coalitions.shape[:2], np.float64)
    for position, row in enumerate(rows):
        row_score = score(row)
        for batch in batches(coalitions.shape[1], batch_size):
            present = torch.as_tensor(coalitions[position, batch], device=rows.device)
            mixed = torch.where(present.unsqueeze(1), row, background)
            with torch.no_grad():
                scores: Tensor = row_score(mixed.flatten(0, 1)).reshape(mixed.shape[:2])
            result[position, batch] = np.average(scores.double().cpu().numpy(), axis=1, weights=weights)
    return result


def area(curve: NDArray[Any], at: NDArray[Any]) -> float:
    """Compute the area under a curve by the trapezoidal rule; the mean of the curve if ``at`` goes from 0 to 1."""
    return float(np.trapezoid(curve, at))


def auroc(sizes: NDArray[Any], truth: NDArray[Any]) -> NDArray[Any]:
    """Compute the probability that a relevant feature has a larger size than an irrelevant one; ties count half.

    Args:
        sizes: (n, d).
        truth: (n, d), bool. True for a relevant feature.

    Returns:
        (n,); NaN for a row in which all features are relevant, or none.
    """
    relevant = truth.sum(axis=1)
    pairs = relevant * (~truth).sum(axis=1)
    rank_sums = (rankdata(sizes, axis=1) * truth).sum(axis=1)
    with np.errstate(invalid="ignore"):
        return np.asarray((rank_sums - relevant * (relevant + 1) / 2) / pairs)


def reciprocal_rank(sizes: NDArray[Any], truth: NDArray[Any]) -> NDArray[Any]:
    """Compute 1 / rank of the first relevant feature in descending order of size; 1 if it has the largest size.

    Args:
        sizes: (n, d).
        truth: (n, d), bool. True for a relevant feature, of which each row has at least one.

    Returns:
        (n,).
    """
    best = np.where(truth, sizes, -np.inf).max(axis=1, keepdims=True)
    # Half of the irrelevant features of equal size come first: the mean over all orders of the ties.
    ranks = 1 + (sizes > best).sum(axis=1) + ((sizes == best) & ~truth).sum(axis=1) / 2
    return np.asarray(1 / ranks)


def _standardize(ranks: NDArray[Any]) -> NDArray[Any]:
    """Standardize each row to mean 0 and standard deviation 1; a constant row becomes 0."""
    centred = ranks - ranks.mean(axis=1, keepdims=True)
    deviation = ranks.std(axis=1, keepdims=True)
    return np.asarray(centred / np.where(deviation == 0, 1, deviation))


def __dir__() -> list[str]:  # tab completion shows the public names
    return __all__
