"""Gene expression: of real cells, and made up."""

from dataclasses import dataclass, field
from importlib.resources import files

import numpy as np
import pandas as pd


@dataclass(frozen=True, eq=False)
class Genes:
    """Gene expression of real cells.

    Attributes:
        X: (n, d), float32, scaled log counts. Columns are gene symbols, the index holds cell barcodes.
        cell_types: (n,), one name for each cell.
    """

    X: pd.DataFrame
    cell_types: pd.Series


@dataclass(frozen=True, eq=False)
class GeneModules:
    """Made-up gene expression with known causes.

    Attributes:
        X: (n, d), float32. Columns are gene names.
        latents: (n, m), float32. What drives the genes.
        drives: (m, d), bool. Which latent drives which genes, and so from which genes it can be read.
        twins: From the name of a gene to that of its duplicate.
    """

    X: pd.DataFrame
    latents: pd.DataFrame
    drives: pd.DataFrame
    twins: dict[str, str] = field(default_factory=dict)


def pbmc68k() -> Genes:
    """700 blood cells of 10 types by 765 genes, in scaled log counts.

    Reference:
        Zheng et al., 2017, https://doi.org/10.1038/ncomms14049, reduced by the authors of scanpy. See
        ``shapae/datasets/data/README.md`` for the source and its licence.

    >>> genes = pbmc68k()
    >>> genes.X.shape, genes.X.columns[0], genes.cell_types.nunique()
    ((700, 765), 'HES4', 10)
    """
    path = files("shapae") / "datasets" / "data" / "pbmc68k.npz"
    with path.open("rb") as file, np.load(file, allow_pickle=False) as held:
        cells = pd.Index(held["cells"], name="cell", dtype=object)
        genes = pd.Index(held["genes"], dtype=object)
        types = pd.Series(held["cell_types"].astype(object), index=cells, name="cell_type")
        return Genes(pd.DataFrame(held["X"], index=cells, columns=genes), types)


def gene_modules(
    n: int = 950, d: int = 1000, *, modules: int = 10, noise: float = 0.5, duplicates: int = 0, seed: int = 0
) -> GeneModules:
    """Draw genes in modules: the genes of a module follow its latent, the others follow nothing.

    x_j = w_j * z_m + noise * e_j for a gene j of module m, x_j = e_j for a gene of none; z and e are standard
    normal, and w_j has a size between 0.5 and 1.5 and either sign. Half of the genes are in modules of equal size.

    Args:
        n: Number of rows.
        d: Number of genes.
        modules: Number of modules, and of latents.
        noise: Standard deviation of what a gene does for itself.
        duplicates: So many genes, one module after the other, are there a second time, in columns after all others.
        seed: Of the draws.

    Raises:
        ValueError: There are not two genes for each module, or fewer genes in modules than ``duplicates``.
    """
    if d < 2 * modules:
        raise ValueError(f"{modules} modules need at least {2 * modules} genes, got d={d}.")
    rng = np.random.default_rng(seed)
    module = np.arange(d) // (d // (2 * modules))
    drives = module == np.arange(modules)[:, None]
    if duplicates > drives.sum():
        raise ValueError(f"only the {drives.sum()} genes of modules can be duplicated, got duplicates={duplicates}.")
    weights = drives * rng.uniform(0.5, 1.5, d) * rng.choice([-1, 1], d)
    latents = rng.standard_normal((n, modules))
    own = rng.standard_normal((n, d)) * np.where(drives.any(axis=0), noise, 1)
    names = [f"M{m}-{j}" if m < modules else f"N-{j}" for j, m in enumerate(module)]
    units = [f"latent {m}" for m in range(modules)]
    # The first genes of all modules, then the second ones, and so on.
    copied = np.arange(drives.sum()).reshape(modules, -1).T.ravel()[:duplicates].tolist()
    kept = [*range(d), *copied]
    twins = {names[j]: f"{names[j]} again" for j in copied}
    columns = [*names, *twins.values()]
    return GeneModules(
        pd.DataFrame((latents @ weights + own).astype(np.float32)[:, kept], columns=columns),
        pd.DataFrame(latents.astype(np.float32), columns=units),
        pd.DataFrame(drives[:, kept], index=units, columns=columns),
        twins,
    )
