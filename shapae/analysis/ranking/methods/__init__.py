"""Importances say how much each feature matters to an autoencoder. Each file is a method; its name is the method's."""

from collections.abc import Sequence
from typing import Any, Protocol, cast

from numpy.typing import NDArray

from shapae.analysis.ranking.task import RankingTask
from shapae.utils.registry import ModuleRegistry

__all__ = ["named", "names"]

_FOLDER = ModuleRegistry("method", __name__, __path__)


class Method(Protocol):
    """What a method's file holds.

    Attributes:
        QUANTITIES: What it can measure; one empty name if it is one thing only.
        DEFAULT: Which of these where nobody says.
    """

    QUANTITIES: Sequence[str]
    DEFAULT: Sequence[str]

    def measure(self, case: RankingTask, columns: Sequence[str]) -> NDArray[Any]:
        """Measure how much each player matters.

        Args:
            case: What is to be ranked.
            columns: q of ``QUANTITIES``.

        Returns:
            (p, q, 2): the importances and their standard errors, which are NaN where they are not known.

        Raises:
            ModelError: This can't be measured for such a model.
        """


def names() -> list[str]:
    """The names of all methods."""
    return list(_FOLDER)


def named(name: str) -> Method:
    """The method of a name.

    Raises:
        UnknownName: There is no such method; the message lists them.
    """
    return cast(Method, _FOLDER[name])
