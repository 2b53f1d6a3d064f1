"""The report on the latent units of an autoencoder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from shapae import plots
from shapae.analysis.latents.activity import Activity
from shapae.analysis.latents.causes import Causes
from shapae.analysis.latents.decoding import Decoder
from shapae.analysis.latents.drives import Drives
from shapae.analysis.latents.enrichment import enrich
from shapae.analysis.latents.export import plain_table
from shapae.analysis.latents.sweep import QUANTILES, Sweep, check_quantiles, path_of
from shapae.errors import DataError, ModelError, UnknownName
from shapae.explainer.export import select_rows
from shapae.utils.constraints import check_arguments, check_optional
from shapae.utils.described import TABLE_LINES, Described, count, made
from shapae.utils.records import to_json

# Number of features that a line of ``LatentReport.table`` names.
NAMED = 3


@dataclass(frozen=True, eq=False, repr=False)
class LatentReport(Described):
    """Report on m latent units over n rows of d features; made by ``shapae.latents``.

    Attributes:
        latents: (n, m). Latents of the rows; means, for a variational autoencoder.
        log_variances: (n, m). Log variances of the latents; None without a latent distribution.
        activity: Variance and divergence of each unit, and whether it is active.
        drives: Importance of the features for the units, with directions, (d, m).
        decoder: The decoder; or the error that says why there are no sweeps.
        moves: (d, m). Change of each decoded feature between the 1 % and the 99 % quantile of a unit, the other units
            at their mean, in the units of the decoder; NaN without a decoder.
        causes: Relations to the covariates; None without covariates.
        unit_names: m names, "latent 0" and so on.
        feature_names: d names.
        row_names: n names of rows; None if rows have numbers only.
        made_by: Backend, b, seed, versions, seconds: enough to compute the report again.
    """

    latents: NDArray[Any]
    log_variances: NDArray[Any] | None
    activity: Activity
    drives: Drives
    decoder: Decoder | ModelError
    moves: NDArray[Any]
    causes: Causes | None
    unit_names: Sequence[str]
    feature_names: Sequence[str]
    row_names: Any = None
    made_by: dict[str, Any] = field(default_factory=dict)

    def _description(self) -> Sequence[str]:
        n, m = self.latents.shape
        shape = f"{count(m, 'unit')} of {count(len(self.feature_names), 'feature')}, over {count(n, 'row')}"
        lines = [f"LatentReport on {shape}", made(self.made_by)]
        lines.append(f"active: {len(self.active)} of {m} ({self.activity.rule})")
        units = self.activity.order[: NAMED if self.active else 0]
        both = (self._largest(side * self.drives.signed[:, units]) for side in (1, -1))
        for unit, up, down in zip(units, *both, strict=True):
            lines.append(f"{self.unit_names[unit]}: up by {up or 'nothing'}; down by {down or 'nothing'}")
        if isinstance(self.decoder, ModelError):
            lines.append("no sweeps: the decoder can't be used, see report.decoder")
        return [*lines, "next: .table, .top(), .drivers(unit), .sweep(unit), .plot()"]

    def _preview(self) -> pd.DataFrame:
        units = self.activity.order[:TABLE_LINES]
        columns: dict[str, Any] = {"active": self.activity.active[units], "share": self.activity.share[units]}
        columns |= {
            "up": self._largest(self.drives.signed[:, units]),
            "down": self._largest(-self.drives.signed[:, units]),
        }
        return pd.DataFrame(columns, [self.unit_names[unit] for unit in units])

    def plot(self, *, max_display: int = 30, ax: Axes | None = None) -> Axes:
        """Draw the importance of the features for the units; see ``shapae.plots.latents``.

        Args:
            max_display: Maximum number of features.
            ax: Axes to draw on; None for a new figure.

        Raises:
            DataError: The model has a single latent unit: use ``shapae.plots.drives``.
        """
        return plots.latents(self.drives.importance, max_display=max_display, ax=ax)

    @property
    def active(self) -> list[str]:
        """Names of the active units, by descending variance."""
        return [self.unit_names[unit] for unit in self.activity.order if self.activity.active[unit]]

    @property
    def signed(self) -> pd.DataFrame:
        """d features x m units: mean |value|, with the sign of the direction; see ``Drives``."""
        return pd.DataFrame(self.drives.signed, pd.Index(self.feature_names, name="feature"), list(self.unit_names))

    @property
    def table(self) -> pd.DataFrame:
        """One line per unit, active units first, then by share of the variance.

        Columns: ``active``; ``variance`` over the rows, and its ``share`` of the sum; ``kl``, the mean divergence from
        the prior in nats, and ``noise``, the mean variance of the latent itself, both for variational autoencoders;
        ``up`` and ``down``, the three features that raise or lower the unit most; ``raises`` and ``lowers``, the three
        decoded features that the unit raises or lowers most, if there is a decoder; ``cause``, the covariate from which
        the unit is predicted best, with the R^2 ``cause_r2``, if there are covariates.
        """
        columns: dict[str, Any] = {"active": self.activity.active, "variance": self.activity.variance}
        columns["share"] = self.activity.share
        if self.log_variances is not None:
            columns["kl"] = self.activity.kl
            columns["noise"] = np.exp(self.log_variances.astype(np.float64)).mean(axis=0)
        columns |= {"up": self._largest(self.drives.signed), "down": self._largest(-self.drives.signed)}
        if isinstance(self.decoder, Decoder):
            columns |= {"raises": self._largest(self.moves), "lowers": self._largest(-self.moves)}
        table = pd.DataFrame(columns, pd.Index(self.unit_names, name="unit"))
        return (table if self.causes is None else table.join(_best_causes(self.causes))).iloc[self.activity.order]

    def _largest(self, sizes: NDArray[Any]) -> list[str]:
        """Join the names of the features with the largest positive sizes (d, m) of each unit."""
        order = np.argsort(-sizes, axis=0, kind="stable")[:NAMED].T
        return [
            ", ".join(str(self.feature_names[feature]) for feature in features if column[feature] > 0)
            for features, column in zip(order, sizes.T, strict=True)
        ]

    def top(self, k: int = 10) -> pd.DataFrame:
        """Select the features that drive each active unit most, up and down.

        Args:
            k: Number of features per unit and direction.

        Returns:
            Lines (unit, direction, feature), direction "up" or "down": ``importance``, signed; ``importance_error``,
            its standard error over the rows; ``consistency`` of the direction between 0 and 1, see ``Drives``; and
            ``moves``, the change of the decoded feature itself.

        Raises:
            DataError: ``k`` is not an integer, or less than 1.
        """
        check_arguments(k=k)
        tables = [self.drivers(unit, k) for unit in self.active]
        return pd.concat(tables) if tables else self.drivers(0).iloc[:0]

    def drivers(self, unit: str | int, k: int = 10) -> pd.DataFrame:
        """Select the features that drive one unit most, up and down; see ``top``.

        Raises:
            UnknownName: There is no such unit.
            DataError: ``k`` is not an integer, or less than 1.
        """
        check_arguments(k=k)
        at, most = self.position(unit), k
        columns = {
            "importance": self.drives.signed[:, at],
            "importance_error": self.drives.importance.mean_abs_error[:, at],
            "consistency": self.drives.consistency[:, at],
            "moves": self.moves[:, at],
        }
        table = pd.DataFrame(columns, pd.Index(self.feature_names, name="feature"))
        up, down = (
            table[sign * table["importance"] > 0]
            .sort_values("importance", ascending=sign < 0, kind="stable")
            .head(most)
            for sign in (1, -1)
        )
        name = self.unit_names[at]
        return pd.concat({(name, "up"): up, (name, "down"): down}, names=["unit", "direction"])

    @property
    def by_group(self) -> pd.DataFrame:
        """Means of all units per group, with standard errors; see ``Causes.groups``.

        Raises:
            DataError: There are no covariates.
        """
        if self.causes is None:
            raise DataError(
                "this report has no covariates. Give them: shapae.latents(model, X, covariates={'type': labels})."
            )
        return self.causes.groups

    def position(self, unit: str | int) -> int:
        """Find a unit by its name, or by its position.

        Raises:
            UnknownName: There is no such unit.
        """
        check_arguments(unit=unit)
        names = list(self.unit_names)
        if isinstance(unit, str) and unit in names:
            return names.index(unit)
        if isinstance(unit, (int, np.integer)) and not isinstance(unit, bool) and 0 <= unit < len(names):
            return int(unit)
        raise UnknownName("latent unit", unit, names)

    def sweep(self, unit: str | int, *, row: Any = None, quantiles: Sequence[float] = QUANTILES) -> Sweep:
        """Move one unit through its quantiles over the rows, and decode.

        Args:
            unit: Name or position of the unit.
            row: Name or position of the row at whose latents the other units stay; None for their means. A name of a
                row goes before a position.
            quantiles: Numbers between 0 and 1.

        Raises:
            UnknownName: There is no such unit.
            DataError: There is no such row, or the quantiles are not as described.
            ModelError: The model has no known decoder, or has changed since the report was made.
        """
        check_optional(row=row)
        at, checked = self.position(unit), check_quantiles(quantiles)
        if isinstance(self.decoder, ModelError):
            raise type(self.decoder)(*self.decoder.args) from self.decoder.__cause__
        positions, path = path_of(self.latents, at, checked, None if row is None else self._row(row))
        *decoded, middle = self.decoder(path)
        return Sweep(
            self.unit_names[at],
            checked,
            positions,
            np.array(decoded) - middle,
            middle,
            drives=self.drives.signed[:, at],
            feature_names=self.feature_names,
            units=self.decoder.units,
            row=row,
        )

    def _row(self, row: Any) -> int:
        names = [] if self.row_names is None else list(self.row_names)
        found = [position for position, name in enumerate(names) if name == row]
        if len(found) == 1:
            return found[0]
        is_position = isinstance(row, (int, np.integer)) and not isinstance(row, bool)
        if len(found) > 1 or not is_position or not 0 <= row < len(self.latents):
            raise DataError(
                f"there {'are several rows' if len(found) > 1 else 'is no row'} {row!r} among the {len(self.latents)} "
                f"rows of this report. Give a position, 0 to {len(self.latents) - 1}."
            )
        return int(row)

    def enrichment(
        self,
        gene_sets: Mapping[str, Sequence[str]] | str | Path,
        *,
        signed: bool = True,
        permutations: int = 1000,
        seed: int = 0,
    ) -> pd.DataFrame:
        """Test which sets of features drive the active units.

        Args:
            gene_sets: From names to features, or the path of a GMT file.
            signed: Whether sets are found that drive a unit up, with positive scores, or down, with negative scores.
                False for sets whose features matter in either direction, with positive scores.
            permutations: Number of random sets per test; the smallest possible p is 1 / (1 + permutations).
            seed: Random seed.

        Returns:
            Lines (unit, set): ``score``, ``z``, ``p``, ``q``, ``features``, ``size``; see ``enrichment.enrich``, also
            for the test and for what is raised.

        Raises:
            DataError: No unit is active, or the seed is invalid; or see ``enrichment.enrich``.
        """
        check_arguments(signed=signed, permutations=permutations, seed=seed)
        if not self.active:
            raise DataError(f"none of the {len(self.unit_names)} units is active, by {self.activity.rule}.")
        importances = self.signed[self.active]
        return enrich(importances if signed else importances.abs(), gene_sets, permutations=permutations, seed=seed)

    def to_anndata(self, adata: Any) -> Any:
        """Copy the explained AnnData, with the report: latents, signed importances, effects and tables.

        Args:
            adata: AnnData that holds the rows and the features of the report.

        Returns:
            The rows and features of the report, in its order: ``obsm["X_latent"]`` (n, m); ``varm["latent_drives"]``
            and ``varm["latent_moves"]`` (d, m); ``uns["latents"]`` with ``units`` (the table), ``names`` of the m
            columns, ``causes`` and ``groups`` of the covariates, and ``made_by`` as JSON.

        Raises:
            DataError: ``adata`` is no AnnData in memory, or lacks rows or features.
        """
        out = select_rows(adata, len(self.latents), self.row_names, self.feature_names)
        out.obsm["X_latent"] = self.latents.copy()
        out.varm["latent_drives"], out.varm["latent_moves"] = self.drives.signed, self.moves.copy()
        record = {"names": np.array(self.unit_names, dtype=object), "units": plain_table(self.table)}
        if self.causes is not None:
            record |= {"causes": plain_table(self.causes.table), "groups": plain_table(self.causes.groups)}
        out.uns["latents"] = record | {"made_by": to_json(self.made_by)}
        return out


def _best_causes(causes: Causes) -> pd.DataFrame:
    """Tabulate the covariate with the largest R^2 for each active unit."""
    r2 = causes.units["r2"].dropna()
    best = (
        r2.loc[r2.groupby("unit", sort=False).idxmax()].reset_index("covariate")
        if len(r2)
        else r2.reset_index("covariate")
    )
    return best.rename(columns={"covariate": "cause", "r2": "cause_r2"})
