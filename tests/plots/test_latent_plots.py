"""Pictures of reports on latents: the numbers on the axes are those of the report."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba

import shapae
from shapae import Autoencoder, plots
from shapae.errors import DataError, UnknownName
from tests import cases
from tests.analysis.latents import planted

N, UNITS = 60, [f"latent {unit}" for unit in planted.USED]
KNOWN = pd.DataFrame({
    "age": planted.causes(N)["cause 1"].to_numpy(),
    "kind": np.random.default_rng(0).choice(["zeta", "alpha", "mu", "beta"], N),
    "other": pd.Categorical(["b", "a", "c"] * (N // 3), ["c", "b", "a"]),
})


@pytest.fixture(scope="module")
def report():
    return shapae.latents(planted.vae(), planted.rows(N).reset_index(drop=True), covariates=KNOWN)


def texts(labels):
    return [label.get_text() for label in labels]


@pytest.mark.parametrize("covariate", ["kind", "other", None])
def test_the_cells_of_a_map_are_means_per_group_in_standard_deviations(report, covariate):
    ax = plots.latent_map(report, covariate)
    labels, shown = KNOWN[covariate or "kind"], ax.images[0].get_array()
    units, groups = texts(ax.get_yticklabels()), texts(ax.get_xticklabels())
    assert sorted(units) == sorted(UNITS)
    assert sorted(groups) == sorted({*labels})
    dots = {(round(x), round(y)) for x, y in ax.collections[0].get_offsets()}
    for row, column in np.ndindex(len(units), len(groups)):
        latent = report.latents[:, int(units[row].split()[1])]
        inside = latent[(labels == groups[column]).to_numpy()]
        want = (inside.mean() - latent.mean()) / latent.std()
        np.testing.assert_allclose(shown[row, column], want, atol=1e-12)
        error = inside.std(ddof=1) / len(inside) ** 0.5 / latent.std()
        assert ((column, row) in dots) == (abs(want) < 2 * error)
    assert ax.get_xlabel() == (covariate or "kind")
    low, high = ax.images[0].get_clim()
    assert -low == high == np.abs(shown).max()


def test_rounding_errors_have_no_colour():
    alone = shapae.latents(planted.vae(), planted.rows(N), covariates={"one": ["a"] * N})
    assert plots.latent_map(alone).images[0].get_clim() == (-0.1, 0.1)


def test_a_map_shows_the_units_of_largest_variance(report):
    assert texts(plots.latent_map(report, max_display=2).get_yticklabels()) == report.active[:2]


def test_the_cells_of_a_sweep_are_the_changes_and_the_circles_the_drives(report):
    ax = plots.sweep(report, "latent 4", max_display=5)
    table = report.sweep("latent 4").table.head(5)
    assert texts(ax.get_yticklabels()) == list(table.index)
    np.testing.assert_allclose(ax.images[0].get_array(), table.iloc[:, 2:])
    (circles,) = (each for each in ax.collections if len(each.get_offsets()) == 5)
    np.testing.assert_allclose(circles.get_offsets()[:, 1], range(5))
    areas = np.abs(table["drives"]) / report.signed["latent 4"].abs().max()
    np.testing.assert_allclose(circles.get_sizes() / circles.get_sizes().max(), areas / areas.max())
    assert [tuple(color) for color in circles.get_facecolors()[:3]] == [
        to_rgba("tab:red" if drive > 0 else "tab:blue") for drive in table["drives"][:3]
    ]
    positions = np.quantile(report.latents[:, 4], report.sweep(4).quantiles)
    assert texts(ax.get_xticklabels())[1].startswith("1 %\n")
    np.testing.assert_allclose(
        [float(text.split("\n")[1].replace("\N{MINUS SIGN}", "-")) for text in texts(ax.get_xticklabels())[1:]],
        positions,
        rtol=0.06,
    )


def test_a_sweep_at_a_row_has_the_changes_from_this_row(report):
    shown = plots.sweep(report, 1, row=7, max_display=3).images[0].get_array()
    np.testing.assert_allclose(shown, report.sweep(1, row=7).table.iloc[:3, 2:])
    np.testing.assert_raises(AssertionError, np.testing.assert_allclose, shown, report.sweep(1).table.iloc[:3, 2:])


def test_the_bars_of_drives_are_importances_and_moves_on_axes_with_one_zero(report):
    ax = plots.drives(report, "latent 6")
    upper = next(each for each in ax.figure.axes if each is not ax)
    names = texts(ax.get_yticklabels())
    assert names == ["g8", "g6", "g7"]
    places = [planted.FEATURES.index(name) for name in names]
    np.testing.assert_allclose([bar.get_width() for bar in ax.patches], report.signed["latent 6"][names])
    np.testing.assert_allclose([bar.get_width() for bar in upper.patches], report.moves[places, 6])
    assert [bar.get_facecolor() for bar in ax.patches] == [to_rgba(each) for each in ("tab:red", "tab:red", "tab:blue")]
    for each in (ax, upper):
        low, high = each.get_xlim()
        assert low == -high
    lines = ax.collections[0].get_segments()
    errors = report.drives.importance.mean_abs_error[places, 6]
    np.testing.assert_allclose([np.ptp(line[:, 0]) / 2 for line in lines], errors, atol=1e-12)


def test_drives_shows_half_of_the_features_in_either_direction():
    report = shapae.latents(cases.build(cases.Linear), cases.table(30))
    column = report.signed["latent 0"].sort_values(ascending=False)
    assert (column > 0).sum() > 1
    assert (column < 0).sum() > 1
    assert texts(plots.drives(report, 0, max_display=2).get_yticklabels()) == [column.index[0], column.index[-1]]


def test_drives_of_a_model_without_a_decoder_has_importances_alone(model):
    found = shapae.latents(Autoencoder(model, encode="encoder", decode=lambda m, z: z), cases.table(30))
    ax = plots.drives(found, found.active[0])
    assert len(ax.figure.axes) == 1
    assert len(ax.patches) == len(ax.get_yticklabels()) > 0


@pytest.mark.parametrize("d", [9, 60])
@pytest.mark.parametrize("length", [3, 40])
def test_labels_stay_inside_of_a_new_figure(d, length):
    rows = pd.DataFrame(cases.table(30, d), columns=[f"{j:03d}".ljust(length, "x") for j in range(d)])
    groups = [f"{k:02d}".ljust(length, "y") for k in range(3)] * 10
    report = shapae.latents(cases.build(cases.Linear, d, 4), rows, covariates={"z".ljust(length, "z"): groups})
    for ax in (plots.latent_map(report), plots.sweep(report, 0), plots.drives(report, 0)):
        ax.figure.canvas.draw()
        outer = ax.figure.bbox
        for each in ax.figure.axes:  # with all labels
            box = each.get_tightbbox()
            assert min(box.x0, box.y0) >= -1
            assert (box.x1 <= outer.x1 + 1, box.y1 <= outer.y1 + 1) == (True, True)
        assert ax.get_window_extent().width > 100
        assert ax.get_window_extent().height > 100


def test_a_wrong_choice_is_refused(report, model):
    with pytest.raises(UnknownName, match="no covariate with groups is called 'age'; there are: kind, other"):
        plots.latent_map(report, "age")
    for draw in (plots.latent_map, lambda *a, **b: plots.sweep(*a, 1, **b), lambda *a, **b: plots.drives(*a, 1, **b)):
        with pytest.raises(DataError, match="max_display must be an integer, at least 1, got 0"):
            draw(report, max_display=0)
    with pytest.raises(UnknownName, match="no latent unit is called 'latent 9'"):
        plots.sweep(report, "latent 9")
    with pytest.raises(DataError, match="no feature drives the latent unit 0"):
        plots.drives(report, 0)
    numbers = shapae.latents(model, cases.table(30), covariates={"age": cases.table(30)[:, 0]})
    with pytest.raises(DataError, match="no covariate of this report has groups"):
        plots.latent_map(numbers)
