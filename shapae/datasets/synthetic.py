"""Synthetic autoencoders with known feature dependencies or Shapley values."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shapae.utils.constraints import check_argument, check_arguments
from shapae.utils.context import seeded
from shapae.utils.kinds import Integer


class EncoderDecoder(nn.Module):
    """An autoencoder with an encoder and a decoder."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, rows: Tensor) -> Tensor:
        """Reconstruct rows: (n, d) -> (n, d)."""
        reconstruction: Tensor = self.decoder(self.encoder(rows))
        return reconstruction


@dataclass(frozen=True, eq=False)
class LinearAutoencoder:
    """An autoencoder whose Shapley values are known in closed form.

    Attributes:
        model: The autoencoder x -> W x + c.
        X: (n, d), float32.
        matters: (d,), bool. Whether the reconstruction error depends on each feature; the others are passed through.
    """

    model: EncoderDecoder
    X: pd.DataFrame
    matters: pd.Series

    def error_values(self, rows: NDArray[Any], background: NDArray[Any]) -> NDArray[Any]:
        """Compute the Shapley values of the mean squared error, whose target moves with the row.

        phi_i = mean_b (x_i - b_i) [Q (x + b) + q]_i, with A = W - 1, Q = A'A / d and q = 2 A'c / d.

        Args:
            rows: (n, d).
            background: (b, d).

        Returns:
            (n, d), float64.
        """
        d = len(self.matters)
        with torch.no_grad():
            probes = torch.eye(d + 1, d).to(next(self.model.parameters()))  # each feature alone, and no feature
            *columns, shift = self.model(probes).double().numpy()
        difference = np.stack(columns, axis=1) - shift[:, None] - np.eye(d)
        quadratic, linear = difference.T @ difference / d, 2 * difference.T @ shift / d
        x, b = np.asarray(rows, float)[:, None], np.asarray(background, float)
        return np.asarray(((x - b) * ((x + b) @ quadratic + linear)).mean(axis=1))


@dataclass(frozen=True, eq=False)
class BlockAutoencoder:
    """A nonlinear autoencoder with known dependencies of its latents and outputs on the features.

    Attributes:
        model: An autoencoder with one latent for each block of features; the last features are in no block.
        X: (n, d), float32. All features correlate, also features of different blocks.
        latents: (m, d), bool. Whether each latent depends on each feature.
        outputs: (d, d), bool. Whether each reconstructed feature (row) depends on each feature (column).
    """

    model: EncoderDecoder
    X: pd.DataFrame
    latents: pd.DataFrame
    outputs: pd.DataFrame


def linear_autoencoder(
    n: int = 200, d: int = 10, *, latents: int = 3, passed: int = 4, seed: int = 0
) -> LinearAutoencoder:
    """Draw a linear autoencoder of d - ``passed`` features; the other features are passed through unchanged.

    Args:
        n: Number of rows, standard normal.
        d: Number of features.
        latents: Number of latents for the features that are not passed through.
        passed: Number of features that are passed through; they are the last features.
        seed: Random seed.
    """
    check_arguments(n=n, d=d, latents=latents, seed=seed)
    check_argument("passed", passed, Integer(0, d - 1))
    used, rng = d - passed, np.random.default_rng(seed)
    into, out = np.zeros((latents + passed, d)), np.zeros((d, latents + passed))
    into[:latents, :used] = rng.standard_normal((latents, used)) / used**0.5
    out[:used, :latents] = rng.standard_normal((used, latents)) / latents**0.5
    into[latents:, used:] = out[used:, latents:] = np.eye(passed)
    shift = np.where(np.arange(d) < used, rng.standard_normal(d), 0)
    model = EncoderDecoder(_linear_layer(into, np.zeros(latents + passed)), _linear_layer(out, shift)).eval()
    names = [f"feature {j}" for j in range(d)]
    matters = pd.Series(np.arange(d) < used, index=names)
    return LinearAutoencoder(model, _frame(rng.standard_normal((n, d)), names), matters)


def block_autoencoder(
    n: int = 200, *, blocks: int = 3, size: int = 3, unused: int = 3, hidden: int = 4, seed: int = 0
) -> BlockAutoencoder:
    """Draw an autoencoder whose k-th latent encodes the k-th block of features, and reconstructs this block alone.

    Encoder and decoder have one hidden layer of tanh for each block. Features in no block are reconstructed as a
    constant. Any two features have a correlation of 1/2.

    Args:
        n: Number of rows, normal.
        blocks: Number of blocks.
        size: Number of features per block.
        unused: Number of features in no block; they are the last features.
        hidden: Number of hidden units per block, in the encoder and in the decoder.
        seed: Random seed.
    """
    check_arguments(n=n, blocks=blocks, size=size, unused=unused, hidden=hidden, seed=seed)
    rng, d = np.random.default_rng(seed), blocks * size + unused
    eye = np.eye(blocks)
    wide, narrow = np.kron(eye, np.ones((hidden, size))), np.kron(eye, np.ones((1, hidden)))
    shapes = [np.pad(wide, ((0, 0), (0, unused))), narrow, narrow.T, np.pad(wide.T, ((0, unused), (0, 0)))]
    maps = [_linear_layer(2 * mask * _random_weights(rng, mask), rng.standard_normal(len(mask))) for mask in shapes]
    model = EncoderDecoder(
        nn.Sequential(maps[0], nn.Tanh(), maps[1]), nn.Sequential(maps[2], nn.Tanh(), maps[3])
    ).eval()
    names, latents = [f"feature {j}" for j in range(d)], [f"latent {k}" for k in range(blocks)]
    uses = np.pad(np.kron(eye, np.ones((1, size))), ((0, 0), (0, unused))) > 0
    X = (rng.standard_normal((n, 1)) + rng.standard_normal((n, d))) / 2**0.5
    return BlockAutoencoder(
        model,
        _frame(X, names),
        pd.DataFrame(uses, latents, names),
        pd.DataFrame(uses.T.astype(int) @ uses.astype(int) > 0, names, names),
    )


def _random_weights(rng: np.random.Generator, mask: NDArray[Any]) -> NDArray[Any]:
    """Draw weights that preserve the variance of their inputs."""
    return np.asarray(rng.standard_normal(mask.shape) / np.maximum(mask.sum(axis=1, keepdims=True), 1) ** 0.5)


def _linear_layer(weight: NDArray[Any], bias: NDArray[Any]) -> nn.Linear:
    with seeded(None):  # torch draws the initial weights
        layer = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        layer.weight.copy_(torch.as_tensor(weight))
        layer.bias.copy_(torch.as_tensor(bias))
    return layer


def _frame(table: NDArray[Any], names: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame(table.astype(np.float32), columns=list(names))
