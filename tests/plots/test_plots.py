"""Plots: labels, lengths and colours on their axes; and no change of pyplot, settings and random generators."""

import random
import re
from collections.abc import Iterator

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from shapae import GlobalRanking, latents, plots
from shapae.errors import DataError
from shapae.explainer.explanation import Explanation
from shapae.explainer.grouped_importance import GroupedImportance
from shapae.explainer.importance import Importance
from shapae.explainer.interactions import Interactions
from tests import cases

rng = np.random.default_rng(0)
NAMES = ["CD79A", "price $ and $ cost", "a_b", "=x", "β-actin"]


def explanation(k: int | None = None) -> Explanation:
    shape = (40, 5) if k is None else (40, 5, k)
    values = rng.standard_normal(shape) * np.array([1e-3, 3e-3, 2e-3, 5e-4, 1e-4]).reshape(5, *[1] * (len(shape) - 2))
    base = np.zeros((40, *shape[2:]))
    outputs = "error in $" if k is None else [f"latent {unit}" for unit in range(k)]
    return Explanation(
        values, base, rng.standard_normal((40, 5)), feature_names=NAMES, output_names=outputs, scores=values.sum(axis=1)
    )


SINGLE, SEVERAL = explanation(), explanation(6)
HALVES = np.random.default_rng(1).standard_normal((40, 5, 5))
PAIRS = Interactions(
    HALVES + HALVES.transpose(0, 2, 1), np.zeros((40, 5, 5)), np.zeros((40, 5)), np.zeros(40), np.zeros(40), NAMES
)
ROWS = pd.DataFrame(np.random.default_rng(2).standard_normal((40, 5)), columns=NAMES)
REPORT = latents(cases.build(cases.Linear, 5, 3), ROWS, covariates={"in $": ["$ a $", "price $ and $ cost"] * 20})
TABLE = pd.DataFrame(rng.random((5, 6)), NAMES, [f"method {place}" for place in range(6)])
RAW = pd.DataFrame(np.random.default_rng(2).random((5, 5)), NAMES, NAMES)
RANKING = GlobalRanking(RAW, RAW * 0 + 0.2, {"two": NAMES[:2]})
TYPES = ["$ of B", "T"] * 20
SQUARE = pd.DataFrame(np.linspace(1, -1, 25).reshape(5, 5), NAMES, NAMES)
READINGS = pd.DataFrame(
    {
        "reading": [3.0, -40, 0.5, 1, 7],
        "expected": [1.0, 0, 0.4, 1, 2],
        "low": [0.0, -1, 0, 1, 2],
        "high": [2.0, 1, 1, 1, 2],
        "reading_text": [*"abcde"],
        "expected_text": [*"fghij"],
        "error": [4.0, 1600, 0.01, 0, 25],
        "contribution": [2.0, 800, -0.1, 0, 3],
    },
    NAMES,
)
DRAW = {
    "costs": lambda **options: plots.costs(SQUARE.iloc[:, :2].abs(), controls=NAMES[:1], **options),
    "curves": lambda **options: plots.curves(SQUARE, controls=NAMES[:1], **options),
    "summary": lambda **options: plots.summary(SINGLE, **options),
    "bar": lambda **options: plots.bar(SINGLE, **options),
    "bar of a row": lambda **options: plots.bar(SINGLE[0], **options),
    "waterfall": lambda **options: plots.waterfall(SINGLE[0], **options),
    "heatmap": lambda **options: plots.heatmap(SINGLE, **options),
    "scatter": lambda **options: plots.scatter(SINGLE, 1, color=["$ a", "b"] * 20, **options),
    "latents": lambda **options: plots.latents(SEVERAL, **options),
    "ranking": lambda **options: plots.ranking(TABLE, clusters={"two": NAMES[:2]}, **options),
    "bar of averages": lambda **options: plots.bar(Importance.of(SINGLE), **options),
    "latents of averages": lambda **options: plots.latents(Importance.of(SEVERAL), **options),
    "groups": lambda **options: plots.groups(GroupedImportance.of(SINGLE, TYPES), **options),
    "a whole ranking": lambda **options: plots.ranking(RANKING, **options),
    "agreement of a whole ranking": lambda **options: plots.agreement(RANKING, **options),
    "interactions": lambda **options: plots.interactions(PAIRS, **options),
    "interactions of a row": lambda **options: plots.interactions(PAIRS, row=3, **options),
    "interaction_network": lambda **options: plots.interaction_network(PAIRS, **options),
    "latent_map": lambda **options: plots.latent_map(REPORT, **options),
    "sweep": lambda **options: plots.sweep(REPORT, 0, **options),
    "drives": lambda **options: plots.drives(REPORT, 0, **options),
    "anomaly": lambda **options: plots.anomaly(READINGS, title="row in $", **options),
    "agreement": lambda **options: plots.agreement(TABLE.T.corr(), **options),
}
every_plot = pytest.mark.parametrize("draw", DRAW.values(), ids=DRAW)


def labels(ax):
    ax.figure.canvas.draw()
    return [label.get_text() for label in ax.get_yticklabels()]


def numbers(ax):
    """Numbers that are written beside bars and in them."""
    texts = [text.get_text().replace("\N{MINUS SIGN}", "-") for text in ax.texts]
    return [float(text) for text in texts if re.fullmatch(r"[-+.e\d]+", text)]


@pytest.fixture(autouse=True)
def _no_figures() -> Iterator[None]:
    plt.close("all")
    yield
    plt.close("all")


@every_plot
def test_pyplot_rcparams_and_generators_are_left_as_they_were(draw):
    mine = plt.figure()
    plt.figure()
    plt.figure(mine.number)
    settings, numpy_state, state = dict(mpl.rcParams), np.random.get_state()[1].copy(), random.getstate()
    draw()
    assert plt.gcf() is mine
    assert len(plt.get_fignums()) == 2
    assert dict(mpl.rcParams) == settings
    assert (np.random.get_state()[1] == numpy_state).all()
    assert random.getstate() == state


@every_plot
def test_a_plot_without_ax_makes_a_figure_that_pyplot_does_not_know(draw, tmp_path):
    ax = draw()
    assert plt.get_fignums() == []
    ax.figure.savefig(tmp_path / "plot.png")
    pixels = plt.imread(tmp_path / "plot.png")
    assert (pixels[..., :3] < 0.9).any(axis=2).mean() > 0.01  # something is drawn


@every_plot
@pytest.mark.parametrize("known", [True, False], ids=["figure of pyplot", "figure outside of pyplot"])
def test_a_plot_draws_on_the_given_ax_and_changes_nothing_else_of_its_figure(draw, known):
    figure = plt.figure(figsize=(7, 3)) if known else Figure(figsize=(7, 3))
    canvas = figure.canvas
    left, right = figure.subplots(1, 2)
    figure.sca(left)
    assert draw(ax=right) is right
    assert right.has_data()
    assert not left.has_data()
    assert figure.get_size_inches().tolist() == [7, 3]
    assert figure.gca() is left
    assert figure.canvas is canvas
    assert plt.get_fignums() == ([figure.number] if known else [])


@every_plot
def test_names_are_printed_literally(draw):
    ax = draw()
    FigureCanvasAgg(ax.figure).draw()
    # Escaped dollars are printed as dollars, so no name is set as mathematics.
    assert any(r"price \$ and \$ cost" in text.get_text() for text in ax.findobj(Text))


def test_summary_shows_the_largest_features_in_descending_order():
    ax = plots.summary(SINGLE, max_display=3)
    order = np.argsort(-np.abs(SINGLE.values).mean(axis=0))[:3]
    assert labels(ax) == [NAMES[j].replace("$", r"\$") for j in order]
    assert ax.get_xlabel() == r"SHAP value (impact on error in \$)"


def test_summary_has_a_dot_for_each_row_at_its_value_in_the_colour_of_its_feature_value():
    ax = plots.summary(SINGLE, max_display=1)
    largest = np.abs(SINGLE.values).mean(axis=0).argmax()
    dots = max(ax.collections, key=lambda collection: len(collection.get_offsets()))
    x, colour = np.asarray(dots.get_offsets())[:, 0], np.asarray(dots.get_array())
    order = SINGLE.values[:, largest].argsort()
    np.testing.assert_allclose(x[x.argsort()], SINGLE.values[order, largest])
    low, high = np.percentile(SINGLE.data[:, largest], [5, 95])
    np.testing.assert_allclose(colour[x.argsort()], SINGLE.data[order, largest].clip(low, high))


@pytest.mark.parametrize("several", [True, False], ids=["mean of rows", "one row"])
def test_lengths_and_numbers_of_bars_are_the_values(several):
    ax = plots.bar(SINGLE if several else SINGLE[3], max_display=4)
    bars = np.abs(SINGLE.values).mean(axis=0) if several else SINGLE.values[3]
    largest = bars[np.argsort(-np.abs(bars))[:4]]
    np.testing.assert_allclose([patch.get_width() for patch in ax.patches], largest)
    assert numbers(ax) == pytest.approx(largest, rel=0.01)


def test_the_cells_of_latents_are_mean_absolute_values_under_their_names():
    ax = plots.latents(SEVERAL, max_display=4, max_outputs=3)
    (image,) = ax.images
    size = np.abs(SEVERAL.values).mean(axis=0)
    columns = [SEVERAL.output_names.index(label.get_text()) for label in ax.get_xticklabels()]
    rows = [NAMES.index(label.replace(r"\$", "$")) for label in labels(ax)]
    np.testing.assert_allclose(image.get_array(), size[np.ix_(rows, columns)])
    assert sorted(columns) == sorted(np.argsort(-size.sum(axis=0))[:3])
    assert len(rows) == 4
    assert size[rows].max() == size[:, columns].max()


@pytest.mark.parametrize("draw", [plots.summary, plots.bar, plots.waterfall, plots.heatmap])
def test_several_outputs_are_an_error_in_a_plot_of_one_output(draw):
    with pytest.raises(DataError, match=r"6 outputs at once\. Choose one, as in explanation.output\('latent 0'\)"):
        draw(SEVERAL)


def test_a_single_row_is_an_error_in_a_plot_of_several_rows_and_vice_versa():
    with pytest.raises(
        DataError, match=r"the values have shape \(5,\)\. This plot takes several rows\. Pass explanation\[:50\]"
    ):
        plots.summary(SINGLE[0])
    with pytest.raises(
        DataError, match=r"the values have shape \(40, 5\)\. This plot takes one row\. Pass explanation\[0\]"
    ):
        plots.waterfall(SINGLE)
    with pytest.raises(
        DataError, match=r"shape \(40, 5\)\. This plot takes several rows and outputs.*shapae.plots.summary"
    ):
        plots.latents(SINGLE)


@pytest.mark.parametrize("most", [0, -1, 2.5, "3"])
@pytest.mark.parametrize(
    "name", ["summary", "bar", "bar of a row", "waterfall", "heatmap", "latents", "sweep", "drives"]
)
def test_a_picture_shows_a_whole_number_of_features(name, most):
    with pytest.raises(DataError, match=f"max_display must be an integer, at least 1, got {most!r}"):
        DRAW[name](max_display=most)
    if name == "latents":
        with pytest.raises(DataError, match=f"max_outputs must be an integer, at least 1, got {most!r}"):
            DRAW[name](max_outputs=most)


def test_a_square_matrix_of_outputs_and_features_is_not_clustered_as_distances():
    """Symmetric, with zeros on the diagonal: scipy would warn, and warnings are errors."""
    values = np.broadcast_to(1 - np.eye(5), (4, 5, 5)).copy()
    several = Explanation(
        values, np.zeros((4, 5)), np.zeros((4, 5)), feature_names=NAMES, output_names=NAMES, scores=values.sum(axis=1)
    )
    assert plots.latents(several).has_data()


def test_a_heatmap_of_one_row_is_an_error():
    with pytest.raises(DataError, match=r"takes 2 rows or more, got 1\. .*use shapae\.plots\.waterfall"):
        plots.heatmap(SINGLE[:1])


def test_a_notebook_shows_a_plot_as_a_picture():
    assert plots.summary(SINGLE)._repr_png_().startswith(b"\x89PNG")


def test_every_file_of_plots_is_exported_under_its_name():
    files = {path.stem for path in __import__("pathlib").Path(plots.__path__[0]).glob("[!_]*.py")}
    assert files == set(plots.__all__)


def dots(ax, label):
    return next(each for each in ax.collections if each.get_label() == label).get_offsets().data


@pytest.mark.parametrize("far", [False, True])
def test_readings_are_on_the_scale_of_their_usual_ranges(far):
    """Half a usual range is one unit; far away, each factor of ten is one unit."""
    distances = np.array([0.5, -1, 10, 100, -1000] if far else [0.5, -1, 2, -3, 5])
    centre, half = np.array([1, -200, 0, 1e4, 0.5]), np.array([1, 50, 0.01, 1e3, 2])
    features = READINGS.assign(
        reading=centre + half * distances, expected=centre, low=centre - half, high=centre + half
    )
    ax = plots.anomaly(features)
    expected, reading = dots(ax, "expected"), dots(ax, "reading")
    np.testing.assert_array_equal(reading[:, 1], range(5))
    unit = reading[0, 0] - expected[0, 0]
    units = np.sign(distances) * (1 + np.log10(np.maximum(1, np.abs(distances)))) if far else distances
    units[0] = 0.5
    np.testing.assert_allclose((reading - expected)[:, 0], 2 * unit * units, atol=1e-9)
    ranges = [patch for patch in ax.patches if patch.get_label() == "_nolegend_" or patch.get_x() < 1][:5]
    np.testing.assert_allclose([each.get_width() for each in ranges], 4 * unit)
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert any("logarithmic" in text for text in legend) == far


def test_bars_of_an_anomaly_are_as_long_as_its_errors_and_contributions():
    ax = plots.anomaly(READINGS, title="row 7", units="model")
    bars = np.array([
        patch.get_width() for patch in ax.patches if patch.get_x() > 1 or patch.get_x() + patch.get_width() > 1
    ])
    errors, contributions = bars[-10:-5], bars[-5:]
    np.testing.assert_allclose(errors / errors.max(), READINGS["error"] / READINGS["error"].max())
    np.testing.assert_allclose(contributions / contributions.max(), READINGS["contribution"] / 800)
    assert labels(ax)[1] == "price \\$ and \\$ cost\nb, expected g"
    assert "reading, in the units of the model" in [text.get_text() for text in ax.texts]


def test_readings_that_are_not_finite_are_drawn_without_a_dot(tmp_path):
    features = READINGS.assign(reading=[np.inf, np.nan, 1, 2, 3], expected=[1, 2, np.nan, 1, -np.inf])
    features.loc[NAMES[0], "error"] = np.inf
    ax = plots.anomaly(features.assign(low=0.0, high=0.0))
    ax.figure.savefig(tmp_path / "plot.png")
    assert np.isfinite(dots(ax, "reading")[2:, 0]).all()
    assert np.isfinite(ax.get_xlim()).all()
