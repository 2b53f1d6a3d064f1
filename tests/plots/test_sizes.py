"""Plots in a journal's column: text of the size that is set, and labels that fit the figure."""

import numpy as np
import pytest
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from tests.plots.boxes import check
from tests.plots.test_one_explanation import DRAW, explanation

COLUMN = 80 / 25.4  # 80 mm
NARROW = ["waterfall", "bar", "bar of a row", "summary"]


def draw(name, size, width):
    with rc_context({"font.size": size}):
        figure = Figure((width, width), layout="constrained")
        FigureCanvasAgg(figure)
        DRAW[name](explanation(), ax=figure.subplots())
    return figure


@pytest.mark.parametrize("name", NARROW)
def test_labels_fit_a_column_of_80_mm(name):
    check(draw(name, 7, COLUMN))


@pytest.mark.parametrize("name", NARROW)
def test_text_has_the_size_of_the_settings(name):
    small, usual = (
        [text.get_size() for text in draw(name, size, 8).findobj(Text) if text.get_text()] for size in (7, 10)
    )
    np.testing.assert_allclose(sorted({*small}), 0.7 * np.array(sorted({*usual})), rtol=1e-6)
