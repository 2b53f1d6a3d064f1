"""Shared parts of the plots of reports on latents."""

from collections.abc import Sequence
from typing import Any, Protocol

import pandas as pd
from numpy.typing import NDArray

# Colours of features that raise a unit, and of those that lower it.
UP, DOWN = "tab:red", "tab:blue"


class Sweep(Protocol):
    """Parts of a sweep that are drawn, see ``LatentReport.sweep``."""

    @property
    def unit(self) -> str: ...  # noqa: D102
    @property
    def quantiles(self) -> NDArray[Any]: ...  # noqa: D102
    @property
    def positions(self) -> NDArray[Any]: ...  # noqa: D102
    @property
    def units(self) -> str: ...  # noqa: D102
    @property
    def table(self) -> pd.DataFrame: ...  # noqa: D102


class Report(Protocol):
    """Parts of a ``LatentReport`` that are drawn; the class itself is of a room above."""

    @property
    def latents(self) -> NDArray[Any]: ...  # noqa: D102
    @property
    def unit_names(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def active(self) -> list[str]: ...  # noqa: D102
    @property
    def by_group(self) -> pd.DataFrame: ...  # noqa: D102

    def sweep(self, unit: str | int, *, row: Any = None) -> Sweep: ...  # noqa: D102

    def drivers(self, unit: str | int, k: int = 10) -> pd.DataFrame: ...  # noqa: D102
