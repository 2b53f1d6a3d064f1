import numpy as np
import pytest

from shapae import datasets


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
    """Textbook markers, so names, cells and numbers have not been shuffled against each other."""
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
    with pytest.raises(ValueError, match=r"10 modules need at least 20 genes, got d=12"):
        datasets.gene_modules(d=12)
