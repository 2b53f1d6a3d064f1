"""Rows that a model generates, whose proponents are the training rows that they were learned from."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shapae.errors import ModelError, TooLarge
from shapae.heads.functions import as_head
from shapae.heads.score import Score, make_score
from shapae.models.adapters import as_autoencoder
from shapae.models.autoencoder import Autoencoder
from shapae.tables.columns import numbered_features
from shapae.tables.table import TableStream, read_table, resolve_feature_names
from shapae.utils.constraints import check_arguments, check_optional
from shapae.utils.context import inference_state
from shapae.utils.memory import batched, format_bytes

# Number of rows that are encoded or decoded at once.
BATCH_ROWS = 2**10


def generate_rows(
    model: nn.Module | Autoencoder, X: Any, n: int = 100, *, seed: int = 0, feature_names: Sequence[str] | None = None
) -> pd.DataFrame:
    """Decode random latents: standard normal ones, the prior of a variational autoencoder.

    The latents of any other autoencoder are drawn from a normal distribution with the mean and the covariance of the
    latents of ``X``.

    Args:
        model: Trained; it comes back as it was.
        X: (m, d), training rows.
        n: Number of rows.
        seed: Random seed.
        feature_names: d names, for a table that has none.

    Returns:
        (n, d), in the units of ``X``.

    Raises:
        TooLarge: The rows do not fit into memory.
        DataError: ``n`` is less than 1, or ``X`` is not a table of finite numbers.
        ModelError: The model has no known encoder or decoder, or its preprocessing can't be undone.

    >>> import torch
    >>> model = torch.nn.Sequential()
    >>> model.encoder, model.decoder = torch.nn.Linear(4, 2), torch.nn.Linear(2, 4)
    >>> generate_rows(model, torch.randn(10, 4), 3).shape
    (3, 4)
    """
    check_arguments(n=n, seed=seed)
    check_optional(feature_names=feature_names)
    table = read_table(X, "rows")
    names = resolve_feature_names(table, feature_names, "rows") or numbered_features(table.shape[1])
    score = make_score(as_autoencoder(model), as_head("latent"), names, table.trial_rows())
    with inference_state(score, score.original), _room(n, len(names)):
        latents = _draw(score, TableStream(table, score.original, "rows"), n, np.random.default_rng(seed))
        decoded = batched(score.autoencoder.decode, torch.as_tensor(latents).to(score.original), BATCH_ROWS)
        rows = score.autoencoder.in_table_units(decoded)
    if rows is None or rows.shape[1] != len(names):
        fault = "has no inverse" if rows is None else f"or the decoder gives {rows.shape[1]} columns"
        raise ModelError(
            f"rows of {len(names)} columns can't be generated, because the preprocessing of the model {fault}. Give "
            f"preprocess=(mean, scale), or a module with a method inverse."
        )
    return pd.DataFrame(rows.cpu().numpy(), columns=names)


@contextmanager
def _room(n: int, d: int) -> Iterator[None]:
    """Say in the words of the user that n rows of d features do not fit into memory.

    Raises:
        TooLarge: They do not.
    """
    try:
        yield
    except MemoryError as error:
        raise TooLarge(
            f"{n} rows of {d} features, {format_bytes(8 * n * d)}, do not fit. Generate fewer rows."
        ) from error


def _draw(score: Score, rows: TableStream, n: int, rng: np.random.Generator) -> NDArray[Any]:
    """Draw latents: (n, m)."""
    if _is_variational(score, rows[:2]):
        return rng.standard_normal((n, score.width))
    latents = batched(score, rows, BATCH_ROWS).double().cpu().numpy()
    return rng.multivariate_normal(latents.mean(axis=0), np.atleast_2d(np.cov(latents.T, bias=True)), n, method="svd")


def _is_variational(score: Score, rows: Tensor) -> bool:
    try:
        score.autoencoder.latent_distribution(rows)
    except ModelError:
        return False
    return True
