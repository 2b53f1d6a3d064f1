"""Boxes of all texts that a figure draws: inside of the figure, and apart from each other."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import combinations
from unittest.mock import patch

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

# Pixels by which boxes may overlap: letters do not fill their boxes.
SLACK = 1.5


@contextmanager
def _drawn() -> Iterator[list[Text]]:
    """Record the texts that are drawn inside; ticks outside of the limits, and hidden texts, are not drawn."""
    texts, draw = [], Text.draw

    def record(self, renderer, *args, **kwargs):
        if self.get_visible() and self.get_text().strip():
            texts.append(self)
        return draw(self, renderer, *args, **kwargs)

    with patch.object(Text, "draw", record):
        yield texts


def boxes(figure: Figure) -> list[tuple[str, Bbox]]:
    """List each drawn text with its box in pixels."""
    with _drawn() as texts:
        figure.canvas.draw()
    renderer, unique = figure.canvas.get_renderer(), {id(text): text for text in texts}.values()
    return [(text.get_text(), Text.get_window_extent(text, renderer)) for text in unique]


def faults(figure: Figure) -> list[str]:
    """Describe each text that is outside of the figure in part, and each pair of texts that overlap."""
    found, width, height = [], *figure.bbox.size
    texts = boxes(figure)
    for text, box in texts:
        if box.x0 < -SLACK or box.y0 < -SLACK or box.x1 > width + SLACK or box.y1 > height + SLACK:
            found.append(f"{text!r} leaves the figure of {width:.0f} x {height:.0f} pixels: {box.extents.round()}")
    for (one, first), (other, second) in combinations(texts, 2):
        both = Bbox.intersection(first, second)
        if both is not None and min(both.size) > SLACK:
            found.append(f"{one!r} overlaps {other!r} by {both.size.round(1)} pixels")
    return found


def check(ax: Axes | Figure) -> None:
    """Check that each text of the figure can be read."""
    found = faults(ax if isinstance(ax, Figure) else ax.get_figure(root=True))
    assert not found, "\n".join(found)
