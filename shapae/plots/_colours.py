"""Colours that colour-blind readers can tell apart, with markers and lines; and colours that outliers do not use up."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Colours of Okabe and Ito, 2008, "Color Universal Design"; yellow, which is pale on white, is the last.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000", "#F0E442")
# Markers and lines; their numbers have no common factor with that of the colours, so that few combinations repeat.
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
LINES = ("-", "--", "-.", (0, (4, 1, 1, 1, 1, 1)), (0, (7, 1.5)))
# Quantile of the sizes at which colours end, and the factor by which the largest size is larger in that case.
SATURATED, FAR = 0.98, 2.0


@dataclass(frozen=True)
class Style:
    """Style of one name: a colour, a marker and a line, each of which tells it from its neighbours."""

    color: str
    marker: str
    linestyle: Any


def styles(names: Iterable[str], controls: Collection[str] = ()) -> dict[str, Style]:
    """Assign a style to each name, by the order of the names; shades of grey and dotted lines to controls."""
    greys = [str(0.4 + 0.3 * position / max(1, len(controls) - 1)) for position in range(len(controls))]
    of_controls = {name: Style(grey, "x", ":") for name, grey in zip(controls, greys, strict=True)}
    others = [name for name in dict.fromkeys(names) if name not in of_controls]
    return {name: _style(place) for place, name in enumerate(others)} | of_controls


def _style(place: int) -> Style:
    return Style(PALETTE[place % len(PALETTE)], MARKERS[place % len(MARKERS)], LINES[place % len(LINES)])


@dataclass(frozen=True)
class Ends:
    """End of a scale of colours, widths or areas for some sizes.

    Attributes:
        end: Size at which the scale ends.
        largest: Largest size.
    """

    end: float
    largest: float

    @classmethod
    def of(cls, sizes: NDArray[Any], reference: float | None = None, *, least: float = 0.0) -> "Ends":
        """Choose an end, such that a few outliers do not leave all other sizes pale.

        Args:
            sizes: Sizes in any shape, not all of which need be finite. Each counts once, also if it stands twice.
            reference: Largest size that is no outlier; None for the 98th percentile of the sizes other than 0.
            least: Smallest end.
        """
        finite = np.unique(np.abs(np.asarray(sizes)[np.isfinite(sizes)])).astype(np.float64)
        largest, known = float(finite.max(initial=0)), finite[finite > 0]
        if reference is None:
            reference = float(np.quantile(known, SATURATED, method="lower")) if known.size else 0.0
        end = reference if largest > FAR * reference > 0 else largest
        return cls(max(end, least) or 1.0, largest)

    @property
    def note(self) -> str:
        """Sentence for the reader if some sizes are beyond the end; empty if none is."""
        return f"colours end at {self.end:.2g}, the largest is {self.largest:.2g}" if self.is_exceeded else ""

    @property
    def is_exceeded(self) -> bool:
        """Whether some sizes are beyond the end."""
        return self.largest > self.end
