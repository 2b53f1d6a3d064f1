"""Demo: train an autoencoder on real genes, explain it, and draw the plots."""

from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from shapae import datasets, heads, plots
from shapae.cli.output import Report, write_report
from shapae.cli.reports import NAMES, report_explanation
from shapae.datasets.synthetic import EncoderDecoder
from shapae.explainer.explainer import Explainer
from shapae.explainer.explanation import Explanation
from shapae.explainer.importance import Importance
from shapae.tables.table import read_table
from shapae.utils.constraints import check_arguments
from shapae.utils.context import seeded
from shapae.utils.progress import progress_bar

__all__ = ["GeneAutoencoder", "run", "train"]


class GeneAutoencoder(EncoderDecoder):
    """Autoencoder of d -> 0.75 d -> 0.5 d -> 0.75 d -> d units, with ReLU between the layers of each half."""

    def __init__(self, d: int = 765) -> None:
        check_arguments(d=d)
        hidden, latent = int(0.75 * d), int(0.5 * d)
        super().__init__(
            nn.Sequential(nn.Linear(d, hidden), nn.ReLU(), nn.Linear(hidden, latent)),
            nn.Sequential(nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, d)),
        )


def train(X: Any, *, epochs: int = 20, seed: int = 0) -> GeneAutoencoder:
    """Train a ``GeneAutoencoder`` to reconstruct ``X``.

    Args:
        X: (n, d), a DataFrame or array.
        epochs: Number of passes over the rows.
        seed: Random seed of the weights and the order of the rows.

    Returns:
        The model, in eval mode.
    """
    check_arguments(epochs=epochs, seed=seed)
    rows = read_table(X, "rows").tensor(torch.empty(0, dtype=torch.float32), "rows")
    with seeded(seed):
        model = GeneAutoencoder(rows.shape[1])
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        for _ in progress_bar(range(epochs), epochs, None, "training"):
            for batch in torch.split(torch.randperm(len(rows)), 64):
                optimizer.zero_grad()
                torch.autograd.backward(nn.functional.mse_loss(model(rows[batch]), rows[batch]))
                optimizer.step()
    return model.eval()


def run(folder: Path, *, force: bool = False) -> str:
    """Train on ``datasets.pbmc68k``, explain the reconstruction error of all cells and some latents, write the results.

    Args:
        folder: Folder for the results.
        force: Whether the results of an earlier run are replaced.

    Returns:
        A summary of the results, in words.

    Raises:
        OutputError: ``folder`` holds other files.
    """
    check_arguments(folder=folder, force=force)
    found: list[Explanation] = []

    def explain() -> Report:
        genes = datasets.pbmc68k().X
        model = train(genes)
        background = genes.sample(100, random_state=0)
        error = Explainer(model, background)(genes)
        latents = _explain_latents(model, genes, background)
        found.append(error)
        report = report_explanation(error)
        pictures = report.pictures | {
            "waterfall.png": lambda: plots.waterfall(error[int(error.scores.argmax())]),
            "latents.png": lambda: plots.latents(latents),
        }
        return Report(report.files | {"latents": latents.save}, pictures)

    write_report(folder, NAMES if force else (), explain)
    return _describe(found[0], folder)


def _explain_latents(model: GeneAutoencoder, genes: pd.DataFrame, background: pd.DataFrame) -> Explanation:
    """Explain the 12 latents of largest variance, for 100 cells."""
    with torch.no_grad():
        units = model.encoder(torch.tensor(genes.to_numpy())).var(dim=0).argsort(descending=True)[:12]
    return Explainer(model, background, head=heads.Latent(units.tolist()))(genes.sample(100, random_state=1))


def _describe(error: Explanation, folder: Path) -> str:
    table = Importance.of(error).table.head(10)
    genes = enumerate(table["mean_abs_value"].items(), start=1)
    lines = [f"  {rank:2}  {gene:10} {size:.2e}" for rank, (gene, size) in genes]
    residual, score_range = abs(error.residual).max(), error.scores.max() - error.scores.min()
    return "\n".join([
        f"explained the reconstruction error of {len(error)} cells x {len(error.feature_names)} genes "
        f"in {error.made_by['seconds']:.0f} s",
        "the ten most important genes, by mean |SHAP value|:",
        *lines,
        f"largest residual (score - base value - sum of values): {residual:.1e}",
        f"range of the scores, for comparison: {score_range:.2g}",
        f"pictures, table and explanations are in {folder.resolve()}:",
        *(f"  {path.name}" for path in sorted(folder.iterdir())),
    ])


def __dir__() -> list[str]:  # tab completion shows the public names
    return __all__
