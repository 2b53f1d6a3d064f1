"""The result: influences of training rows, their proponents and opponents, files and tables."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from shapae import plots
from shapae.analysis.influence import checks
from shapae.errors import DataError, UnknownName
from shapae.explainer.files import load_result, save_result
from shapae.tables.anndata import is_anndata
from shapae.utils.constraints import check_arguments
from shapae.utils.described import TABLE_LINES, Described, count, largest, made
from shapae.utils.kinds import written
from shapae.utils.optional import import_optional

_ARRAYS = ("values", "self_influence", "scores", "losses", "places", "latents", "train_latents")


@dataclass(frozen=True, eq=False, repr=False)
class Influence(Described):
    """Influences of m training rows on the scores of n rows.

    Attributes:
        values: (n, m). Positive: training on this row lowered the score (for the ELBO: raised it); see
            ``shapae.influence``.
        self_influence: (m,). Influence of each training row on its own loss, never negative. Large: the model had to
            learn this row by itself, as it does with foreign rows and outliers.
        scores: (n,). Scores of the rows, at the last checkpoint.
        losses: (m,). Losses of the training rows, at the last checkpoint.
        places: (n,). Position of each row among the training rows, the first one with the same numbers; -1 for others.
        latents: (n, l). Latents of the rows, at the last checkpoint; None for a model without a known encoder.
        train_latents: (m, l). Latents of the training rows.
        row_names: n names, as the index of a DataFrame; None if the rows have numbers only.
        train_names: m names, in the same way.
        made_by: Head, loss, parameters, weights of the checkpoints, versions, seconds.
    """

    values: NDArray[Any]
    self_influence: NDArray[Any]
    scores: NDArray[Any]
    losses: NDArray[Any]
    places: NDArray[Any]
    latents: NDArray[Any] | None = None
    train_latents: NDArray[Any] | None = None
    row_names: Any = None
    train_names: Any = None
    made_by: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("row_names", "train_names"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, pd.Index(getattr(self, name)).to_numpy())

    def _description(self) -> Sequence[str]:
        n, m = self.values.shape
        loss = self.made_by.get("loss")
        return [
            f"Influence of {count(m, 'training row')} on {count(n, 'row')}",
            ", ".join(filter(None, [made(self.made_by), f"loss {loss!r}" if loss else ""])),
            f"largest self influence: {largest(self.train_index, self.self_influence, 3)}",
            "next: .proponents(), .opponents(), .plot(row), .cleaning(planted)",
        ]

    def _preview(self) -> pd.DataFrame:
        order = np.argsort(-self.self_influence, kind="stable")[:TABLE_LINES]
        columns = {"self influence": self.self_influence[order], "loss": self.losses[order]}
        return pd.DataFrame(columns, self.train_index[order])

    @property
    def row_index(self) -> pd.Index:
        """Names of the n rows, or their positions."""
        return pd.Index(range(len(self.values)) if self.row_names is None else self.row_names, name="row")

    @property
    def train_index(self) -> pd.Index:
        """Names of the m training rows, or their positions."""
        names = range(self.values.shape[1]) if self.train_names is None else self.train_names
        return pd.Index(names, name="training row")

    def proponents(self, k: int = 5) -> pd.DataFrame:
        """List the k training rows with the largest influences on each row, which lowered its score most.

        Returns:
            n * k lines, indexed by the row and the rank (from 1): the training row, its influence, and its loss.

        Raises:
            DataError: ``k`` is not between 1 and m.
        """
        return self._largest(self.values, k)

    def opponents(self, k: int = 5) -> pd.DataFrame:
        """List the k training rows with the smallest influences on each row; see ``proponents``."""
        return self._largest(-self.values, k)

    def _largest(self, values: NDArray[Any], k: int) -> pd.DataFrame:
        n, m = values.shape
        _check_proponents(k, m)
        order = np.argsort(-values, axis=1, kind="stable")[:, :k]
        index = pd.MultiIndex.from_product([range(n), range(1, k + 1)]).set_names(["row", "rank"])
        names = pd.MultiIndex.from_arrays(
            [self.row_index[index.codes[0]], index.get_level_values(1)], names=index.names
        )
        columns = {
            "training row": self.train_index[order.ravel()],
            "influence": np.take_along_axis(self.values, order, axis=1).ravel(),
            "loss": self.losses[order.ravel()],
        }
        return pd.DataFrame({name: np.asarray(column) for name, column in columns.items()}, names)

    @property
    def own_ranks(self) -> NDArray[Any]:
        """(n,): rank of each row itself among its proponents, 1 for the best; NaN for rows that are no training row."""
        return checks.own_ranks(self.values, self.places)

    @property
    def top_1(self) -> float:
        """Sanity check: the part of the rows among the training rows that are their own best proponents.

        Raises:
            DataError: No row is a training row.
        """
        ranks = self.own_ranks
        if np.isnan(ranks).all():
            raise DataError("no row is a training row, so that none can be its own proponent. Give rows=train.")
        return float((ranks[~np.isnan(ranks)] == 1).mean())

    def cleaning(self, planted: Any) -> checks.Cleaning:
        """Search for planted rows, foreign or mislabelled.

        Rows that the model had to learn by themselves have a large self influence. Rows that are of no help to others
        have a small mean influence on these, which finds foreign rows that are easy to learn; it is best measured on
        rows that are known to be right.

        Args:
            planted: m booleans, or the names of training rows.

        Returns:
            Curves of the fraction found against the fraction checked, and their areas.

        Raises:
            DataError: ``planted`` is neither, or holds no training row, or all of them.

        Reference:
            Pruthi et al., 2020, section 4.1, https://arxiv.org/abs/2002.08484
        """
        mean = checks.mean_on_others(self.values, self.places)
        orders = {"self influence": -self.self_influence, "loss": -self.losses, "mean influence": mean}
        return checks.clean(orders, planted, self.train_index)

    def loss_fit(self) -> "pd.Series[float]":
        """Regress self influence on the loss: "slope", "intercept", "r_squared", and "rank" for Spearman's correlation.

        Raises:
            DataError: There are fewer than 3 training rows, or all losses are equal.
        """
        return checks.fit_losses(self.self_influence, self.losses)

    def by_distance(self, bins: int = 10) -> pd.DataFrame:
        """Average the influences over all pairs of a row and a training row, by the distance of their latents.

        Args:
            bins: Number of groups of pairs, of equal size.

        Returns:
            One line per group, from near to far: number of pairs, mean influence, mean |influence|.

        Raises:
            DataError: The encoder of the model is not known, or there are too many groups.
        """
        if self.latents is None or self.train_latents is None:
            raise DataError(
                "the latents are not known, because the model has no known encoder. Say how to encode: "
                "Autoencoder(model, encode=lambda m, x: m.encoder(x))."
            )
        return checks.by_distance(self.values, cdist(self.latents, self.train_latents), bins)

    def by_label(self, labels: Any, train_labels: Any = None, *, k: int = 10) -> pd.DataFrame:
        """Compare the influence of training rows of the same label with that of others.

        Args:
            labels: n labels.
            train_labels: m labels; None if the rows are the training rows, so that these are ``labels``, too.
            k: Number of proponents.

        Returns:
            One line per label of the rows: their number; the mean influence of training rows of the same label and of
            others; the part of the same label among the k best proponents, and among all training rows.

        Raises:
            DataError: There is not one label for each row, or ``k`` is not between 1 and m.
        """
        n, m = self.values.shape
        _check_proponents(k, m)
        check_arguments(labels=labels)
        known = checks.check_labels(labels, n, "rows")
        others = checks.check_labels(labels if train_labels is None else train_labels, m, "training rows")
        return checks.by_label(self.values, known, others, k)

    def to_frame(self) -> pd.DataFrame:
        """Convert the influences to a table: n rows, m columns."""
        return pd.DataFrame(self.values, self.row_index, self.train_index, copy=True)

    def to_anndata(self, adata: Any = None) -> Any:
        """Put the influences into an AnnData of the training rows.

        ``obs`` gets "self_influence" and "training_loss". If the rows are the training rows, in their order, ``obsp``
        gets "influence", (m, m), one line for each row that is influenced. Otherwise ``obsm`` gets "influence", (m, n),
        and ``uns["shapae_influence"]`` the names of its columns.

        Args:
            adata: AnnData of the training rows, which is copied; None for a new one without X.

        Raises:
            DataError: ``adata`` is no AnnData, or its rows are others than the training rows.
            MissingPackage: anndata is not installed.
        """
        names = self.train_index.astype(str)
        if adata is None:
            anndata = import_optional("anndata", "to_anndata()")
            out = anndata.AnnData(obs=pd.DataFrame(index=names.rename(None)))
        else:
            out = self._copy(adata, names)
        out.obs["self_influence"], out.obs["training_loss"] = self.self_influence, self.losses
        record: dict[str, Any] = {name: str(each) for name, each in self.made_by.items()}
        if np.array_equal(self.places, np.arange(self.values.shape[1])):
            out.obsp["influence"] = self.values.copy()
        else:
            out.obsm["influence"] = self.values.T.copy()
            record["rows"] = self.row_index.astype(str).to_numpy()
        out.uns["shapae_influence"] = {name.replace(" ", "_"): each for name, each in record.items()}
        return out

    def _copy(self, adata: Any, names: pd.Index) -> Any:
        if not is_anndata(adata):
            raise DataError(f"to_anndata takes an AnnData of the training rows or None, got {type(adata).__name__}.")
        same = len(adata) == len(names) and (self.train_names is None or list(adata.obs_names) == list(names))
        if not same:
            raise DataError(
                f"the AnnData has other rows than the {len(names)} training rows, or another order. Give the one that "
                f"was given as train=, or adata[names]."
            )
        return adata.to_memory() if adata.isbacked else adata.copy()

    def save(self, folder: str | Path) -> Path:
        """Write all parts to a folder, as safetensors and JSON; see ``Explanation.save``."""
        check_arguments(folder=folder)
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        record = {name: getattr(self, name) for name in ("made_by", "row_names", "train_names")}
        return save_result(folder, "influence", arrays, record)

    @classmethod
    def load(cls, folder: str | Path) -> "Influence":
        """Read a folder of ``save``.

        Raises:
            OutputError: It does not hold influences that can be read.
        """
        check_arguments(folder=folder)
        return load_result(folder, "influence", cls)

    def plot(self, row: Any = 0, *, k: int = 8, labels: Sequence[Any] | None = None, ax: Axes | None = None) -> Axes:
        """Draw the proponents and opponents of one row; see ``shapae.plots.influence``."""
        return plots.influence(self, row, k=k, labels=labels, ax=ax)

    def position(self, row: Any) -> int:
        """Find the position of a row by its name, the first of several; a number that is no name is a position.

        Raises:
            UnknownName: There is no such row.
        """
        check_arguments(row=row)
        if self.row_names is not None and row in list(self.row_names):
            return list(self.row_names).index(row)
        if isinstance(row, int | np.integer) and -len(self.values) <= row < len(self.values):
            return int(row) % len(self.values)
        raise UnknownName("row", row, [str(name) for name in self.row_index])


def _check_proponents(k: int, m: int) -> None:
    """Check a number of training rows.

    Raises:
        DataError: It is not between 1 and m.
    """
    check_arguments(k=k)
    if k > m:
        raise DataError(f"k must be between 1 and the {m} training rows, got {written(k)}.")
