"""A ranking of all features: what every method says, side by side."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from shapae import plots
from shapae.errors import UnknownName

# So many features at the top are compared, or a third of them.
TOP = 10
# What is this many standard errors from nothing is taken for something.
SURE = 2


@dataclass(frozen=True, eq=False)
class GlobalRanking:
    """How much each feature matters over all rows, by several methods.

    Attributes:
        raw: p features or groups x q methods, each in its own units. Negative: the model does better without.
        errors: (p, q). Standard errors of ``raw``; NaN where they are not known.
        clusters: Features that correlate with each other by 0.9 or more; can be handed in as ``groups``.
        together: For each of these clusters the rise of the error with its features shuffled one by one, in sum, and
            shuffled as one, and the difference, with their standard errors. None if this was not measured.
        left_out: Methods that can't be used with this model, and why.
        made_by: Numbers of rows and background rows, repeats, seed, seconds.
    """

    raw: pd.DataFrame
    errors: pd.DataFrame
    clusters: Mapping[str, list[str]] = field(default_factory=dict)
    together: pd.DataFrame | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)
    made_by: Mapping[str, Any] = field(default_factory=dict)

    @property
    def table(self) -> pd.DataFrame:
        """(p, q): ``raw`` as shares that sum to 1; negative ones count 0, and a method that finds nothing is all 0."""
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
        """How many features at the top the "overlap" is about: 10, or a third of them."""
        return min(TOP, -(-len(self.raw) // 3))

    @property
    def agreement(self) -> pd.DataFrame:
        """Three tables of methods x methods: "spearman", "kendall" and "overlap", as in ``agreement.loc["kendall"]``.

        The first two are rank correlations of ``raw``; the last is the part of the ``top`` features in common.
        """
        tables = {name: self.raw.corr(method=name) for name in ("spearman", "kendall")}
        return pd.concat(tables | {"overlap": self._overlap()}, names=["measure", "method"])

    def _overlap(self) -> pd.DataFrame:
        falling = (-self.raw).rank(method="first") <= self.top
        return (falling.astype(float).T @ falling.astype(float)) / self.top

    def plot(self, *, max_display: int = 20, ax: Axes | None = None) -> Axes:
        """Draw the place of each feature in each method; see ``plots.ranking``.

        A dot stands for a place that says nothing: the importance is within two standard errors of 0, or below.
        """
        sure = (self.raw > 0) & ~(self.raw <= SURE * self.errors)
        return plots.ranking(self.table, sure=sure, clusters=self.clusters, max_display=max_display, ax=ax)

    def plot_agreement(self, measure: str = "spearman", *, ax: Axes | None = None) -> Axes:
        """Draw how far the methods agree; see ``plots.agreement``.

        Args:
            measure: "spearman", "kendall" or "overlap".
            ax: Where to draw; None for a new figure.

        Raises:
            UnknownName: It is something else.
        """
        names = {
            "spearman": "Spearman's rank correlation",
            "kendall": "Kendall's rank correlation",
            "overlap": f"part of the {self.top} most important features in common",
        }
        if measure not in names:
            raise UnknownName("measure of agreement", measure, list(names))
        found = self.agreement.loc[[measure]].droplevel(0)
        return plots.agreement(found, label=names[measure], ax=ax)
