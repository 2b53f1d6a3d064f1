"""The main job from end to end: train the autoencoder of the question on real genes, explain it, draw it."""

from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from shapae import datasets, heads, plots
from shapae.cli.reports import NAMES, save_picture, write_results
from shapae.explainer.explainer import Explainer
from shapae.explainer.explanation import Explanation
from shapae.explainer.importance import Importance
from shapae.utils.context import preserve_rng
from shapae.utils.directories import atomic_directory
from shapae.utils.parallel import progress_bar

__all__ = ["GeneAutoencoder", "run", "train"]


class GeneAutoencoder(nn.Module):
    """d -> 0.75 d -> 0.5 d and back, with ReLU between: the autoencoder that the question was asked about."""

    def __init__(self, d: int = 765) -> None:
        super().__init__()
        hidden, latent = int(0.75 * d), int(0.5 * d)
        self.encoder = nn.Sequential(nn.Linear(d, hidden), nn.ReLU(), nn.Linear(hidden, latent))
        self.decoder = nn.Sequential(nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, d))

    def forward(self, rows: Tensor) -> Tensor:
        """(n, d) -> (n, d)."""
        reconstruction: Tensor = self.decoder(self.encoder(rows))
        return reconstruction


def train(X: Any, *, epochs: int = 20, seed: int = 0) -> GeneAutoencoder:
    """Train a ``GeneAutoencoder`` to rebuild ``X``.

    Args:
        X: (n, d), a DataFrame or array.
        epochs: Times that each row is seen.
        seed: Of the weights and the order of the rows.

    Returns:
        The model, in eval mode.
    """
    rows = torch.tensor(pd.DataFrame(X).to_numpy(), dtype=torch.float32)
    with preserve_rng():
        torch.manual_seed(seed)
        model = GeneAutoencoder(rows.shape[1])
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        for _ in progress_bar(range(epochs), epochs, None, "training"):
            for batch in torch.split(torch.randperm(len(rows)), 64):
                optimizer.zero_grad()
                torch.autograd.backward(nn.functional.mse_loss(model(rows[batch]), rows[batch]))
                optimizer.step()
    return model.eval()


def run(folder: Path, *, force: bool = False) -> str:
    """Train on ``datasets.pbmc68k``, explain the reconstruction error of all cells and some latents, write it all.

    Args:
        folder: Where the results go.
        force: Replace the results of an earlier run.

    Returns:
        What came out, in words.

    Raises:
        OutputError: ``folder`` holds something else.
    """
    with atomic_directory(folder, replaces=NAMES if force else ()) as fresh:
        genes = datasets.pbmc68k().X
        model = train(genes)
        background = genes.sample(100, random_state=0)
        error = Explainer(model, background)(genes)
        write_results(error, fresh)
        save_picture(plots.waterfall(error[int(error.scores.argmax())]), fresh / "waterfall.png")
        latents = _varied_latents(model, genes, background)
        latents.save(fresh / "latents")
        save_picture(plots.latents(latents), fresh / "latents.png")
    return _words(error, folder)


def _varied_latents(model: GeneAutoencoder, genes: pd.DataFrame, background: pd.DataFrame) -> Explanation:
    """Of 100 cells, the 12 latents that vary most."""
    with torch.no_grad():
        varied = model.encoder(torch.tensor(genes.to_numpy())).var(dim=0).argsort(descending=True)[:12]
    return Explainer(model, background, head=heads.Latent(varied.tolist()))(genes.sample(100, random_state=1))


def _words(error: Explanation, folder: Path) -> str:
    table = Importance.of(error).table.head(10)
    sizes = enumerate(table["mean_abs_value"].items(), start=1)
    lines = [f"  {place:2}  {gene:10} {size:.2e}" for place, (gene, size) in sizes]
    residual, spread = abs(error.residual).max(), error.scores.max() - error.scores.min()
    return "\n".join([
        f"explained the reconstruction error of {len(error)} cells x {len(error.feature_names)} genes "
        f"in {error.made_by['seconds']:.0f} s",
        "the ten most important genes, by mean |SHAP value|:",
        *lines,
        f"largest residual (score - base value - sum of values): {residual:.1e}",
        f"for comparison, the scores spread over {spread:.2g}",
        f"pictures, table and explanations are in {folder.resolve()}:",
        *(f"  {path.name}" for path in sorted(folder.iterdir())),
    ])
