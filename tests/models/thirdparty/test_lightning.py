"""A LightningModule is explained as it is, after its training and within Fabric's wrapper."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.datasets import load_wine
from torch import nn
from torch.utils.data import DataLoader

from shapae import Explainer

with warnings.catch_warnings():  # its own, at import
    warnings.simplefilter("ignore")
    lightning = pytest.importorskip("pytorch_lightning", reason="pip install pytorch-lightning")
    fabric = pytest.importorskip("lightning_fabric", reason="pip install pytorch-lightning")

WINE = load_wine().data
ROWS = ((WINE - WINE.mean(axis=0)) / WINE.std(axis=0)).astype(np.float32)


class Model(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(13, 8), nn.ReLU(), nn.Linear(8, 3))
        self.decoder = nn.Linear(3, 13)

    def forward(self, rows):
        return self.decoder(self.encoder(rows))

    def training_step(self, rows, _):
        return nn.functional.mse_loss(self(rows), rows)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 1e-2)


@pytest.fixture
def model(tmp_path):
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        model = Model()
        trainer = lightning.Trainer(max_epochs=2, accelerator="cpu", devices=1, default_root_dir=tmp_path, **quiet)
        trainer.fit(model, DataLoader(torch.tensor(ROWS), 32))
    return model


def test_a_module_is_explained_as_it_is_and_within_fabric(model):
    explanation = Explainer(model, ROWS[:50])(ROWS[50:60])

    assert "decode(encode(x)) = reconstruct(x): yes" in explanation.made_by["model"]["latents"]
    assert np.abs(explanation.residual).max() <= 1e-5 * np.ptp(explanation.scores)
    with torch.no_grad():
        rows = torch.tensor(ROWS[50:60])
        np.testing.assert_allclose(explanation.scores, (model.eval()(rows) - rows).square().mean(dim=1), rtol=1e-4)
    wrapped = fabric.Fabric(accelerator="cpu", devices=1).setup_module(model)
    np.testing.assert_array_equal(Explainer(wrapped, ROWS[:50])(ROWS[50:60]).values, explanation.values)
