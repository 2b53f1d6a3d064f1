"""Sweeps: one unit moves, and the decoded features change as the decoder says."""

import numpy as np
import pytest
import torch
from sklearn.preprocessing import StandardScaler
from torch import nn

import shapae
from shapae import Autoencoder
from shapae.errors import DataError, ModelError, UnknownName
from tests import cases
from tests.analysis.latents import planted

ROWS = planted.rows()


@pytest.fixture(scope="module")
def report():
    return shapae.latents(planted.vae(), ROWS)


@pytest.mark.parametrize("unit", planted.USED)
@pytest.mark.parametrize("row", [None, 5, "row 5"])
def test_a_sweep_of_a_planted_unit_moves_its_planted_features_only(report, unit, row):
    sweep = report.sweep(unit, row=row)
    block, latents = planted.BLOCKS[unit], report.latents
    middle = np.median(latents[:, unit]) if row is None else latents[5, unit]
    positions = np.quantile(latents[:, unit], sweep.quantiles)
    want = np.zeros_like(sweep.changes)
    want[:, block] = (positions - middle)[:, None] * planted.LOADINGS
    np.testing.assert_allclose(sweep.changes, want, atol=1e-12)
    np.testing.assert_allclose(sweep.positions, positions)
    assert {*sweep.table.index[:3]} == {*planted.FEATURES[block]}
    assert (sweep.table["range"].iloc[3:] == 0).all()


def test_units_of_a_nonlinear_autoencoder_read_and_move_their_blocks_only():
    known = shapae.datasets.block_autoencoder()
    found = shapae.latents(known.model, known.X)
    assert {*found.active} == {*known.latents.index}
    for unit, block in known.latents.iterrows():
        np.testing.assert_array_equal(found.sweep(unit).range > 0, block)
        np.testing.assert_array_equal(found.signed[unit] != 0, block)
        assert np.abs(found.moves[block, found.position(unit)]).min() > 0


@pytest.mark.parametrize("unit", sorted({*range(planted.UNITS)} - {*planted.USED}))
def test_a_sweep_of_an_unused_unit_moves_nothing(report, unit):
    np.testing.assert_array_equal(report.sweep(unit).changes, 0)


def test_a_sweep_is_decoded_point_by_point(model):
    rows = cases.table(30)
    report = shapae.latents(model, rows)
    sweep = report.sweep("latent 1", quantiles=(0.9, 0.2, 0.5))
    np.testing.assert_array_equal(sweep.quantiles, [0.2, 0.5, 0.9])
    with torch.no_grad():
        latents = model.encoder(torch.tensor(rows))
        points = []
        for position in [*np.quantile(latents[:, 1], [0.2, 0.5, 0.9]), np.median(latents[:, 1])]:
            point = latents.mean(dim=0)
            point[1] = position
            points.append(model.decoder(point[None])[0].numpy())
    np.testing.assert_allclose(sweep.changes, np.array(points[:3]) - points[3], atol=1e-12)
    np.testing.assert_allclose(sweep.middle, points[3], atol=1e-12)
    np.testing.assert_array_equal(sweep.changes[1], 0)
    np.testing.assert_allclose(sweep.drives, report.signed["latent 1"])
    for feature, line in sweep.table.iterrows():
        column = sweep.changes[:, list(sweep.feature_names).index(feature)]
        np.testing.assert_array_equal(line[[0.2, 0.5, 0.9]], column)
        assert line["range"] == np.ptp(column)


def test_moves_are_the_differences_of_the_ends_of_the_sweeps(report):
    for unit in range(planted.UNITS):
        sweep = report.sweep(unit, quantiles=(0.01, 0.99))
        np.testing.assert_allclose(report.moves[:, unit], sweep.changes[1] - sweep.changes[0], atol=1e-12)
    first = report.active[0]
    loaded = report.moves[:, report.position(first)]
    assert report.table.loc[first, "raises"].split(", ")[0] == planted.FEATURES[loaded.argmax()]
    assert report.table.loc[first, "lowers"] == planted.FEATURES[loaded.argmin()]


@pytest.mark.parametrize("kind", ["pair", "scaler"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_changes_are_in_the_units_of_the_table(kind, dtype):
    """The columns have means of a million, beside which float32 would lose the changes."""
    center, scale = 1e6 + np.arange(planted.D), 1 + np.arange(planted.D)
    table = (ROWS * scale + center).astype(np.float64)
    scaler = StandardScaler().fit(table)
    preprocess = (center, scale) if kind == "pair" else scaler
    factor = scale if kind == "pair" else scaler.scale_
    autoencoder = Autoencoder(planted.vae(torch.float64), preprocess=preprocess)
    autoencoder.model.to(dtype)
    found = shapae.latents(autoencoder, table)
    sweep = found.sweep(1)
    block = planted.BLOCKS[1]
    want = np.outer(sweep.positions - np.median(found.latents[:, 1]), planted.LOADINGS) * factor[block]
    np.testing.assert_allclose(sweep.changes[:, block], want, rtol=1e-3, atol=1e-4)
    assert sweep.units == "the table"
    assert abs(np.delete(sweep.changes, block, axis=1)).max() < 1e-4


class Halved(nn.Module):
    """A preprocessing that can't be undone, as far as shapae knows."""

    def forward(self, rows):
        return rows / 2


def test_units_are_those_of_the_model_if_the_preprocessing_cannot_be_undone(report):
    autoencoder = Autoencoder(planted.vae(), preprocess=Halved())
    sweep = shapae.latents(autoencoder, 2 * ROWS).sweep(1)
    assert sweep.units == "the model"
    np.testing.assert_allclose(sweep.changes, report.sweep(1).changes, atol=1e-12)


class EncoderOnly(nn.Module):
    """Its decoder is a function that nobody can find."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(cases.D, 2)
        self.weight = nn.Parameter(torch.randn(2, cases.D))

    def forward(self, rows):
        return torch.tanh(self.encoder(rows)) @ self.weight


class Refusing(nn.Module):
    """Its decoder takes something else than latents."""

    def __init__(self, kind):
        super().__init__()
        self.encoder, self.kind = nn.Linear(cases.D, 2), kind

    def decoder(self, latents):
        if self.kind == "fails":
            raise TypeError("a batch is missing")
        return torch.full((len(latents), cases.D), torch.inf) if self.kind == "infinite" else latents

    def forward(self, rows):
        return rows * self.encoder(rows).mean(dim=1, keepdim=True)


DECODERS = {
    "none": (EncoderOnly, (), {}, "decoder"),
    "fails": (Refusing, ("fails",), {"decode": "decoder"}, r"decoder fails .* a batch is missing"),
    "infinite": (Refusing, ("infinite",), {"decode": "decoder"}, "must return 6 finite .* NaN or infinite"),
    "too narrow": (Refusing, ("narrow",), {"decode": "decoder"}, r"must return 6 finite .* got shape \(8, 2\)"),
    "other dtype": (Refusing, ("narrow",), {"decode": lambda m, z: m.encoder(z.float())}, "decoder fails"),
}


@pytest.mark.parametrize(("make", "settings", "parts", "text"), DECODERS.values(), ids=DECODERS)
def test_a_model_without_a_decoder_has_a_report_without_sweeps(make, settings, parts, text):
    model = Autoencoder(cases.build(make, *settings), encode="encoder", **parts)
    found = shapae.latents(model, cases.table(30), covariates={"a": cases.table(30, 1)[:, 0]})
    with pytest.raises(ModelError, match=text):
        found.sweep(0)
    assert np.isnan(found.moves).all()
    assert "raises" not in found.table
    assert "no sweeps" in repr(found)
    assert found.causes.table["r2"].notna().all()


def test_a_model_that_was_trained_further_is_noticed(model):
    found = shapae.latents(model, cases.table(30))
    with torch.no_grad():
        model.decoder[0].weight += 0.1
    with pytest.raises(ModelError, match="has changed since this report was made"):
        found.sweep(0)


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda r: r.sweep("latent 9"), UnknownName, "no latent unit is called 'latent 9'; there are: latent "),
        (lambda r: r.sweep(7), UnknownName, "no latent unit is called 7"),
        (lambda r: r.sweep(-1), UnknownName, "no latent unit is called -1"),
        (lambda r: r.sweep(True), DataError, "unit must be a name or a position, got True"),
        (lambda r: r.sweep(0, row="nobody"), DataError, "there is no row 'nobody' among the 300 rows"),
        (lambda r: r.sweep(0, row=300), DataError, "Give a position, 0 to 299"),
        (lambda r: r.sweep(0, quantiles=(0.5,)), DataError, "two or more different numbers between 0 and 1"),
        (lambda r: r.sweep(0, quantiles=(0.5, 1.5)), DataError, "two or more different numbers between 0 and 1"),
        (lambda r: r.sweep(0, quantiles=("a", "b")), DataError, "two or more different numbers between 0 and 1"),
        (lambda r: r.sweep(0, quantiles=(0.1, np.nan)), DataError, "two or more different numbers between 0 and 1"),
    ],
)
def test_a_wrong_choice_is_refused(report, call, kind, text):
    with pytest.raises(kind, match=text):
        call(report)


def test_a_sweep_says_what_it_is(report):
    assert repr(report.sweep(1)).startswith("Sweep of latent 1 at the mean of the others, in units of the table\n")
    assert repr(report.sweep(1, row="row 5")).startswith("Sweep of latent 1 at row row 5")
    assert len(report.sweep(1).top(4)) == 4
