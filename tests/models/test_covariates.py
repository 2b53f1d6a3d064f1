"""Models that take labels beside the rows, such as a batch: how they are called without these, and what to write."""

import re

import pytest
import torch
from torch import nn

from shapae import Autoencoder, Explainer
from shapae.errors import ShapeError

ROWS = torch.randn(30, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


class Conditional(nn.Module):
    """An autoencoder with a batch of two kinds as columns of its first layer, which its forward may be without."""

    def __init__(self):
        super().__init__()
        self.enc, self.dec = nn.Linear(8, 2), nn.Linear(2, 6)

    def forward(self, rows, batch=None, *, scale=1.0):
        labels = nn.functional.one_hot(batch.long(), 2).to(rows)
        return {"x_hat": scale * self.dec(self.enc(torch.cat([rows, labels], dim=1)).tanh())}


class Demanding(Conditional):
    """The same, but the batch must be given."""

    def forward(self, rows, batch):
        return super().forward(rows, batch)


class Padded(Conditional):
    """The same, but without a batch the rows go into the first layer as they are."""

    def forward(self, rows, batch=None):
        return {"x_hat": self.dec(self.enc(rows).tanh())} if batch is None else super().forward(rows, batch)


@pytest.mark.parametrize("kind", [Conditional, Demanding, Padded])
def test_the_line_in_the_error_explains_the_model_with_its_labels_held_fixed(kind):
    torch.manual_seed(0)
    model = kind().double()
    with pytest.raises(ShapeError, match="Hold batch fixed") as refused:
        Explainer(model, ROWS)
    line = re.search(r"Autoencoder\(model, .*\)", str(refused.value))[0]
    explainer = Explainer(eval(line, {"Autoencoder": Autoencoder, "model": model, "torch": torch}), ROWS)
    want = (model(ROWS, torch.zeros(30))["x_hat"] - ROWS).square().mean(dim=1)
    torch.testing.assert_close(torch.as_tensor(explainer(ROWS).scores), want.detach())


def test_a_table_of_other_columns_is_named_first():
    with pytest.raises(ShapeError, match=r"takes 8 columns, and the table has 6\. Give the table.*also takes batch"):
        Explainer(Padded().double(), ROWS)
    with pytest.raises(ShapeError, match=r"takes 8 columns, and the table has 9\. Give the table") as refused:
        Explainer(Padded().double(), torch.cat([ROWS, ROWS[:, :3]], dim=1))
    assert "batch" not in str(refused.value)


def test_settings_are_no_inputs():
    with pytest.raises(ShapeError) as refused:
        Explainer(Conditional().double(), ROWS)
    assert "scale" not in str(refused.value)


def test_labels_of_all_rows_beside_a_few_are_refused_with_their_number():
    labels = torch.zeros(len(ROWS))
    wrapped = Autoencoder(Conditional().double(), reconstruct=lambda m, x: m(x, labels))
    with pytest.raises(ShapeError, match=r"must be as long as x: Autoencoder\(model, reconstruct=lambda"):
        Explainer(wrapped, ROWS)
