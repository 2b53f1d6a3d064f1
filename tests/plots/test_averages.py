"""Plots of averages: of an Importance, of groups of rows, of a ranking; and the plots that name them."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
import shap
from matplotlib.colors import to_rgba

from shapae import Explainer, Explanation, GlobalRanking, plots
from shapae.errors import DataError, UnknownName
from shapae.explainer.grouped_importance import GroupedImportance
from shapae.explainer.importance import Importance
from shapae.explainer.interactions import Interactions
from shapae.plots.bar import COLORS
from tests import cases

rng = np.random.default_rng(1)
NAMES = ["CD79A", "price $x$", "a_b", "=x", "β-actin", "constant"]
N = 40
TYPES = np.array(["B", "B", "T", "B", "NK", "T", "T", "T"] * 5, dtype=object)
TYPES[0] = "one $ row"
# Features that raise the score, that lower it, and that do either; the last one does nothing.
MEANS, SPREADS = np.array([3.0, -2.0, 0.0, 1.0, -1.0, 0.0]), np.array([1.0, 1.0, 5.0, 3.0, 0.1, 0.0])


def explanation(k=None):
    outputs = "error" if k is None else [f"latent {unit}" for unit in range(k)]
    values = MEANS[:, None] + SPREADS[:, None] * rng.normal(size=(N, 6, k or 1))
    values = values[..., 0] if k is None else values
    base = np.zeros((N,) if k is None else (N, k))
    names = {"feature_names": NAMES, "output_names": outputs}
    return Explanation(values, base, np.zeros((N, 6)), **names, scores=values.sum(axis=1))


SINGLE, SEVERAL = explanation(), explanation(3)
ONE, MANY = Importance.of(SINGLE), Importance.of(SEVERAL)
GROUPED, GROUPED_MANY = (GroupedImportance.of(each, TYPES) for each in (SINGLE, SEVERAL))


def labels(axis):
    axis.figure.canvas.draw()
    return [label.get_text().replace(r"\$", "$") for label in axis.get_ticklabels()]


# Bars and matrices of an Importance


@pytest.mark.parametrize("output", [None, "latent 1"])
def test_bars_of_an_importance_are_its_averages_with_their_errors(output):
    importance = ONE if output is None else MANY
    ax = plots.bar(importance, output=output, max_display=4)
    table = importance.output(output or "error").head(4)
    assert labels(ax.yaxis) == table.index.tolist()
    np.testing.assert_allclose([bar.get_width() for bar in ax.patches], table["mean_abs_value"])
    (lines,) = ax.collections
    ends = np.array(lines.get_segments())[:, :, 0]
    np.testing.assert_allclose(ends.mean(axis=1), table["mean_abs_value"])
    np.testing.assert_allclose(np.ptp(ends, axis=1) / 2, table["mean_abs_value_error"])
    assert [float(text.get_text()) for text in ax.texts] == pytest.approx(table["mean_abs_value"].tolist(), rel=0.01)


def test_the_colour_of_a_bar_is_the_sign_of_a_mean_that_is_sure():
    ax = plots.bar(ONE)
    table = ONE.output("error")
    for bar, (_, line) in zip(ax.patches, table.iterrows(), strict=True):
        z = line["mean_value"] / line["mean_value_error"] if line["mean_value_error"] else 0
        assert bar.get_facecolor() == to_rgba(COLORS[1 if z > 2 else -1 if z < -2 else 0])
    assert {bar.get_facecolor() for bar in ax.patches} == {to_rgba(each) for each in COLORS.values()}
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "mean value above 0",
        "mean value below 0",
        "within 2 standard errors of 0",
    ]


def test_bars_of_one_row_have_no_errors_and_no_sure_direction():
    ax = plots.bar(Importance.of(SINGLE[3]))
    assert {bar.get_facecolor() for bar in ax.patches} == {to_rgba(COLORS[0])}
    np.testing.assert_allclose([bar.get_width() for bar in ax.patches], np.sort(np.abs(SINGLE.values[3]))[::-1])


def test_bars_of_one_output_of_an_explanation_are_those_of_its_importance():
    several, average = (plots.bar(each, output="latent 2", max_display=3) for each in (SEVERAL, MANY))
    one, other = (sorted(bar.get_width() for bar in ax.patches) for ax in (several, average))
    np.testing.assert_allclose(one, other)


def test_the_matrix_of_an_importance_is_that_of_its_explanation():
    one, other = plots.latents(MANY), plots.latents(SEVERAL)
    np.testing.assert_allclose(one.images[0].get_array(), other.images[0].get_array())
    assert (labels(one.xaxis), labels(one.yaxis)) == (labels(other.xaxis), labels(other.yaxis))


def test_what_summarize_returns_is_drawn(model, background):
    explainer = Explainer(model, background, head="latent", feature_names=NAMES)
    rows = cases.table(8, seed=1)
    ax = plots.latents(explainer.summarize(rows))
    np.testing.assert_allclose(ax.images[0].get_array(), plots.latents(explainer(rows)).images[0].get_array())
    grouped = explainer.summarize(rows, by=["a", "b"] * 4)
    assert labels(plots.groups(grouped, output="latent 0").xaxis) == ["a (4)", "b (4)"]


# Groups


@pytest.mark.parametrize("output", [None, "latent 2"])
def test_the_cells_of_groups_are_mean_values_under_their_names(output):
    grouped, at = (GROUPED, 0) if output is None else (GROUPED_MANY, 2)
    ax = plots.groups(grouped, output=output)
    features = [NAMES.index(name) for name in labels(ax.yaxis)]
    assert sorted(features) == [*range(6)]
    assert labels(ax.xaxis) == ["B (14)", "NK (5)", "T (20)", "one $ row (1)"]
    np.testing.assert_allclose(ax.images[0].get_array(), grouped.mean[:, features, at].T)
    low, high = ax.images[0].get_clim()
    assert -low == high > 0
    assert ax.images[0].get_cmap().name == "RdBu_r"  # red where the score is raised


def test_dots_mark_the_means_that_are_within_two_standard_errors_of_zero():
    ax = plots.groups(GROUPED)
    features = [NAMES.index(name) for name in labels(ax.yaxis)]
    mean, error = (array[:, features, 0].T for array in (GROUPED.mean, GROUPED.mean_error))
    want = {(column, row) for row, column in zip(*np.nonzero(~(np.abs(mean) > 2 * error)), strict=True)}
    assert ((np.abs(mean) > error) & (np.abs(mean) < 2 * error)).any()
    dots = {(round(x), round(y)) for x, y in np.asarray(ax.collections[0].get_offsets())}
    assert dots == want
    assert 0 < len(want) < mean.size
    assert all((3, row) in dots for row in range(len(mean)))  # of one row, no error is known


def test_each_group_has_its_largest_features_also_if_its_values_are_small():
    values = np.zeros((4, 6))
    values[:2, :3] = [[9, 8, 7], [9, 8, 7]]
    values[2:, 3:] = [[-1e-3, 1e-5, -1e-4]] * 2
    small = Explanation(
        values, np.zeros(4), values * 0, feature_names=NAMES, output_names="error", scores=values.sum(axis=1)
    )
    ax = plots.groups(GroupedImportance.of(small, ["large", "large", "small", "small"]), max_display=4)
    assert {*labels(ax.yaxis)} == {NAMES[feature] for feature in (0, 1, 3, 5)}


def test_groups_of_zeros_are_drawn():
    zeros = Explanation(
        np.zeros((4, 6)), np.zeros(4), np.zeros((4, 6)), feature_names=NAMES, output_names="error", scores=np.zeros(4)
    )
    grouped = GroupedImportance.of(zeros, [*"aabb"])
    image = plots.groups(grouped).images[0]
    assert not np.asarray(image.get_array()).any()
    assert image.get_clim() == (-1, 1)
    assert plots.bar(grouped.overall).has_data()


def test_similar_features_are_neighbours():
    """Two features of each of three patterns over the groups."""
    patterns = np.array([[1.0, -1, 0], [-1, 0, 1], [0, 1, -1], [1, -1, 0.1], [-1, 0.1, 1], [0.1, 1, -1]])
    values = np.repeat(patterns.T, 2, axis=0)
    whole = Explanation(
        values, np.zeros(6), values * 0, feature_names=NAMES, output_names="error", scores=values.sum(axis=1)
    )
    order = [NAMES.index(name) % 3 for name in labels(plots.groups(GroupedImportance.of(whole, [*"aabbcc"])).yaxis)]
    assert [order[place] for place in (0, 2, 4)] == [order[place] for place in (1, 3, 5)]


# Rankings


RAW = pd.DataFrame(rng.normal(size=(6, 3)), NAMES, ["one", "two", "three"])
RANKING = GlobalRanking(RAW, 0 * RAW + 0.3, {"two": NAMES[:2]})


def test_a_ranking_is_drawn_as_by_its_own_plot():
    one, other = plots.ranking(RANKING, max_display=5), RANKING.plot(max_display=5)
    np.testing.assert_array_equal(one.images[0].get_array(), other.images[0].get_array())
    assert [text.get_text() for text in one.texts] == [text.get_text() for text in other.texts]
    unsure = sum(text.get_text() == "\N{MIDDLE DOT}" for text in one.texts)
    shown = RAW.loc[labels(one.yaxis)]
    assert unsure == (shown <= 0.6).to_numpy().sum() > 0
    assert len(one.lines) == len(other.lines) == 1  # the bar of the cluster
    assert not plots.ranking(RANKING, clusters={}).lines
    everything = plots.ranking(RANKING, sure=RAW == RAW)
    assert all(text.get_text().isdigit() for text in everything.texts)


def test_the_agreement_of_a_ranking_is_spearmans():
    ax = plots.agreement(RANKING)
    order = labels(ax.yaxis)
    want = RAW.corr(method="spearman").loc[order, order]
    np.testing.assert_allclose(ax.images[0].get_array(), want)
    assert ax.images[0].colorbar.ax.get_ylabel() == "Spearman's rank correlation"
    assert plots.agreement(want).images[0].colorbar.ax.get_ylabel() == "agreement"


# Errors that name the right plot


PAIRS = Interactions(np.zeros((4, 6, 6)), np.zeros((4, 6, 6)), np.zeros((4, 6)), np.zeros(4), np.zeros(4), NAMES)
BAR = r"An Importance holds averages, and no rows: use shapae.plots.bar\(importance"
WRONG = {
    "summary of averages": (plots.summary, ONE, rf"takes an Explanation, got Importance\. {BAR}\)\."),
    "heatmap of averages": (plots.heatmap, ONE, BAR),
    "waterfall of averages": (plots.waterfall, ONE, BAR),
    "summary of several": (plots.summary, MANY, rf"{BAR}, output='latent 0'\), or shapae.plots.latents\(importance\)"),
    "summary of groups": (plots.summary, GROUPED, r"Use shapae.plots.groups\(grouped\).*: grouped\['B'\]"),
    "bar of groups": (plots.bar, GROUPED, r"an Explanation or an Importance, got GroupedImportance\. Use .*groups"),
    "latents of groups": (plots.latents, GROUPED_MANY, r"Use shapae.plots.groups\(grouped\)"),
    "latents of one": (plots.latents, ONE, r"has one output, 'error'\. .*Use shapae.plots.bar\(importance\)"),
    "bar of several": (plots.bar, MANY, r"3 outputs at once\. Choose one, as in .*importance, output='latent 0'\)"),
    "groups of several": (plots.groups, GROUPED_MANY, r"3 outputs .*plots.groups\(grouped, output='latent 0'\)"),
    "groups of averages": (plots.groups, ONE, r"by=labels\)\. Got Importance"),
    "groups of rows": (plots.groups, SINGLE, r"GroupedImportance.of\(explanation, labels\)\. Got Explanation"),
    "bar of pairs": (plots.bar, PAIRS, r"got Interactions\. Use shapae.plots.interactions"),
    "bar of a ranking": (plots.bar, RANKING, r"got GlobalRanking\. It has a plot of its own: \.plot\(\)"),
    "summary of a frame": (plots.summary, RAW, r"got DataFrame\. An Explanation is the result of"),
    "ranking of averages": (plots.ranking, ONE, r"takes a GlobalRanking or its table, got Importance\. Rank"),
    "agreement of averages": (plots.agreement, ONE, r"takes a GlobalRanking, a Comparison or .*, got Importance\."),
    "nothing to show": (
        partial(plots.groups, max_display=0),
        GROUPED,
        "max_display must be an integer, at least 1, got 0",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_result_that_a_plot_does_not_take_names_the_plot_that_does(case):
    draw, result, message = WRONG[case]
    with pytest.raises(DataError, match=message):
        draw(result)


@pytest.mark.parametrize("draw", [lambda: plots.bar(MANY, output="x"), lambda: plots.groups(GROUPED, output="x")])
def test_an_unknown_output_is_an_error(draw):
    with pytest.raises(UnknownName, match="no output is called 'x'; there are: "):
        draw()


def test_explanations_of_shap_are_drawn_as_before():
    plain = shap.Explanation(SINGLE.values, SINGLE.base_values, SINGLE.data, feature_names=NAMES)
    for draw, each in ((plots.summary, plain), (plots.bar, plain), (plots.waterfall, plain[0])):
        assert draw(each).has_data()
    several = shap.Explanation(SEVERAL.values, feature_names=NAMES, output_names=["a", "b", "c"])
    assert plots.latents(several).has_data()
    with pytest.raises(DataError, match=r"Choose by explanation\[\.\.\., 0\]"):
        plots.bar(several, output="a")


@pytest.mark.parametrize("length", [3, 40])
@pytest.mark.parametrize("d", [9, 60, 765])
def test_names_are_not_cut_off(d, length):
    names, n = [f"{feature:03d}".ljust(length, "x") for feature in range(d)], 30
    values = rng.normal(size=(n, d, 4))
    outputs = [f"output {unit}".ljust(length, "y") for unit in range(4)]
    whole = Explanation(
        values, np.zeros((n, 4)), values[..., 0], feature_names=names, output_names=outputs, scores=values.sum(axis=1)
    )
    grouped = GroupedImportance.of(whole, [f"group {row % 5}".ljust(length, "z") for row in range(n)])
    drawn = plots.groups(grouped, output=outputs[0]), plots.latents(grouped.overall)
    for ax in (*drawn, plots.bar(grouped.overall, output=outputs[1])):
        ax.figure.canvas.draw()
        drawn_box, (width, height) = ax.figure.get_tightbbox(), ax.figure.get_size_inches()
        assert min(drawn_box.x0, drawn_box.y0) > -0.01
        assert drawn_box.x1 < width + 0.01
        assert drawn_box.y1 < height + 0.01
        assert ax.get_window_extent().height > 100
