"""Which backend to believe on a real autoencoder: six of them beside a reference, in one call of ``shapae.compare``.

``python -m benchmarks.backends_on_genes [--rows 20] [--probes 5]``: squared error of the demo's autoencoder of 765
genes, 100
cells as background. Writes ``results/backends_on_genes.json`` and the picture, ``results/backends_on_genes.png``.
"""

import argparse
import time
from typing import Any

import shapae
from benchmarks import RESULTS, save

BACKENDS = ("deep", "gradient", "shap_deep", "shap_gradient", "captum_deep", "captum_gradient_shap")


def main() -> None:
    """Print the table and keep it, with the picture."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=20)
    parser.add_argument("--probes", type=int, default=5)
    options = parser.parse_args()
    genes = shapae.datasets.pbmc68k().X
    model, background = shapae.demo.train(genes), genes.sample(100, random_state=0)
    start = time.perf_counter()
    found = shapae.compare(
        model, background, genes[: options.rows], backends=BACKENDS, probes=options.probes, progress=True
    )
    seconds = time.perf_counter() - start
    print(found.table.drop(columns="error").T.to_string(float_format="{:.3g}".format))
    print(f"\nthe reference, {found.reference_name}, is sure to {found.reference_error:.3f}; in all {seconds:.0f} s")
    kept: dict[str, Any] = {"rows": options.rows, "seconds": seconds, "reference error": found.reference_error}
    save(
        "backends_on_genes",
        kept | {"table": found.table.astype(object).where(found.table.notna(), None).to_dict("index")},
    )
    found.plot().savefig(RESULTS / "backends_on_genes.png", dpi=70)


if __name__ == "__main__":
    main()
