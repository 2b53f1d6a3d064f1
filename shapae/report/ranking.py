"""Importances by several methods, side by side: of a GlobalRanking."""

from dataclasses import dataclass

import numpy as np

from shapae.analysis.ranking.result import GlobalRanking
from shapae.report.bars import Bar, size_bars
from shapae.report.words import clean, percent

# Number of features in the table.
LISTED = 15


@dataclass(frozen=True, eq=False)
class Ranking:
    """Methods beside each other.

    Attributes:
        methods: Their names.
        rows: (feature, cells); a cell is (bar, share in words, whether it is surely above 0).
        total: Number of features of the ranking.
        agreement: (method, rank correlations with each method in words).
        left_out: (method, reason) of methods that do not apply.
    """

    methods: list[str]
    rows: list[tuple[str, list[tuple[Bar, str, bool]]]]
    total: int
    agreement: list[tuple[str, list[str]]]
    left_out: list[tuple[str, str]]


def describe_ranking(ranking: GlobalRanking) -> Ranking:
    """Prepare a ranking: features by their mean share over the methods, the largest first."""
    table = ranking.table
    order = np.argsort(-table.mean(axis=1).to_numpy(), kind="stable")[:LISTED]
    table, sure = table.iloc[order], ranking.significant.iloc[order].to_numpy()
    bars = [size_bars(table.iloc[:, column].to_numpy()) for column in range(table.shape[1])]
    methods, shares = [clean(name) for name in table.columns], table.to_numpy()
    cells = [
        [
            (bars[column][line], percent(float(shares[line, column])), bool(sure[line, column]))
            for column in range(len(methods))
        ]
        for line in range(len(table))
    ]
    ranks = ranking.agreement.loc["spearman"].to_numpy()
    return Ranking(
        methods,
        [*zip([clean(name) for name in table.index], cells, strict=True)],
        len(ranking.raw),
        [(method, [f"{rank:.2f}" for rank in line]) for method, line in zip(methods, ranks, strict=True)],
        [(clean(name), clean(reason, 200)) for name, reason in ranking.left_out.items()],
    )
