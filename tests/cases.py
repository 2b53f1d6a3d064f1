"""Small models that the tests explain, and what is compared before and after."""

import logging
import random
import warnings

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from captum.attr._core.deep_lift import SUPPORTED_NON_LINEAR
from scipy import sparse
from shap.explainers._deep.deep_pytorch import op_handler
from torch import nn

from shapae import heads
from shapae.backends.base import bind

D = 6
# Names that files and pictures do not like.
FEATURES = ["CD79A", "α-Globin", "gène 3", "遺伝子", "5", "a/b $x$"]
CELLS = [f"cell {row}" for row in range(8)]


def table(n, d=D, seed=0):
    """(n, d), float64, normal."""
    return np.random.default_rng(seed).normal(size=(n, d))


def cells(names=FEATURES):
    """(8, 6), an AnnData as scanpy makes them: sparse, with a layer."""
    anndata = pytest.importorskip("anndata")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Variable names are not unique")
        adata = anndata.AnnData(
            sparse.csr_matrix(table(8, D)),
            pd.DataFrame({"kind": list("xxxyyyzz")}, index=CELLS),
            pd.DataFrame({"chromosome": range(D)}, index=names),
        )
    adata.layers["counts"] = table(8, D, seed=1)
    adata.uns["theirs"] = {"a": 1}
    return adata


def build(make, *args, seed=0, dtype=torch.float64, **settings):
    """The model that ``make`` makes, with weights that are always the same, in eval mode."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make(*args, **settings).to(dtype).eval()


def fit(model, rows, steps=40):
    """Train the model for a number of steps on all rows at once."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    for _ in range(steps):
        optimizer.zero_grad()
        torch.autograd.backward(((model(rows) - rows) ** 2).mean())
        optimizer.step()
    return model


class Question(nn.Module):
    """The autoencoder of the question that started it."""

    def __init__(self, d=D):
        super().__init__()
        wide, narrow = 3 * d // 4, d // 2
        self.encoder = nn.Sequential(nn.Linear(d, wide), nn.ReLU(), nn.Linear(wide, narrow))
        self.decoder = nn.Sequential(nn.Linear(narrow, wide), nn.ReLU(), nn.Linear(wide, d))

    def forward(self, rows):
        return self.decoder(self.encoder(rows))


class Block(nn.Module):
    """Linear, BatchNorm, one of the activations that shap's own table lacks, Dropout."""

    def __init__(self, wide, narrow):
        super().__init__()
        self.linear, self.norm = nn.Linear(wide, narrow), nn.BatchNorm1d(narrow)
        self.activation, self.dropout = nn.SiLU(), nn.Dropout(0.5)
        nn.init.normal_(self.norm.running_mean)
        nn.init.uniform_(self.norm.running_var, 0.5, 2)

    def forward(self, rows):
        return self.dropout(self.activation(self.norm(self.linear(rows))))


class Half(nn.Module):
    """A block in a module of the user's own."""

    def __init__(self, wide, narrow):
        super().__init__()
        self.block, self.last = Block(wide, 5), nn.Linear(5, narrow)

    def forward(self, rows):
        return self.last(self.block(rows))


class Nested(nn.Module):
    """Custom modules within custom modules."""

    def __init__(self, d=D):
        super().__init__()
        self.encoder, self.decoder = Half(d, 3), Half(3, d)

    def forward(self, rows):
        return self.decoder(self.encoder(rows))


class Linear(nn.Module):
    """A linear autoencoder with bias, whose values are known in closed form."""

    def __init__(self, d=D, m=3):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(d, m), nn.Linear(m, d)

    def forward(self, rows):
        return self.decoder(self.encoder(rows))


class Variational(nn.Module):
    """A variational autoencoder: its encoder gives mean and log-variance; it samples, also in eval mode."""

    def __init__(self, d=D, m=3):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(d, 5), nn.Tanh())
        self.mean, self.log_variance = nn.Linear(5, m), nn.Linear(5, m)
        self.decoder = nn.Sequential(nn.Linear(m, 5), nn.ReLU(), nn.Linear(5, d))

    def encoder(self, rows):
        body = self.body(rows)
        return self.mean(body), self.log_variance(body)

    def forward(self, rows):
        mean, log_variance = self.encoder(rows)
        return self.decoder(mean + torch.exp(log_variance / 2) * torch.randn_like(mean)), mean, log_variance


class Keeping(Question):
    """Keeps results of its last forward pass, in the graph, which torch refuses to copy."""

    def forward(self, rows):
        self.latents = self.encoder(rows)
        self.decoder.result = self.decoder(self.latents)
        return self.decoder.result


class LatentEnergy(nn.Module):
    """A head of the user's own: half the squared length of the latents."""

    def __init__(self):
        super().__init__()
        self.square = heads.Elementwise(torch.square)

    def forward(self, autoencoder, rows):
        return self.square(autoencoder.encode(rows)).sum(dim=1) / 2


class Normed(nn.Module):
    """A head of the user's own that would learn in training mode, and be random."""

    def __init__(self):
        super().__init__()
        self.norm, self.dropout = nn.BatchNorm1d(D).double(), nn.Dropout(0.5)

    def forward(self, autoencoder, rows):
        return self.dropout(self.norm(autoencoder(rows)))


class Breaking(Question):
    """Breaks in its m-th forward pass, also where it is a copy."""

    left = 0

    def forward(self, rows):
        Breaking.left -= 1
        if Breaking.left == 0:
            raise KeyboardInterrupt
        return super().forward(rows)


def snapshot(module):
    """All of ``module`` that shapae could change, to be compared with ==."""
    return {
        "keys": list(module.state_dict()),
        "tensors": [(bits(tensor), bits(tensor.grad), tensor.requires_grad) for tensor in tensors(module)],
        "modules": [
            (name, each.training, sorted(vars(each)), hooks(each), [id(child) for child in each.children()])
            for name, each in module.named_modules()
        ],
    }


def tensors(module):
    return [*module.parameters(), *module.buffers()]


def bits(tensor):
    return None if tensor is None else (tensor.dtype, tuple(tensor.shape), tensor.detach().numpy().tobytes())


def hooks(module):
    return {name: list(held.items()) for name, held in vars(module).items() if name.endswith("_hooks")}


def world():
    """The state of the process that shapae could change, to be compared with ==."""
    name, keys, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (name, keys.tobytes(), *rest),
        "torch": bits(torch.get_rng_state()),
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "settings": (torch.is_grad_enabled(), torch.get_default_dtype()),
        "shap": (list(op_handler.items()), logging.getLogger("shap").disabled),
        "captum": list(SUPPORTED_NON_LINEAR.items()),
        "matplotlib": {key: repr(value) for key, value in matplotlib.rcParams.items()},
        "figures": matplotlib.pyplot.get_fignums(),
    }


def attribution(backend, game):
    """Attribution of rows in a game whose score may be anchored."""
    return bind(backend, game)
