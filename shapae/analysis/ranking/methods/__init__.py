"""Ranking methods: importances of features for an autoencoder. Each file is a method and has the method's name."""

from collections.abc import Sequence
from typing import Any, Protocol, cast

from numpy.typing import NDArray

from shapae.analysis.ranking.task import RankingTask
from shapae.utils.constraints import check_arguments
from shapae.utils.registry import ModuleRegistry

__all__ = ["named", "names"]

_FOLDER = ModuleRegistry("method", __name__, __path__)


class Method(Protocol):
    """Interface of the file of a method.

    Attributes:
        QUANTITIES: Quantities that the method can measure; a single empty name if there is one only.
        DEFAULT: Quantities that it measures by default.
    """

    QUANTITIES: Sequence[str]
    DEFAULT: Sequence[str]

    def measure(self, task: RankingTask, quantities: Sequence[str]) -> NDArray[Any]:
        """Measure the importances of all p players.

        Args:
            task: Data and settings.
            quantities: q of ``QUANTITIES``.

        Returns:
            (p, q, 2): the importances and their standard errors; NaN for unknown standard errors.

        Raises:
            ModelError: The method does not apply to the model.
        """


def names() -> list[str]:
    """List the names of all methods."""
    return list(_FOLDER)


def named(name: str) -> Method:
    """Import the method with a name.

    Raises:
        UnknownName: There is no such method; the message lists all methods.
    """
    check_arguments(name=name)
    return cast(Method, _FOLDER[name])


def __dir__() -> list[str]:  # tab completion shows the public names
    return __all__
