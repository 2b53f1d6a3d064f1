"""The verb ``latents``: what drives the latent units of an autoencoder, what they do, and what they stand for."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import nn

from shapae.analysis.latents.activity import measure_activity
from shapae.analysis.latents.causes import relate
from shapae.analysis.latents.covariates import read_covariates
from shapae.analysis.latents.decoding import Decoder
from shapae.analysis.latents.drives import measure_drives
from shapae.analysis.latents.report import LatentReport
from shapae.analysis.latents.sweep import measure_effects
from shapae.backends import Backend
from shapae.errors import DataError, ModelError
from shapae.explainer.explainer import Explainer
from shapae.models.autoencoder import Autoencoder
from shapae.models.understanding import LABELS
from shapae.tables.background import Background, read_background, sample
from shapae.tables.files import open_table
from shapae.tables.table import Table, read_table
from shapae.utils.constraints import check_arguments, check_optional

# Number of rows drawn as the background if none is given: the default of the command line, too.
BACKGROUND_ROWS = 100
# Number of rows whose latents are decoded to try the decoder.
PROBES = 8


def latents(
    model: nn.Module | Autoencoder,
    X: Any,
    *,
    background: Any = None,
    covariates: Any = None,
    backend: str | Backend = "deep",
    n_jobs: int | None = None,
    memory: str | float = "1GB",
    seed: int = 0,
    progress: bool | None = None,
    feature_names: Sequence[str] | None = None,
) -> LatentReport:
    """Report on the latent units of an autoencoder: which are used, what drives them, what they do and stand for.

    Args:
        model: Trained model; left as it was. See ``Explainer``.
        X: (n, d), n >= 2. Rows, or the path of their file.
        background: (b, d), see ``Explainer``; None for 100 rows drawn from ``X``.
        covariates: Known causes of the n rows, which units may stand for: a DataFrame, a dict from names to arrays, a
            named Series, or names of columns of ``X.obs`` of an AnnData. Numbers are numbers; strings, categories and
            booleans are groups. Rows whose value is missing are left out for that covariate.
        backend: See ``Explainer``. One that samples repeats its samples from one block of rows to the next, if the
            values of all rows take more than an eighth of ``memory``.
        n_jobs: See ``Explainer``.
        memory: See ``Explainer``.
        seed: Random seed of the drawn background, of the backend, and of the folds of each R^2.
        progress: See ``Explainer``.
        feature_names: d names, for tables that have none.

    Raises:
        DataError: A table, the covariates or the seed are not as described, or there are fewer than two rows.
        ModelError: The latents of the model are not clear, or it can't be explained; see ``Explainer``.
        UnknownName: There is no such backend, or ``obs`` has no such column.

    >>> import shapae
    >>> known = shapae.datasets.block_autoencoder()  # each of 3 units encodes and reconstructs 3 features of its own
    >>> report = shapae.latents(known.model, known.X)
    >>> sorted(report.sweep("latent 1").top(3).index)
    ['feature 3', 'feature 4', 'feature 5']
    """
    check_arguments(seed=seed, memory=memory)
    check_optional(n_jobs=n_jobs, progress=progress, feature_names=feature_names)
    start, X = time.perf_counter(), open_table(X)
    table = read_table(X, "rows")
    if len(table) < 2:
        raise DataError("a report on latents takes 2 rows or more, got 1. Give the rows of a whole table.")
    known = read_covariates(X, table, covariates)
    reference = sample(table, min(BACKGROUND_ROWS, len(table)), seed=seed) if background is None else background
    reference = read_background(reference)
    settings: dict[str, Any] = {"backend": backend, "n_jobs": n_jobs, "memory": memory, "seed": seed}
    settings |= {"progress": progress, "feature_names": feature_names}
    explainer = Explainer(model, reference, head="latent", **settings)
    encoded = _scores(explainer, table)
    kl, log_variances = _distribution(explainer, table, encoded.shape)
    activity = measure_activity(encoded, kl, explainer._score.eps)
    drives = measure_drives(explainer, table, _center(explainer, reference))
    decoder, moves = _moves(_decoder(explainer, encoded), encoded, drives.signed.shape)
    names = pd.DataFrame(encoded, columns=list(drives.importance.output_names))
    active = [names.columns[unit] for unit in activity.order if activity.active[unit]]
    return LatentReport(
        *(encoded, log_variances, activity, drives, decoder),
        moves=moves,
        causes=relate(names, log_variances, known, active=active, seed=seed) if known else None,
        unit_names=list(names.columns),
        feature_names=list(drives.importance.feature_names),
        row_names=table.row_names,
        made_by=drives.importance.made_by | {"rows": len(table), "seconds": round(time.perf_counter() - start, 3)},
    )


def _scores(explainer: Explainer, table: Table) -> NDArray[Any]:
    """Compute the scores of n rows: (n, k), also if k is 1."""
    return explainer.scores(table).reshape(len(table), -1)


def _distribution(
    explainer: Explainer, table: Table, shape: tuple[int, ...]
) -> tuple[NDArray[Any] | None, NDArray[Any] | None]:
    """Compute the divergences and the log variances of the latents, both (n, m); None if they have no distribution.

    Raises:
        ModelError: The distribution is one of other units than the latents.
    """
    if LABELS["latent_distribution"] not in explainer._score.autoencoder.record:
        return None, None
    kl, log_variances = (_scores(explainer.with_head(head), table) for head in ("unit_kl", "latent_log_variance"))
    if kl.shape != shape:
        raise ModelError(
            f"the latent distribution has {kl.shape[1]} units, but the latents have {shape[1]}. Give both of the same "
            f"units: Autoencoder(model, encode=lambda m, x: m.mu(x), latent_distribution=lambda m, x: (m.mu(x), "
            f"m.logvar(x)))."
        )
    return kl, log_variances


def _center(explainer: Explainer, background: Background) -> NDArray[Any]:
    """Average the background by its weights: (d,), float64."""
    return np.asarray(np.average(explainer.background.cpu().double().numpy(), axis=0, weights=background.weights))


def _decoder(explainer: Explainer, encoded: NDArray[Any]) -> Decoder | ModelError:
    """Try the decoder on some rows; return the error of a model that has none."""
    probes = encoded[np.linspace(0, len(encoded) - 1, PROBES).astype(int)].astype(np.float64)
    try:
        return Decoder.of(explainer._score.autoencoder, explainer.background[:1], len(explainer.feature_names), probes)
    except ModelError as error:
        return error


def _moves(
    decoder: Decoder | ModelError, encoded: NDArray[Any], shape: tuple[int, ...]
) -> tuple[Decoder | ModelError, NDArray[Any]]:
    """Measure the effects of all units, (d, m): NaN without a decoder, or with one that is not finite for them."""
    try:
        if not isinstance(decoder, ModelError):
            return decoder, measure_effects(decoder, encoded)
    except ModelError as error:
        decoder = error
    return decoder, np.full(shape, np.nan)
