"""Gene expression of real cells, and synthetic gene expression."""

from dataclasses import dataclass, field
from importlib.resources import files

import numpy as np
import pandas as pd

from shapae.errors import DataError
from shapae.utils.constraints import check_arguments


@dataclass(frozen=True, eq=False)
class Genes:
    """Gene expression of real cells.

    Attributes:
        X: (n, d), float32, scaled log counts. Columns are gene symbols, the index holds cell barcodes.
        cell_types: (n,). Name of the type of each cell.
    """

    X: pd.DataFrame
    cell_types: pd.Series


@dataclass(frozen=True, eq=False)
class GeneModules:
    """Synthetic gene expression with known latents.

    Attributes:
        X: (n, d), float32. Columns are gene names.
        latents: (n, m), float32. Latents that drive the genes.
        drives: (m, d), bool. Whether each latent drives each gene, so that it can be read from this gene.
        twins: From the name of each duplicated gene to the name of its duplicate.
    """

    X: pd.DataFrame
    latents: pd.DataFrame
    drives: pd.DataFrame
    twins: dict[str, str] = field(default_factory=dict)


def pbmc68k() -> Genes:
    """Load 700 blood cells of 10 types by 765 genes, in scaled log counts.

    Reference:
        Zheng et al., 2017, https://doi.org/10.1038/ncomms14049, reduced by the authors of scanpy. See
        ``shapae/datasets/data/README.md`` for the source and its licence.

    >>> genes = pbmc68k()
    >>> genes.X.shape, genes.X.columns[0], genes.cell_types.nunique()
    ((700, 765), 'HES4', 10)
    """
    path = files("shapae") / "datasets" / "data" / "pbmc68k.npz"
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        cells = pd.Index(arrays["cells"], name="cell", dtype=object)
        genes = pd.Index(arrays["genes"], dtype=object)
        types = pd.Series(arrays["cell_types"].astype(object), index=cells, name="cell_type")
        return Genes(pd.DataFrame(arrays["X"], index=cells, columns=genes), types)


def gene_modules(
    n: int = 950, d: int = 1000, *, modules: int = 10, noise: float = 0.5, duplicates: int = 0, seed: int = 0
) -> GeneModules:
    """Draw genes in modules: the genes of a module follow its latent, the other genes are independent noise.

    x_j = w_j * z_m + noise * e_j for a gene j of module m, x_j = e_j for a gene of no module; z and e are standard
    normal, and w_j has an absolute value between 0.5 and 1.5 and a random sign. Half of the genes are in modules of
    equal size.

    Args:
        n: Number of rows.
        d: Number of genes.
        modules: Number of modules, which is also the number of latents.
        noise: Standard deviation of the independent noise of each gene.
        duplicates: Number of genes to duplicate, taken from the modules in turn; the duplicates are the last columns.
        seed: Random seed.

    Raises:
        DataError: There are fewer than two genes per module, or fewer genes in modules than ``duplicates``.
    """
    check_arguments(n=n, d=d, modules=modules, noise=noise, duplicates=duplicates, seed=seed)
    if d < 2 * modules:
        raise DataError(
            f"{modules} modules need at least {2 * modules} genes, got d={d}. Set d={2 * modules} or larger."
        )
    rng = np.random.default_rng(seed)
    module = np.arange(d) // (d // (2 * modules))
    drives = module == np.arange(modules)[:, None]
    if duplicates > drives.sum():
        raise DataError(
            f"only the {drives.sum()} genes of modules can be duplicated, got duplicates={duplicates}. "
            f"Set duplicates={drives.sum()} or smaller."
        )
    weights = drives * rng.uniform(0.5, 1.5, d) * rng.choice([-1, 1], d)
    latents = rng.standard_normal((n, modules))
    independent = rng.standard_normal((n, d)) * np.where(drives.any(axis=0), noise, 1)
    names = [f"M{m}-{j}" if m < modules else f"N-{j}" for j, m in enumerate(module)]
    latent_names = [f"latent {m}" for m in range(modules)]
    # The first gene of each module, then the second gene of each module, and so on.
    duplicated = np.arange(drives.sum()).reshape(modules, -1).T.ravel()[:duplicates].tolist()
    order = [*range(d), *duplicated]
    twins = {names[j]: f"{names[j]} again" for j in duplicated}
    columns = [*names, *twins.values()]
    return GeneModules(
        pd.DataFrame((latents @ weights + independent).astype(np.float32)[:, order], columns=columns),
        pd.DataFrame(latents.astype(np.float32), columns=latent_names),
        pd.DataFrame(drives[:, order], index=latent_names, columns=columns),
        twins,
    )
