"""Base classes of backends: a backend binds a game, and then attributes rows."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from shapae.backends.game import Game
from shapae.errors import ShapeError
from shapae.heads.score import Score
from shapae.tables.players import Players
from shapae.utils.moments import Array, Moments, gather

# Samples per row in the first round until convergence.
FIRST_SAMPLES = 100


class Attribution(Protocol):
    """Attributes the scores of rows in one game. Work that all rows share is done once."""

    def __call__(self, rows: Tensor, *, seeds: Sequence[int]) -> Moments:
        """Attribute the scores of ``rows`` to their features.

        Args:
            rows: (n, d), in the dtype and on the device of the background.
            seeds: n random seeds, one for each row.

        Returns:
            New Moments of (n, d, k), or (n, p, k) for p players. Each row sums to score(row) - mean(score(background)),
            see ``Backend.additive``. ``count`` is the sum of the weights, if the background is weighted.
        """


class AnchoredAttribution(Protocol):
    """The same, for a score that is handed an anchor with each row."""

    def __call__(self, rows: Tensor, anchors: Tensor, *, seeds: Sequence[int]) -> Moments:
        """See ``Attribution``; ``anchors`` are (n, a)."""


class Backend(ABC):
    """Base class of all backends: how a score is attributed to features.

    A backend of your own defines ``bind``, and may change the attributes and methods below. It is used as an object,
    ``Explainer(..., backend=MyBackend())``, or by a name, see ``shapae.backends.register``. It is sent to workers, so
    it must be picklable.

    Attributes:
        name: Name in results and messages; by default the name of the class.
        additive: Whether values sum to score - base value up to rounding. Otherwise they do up to the standard error of
            their sum, see ``Moments.sums``; without standard errors nothing is promised.
        needs_gradients: Whether the values come from gradients of the score. Then features that change the score, and
            of which it has no gradient, are refused before the work starts.
        hint: Advice for the warning that values do not sum to score - base value.
        quantity: Name of the quantity that the values are, or estimate; by default the name of the backend.
        n_samples: Approximate number of samples per row; 0 if nothing is sampled.
        unit: Name of the samples.
        has_background_errors: Whether ``Moments.background_variance`` may be known; the memory for it is counted then.
        supports_groups: Whether ``Game.players`` are taken as players. Otherwise the values of their features are
            summed.
    """

    name: str = ""
    additive: bool = True
    needs_gradients: bool = False
    hint: str = "The score may depend on more than its rows, or the backend may be wrong; compare backend='sampling'."
    quantity: str = ""
    n_samples: int = 0
    unit: str = "samples"
    has_background_errors: bool = False
    supports_groups: bool = False

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.name = vars(cls).get("name", cls.__name__)

    @abstractmethod
    def bind(self, game: Game) -> Attribution:
        """Bind a game: return the function that attributes rows in it. Nothing is computed yet.

        Args:
            game: Its score takes rows (n, d) and returns (n, k).
        """

    def bind_anchored(self, game: Game, anchors: Tensor) -> AnchoredAttribution:
        """Bind a game whose score is handed an anchor with each row; by default row by row.

        Args:
            game: Its score is a ``Score`` that is anchored.
            anchors: (b, a), any anchors that the background can be scored with.
        """
        return partial(_attribute_one_by_one, self.bind, game)

    def notes(self, game: Game, rows: Tensor) -> dict[str, Any]:
        """Say what the record of an explanation names beside the backend; by default nothing.

        Args:
            game: Its score is a ``Score``.
            rows: (n, d), some of the explained rows.

        Returns:
            From names to values that JSON takes.
        """
        return {}

    def rows_in_memory(self, n_background: int, n_players: int) -> int:
        """Count the rows that the score is run on at once, to explain one row.

        Args:
            n_background: Number of background rows.
            n_players: Number of features, or of groups.

        Returns:
            By default the background, and the row as many times. A number that does not grow with ``n_background``
            says that the whole background is needed at once. Otherwise it may be cut into parts, whose values are
            averaged: that is right only if the values are means over the background rows.
        """
        return 2 * n_background

    def for_game(self, game: Game, tolerance: float | None) -> "Backend":
        """Choose the backend that attributes rows in a game; by default this one.

        Args:
            game: Its score is a ``Score``.
            tolerance: See ``Explainer``.
        """
        return self

    def samples(self, game: Game) -> int:
        """Count the samples per row in a game; 0 if nothing is sampled."""
        return game.n_samples or self.n_samples

    def samples_in_round(self, number: int) -> int:
        """Count the samples per row in a round until convergence, from 0; by default 100, doubled each time."""
        return int(min(self.n_samples, FIRST_SAMPLES * 2**number))

    @property
    def splits_background(self) -> bool:
        """Whether rows can be compared with one part of the background after the other."""
        return self.rows_in_memory(2, 1) > self.rows_in_memory(1, 1)


class RowwiseBackend(Backend):
    """Base class of backends that attribute one row after the other."""

    @abstractmethod
    def attribute_row(self, game: Game, row: Tensor, seed: int) -> Moments:
        """Attribute the score of one row.

        Args:
            game: See ``Backend.bind``.
            row: (d,).
            seed: Random seed of this row.

        Returns:
            Moments of (1, d, k), or (1, p, k); see ``Attribution``.
        """

    def bind(self, game: Game) -> Attribution:
        """See ``Backend.bind``."""
        return partial(self._attribute_rows, game)

    def _attribute_rows(self, game: Game, rows: Tensor, *, seeds: Sequence[int]) -> Moments:
        parts = (self._check_row(self.attribute_row(game, *pair), game, rows) for pair in zip(rows, seeds, strict=True))
        return gather(parts, len(rows))

    def _check_row(self, moments: Moments, game: Game, rows: Tensor) -> Moments:
        outputs = np.shape(moments.mean)[2:] if isinstance(moments, Moments) else ()
        return check_moments(moments, self.name, (1, game.n_players, *(outputs or (1,))), rows)


def bind(backend: Backend, game: Game) -> Attribution:
    """Bind a game to a backend, also if its score is anchored, or if the backend does not support its groups.

    Args:
        backend: Any backend.
        game: Its score is a ``Score``.

    Returns:
        An attribution of rows (n, d), also where their latents are attributed.
    """
    score = game.score
    assert isinstance(score, Score)
    groups = None if backend.supports_groups else game.players
    plain = replace(game.clone(), score=score.per_sample(), players=None if groups else game.players)
    if score.anchored:
        anchors = score.default_anchors(plain.background)
        bound: Attribution = partial(_attribute_with_anchors, backend.bind_anchored(plain, anchors), score)
    else:
        bound = backend.bind(plain)
    shape = (plain.n_players, score.draws or score.width)
    return partial(_attribute, bound, backend, shape, groups)


def _attribute_with_anchors(bound: AnchoredAttribution, score: Score, rows: Tensor, *, seeds: Sequence[int]) -> Moments:
    return bound(score.inputs(rows), rows, seeds=seeds)


def _attribute_one_by_one(
    bind: Callable[[Game], Attribution], game: Game, rows: Tensor, anchors: Tensor, *, seeds: Sequence[int]
) -> Moments:
    score = game.score
    assert isinstance(score, Score)
    games = (replace(game, score=score.anchored_at(anchor), kept=None) for anchor in anchors)
    triples = zip(games, rows, seeds, strict=True)
    return gather((bind(each)(row.unsqueeze(0), seeds=[seed]) for each, row, seed in triples), len(rows))


def _attribute(
    bound: Attribution,
    backend: Backend,
    shape: tuple[int, int],
    groups: Players | None,
    rows: Tensor,
    *,
    seeds: Sequence[int],
) -> Moments:
    """Attribute rows, and sum over groups. The spread of a group is not known, that of the sum over all groups is."""
    moments = check_moments(bound(rows, seeds=seeds), backend.name, (len(rows), *shape), rows)
    moments = replace(moments, sums=None) if backend.additive else moments.with_sums()
    if groups is None:
        return moments
    return replace(moments, mean=groups.sums(moments.mean), sum_of_squares=None)


def check_moments(moments: object, name: str, shape: tuple[int, ...], rows: Tensor) -> Moments:
    """Check the result of a backend, and convert its arrays and tensors to floating point numbers.

    Args:
        moments: The result.
        name: Name of the backend.
        shape: Expected shape of the mean: rows, players and outputs.
        rows: Their dtype is that of values that are not floating point numbers.

    Raises:
        ShapeError: The result is not Moments, or has another shape.
    """
    if not isinstance(moments, Moments):
        raise ShapeError(
            f"the backend {name!r} returned {type(moments).__name__}. Expected are Moments with a mean of shape "
            f"{shape}: rows, players and outputs. Return shapae.backends.Moments(count, mean)."
        )
    names = ("mean", "sum_of_squares", "background_variance")
    given = {what: getattr(moments, what) for what in names}
    parts: dict[str, Any] = {what: None if part is None else _to_floats(part, rows) for what, part in given.items()}
    for what, part in parts.items():
        got = shape if part is None else tuple(part.shape)
        if got != shape:
            raise ShapeError(
                f"the backend {name!r} returned Moments with a {what} of shape {got}. Expected is the shape "
                f"{shape}: rows, players and outputs. Values of one output are values[:, :, None]."
            )
    if np.ndim(moments.count) or not moments.count > 0:
        raise ShapeError(
            f"the backend {name!r} returned Moments with count={moments.count!r}. Expected is one positive number: how "
            f"many background rows or samples were averaged, or the sum of their weights."
        )
    sums = moments.sums and check_moments(moments.sums, f"{name}, sums", (shape[0], 1, *shape[2:]), rows)
    return replace(moments, sums=sums, **parts)


def _to_floats(part: Any, rows: Tensor) -> Array:
    if isinstance(part, Tensor):
        return part.detach() if part.is_floating_point() else part.detach().to(rows.dtype)
    array = np.asarray(part)
    array = array if min(array.strides, default=0) >= 0 else array.copy()  # torch takes no negative strides
    return array if array.dtype.kind == "f" else array.astype(str(rows.dtype).removeprefix("torch."))
