import numpy as np
import pytest
import torch

from shapae import Explainer, datasets
from tests import cases


def test_pbmc68k_is_the_table_that_zheng_et_al_measured():
    genes = datasets.pbmc68k()
    assert genes.X.shape == (700, 765)
    assert genes.X.dtypes.unique().tolist() == [np.float32]
    assert genes.X.columns.is_unique
    assert genes.X.index.is_unique
    assert genes.cell_types.index.equals(genes.X.index)
    assert np.isfinite(genes.X.to_numpy()).all()


@pytest.mark.parametrize(
    ("gene", "cell_type"),
    [("CD79A", "CD19+ B"), ("CST3", "CD14+ Monocyte"), ("NKG7", "CD56+ NK"), ("CST3", "Dendritic")],
)
def test_marker_genes_are_high_in_their_cells(gene, cell_type):
    """Textbook markers: names, cells and numbers are aligned with each other."""
    genes = datasets.pbmc68k()
    mean = genes.X[gene].groupby(genes.cell_types).mean()
    assert mean[cell_type] > mean.drop(["Dendritic", "CD14+ Monocyte", cell_type], errors="ignore").max()


def test_a_gene_follows_its_latent_and_no_other():
    modules = datasets.gene_modules(n=4000, d=60, modules=5, noise=0.5)
    correlation = np.corrcoef(modules.latents.T, modules.X.T)[:5, 5:]
    driven = modules.drives.to_numpy()
    # |w| / sqrt(w^2 + noise^2) with |w| >= 0.5 is at least 0.70; elsewhere the correlation is 0 +- 1 / sqrt(n).
    assert np.abs(correlation[driven]).min() > 0.66
    assert np.abs(correlation[~driven]).max() < 5 / np.sqrt(4000)


def test_half_of_the_genes_are_in_modules_of_equal_size():
    drives = datasets.gene_modules(n=2, d=1000).drives
    assert drives.sum(axis=1).tolist() == [50] * 10
    assert drives.sum(axis=0).max() == 1


def test_the_same_seed_gives_the_same_genes():
    first, again, other = (datasets.gene_modules(n=5, d=30, modules=3, seed=seed).X for seed in (1, 1, 2))
    assert first.equals(again)
    assert not np.allclose(first, other)


def test_too_few_genes_for_the_modules_are_refused():
    with pytest.raises(ValueError, match=r"10 modules need at least 20 genes, got d=12\. Set d=20 or larger"):
        datasets.gene_modules(d=12)


def test_duplicates_are_the_same_genes_again():
    modules = datasets.gene_modules(n=9, d=40, modules=5, duplicates=7)
    assert modules.X.shape == (9, 47)
    assert len(modules.twins) == 7
    for gene, twin in modules.twins.items():
        assert (modules.X[gene] == modules.X[twin]).all()
        assert (modules.drives[gene] == modules.drives[twin]).all()
        assert modules.drives[gene].any()
    # One gene of each module before the second gene of any module.
    assert modules.drives[[*modules.twins]].to_numpy()[:, :5].diagonal().all()
    plain = datasets.gene_modules(n=9, d=40, modules=5)
    assert modules.X[plain.X.columns].equals(plain.X)


def test_more_duplicates_than_genes_in_modules_are_refused():
    with pytest.raises(
        ValueError,
        match=r"only the 20 genes of modules can be duplicated, got duplicates=21\. Set duplicates=20 or smaller",
    ):
        datasets.gene_modules(d=40, modules=5, duplicates=21)


def test_the_values_of_a_linear_autoencoder_are_its_shapley_values_by_enumeration():
    known = datasets.linear_autoencoder(12, 7, latents=2, passed=3, seed=1)
    model, X = known.model.double(), known.X.to_numpy(float)
    exact = Explainer(model, X[:5], backend="exact")(X[5:])
    np.testing.assert_allclose(known.error_values(X[5:], X[:5]), exact.values, atol=1e-12)
    assert known.matters.tolist() == [True] * 4 + [False] * 3
    assert (np.abs(exact.values).max(axis=0) > 1e-3).tolist() == known.matters.tolist()


def test_latents_and_outputs_of_a_block_autoencoder_depend_on_their_block_alone():
    """The derivatives are nonzero at some row inside the block, and zero at all rows outside."""
    known = datasets.block_autoencoder(20, blocks=2, size=3, unused=2, seed=1)
    rows = torch.tensor(known.X.to_numpy())
    for part, masks in ((known.model.encoder, known.latents), (known.model, known.outputs)):
        slopes = torch.func.vmap(torch.func.jacrev(part))(rows).abs().amax(dim=0)
        assert ((slopes > 1e-6).numpy() == masks.to_numpy()).all()
        assert masks.to_numpy().sum(axis=1).max() == 3
    correlation = np.corrcoef(datasets.block_autoencoder(4000).X.T)
    np.testing.assert_allclose(correlation[~np.eye(12, dtype=bool)], 0.5, atol=0.07)


@pytest.mark.parametrize("make", [datasets.sensors, datasets.transactions])
def test_faulty_rows_have_one_to_three_faulty_fields(make):
    faults = make(faulty=400)
    faulty = np.stack([faults.faulty[columns].any(axis=1) for columns in faults.fields.values()], axis=1)
    counts = faulty.sum(axis=1)
    assert sorted({*counts}) == [1, 2, 3]
    assert np.bincount(counts)[1:].min() > 400 / 3 - 50
    assert faulty.mean(axis=0).std() < 0.05  # all fields are equally often faulty
    assert [*faults.normal] == [*faults.X] == [*faults.faulty]
    assert sum(faults.fields.values(), []) == [*faults.X]


def test_a_faulty_sensor_is_one_to_two_standard_deviations_off():
    """A shift of 0 gives the same random rows without faults."""
    faults = datasets.sensors(3000, faulty=300, seed=2)
    right = datasets.sensors(3000, faulty=300, seed=2, shift=(0.0, 0.0)).X
    off = (faults.X - right).abs().to_numpy()
    assert off[~faults.faulty.to_numpy()].max() == 0
    moved = off[faults.faulty.to_numpy()]
    assert moved.min() >= 1 - 1e-5
    assert moved.max() <= 2 + 1e-5
    assert moved.mean() == pytest.approx(1.5, abs=0.05)
    np.testing.assert_allclose(faults.normal.std(), 1, atol=1e-3)


def test_sensors_predict_each_other_and_transactions_have_one_category_of_each():
    sensors = datasets.sensors(3000).normal
    others = sensors.drop(columns="sensor 0")
    residual = sensors["sensor 0"] - others @ np.linalg.lstsq(others, sensors["sensor 0"], rcond=None)[0]
    assert residual.var() < 0.5
    payments = datasets.transactions(2000)
    for table in (payments.normal, payments.X):
        for field in ("goods", "way"):
            assert (table[payments.fields[field]].sum(axis=1) == 1).all()
    normal = payments.normal
    assert normal.loc[normal["goods=fuel"] == 1, "way=card"].min() == 1
    assert normal.loc[normal["goods=rent"] == 1, "amount"].mean() > normal["amount"].mean() + 0.5
    wrong = payments.faulty[payments.fields["way"]].sum(axis=1)
    assert sorted({*wrong}) == [0, 2]  # the columns of the correct and of the wrong method


@pytest.mark.parametrize("make", [datasets.linear_autoencoder, datasets.block_autoencoder])
def test_synthetic_autoencoders_are_reproducible_and_leave_the_random_generators_alone(make):
    before = cases.world()
    first, again, other = (make(5, seed=seed).model.state_dict() for seed in (0, 0, 1))
    assert cases.world() == before
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)
