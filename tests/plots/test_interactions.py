"""Pictures of interactions: the numbers on the axes are those of the result."""

import numpy as np
import pytest
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_rgb

from shapae import Interactions, plots
from shapae.errors import DataError

NAMES = ["a", "b", "c", "d"]


def pairs():
    """Three rows: (a, c) is large and raises the score in each, (b, d) lowers it, (a, b) does both."""
    values = np.zeros((3, 4, 4))
    for i, j, numbers in ((0, 2, [3, 2, 1]), (1, 3, [-1, -3, -1]), (0, 1, [0.3, -0.3, 0])):
        values[:, i, j] = values[:, j, i] = numbers
    values[:, range(4), range(4)] = [10, -20, 5, 0]
    return Interactions(values, 0 * values, values[:, 0], values[:, 0, 0], values[:, 0, 0], NAMES)


def matrix(ax):
    """The numbers of a heatmap by the names on its axes, and the colours of its diagonal."""
    ax.figure.canvas.draw()
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names == [label.get_text() for label in ax.get_xticklabels()]
    shown = ax.images[0].get_array()
    assert np.ma.getmaskarray(shown).tolist() == np.eye(len(names), dtype=bool).tolist()
    order = [names.index(name) for name in sorted(names)]
    return sorted(names), shown.filled(0)[np.ix_(order, order)]


def test_the_heatmap_has_the_mean_size_of_whole_interactions():
    found = pairs()
    names, shown = matrix(plots.interactions(found))
    want = 2 * np.abs(found.values).mean(axis=0) * (1 - np.eye(4))
    assert names == NAMES
    np.testing.assert_allclose(shown, want)


def test_the_heatmap_of_a_row_has_its_signs_around_zero():
    found = pairs()
    ax = plots.interactions(found, row=1)
    np.testing.assert_allclose(matrix(ax)[1], 2 * found.values[1] * (1 - np.eye(4)))
    assert ax.images[0].get_clim() == (-6, 6)


@pytest.mark.parametrize("draw", [plots.interactions, plots.interaction_network])
def test_the_features_with_the_largest_interactions_are_shown(draw):
    ax = draw(pairs(), max_display=2)
    shown = {text.get_text() for text in [*ax.texts, *ax.get_yticklabels()]} & {*NAMES}
    assert shown == {"a", "c"}


@pytest.mark.parametrize("draw", [plots.interactions, plots.interaction_network])
@pytest.mark.parametrize(
    ("options", "text"),
    [({"row": 3}, "row must be an integer from -3 to 2"), ({"max_display": 1}, "at least 2, got 1")],
)
def test_a_wrong_choice_is_refused(draw, options, text):
    with pytest.raises(DataError, match=text):
        draw(pairs(), **options)


def drawn(ax):
    """Places of names; widths and colours of lines by their ends; areas and colours of circles by their names."""
    (lines,) = (each for each in ax.collections if isinstance(each, LineCollection))
    (circles,) = (each for each in ax.collections if isinstance(each, PathCollection))
    place = {text.get_text(): np.array(text.get_position()) for text in ax.texts}

    def name(point):
        return min(place, key=lambda each: np.linalg.norm(place[each] - point))

    ends = [frozenset((name(path.vertices[0]), name(path.vertices[-1]))) for path in lines.get_paths()]
    sizes = zip(ends, lines.get_linewidths(), lines.get_colors(), strict=True)
    spots = zip(map(name, circles.get_offsets()), circles.get_sizes(), circles.get_facecolors(), strict=True)
    return {end: (width, color) for end, width, color in sizes}, {end: (area, color) for end, area, color in spots}


def hue(color):
    red, _, blue = to_rgb(color)
    return np.sign(round(red - blue, 1))


def test_lines_and_circles_have_the_sizes_and_signs_of_interactions_and_main_effects():
    lines, circles = drawn(plots.interaction_network(pairs()))
    assert len(lines) == 6
    widest = lines[frozenset("ac")]
    np.testing.assert_allclose(lines[frozenset("bd")][0] / widest[0], 5 / 6)
    np.testing.assert_allclose(lines[frozenset("ab")][0] / widest[0], 1 / 10)
    assert [lines[frozenset(pair)][0] for pair in ("ad", "bc", "cd")] == [0, 0, 0]
    assert [hue(lines[frozenset(pair)][1]) for pair in ("ac", "bd", "ab")] == [1, -1, 0]
    np.testing.assert_allclose([circles[name][0] / circles["b"][0] for name in NAMES], [0.5, 1, 0.25, 0])
    assert [hue(circles[name][1]) for name in "abc"] == [1, -1, 1]


def test_strongly_interacting_features_are_neighbours():
    ax = plots.interaction_network(pairs())
    names = [text.get_text() for text in ax.texts]
    assert abs(names.index("a") - names.index("c")) in (1, 3)


@pytest.mark.parametrize("m", [4, 3])
def test_long_names_stay_inside_of_a_new_figure_and_off_the_legend(m):
    found = pairs()
    square, flat = found.values[:, :m, :m], found.data[:, :m]
    names = [f"ENSG00000123456.12_HLA-DRB{name}" for name in NAMES[:m]]
    ax = plots.interaction_network(Interactions(square, 0 * square, flat, found.scores, found.base_values, names))
    ax.figure.canvas.draw()
    outer, legend = ax.figure.bbox, ax.get_legend().get_window_extent()
    boxes = [text.get_window_extent() for text in ax.texts]
    for box in [*boxes, legend]:
        assert min(box.x0, box.y0) >= 0
        assert (box.x1 <= outer.x1, box.y1 <= outer.y1) == (True, True)
    assert not any(box.overlaps(legend) for box in boxes)


def test_a_result_without_any_interaction_is_drawn():
    found = pairs()
    zero = Interactions(0 * found.values, found.standard_errors, found.data, found.scores, found.base_values, NAMES)
    for draw in (plots.interactions, plots.interaction_network):
        draw(zero).figure.canvas.draw()
