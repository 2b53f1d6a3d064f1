"""Six backends beside a reference on a real autoencoder, in one call of ``shapae.compare``.

``python -m benchmarks.backends_on_genes [--rows 20] [--probes 5]``: squared error of the demo's autoencoder of 765
genes, with 100 cells as background. Writes ``results/backends_on_genes.json`` and ``results/backends_on_genes.png``.
"""

import argparse
from typing import Any

import shapae
from benchmarks import RESULTS, save
from benchmarks._timing import clock

BACKENDS = ("deep", "gradient", "shap_deep", "shap_gradient", "captum_deep", "captum_gradient_shap")


def main() -> None:
    """Print the table and save it, with the picture."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=20)
    parser.add_argument("--probes", type=int, default=5)
    options = parser.parse_args()
    genes = shapae.datasets.pbmc68k().X
    model, background = shapae.demo.train(genes), genes.sample(100, random_state=0)
    seconds, comparison = clock(
        lambda: shapae.compare(
            model, background, genes[: options.rows], backends=BACKENDS, probes=options.probes, progress=True
        )
    )
    table, error = comparison.table, comparison.reference_error
    print(table.drop(columns="error").T.to_string(float_format="{:.3g}".format))
    print(f"\nreference {comparison.reference_name}: relative standard error {error:.3f}; total time {seconds:.0f} s")
    results: dict[str, Any] = {"rows": options.rows, "seconds": seconds, "reference error": error}
    save("backends_on_genes", results | {"table": table.astype(object).where(table.notna(), None).to_dict("index")})
    comparison.plot().figure.savefig(RESULTS / "backends_on_genes.png", dpi=70)


if __name__ == "__main__":
    main()
