"""Plots of one explanation: their texts are apart and whole, and their marks are the numbers of the explanation."""

from functools import cache

import numpy as np
import pandas as pd
import pytest
import shap
import torch
from matplotlib import pyplot as plt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from shapae import Explanation, plots
from shapae.errors import DataError, UnknownName
from shapae.plots._colours import PALETTE
from shapae.plots._figure import LOWERS, RAISES, width_of, wrap
from shapae.plots._numbers import Numbers, number
from tests.plots.boxes import boxes, check, faults

N = 30


@cache
def explanation(d=5, length=3, scale=1.0, seed=0):
    """Few features matter, and the first row is far from all others; the base value is far from 0."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((N, d)) * rng.exponential(size=d) ** 2 * scale / 5
    values[0] *= 300
    names = [f"{feature:03d}".ljust(length, "x") for feature in range(d)]
    base = np.full(N, 3 * scale)
    return Explanation(
        values,
        base,
        rng.standard_normal((N, d)) * scale,
        feature_names=names,
        output_names="reconstruction error",
        scores=base + values.sum(axis=1),
        standard_errors=np.abs(values) / 10,
        row_names=[f"cell {row} of $ {'x' * length}" for row in range(N)],
        made_by={"head": "reconstruction_error"},
    )


DRAW = {
    "waterfall": lambda given, **options: plots.waterfall(given[1], **options),
    "waterfall of the outlier": lambda given, **options: plots.waterfall(given[0], **options),
    "bar": plots.bar,
    "bar of a row": lambda given, **options: plots.bar(given[2], **options),
    "summary": plots.summary,
    "summary, clipped": lambda given, **options: plots.summary(given, clip=0.95, **options),
    "heatmap": plots.heatmap,
    "heatmap of few rows": lambda given, **options: plots.heatmap(given[:4], **options),
    "scatter": lambda given, **options: plots.scatter(given, 0, color=given.feature_names[1], **options),
    "scatter of groups": lambda given, **options: plots.scatter(given, 0, color=given.row_names[:10].tolist() * 3),
}
every_plot = pytest.mark.parametrize("draw", DRAW.values(), ids=DRAW)


@every_plot
@pytest.mark.parametrize(("d", "length", "scale"), [(5, 40, 1e-5), (60, 40, 1e5), (765, 3, 1e-5)])
def test_every_text_is_inside_of_the_figure_and_apart_from_the_others(draw, d, length, scale):
    ax = draw(explanation(d, length, scale))
    ax.figure.set_dpi(72)
    check(ax)


def test_the_checker_sees_texts_that_are_cut_or_overlap():
    figure = Figure(figsize=(4, 1), dpi=100)
    FigureCanvasAgg(figure)
    figure.text(0.5, 0.5, "one")
    assert faults(figure) == []
    figure.text(0.52, 0.5, "two")
    figure.text(0.97, 0.2, "three")
    overlap, cut = sorted(faults(figure))
    assert "'one' overlaps 'two'" in overlap
    assert "'three' leaves the figure" in cut


def test_the_checker_sees_the_faults_of_shap():
    plt.figure()
    try:
        assert faults(shap.plots.waterfall(explanation(60, 40)[1], show=False).figure)
    finally:
        plt.close("all")


# Waterfall


def arrows(ax):
    """Start, end and line of each arrow, from its corners."""
    corners = [patch.get_xy() for patch in ax.patches]
    return np.array([[each[0, 0], each[2, 0], each[2, 1]] for each in corners])


@pytest.mark.parametrize("scale", [1e-5, 1.0, 1e5])
@pytest.mark.parametrize("row", [0, 1])
def test_arrows_of_a_waterfall_lead_from_the_base_value_to_the_score(row, scale):
    given = explanation(60, 3, scale)[row]
    ax = plots.waterfall(given, max_display=8)
    start, end, line = arrows(ax).T
    order = np.argsort(-np.abs(given.values))
    want = [*given.values[order[:7]], given.values[order[7:]].sum()]
    np.testing.assert_allclose(end - start, want, rtol=1e-9, atol=1e-12 * scale)
    np.testing.assert_allclose([start[-1], end[0]], [given.base_values, given.scores])
    np.testing.assert_allclose(start[:-1], end[1:])
    assert line.tolist() == [*range(8)]
    assert [label.get_text() for label in ax.get_yticklabels()][-1] == "53 other features"
    colors = [to_rgba(RAISES if value > 0 else LOWERS) for value in want]
    assert [patch.get_facecolor() for patch in ax.patches] == colors


def test_the_number_of_an_arrow_is_inside_of_it_or_beyond_its_end():
    ax = plots.waterfall(explanation(60, 40)[1])
    drawn = [box for text, box in boxes(ax.figure) if text[0] in "+\N{MINUS SIGN}" and "=" not in text]
    numbers = [box for box in drawn if ax.bbox.y0 < box.y0 and box.x0 > ax.bbox.x0]
    place = ax.transData.transform
    start, end, line = arrows(ax).T
    first, last = (place(np.stack([each, line], axis=1)) for each in (start, end))
    assert len(numbers) == len(first) == 15
    inside = 0
    for (x0, y), (x1, _) in zip(first, last, strict=True):
        (box,) = [box for box in numbers if box.y0 < y < box.y1]
        within = min(x0, x1) < box.x0 and box.x1 < max(x0, x1)
        beyond = box.x0 > x1 > x0 or box.x1 < x1 < x0
        assert within != beyond
        inside += within
    assert 0 < inside < 15


def test_a_waterfall_names_its_row_its_score_and_both_ends():
    given = explanation()[1]
    ax = plots.waterfall(given)
    assert ax.get_title() == r"row cell 1 of \$ xxx"
    assert ax.get_xlabel() == "SHAP value (impact on reconstruction error, mean squared)"
    marks = dict(text.get_text().split(" = ") for text in ax.texts if " = " in text.get_text())
    ends = {name: float(end.replace("\N{MINUS SIGN}", "-")) for name, end in marks.items()}
    assert ends == pytest.approx({"f(x)": given.scores, "E[f(X)]": given.base_values}, rel=1e-3)


def test_close_ends_of_a_waterfall_are_told_apart():
    near = Explanation(
        np.array([0.002, -0.001]),
        np.float64(54321),
        np.zeros(2),
        feature_names=["a", "b"],
        output_names="error",
        scores=np.float64(54321.001),
        residual=np.float64(0),
    )
    texts = [text.get_text() for text in plots.waterfall(near).texts]
    assert "f(x) = 54321.001" in texts
    assert "E[f(X)] = 54321" in texts


def test_a_part_of_the_score_that_no_feature_has_is_grey():
    given = explanation(5)[1]
    whole = Explanation(
        given.values,
        given.base_values,
        given.data,
        feature_names=given.feature_names,
        output_names="error",
        scores=given.scores + 2,
        residual=np.float64(2),
    )
    ax = plots.waterfall(whole)
    start, end, _ = arrows(ax).T
    assert end[-1] - start[-1] == pytest.approx(2)
    assert end[0] == pytest.approx(whole.scores)
    assert [label.get_text() for label in ax.get_yticklabels()][-1] == "residual, of no feature"
    few = plots.waterfall(given[[0, 1]])
    assert [label.get_text() for label in few.get_yticklabels()][-1] == "features left out"
    assert arrows(few)[0, 1] == pytest.approx(given.scores)


@pytest.mark.parametrize("draw", [plots.waterfall, plots.bar])
def test_a_one_hot_group_shows_its_category_and_a_number_its_number(draw):
    given, groups = explanation(6), {"state $": ["state_idle", "state_run at $"], "x": ["a", "b"]}
    data = np.tile([0, 1, 1.5, 2.5, 3, 4.0], (N, 1))
    names = [*groups["state $"], "a", "b", "c", "d"]
    parts = {name: getattr(given, name) for name in ("values", "base_values", "scores", "row_names")}
    whole = Explanation(**parts, data=data, feature_names=names, output_names="error")
    ax = draw(whole.grouped(groups)[1])
    ax.figure.canvas.draw()
    labels = {label.get_text(): label.get_window_extent() for label in ax.get_yticklabels()}
    boxes_of = {text.get_text(): text.get_window_extent() for text in ax.texts if text.get_text().endswith("=")}
    for name, reading in {r"state \$": r"run at \$ =", "x": "2 =", "c": "3 =", "d": "4 ="}.items():
        assert abs((boxes_of[reading].y0 + boxes_of[reading].y1) - (labels[name].y0 + labels[name].y1)) < 4
        assert boxes_of[reading].x1 < labels[name].x0 + 1


def test_a_scatter_plot_of_a_one_hot_group_is_over_its_categories():
    given, groups = explanation(2), {"state": ["state_idle", "state_run"]}
    data = np.eye(2)[np.arange(N) % 2]
    parts = {name: getattr(given, name) for name in ("values", "base_values", "scores")}
    names = ["state_idle", "state_run", "c"]
    parts["values"] = np.pad(parts["values"], ((0, 0), (0, 1)))
    data = np.pad(data, ((0, 0), (0, 1)))
    whole = Explanation(**parts, data=data, feature_names=names, output_names="error").grouped(groups)
    ax = plots.scatter(whole, "state")
    assert [label.get_text() for label in ax.get_xticklabels()] == ["idle", "run"]
    np.testing.assert_allclose(points(ax), np.stack([np.arange(N) % 2, whole.values[:, 0]], axis=1))


# Bar, summary and heatmap


def test_bars_of_a_row_have_its_standard_errors():
    given = explanation()[2]
    ax = plots.bar(given)
    order = np.argsort(-np.abs(given.values))
    np.testing.assert_allclose([bar.get_width() for bar in ax.patches], given.values[order])
    ends = np.array(ax.collections[0].get_segments())[:, :, 0]
    np.testing.assert_allclose(np.ptp(ends, axis=1) / 2, given.standard_errors[order])


def test_bars_of_rows_have_standard_errors_over_the_rows_and_no_sign():
    given = explanation()
    ax = plots.bar(given)
    sizes = np.abs(given.values)
    order = np.argsort(-sizes.mean(axis=0))
    ends = np.array(ax.collections[0].get_segments())[:, :, 0]
    np.testing.assert_allclose(np.ptp(ends, axis=1) / 2, sizes.std(axis=0, ddof=1)[order] / np.sqrt(N))
    assert not any("+" in text.get_text() for text in ax.texts)
    assert plots.bar(given[:1]).collections == [] or not len(plots.bar(given[:1]).collections)


def test_a_summary_has_no_colour_of_high_or_low_for_numbers_that_all_rows_share():
    """Groups of one-hot columns are such numbers: one divided by the number of columns."""
    one_hot = np.eye(3)[np.arange(N) % 3]
    table = np.column_stack([one_hot, np.linspace(-1, 1, N)])
    names = ["shift_early", "shift_late", "shift_night", "rpm"]
    given = Explanation(table / 7, np.zeros(N), table, feature_names=names, output_names="error", scores=np.zeros(N))
    ax = plots.summary(given.grouped({"shift": names[:3]}))
    colors = {name.get_text(): set() for name in ax.get_yticklabels()}
    for dots in ax.collections:
        dots.update_scalarmappable()
        for (_, height), color in zip(dots.get_offsets(), np.resize(dots.get_facecolors(), (N, 4)), strict=False):
            colors[[*colors][round(height)]].add(tuple(color))
    assert colors["shift"] == {to_rgba("0.5")}
    assert len(colors["rpm"]) > 10


def test_a_clipped_summary_draws_outliers_as_triangles_at_the_end_and_counts_them():
    given = explanation()
    ax = plots.summary(given, clip=0.95)
    bound = np.quantile(np.abs(given.values), 0.95)
    x = np.concatenate([np.asarray(dots.get_offsets())[:, 0] for dots in ax.collections])
    np.testing.assert_allclose(np.sort(x), np.sort(given.values.clip(-bound, bound).ravel()))
    beyond = int((np.abs(given.values) > bound).sum())
    assert any(f"{beyond} of {given.values.size} points are beyond" in text.get_text() for text in ax.texts)
    assert max(np.abs(ax.get_xlim())) < 2 * bound
    assert not plots.summary(given, clip=1.0).texts


@pytest.mark.parametrize("clip", [0, 1.5, "0.9", True])
def test_clip_is_a_quantile(clip):
    with pytest.raises(DataError, match="clip must be a number above 0 and at most 1, such as 0.99, or None, got"):
        plots.summary(explanation(), clip=clip)


def test_the_cells_of_a_heatmap_are_values_and_one_outlier_does_not_make_them_white():
    given = explanation(765)
    ax = plots.heatmap(given)
    cells = np.asarray(ax.images[0].get_array())
    features = np.argsort(-np.abs(given.values).mean(axis=0), kind="stable")[:15]
    np.testing.assert_allclose(np.sort(cells), np.sort(given.values[:, features].T))
    rows = [np.flatnonzero((given.values[:, features] == column).all(axis=1)).item() for column in cells.T]
    assert sorted(rows) == [*range(N)]
    low, high = ax.images[0].get_clim()
    assert -low == high
    assert np.mean(np.abs(cells) > high / 4) > 0.2  # seen as colours
    (line,) = ax.lines
    heights, scores = -line.get_ydata(), given.scores[rows]
    np.testing.assert_allclose((heights - heights.min()) / np.ptp(heights), (scores - scores.min()) / np.ptp(scores))
    bars = np.array([bar.get_width() for bar in ax.patches[-15:]])
    sizes = np.abs(given.values).mean(axis=0)[features]
    np.testing.assert_allclose(bars / bars[0], sizes / sizes[0])
    assert [label.get_text() for label in ax.get_yticklabels()][1:] == [given.feature_names[j] for j in features]
    labels = [axes.get_ylabel().replace("\n", " ") for axes in ax.figure.axes]
    assert "SHAP value (impact on reconstruction error, mean squared)" in labels


def test_a_heatmap_of_zeros_and_one_of_many_rows_are_drawn():
    rng = np.random.default_rng(0)
    for values in (np.zeros((3, 2)), rng.standard_normal((2100, 3))):
        many = shap.Explanation(values, np.zeros(len(values)), values, feature_names=[*"abc"[: values.shape[1]]])
        cells = np.asarray(plots.heatmap(many).images[0].get_array())
        np.testing.assert_allclose(np.sort(cells), np.sort(values.T[np.argsort(-np.abs(values).mean(axis=0))]))


# Scatter


def points(ax):
    return np.concatenate([np.asarray(dots.get_offsets()) for dots in ax.collections])


def by_x(array):
    return array[np.argsort(array[:, 0])]


COLORS = {
    "none": None,
    "feature": "002",
    "numbers": np.arange(N),
    "tensor": torch.arange(N) > 7,
    "list": ["a", None, "b"] * 10,
    "categories": pd.Categorical([1, 2, 3] * 10),
    "many": [*range(10)] * 3,
}


@pytest.mark.parametrize("feature", ["001", 1, -4])
@pytest.mark.parametrize("color", COLORS.values(), ids=COLORS)
def test_dots_of_a_scatter_plot_are_values_over_the_feature(color, feature):
    given = explanation()
    ax = plots.scatter(given, feature, color=color)
    np.testing.assert_allclose(by_x(points(ax)), by_x(np.stack([given.data[:, 1], given.values[:, 1]], axis=1)))
    assert ax.get_xlabel() == "001"
    assert ax.get_ylabel().startswith("SHAP value (impact on reconstruction error")


def test_groups_have_their_dots_and_their_names_and_the_others_are_counted():
    given = explanation()
    labels = pd.Series([f"type {min(row // 2, 11)}" for row in range(N)], index=given.row_names).astype("category")
    ax = plots.scatter(given, 0, color=labels)
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert legend[0] == "5 other labels"
    assert len(legend) == 8
    drawn = {dots.get_label(): np.asarray(dots.get_offsets()) for dots in ax.collections}
    np.testing.assert_allclose(by_x(drawn["type 11"])[:, 0], np.sort(given.data[22:, 0]))
    assert len({*PALETTE}) == len(PALETTE)


@pytest.mark.parametrize("color", [5, ["a"], object(), np.eye(N), {"a": 1}, [[1, 2]] * N, None])
def test_wrong_colours_are_refused(color):
    given, index = explanation(), [f"other {row}" for row in range(N)]
    color = pd.Series(range(N), index=index) if color is None else color
    with pytest.raises(DataError, match="color must be the name|color and the explanation have different row names"):
        plots.scatter(given, 0, color=color)


@pytest.mark.parametrize(
    "call", [lambda: plots.scatter(explanation(), "none"), lambda: plots.scatter(explanation(), 7)]
)
def test_an_unknown_feature_is_named(call):
    with pytest.raises(UnknownName, match="no feature is called"):
        call()


def test_an_explanation_without_data_has_no_scatter_plot():
    plain = shap.Explanation(np.zeros((4, 2)), np.zeros(4), feature_names=["a", "b"])
    with pytest.raises(DataError, match="the explanation has no data"):
        plots.scatter(plain, "a")


# Numbers and names


@pytest.mark.parametrize("value", [0.0, 1.0, -2.5, 123.4, 98765.4, 1.234e7, -1e-7, 0.00012345, 5e-324, 1.7e308])
@pytest.mark.parametrize("digits", [1, 3, 8])
def test_a_number_is_written_with_its_significant_digits(value, digits):
    written = number(value, digits).replace("\N{MINUS SIGN}", "-")
    assert float(written) == pytest.approx(float(f"{value:.{digits}g}"), rel=1e-12)


@pytest.mark.parametrize("scale", [1e-12, 1e-5, 1.0, 1e5, 1e12])
@pytest.mark.parametrize("offset", [0, 1234])
def test_ticks_are_told_apart_and_true(scale, offset):
    ticks = (offset + np.array([-0.5, 0, 0.25, 1])) * scale
    written = Numbers().format_ticks(ticks)
    assert [float(text.replace("\N{MINUS SIGN}", "-")) for text in written] == pytest.approx(ticks.tolist(), rel=1e-9)


def test_wrapped_lines_are_as_wide_as_allowed_and_lose_no_short_word():
    text = "SHAP value (impact on the reconstruction error of CD79A)"
    for inches in (1.2, 2, 9):
        lines = wrap(text, inches, 11).split("\n")
        assert " ".join(lines) == text
        assert width_of(lines, 11) <= inches
    long = wrap("x" * 200 + "$", 2, 11)
    assert width_of([long], 11) <= 2
    assert long.startswith("xxx")
