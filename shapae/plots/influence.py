"""Proponents and opponents of one row: the training rows that lowered its score most, and that raised it most."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes

from shapae.errors import DataError
from shapae.plots._figure import colors, escape, new_axes

if TYPE_CHECKING:
    from shapae.analysis.influence.result import Influence
def draw(*a, **k): ...
