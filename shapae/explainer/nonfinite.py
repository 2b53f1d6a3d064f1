"""Values that are NaN or infinite: the rows, the features, and the operator that made them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from shapae.backends.game import Game
from shapae.errors import ModelError
from shapae.explainer.additivity import Sums
from shapae.explainer.importance import RowAverages
from shapae.explainer.inputs import player_names
from shapae.heads.nonfinite import first_in_mixtures
from shapae.heads.score import Score
from shapae.tables.table import TableStream
from shapae.utils.moments import Array, Moments, to_array
from shapae.utils.text import enumerate_names


class FiniteResults:
    """Checks of the results of a game: none may be NaN or infinite.

    Args:
        game: Its score is a ``Score``.
        rows: (n, d), the rows that are explained.
        players: Positions of the players in the results; None for all players of the game.
    """

    def __init__(self, game: Game, rows: TableStream, players: Sequence[int] | None = None) -> None:
        self._game, self._rows, self._players = game, rows, players

    def check(self, start: int, moments: Moments) -> None:
        """Check the values (m, p, k) of rows from ``start`` on, and their standard errors.

        Raises:
            ModelError: Some are NaN or infinite.
        """
        spreads = {"standard errors": moments.sum_of_squares, "background errors": moments.background_variance}
        self.check_arrays(start, {"values": moments.mean, **spreads})

    def check_averages(self, start: int, averages: dict[int, RowAverages], sums: Sums) -> None:
        """Check the sums (m, k) of the values of rows from ``start`` on, and their averages (p, k).

        Raises:
            ModelError: Some are NaN or infinite.
        """
        known = {"values": sums.values, "standard errors": sums.errors}
        bad = {what: _bad(part, axes=(1,)) for what, part in known.items() if part is not None}
        means = [part.mean for each in averages.values() for part in (each.values, each.sizes)]
        features = np.logical_or.reduce([_bad(mean, axes=(1,)) for mean in means])
        for what, rows in bad.items():
            if rows.any():
                raise self._error(what, start, rows, features)
        squares = [part.sum_of_squares for each in averages.values() for part in (each.values, each.sizes)]
        features |= np.logical_or.reduce([_bad(each, axes=(1,)) for each in squares])
        if features.any():
            raise ModelError(f"the averages over the rows overflow, for {self._name(features)}. Scale the columns.")

    def check_arrays(self, start: int, parts: dict[str, Array | None]) -> None:
        """Check arrays (m, p, ...) of rows from ``start`` on; see ``check``."""
        for what, part in parts.items():
            with np.errstate(over="ignore", invalid="ignore"):
                if part is None or np.isfinite(float(part.sum())):  # NaN and infinity stay in a sum
                    continue
            rows = _bad(part, axes=tuple(range(1, part.ndim)))
            if rows.any():
                raise self._error(what, start, rows, _bad(part, axes=(0, *range(2, part.ndim))))

    def _error(self, what: str, start: int, bad: NDArray[Any], features: NDArray[Any]) -> ModelError:
        row = start + int(np.flatnonzero(bad)[0])
        named = f", for {self._name(features)}" if features.any() else ""
        return ModelError(
            f"the {what} of {int(bad.sum())} of {len(bad)} rows are NaN or infinite, first in row {row}{named}, "
            f"although the scores are finite. {self._cause(row)}"
        )

    def _cause(self, row: int) -> str:
        score = self._game.score
        assert isinstance(score, Score)
        anchor = self._rows[row : row + 1]
        with torch.no_grad():
            inputs = score.inputs(anchor)
        found = first_in_mixtures(score, inputs, anchor, self._game.background, self._game.player_of_feature)
        return found or (
            "No mixture of this row and the background that was tried shows where they arise: the model may overflow, "
            "or have no finite gradient. Scale the columns, or compare another backend."
        )

    def _name(self, features: NDArray[Any]) -> str:
        score = self._game.score
        assert isinstance(score, Score)
        names = player_names(self._game, list(self._rows.rows.names or score.feature_names))
        chosen = range(len(names)) if self._players is None else self._players
        return enumerate_names([names[chosen[at]] for at in np.flatnonzero(features).tolist()], "feature")


def _bad(part: Any, axes: tuple[int, ...]) -> NDArray[Any]:
    """Tell along the other axes where an array is NaN or infinite."""
    return np.asarray(~np.isfinite(to_array(part)).all(axis=axes))
