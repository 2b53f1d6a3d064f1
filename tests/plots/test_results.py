"""Pictures of matrices and of results: texts that can be read, colours that outliers do not use up, one type."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

import shapae
from shapae import Explanation, GlobalRanking, plots
from shapae.analysis.comparison.comparison import CONTROLS, Comparison
from shapae.analysis.influence.result import Influence
from shapae.explainer.grouped_importance import GroupedImportance
from shapae.explainer.importance import Importance
from shapae.explainer.interactions import Interactions
from shapae.plots._colours import FAR, Ends, styles
from tests import cases
from tests.plots import boxes

N, K = 12, 6
# Number of features, length of names, magnitude of the numbers, and whether one of them is an outlier.
SCENES = [(5, 3, 1e-5, False), (765, 40, 1e5, True)]
Scene = tuple[int, int, float, bool]


def names(count: int, length: int, start: str) -> list[str]:
    return [f"{start}{place:03d}".rjust(length, "W")[-max(length, 4) :] for place in range(count)]


def explanation(scene: Scene) -> Explanation:
    d, length, scale, outlier = scene
    values = np.random.default_rng(0).normal(size=(N, d, K)) * scale
    values[0, 1, 0] *= 1e5 if outlier else 1
    labels = {"feature_names": names(d, length, "g"), "output_names": names(K, length, "u")}
    return Explanation(values, np.zeros((N, K)), values[..., 0], **labels, scores=values.sum(axis=1))


def ranking(scene: Scene) -> GlobalRanking:
    d, length, scale, outlier = scene
    raw = np.abs(np.random.default_rng(0).normal(size=(d, 8))) * scale
    raw[0, 0] *= 1e5 if outlier else 1
    table = pd.DataFrame(raw, names(d, length, "g"), names(8, min(length, 24), "m"))
    return GlobalRanking(table, 0.6 * table.mean(axis=None) + 0 * table, {"one": [*table.index[:2]]})


def interactions(scene: Scene) -> Interactions:
    d, length, scale, outlier = scene
    m = min(d, 24)
    values = np.random.default_rng(0).normal(size=(N, m, m)) * scale
    values[0, 1, 2] *= 1e5 if outlier else 1
    values, flat = values + values.transpose(0, 2, 1), np.zeros(N)
    return Interactions(values, 0 * values, values[0][[0] * N], flat, flat, names(m, length, "g"))


def influence(scene: Scene) -> Influence:
    _, length, scale, outlier = scene
    rng, m = np.random.default_rng(0), 80
    values, own = rng.normal(size=(3, m)) * scale, np.abs(rng.normal(size=m)) * scale
    values[0, 3], own[3] = (v * (1e5 if outlier else 1) for v in (values[0, 3], own[3]))
    rows = names(m, length, "r")
    return Influence(values, own, np.zeros(3), own + scale, np.array([0, 1, -1]), row_names=rows[:3], train_names=rows)


def comparison(scene: Scene) -> Comparison:
    _, length, scale, outlier = scene
    every = [*names(9, min(length, 28), "b"), *CONTROLS]
    rng, x = np.random.default_rng(0), np.linspace(0, 1, 11)
    table = pd.DataFrame({"time (s)": rng.random(11), "relative error (fraction)": rng.random(11) ** 8}, every)
    table.iloc[4, 0] *= 1e5 if outlier else 1
    agreement = pd.DataFrame(np.corrcoef(rng.normal(size=(11, 20))), every, every)
    agreement.iloc[0, 1] = agreement.iloc[1, 0] = -1e-9
    curves = pd.DataFrame({name: scale * (1 - x) ** (1 + place / 3) for place, name in enumerate(every)}, x)
    return Comparison(table.assign(error=""), {}, explanation(scene)[..., 0], "exact", agreement, curves, curves)


@cache
def report(scene: Scene) -> Any:
    d, length, scale, outlier = scene
    rows = cases.table(30, min(d, 60)) * scale
    rows[0, 0] *= 1e5 if outlier else 1
    table = pd.DataFrame(rows, columns=names(min(d, 60), length, "g"))
    groups = names(3, length, "t") * 10
    return shapae.latents(cases.build(cases.Linear, min(d, 60), 4), table, covariates={"kind": groups})


def anomaly(scene: Scene) -> Axes:
    d, length, scale, outlier = scene
    rng, p = np.random.default_rng(0), min(d, 10)
    reading = rng.normal(size=p) * scale * 3
    reading[1] *= 1e4 if outlier else 1
    columns = {"reading": reading, "expected": 0 * reading, "low": -scale, "high": scale, "error": reading**2}
    columns |= {"contribution": reading**2 * rng.normal(size=p)}
    texts = {f"{name}_text": [f"{each:.4g}" for each in columns[name]] for name in ("reading", "expected")}
    features = pd.DataFrame(columns | texts, names(p, length, "g"))
    return plots.anomaly(features, title="row 7 scores 154, 329 times the median")


KINDS = names(5, 28, "k") * 16
DRAW: dict[str, Callable[[Scene], Axes]] = {
    "latents": lambda scene: plots.latents(explanation(scene)),
    "groups": lambda scene: GroupedImportance.of(explanation(scene)[..., 0], names(4, scene[1], "t") * 3).plot(),
    "ranking": lambda scene: ranking(scene).plot(),
    "agreement": lambda scene: ranking(scene).plot_agreement(),
    "interactions": lambda scene: interactions(scene).plot(),
    "interactions of a row": lambda scene: interactions(scene).plot(row=0),
    "latent map": lambda scene: plots.latent_map(report(scene)),
    "sweep": lambda scene: plots.sweep(report(scene), report(scene).active[0]),
    "drives": lambda scene: plots.drives(report(scene), report(scene).active[0]),
    "influence": lambda scene: influence(scene).plot(),
    "influence by labels": lambda scene: influence(scene).plot(labels=KINDS),
    "self influence": lambda scene: plots.self_influence(influence(scene), labels=KINDS),
    "cleaning": lambda scene: influence(scene).cleaning([1, 5] if scene[1] > 100 else np.arange(80) < 3).plot(),
    "comparison": lambda scene: comparison(scene).plot(),
    "anomaly": anomaly,
}


@pytest.mark.parametrize("scene", SCENES, ids=str)
@pytest.mark.parametrize("name", DRAW)
def test_all_texts_are_inside_of_the_figure_and_apart(name, scene):
    ax = DRAW[name](scene)
    boxes.check(ax)
    assert ax.get_window_extent().width > 150
    assert ax.get_window_extent().height > 150


@pytest.mark.parametrize("name", ["latents", "groups", "interactions", "interactions of a row"])
def test_a_single_outlier_leaves_the_colours_to_the_others_and_the_bar_says_so(name):
    plain, far = (DRAW[name]((60, 3, 1.0, outlier)) for outlier in (False, True))
    for ax, is_exceeded in ((plain, False), (far, True)):
        image = ax.images[0]
        sizes, (_, end) = np.ma.compressed(np.abs(image.get_array())), image.get_clim()
        assert (sizes.max() > FAR * end) == is_exceeded
        if not is_exceeded:
            assert end == sizes.max()
        assert 0 < (sizes > end).mean() < 0.05 or not is_exceeded
        assert image.colorbar.extend == ("neither" if not is_exceeded else "both" if image.get_clim()[0] else "max")
        assert (f"the largest is {sizes.max():.2g}" in image.colorbar.ax.get_ylabel().replace("\n", " ")) == is_exceeded


def test_an_end_is_the_percentile_only_if_the_largest_is_far():
    sizes = np.linspace(0.01, 1, 100)
    assert Ends.of(sizes).end == 1
    assert Ends.of([*sizes, 1.9]).end == 1.9
    ends = Ends.of([*sizes, 50.0])
    assert (ends.end, ends.largest) == (pytest.approx(0.99), 50)
    assert ends.note == "colours end at 0.99, the largest is 50"
    assert Ends.of([3.0, 1.0, 1.0, 1.0]).end == 1
    for none in ([], [0.0, 0.0], [np.nan, np.inf]):
        assert (Ends.of(np.array(none)).end, Ends.of(np.array(none)).note) == (1, "")


def test_no_cell_prints_a_negative_zero():
    texts = [text.get_text() for text in plots.agreement(comparison(SCENES[0])).texts]
    assert "0.00" in texts
    assert "\N{MINUS SIGN}0.00" not in texts


def test_the_legend_of_a_ranking_explains_bars_and_dots():
    ax = ranking(SCENES[0]).plot()
    assert any(text.get_text() == "\N{MIDDLE DOT}" for text in ax.texts)
    legend = [text.get_text().replace("\n", " ") for text in ax.get_legend().get_texts()]
    assert legend == ["cluster of features", "not significant: within 2 standard errors of 0, or below"]
    alone = plots.ranking(ranking(SCENES[0]).table)
    assert alone.get_legend() is None


# Smallest distance of colours in linear RGB.
CLOSE = 0.1


def seen(color: str) -> np.ndarray:
    """A colour as a deuteranope sees it: Viénot, Brettel and Mollon, 1999, in linear RGB."""
    red, green, blue = (
        (each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4) for each in to_rgb(color)
    )
    return np.array([0.29275 * red + 0.70725 * green, -0.02234 * red + 0.02234 * green + blue])


def test_styles_differ_in_colours_that_deuteranopes_can_tell_apart_and_in_marks_and_lines():
    found = styles([f"backend {place}" for place in range(24)] + [*CONTROLS], CONTROLS)
    assert len({(style.color, style.marker, str(style.linestyle)) for style in found.values()}) == 26
    one, other = list(found.values())[:8], list(found.values())[8:16]
    assert all(a.marker != b.marker and a.linestyle != b.linestyle for a, b in zip(one, other, strict=True))
    for place, style in enumerate(one):
        for another in one[:place]:
            assert np.abs(seen(style.color) - seen(another.color)).max() > CLOSE
    assert np.abs(seen("tab:blue") - seen("tab:purple")).max() < CLOSE  # of matplotlib's palette
    assert {style.linestyle for name, style in found.items() if name in CONTROLS} == {":"}


def test_every_result_draws_axes_that_a_notebook_shows():
    scene, explainer = SCENES[0], shapae.Explainer(cases.build(cases.Linear), cases.table(12))
    results = [
        ranking(scene), interactions(scene), influence(scene), comparison(scene), report(scene),
        GroupedImportance.of(explanation(scene)[..., 0], [*"aabb"] * 3), Importance.of(explanation(scene)),
        Importance.of(explanation(scene)[..., 0]), shapae.explain_anomalies(explainer, cases.table(12), 2),
    ]  # fmt: skip
    for each in results:
        ax = each.plot()
        assert isinstance(ax, Axes)
        assert ax._repr_png_().startswith(b"\x89PNG")
