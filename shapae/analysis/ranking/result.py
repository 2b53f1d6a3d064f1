"""Results of a ranking: importances of all features by all methods, side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from shapae import plots
from shapae.errors import UnknownName
from shapae.utils.constraints import check_arguments
from shapae.utils.described import TABLE_LINES, Described, count, largest

# Maximum number of top features in the overlap of two methods; few features are limited to a third of them.
TOP = 10
# Number of standard errors from zero beyond which an effect is significant: two, about 95 % confidence.
SIGNIFICANCE = 2


@dataclass(frozen=True, eq=False, repr=False)
class GlobalRanking(Described):
    """Importances of all features over all rows, by several methods.

    Attributes:
        raw: p features or groups x q methods, each in its own units. Negative: the model does better without.
        errors: (p, q). Standard errors of ``raw``; NaN if unknown.
        clusters: Clusters of features with correlations of 0.9 or more; can be passed as ``groups``.
        together: Rise of the error for each of these clusters if its features are permuted one at a time, in total; if
            they are permuted jointly; and the difference; with their standard errors. None if not measured.
        left_out: Methods that do not apply to this model, and the reasons.
        made_by: Numbers of rows and background rows, repeats, seed, seconds.
    """

    raw: pd.DataFrame
    errors: pd.DataFrame
    clusters: Mapping[str, list[str]] = field(default_factory=dict)
    together: pd.DataFrame | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)
    made_by: Mapping[str, Any] = field(default_factory=dict)

    def _description(self) -> Sequence[str]:
        p, q = self.raw.shape
        rows, b = (self.made_by.get(name) for name in ("rows", "b"))
        over = f", over {count(rows, 'row')}, {count(b, 'background row')}" if rows and b else ""
        return [
            f"GlobalRanking of {count(p, 'feature')} by {count(q, 'method')}{over}",
            f"methods: {', '.join(map(str, self.raw.columns))}",
            f"largest mean share: {largest(self.raw.index, self.table.mean(axis=1))}",
            f"clusters of correlated features: {len(self.clusters)}" if self.clusters else "",
            f"left out: {', '.join(self.left_out)}; see .left_out" if self.left_out else "",
            "next: .table, .table_errors, .agreement, .plot(), .plot_agreement()",
        ]

    def _preview(self) -> pd.DataFrame:
        table = self.table
        return table.loc[table.mean(axis=1).sort_values(ascending=False, kind="stable").index[:TABLE_LINES]]

    @property
    def table(self) -> pd.DataFrame:
        """(p, q): ``raw`` as shares that sum to 1. Negative importances count as 0.

        The column of a method without positive importances is all 0.
        """
        return self._shares(self.raw.clip(lower=0))

    @property
    def table_errors(self) -> pd.DataFrame:
        """(p, q): standard errors in the units of ``table``."""
        return self._shares(self.errors)

    def _shares(self, frame: pd.DataFrame) -> pd.DataFrame:
        total = self.raw.clip(lower=0).sum()
        return frame / total.where(total > 0, 1)

    @property
    def top(self) -> int:
        """Number of top features in the "overlap": 10, or a third of all features if that is less."""
        return min(TOP, -(-len(self.raw) // 3))

    @property
    def agreement(self) -> pd.DataFrame:
        """Three tables of methods x methods: "spearman", "kendall" and "overlap", as in ``agreement.loc["kendall"]``.

        The first two are rank correlations of ``raw``; the last is the fraction of the ``top`` features in common.
        """
        tables = {name: self.raw.corr(method=name) for name in ("spearman", "kendall")}
        return pd.concat(tables | {"overlap": self._overlap()}, names=["measure", "method"])

    def _overlap(self) -> pd.DataFrame:
        in_top = ((-self.raw).rank(method="first") <= self.top).astype(float)
        return (in_top.T @ in_top) / self.top

    @property
    def significant(self) -> pd.DataFrame:
        """(p, q): whether each importance is more than two standard errors above 0."""
        return (self.raw > 0) & ~(self.raw <= SIGNIFICANCE * self.errors)

    def plot(self, *, max_display: int = 20, ax: Axes | None = None) -> Axes:
        """Draw the rank of each feature in each method; see ``plots.ranking``.

        A dot replaces the rank of an importance within two standard errors of 0, or below.
        """
        return plots.ranking(self, max_display=max_display, ax=ax)

    def plot_agreement(self, measure: str = "spearman", *, ax: Axes | None = None) -> Axes:
        """Draw the agreement of the methods; see ``plots.agreement``.

        Args:
            measure: "spearman", "kendall" or "overlap".
            ax: Axes to draw on; None for a new figure.

        Raises:
            UnknownName: There is no such measure.
        """
        labels = {
            "spearman": "Spearman's rank correlation",
            "kendall": "Kendall's rank correlation",
            "overlap": f"fraction of the {self.top} most important features in common",
        }
        check_arguments(measure=measure)
        if measure not in labels:
            raise UnknownName("measure of agreement", measure, list(labels))
        return plots.agreement(self.agreement.loc[[measure]].droplevel(0), label=labels[measure], ax=ax)
