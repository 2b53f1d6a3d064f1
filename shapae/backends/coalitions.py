"""Shapley values from gradients at coalitions: the price does not grow with the number of features."""

from collections.abc import Sequence
from functools import lru_cache, partial

import torch
from torch import Tensor, nn

from shapae.backends._coalitions import Draws, add_up, average_draws, average_outputs
from shapae.backends.base import AnchoredAttribution, Attribution, Backend
from shapae.backends.closed_form import ClosedForm
from shapae.backends.differentiation import count_outputs, points_at_once
from shapae.backends.exact import MAX_PLAYERS, Exact
from shapae.backends.game import Game
from shapae.backends.sampling import Sampling
from shapae.deepshap import ManyOutputs
from shapae.utils.constraints import check_arguments, check_optional
from shapae.utils.memory import batches
from shapae.utils.moments import Moments, gather

# Largest number of players that "sampling" explains better at its own price: there the step of one player is so large a
# part of the whole way that the trapezoid rule is biased (benchmarks/shapley_error.py).
FEW_PLAYERS = 64
# Numbers of pairs of coalitions for each background row: fewer are biased by the normalization of their weights, and
# more are drawn in several rounds.
MIN_PAIRS, MAX_PAIRS = 2, 32
# Number of outputs from which those of a feed-forward chain are differentiated at once.
MANY_OUTPUTS = 5


class Coalitions(Backend):
    """Shapley values from gradients at coalitions.

    The marginal contribution of feature i to a coalition S is about (g_i(S) + g_i(S + i)) / 2, by the trapezoid rule;
    g_i(S) = (x_i - b_i) d score / d z_i, at the mixture z of a row x and a background row b. One gradient at S has g_i
    for all features: it is the upper end of a contribution for members of S, and the lower end for all others.

    Each background row has the same number of random coalitions S, each with its complement. A feature is a member with
    probability q, where q is uniform and stratified. The weights 1 / q of members and 1 / (1 - q) of all others let
    both ends count the same. They are normalized for each background row. The values are exact for quadratic scores.

    The values are made to add up: the missing part is divided in proportion to the variances of the draws. Standard
    errors are those of the draws, with the bias of the normalization; with only one pair, they include those of the
    background instead of this bias. Where all outputs of a chain are computed at once, this bias is not known.

    The step of one player must be small beside the whole way, so that there must be many players. Fewer players are
    left to other backends, see ``for_game``. So must the steps be for each hidden unit: where units depend on few
    players, as in convolutions, the values are as far off as for few players, which no standard error tells.

    Args:
        pairs: Number of pairs of a coalition and its complement for each background row. A row takes 2 * pairs * b
            gradients. One pair has a bias of some percent. None: about 400 gradients, and 2 pairs or more.
        min_players: Smallest number of players that are not left to other backends.

    Raises:
        DataError: ``pairs`` is not a positive integer, or ``min_players`` no integer.

    Reference:
        Owen, 1972, Multilinear extensions of games, section 4 (the integral over q)
    """

    name = "coalitions"
    supports_groups = True
    has_background_errors = True
    needs_gradients = True
    hint = "The score may depend on more than its rows."
    quantity = "Shapley values by coalitions"
    n_samples = 400
    unit = "gradients"

    def __init__(self, pairs: int | None = None, *, min_players: int = FEW_PLAYERS + 1) -> None:
        check_optional(pairs=pairs)
        check_arguments(min_players=min_players)
        self.pairs, self.min_players = pairs, min_players

    def for_game(self, game: Game, tolerance: float | None) -> Backend:
        """Choose the backend: "exact" for up to 12 players, "sampling" for up to 64, and this one for more.

        More than 12 features of one hidden layer have a closed form, unless the pairs or a tolerance are given. A
        weighted background and a tolerance leave up to 12 players to "sampling", too.
        """
        few = game.n_players < self.min_players
        if few and game.n_players <= MAX_PLAYERS and (tolerance is None or game.weights is None):
            return Exact()
        if self.pairs is None and tolerance is None and ClosedForm.takes(game):
            return ClosedForm()
        return Sampling() if few else self

    def samples(self, game: Game) -> int:
        """See ``Backend.samples``."""
        return 2 * self.pairs_per_row(game) * len(game.background)

    def samples_in_round(self, number: int) -> int:
        """See ``Backend.samples_in_round``: twice as many in each round."""
        return int(self.n_samples * 2 ** min(number, 16))

    def rows_in_memory(self, n_background: int, n_players: int) -> int:
        """See ``Backend.rows_in_memory``: the coalitions of one background row."""
        return 2 * (self.pairs or MIN_PAIRS)

    def pairs_per_row(self, game: Game) -> int:
        """Count the pairs of coalitions for each background row."""
        if game.n_samples is None and self.pairs is not None:
            return self.pairs
        wanted = round((game.n_samples or self.n_samples) / (2 * len(game.background)))
        return min(max(wanted, MIN_PAIRS), MAX_PAIRS)

    def bind(self, game: Game) -> Attribution:
        """See ``Backend.bind``."""
        return partial(self._attribute, game, game.recording(ManyOutputs))

    def bind_anchored(self, game: Game, anchors: Tensor) -> AnchoredAttribution:
        """See ``Backend.bind_anchored``: the gradients of several rows are computed at once."""
        return partial(self._attribute, game, None)

    def _attribute(
        self, game: Game, outputs: ManyOutputs | None, rows: Tensor, *anchors: Tensor, seeds: Sequence[int]
    ) -> Moments:
        base_value = lru_cache(maxsize=1)(partial(_base_values, game))
        k = count_outputs(game, *anchors)
        size = points_at_once(game, k)

        def attribute(few: slice) -> Moments:
            tables = [rows[few], *(each[few] for each in anchors)]
            base = _base_values(game, *tables[1:]) if anchors else base_value()
            draws = Draws(game, self.pairs_per_row(game), seeds[few])
            found = average_outputs(draws, outputs, tables[0]) if outputs and k >= MANY_OUTPUTS else None
            found = average_draws(draws, *tables, batch_size=size) if found is None else found
            gaps = _score(game.score, *tables, batch_size=size) - base
            return add_up(draws, tables[0], found, gaps)

        return gather(map(attribute, batches(len(rows), max(1, size // self.samples(game)))), len(rows))


def _base_values(game: Game, *anchors: Tensor) -> Tensor:
    """Compute the base values of rows with these anchors, (n, k); (1, k) without anchors."""
    n, b = len(anchors[0]) if anchors else 1, len(game.background)
    tables = [game.background.repeat(n, 1), *(each.repeat_interleave(b, dim=0) for each in anchors)]
    scores = _score(game.score, *tables, batch_size=game.batch_size).reshape(n, b, -1)
    weights = game.background_weights
    return torch.einsum("nbk,b->nk", scores, weights / weights.sum())


def _score(score: nn.Module, *tables: Tensor, batch_size: int) -> Tensor:
    with torch.no_grad():
        return torch.cat([score(*(table[rows] for table in tables)) for rows in batches(len(tables[0]), batch_size)])
