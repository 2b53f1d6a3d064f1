"""Backends say how a score is attributed to features. Each file is one; its name is the backend's name."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from shapae.errors import MissingPackage, UnknownName
from shapae.utils.moments import Moments, concatenate
from shapae.utils.registry import ModuleRegistry

__all__ = ["Backend", "Game", "named", "names"]

_OWN = ("deep", "exact", "gradient", "sampling")
_EXTERNAL = ModuleRegistry("backend", f"{__name__}.external", [f"{__path__[0]}/external"])
# Libraries that shapae does without, each an extra of that name.
EXTRAS = ("captum",)


@dataclass(frozen=True, eq=False)
class Game:
    """What is shared out: v(S) = mean over the background of score(x_S, b_rest).

    Attributes:
        score: From rows (n, d) to scores (n, k); in eval mode, and the same afterwards.
        background: (b, d), floating point.
        weights: (b,), how much each background row counts, 1 on average; None where all count the same.
        players: (d,), integers from 0: to which player each feature belongs; None where each is one by itself.
        draws: About so many draws for each row, where the backend can do with few; None for as many as it likes.
    """

    score: nn.Module
    background: Tensor
    weights: Tensor | None = None
    players: Tensor | None = None
    draws: int | None = None

    @property
    def counts(self) -> Tensor:
        """(b,), how much each background row counts."""
        return self.background.new_ones(len(self.background)) if self.weights is None else self.weights

    @property
    def player_of(self) -> Tensor:
        """(d,), integers from 0: to which player each feature belongs."""
        everyone = torch.arange(self.background.shape[1], device=self.background.device)
        return everyone if self.players is None else self.players


class Attribution(Protocol):
    """Attributes blocks of rows against one background; what they share is computed once."""

    def __call__(self, rows: Tensor, *, seeds: Sequence[int]) -> Moments:
        """Attribute the scores of ``rows`` to their features.

        Args:
            rows: (n, d), in the dtype and on the device of the background.
            seeds: n integers, from which all that is drawn for a row is drawn.

        Returns:
            (n, d, k), or (n, p, k) of p players. Each row sums to score(row) - mean(score(background)), see
            ``Backend.ADDITIVE``. ``count`` is the sum of the weights, where there are some.
        """


class AnchoredAttribution(Protocol):
    """The same for a score that is handed an anchor with each row, from the ``against_anchored`` of a backend.

    A backend without that is asked for one row after the other, whose anchor is in the score.
    """

    def __call__(self, rows: Tensor, anchors: Tensor, *, seeds: Sequence[int]) -> Moments:
        """See ``Attribution``; ``anchors`` are (n, a)."""


class Backend(Protocol):
    """What a backend's file holds.

    Attributes:
        ADDITIVE: The values sum to score - base value up to rounding; otherwise, up to their standard errors.
        REMEDY: What to do where they do not.
        DRAWS: About how many times it draws for each row; 0 if nothing is drawn.
        PLAYERS: It takes ``Game.players``. One without this attribute does not.
    """

    ADDITIVE: bool
    REMEDY: str
    DRAWS: int
    PLAYERS: bool

    def against(self, game: Game) -> Attribution:
        """What attributes rows; nothing is computed yet."""

    def held(self, background: int, features: int) -> int:
        """How many rows the score is run on at once, to explain one row.

        Args:
            background: Number of background rows.
            features: Number of features, or of players.

        Returns:
            It does not grow with ``background`` where all of the background has to be there at once; see
            ``in_parts``.
        """


def by_row(attribute: Callable[[Game, Tensor, int], Moments]) -> Callable[[Game], Attribution]:
    """The ``against`` of a backend that goes from row to row.

    Args:
        attribute: ``(game, row, seed)``, with a row (d,), to its values (1, d, k).
    """
    return partial(partial, partial(_by_row, attribute))  # no closure, because workers get it pickled


def _by_row(
    attribute: Callable[[Game, Tensor, int], Moments], game: Game, rows: Tensor, *, seeds: Sequence[int]
) -> Moments:
    return concatenate([attribute(game, row, seed) for row, seed in zip(rows, seeds, strict=True)], axis=0)


def names() -> list[str]:
    """The names of all backends."""
    return sorted([*_OWN, *_EXTERNAL])


def named(name: str) -> Backend:
    """The backend of a name.

    Raises:
        UnknownName: There is no such backend; the message lists them.
        MissingPackage: It needs a library that is not installed, but could be.
        ModuleNotFoundError: Something else is not installed.
    """
    try:
        if name not in names():
            raise UnknownName("backend", name, names())
        return cast(Backend, import_module(f"{__name__}.{name}") if name in _OWN else _EXTERNAL[name])
    except ModuleNotFoundError as error:
        library = str(error.name).partition(".")[0]
        if library not in EXTRAS:
            raise
        raise MissingPackage(f"backend {name!r} needs {library}: pip install 'shapae[{library}]'") from error


def in_parts(backend: Backend) -> bool:
    """Whether it can compare rows with one part of the background after the other."""
    return backend.held(2, 1) > backend.held(1, 1)
