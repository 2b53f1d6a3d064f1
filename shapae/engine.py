"""The Explainer: checks, plan, parallel chunks, merge."""

import os
import platform
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from importlib.metadata import version
from itertools import groupby
from operator import add
from typing import Any

import numpy as np
import torch
from joblib import Parallel, delayed, effective_n_jobs
from torch import Tensor, nn

from shapae import backends, heads
from shapae.autoencoder import Autoencoder, as_autoencoder, example, full_precision
from shapae.borrow import evaluating, generators, threads
from shapae.data import agreed_names, read_rows, refuse_width
from shapae.errors import AdditivityWarning, TooLarge
from shapae.explanation import Explanation
from shapae.moments import Array, Moments
from shapae.plan import COPIES, Chunk, bytes_per_row, plan, read_bytes, spell
from shapae.progress import progressing
from shapae.score import Score, refuse_infinite, refuse_unsteady


class Explainer:
    """Explains an autoencoder: ``Explainer(model, background)(X)``.

    Args:
        model: Trained. It is put into eval mode while it is used, and comes back as it was. One in half precision is
            computed in float32, on a copy.
        background: (b, d), the table to compare with: 100 typical rows are a good start.
        head: Which numbers are explained: a name ("reconstruction_error", "feature_error", "reconstruction",
            "latent"), a name with one output ("latent:3", "reconstruction:CD79A"), or an nn.Module with
            ``forward(autoencoder, rows)``.
        backend: How they are attributed, one of ``shapae.backends.names()``.
        n_jobs: Number of workers, as in joblib; None for what an outer ``joblib.parallel_config`` says, or 1.
        memory: Bound on what is held at once: "1GB", or a number of bytes.
        seed: Of all that is drawn.
        progress: True or False; None for a bar that appears, where somebody can see it, if the work takes
            more than a second.
        feature_names: d names, for a background that has none.

    Raises:
        DataError: The background is not a table of finite numbers, or its names are not ``feature_names``.
        ModelError: The model or head returns something that can't be explained.
        UnknownName: There is no such head, output or backend.
    """

    def __init__(
        self,
        model: nn.Module | Autoencoder,
        background: Any,
        *,
        head: str | nn.Module = "reconstruction_error",
        backend: str = "deep",
        n_jobs: int | None = None,
        memory: str | float = "1GB",
        seed: int = 0,
        progress: bool | None = None,
        feature_names: Sequence[str] | None = None,
    ) -> None:
        self._backend = backends.named(backend)
        self.backend, self.n_jobs, self.seed, self.progress = backend, n_jobs, seed, progress
        self.memory, self.head = read_bytes(memory), str(head)
        table = read_rows(background, "background")
        self._names = agreed_names(table, feature_names, "background")
        autoencoder, module = full_precision(as_autoencoder(model)), full_precision(heads.as_head(head))
        with torch.inference_mode(False):
            self.background = table.tensor(example(autoencoder, torch.tensor(table.values[:1])), "background")
        with evaluating(nn.ModuleList([autoencoder, module])), generators(self.background), torch.no_grad():
            self.score = Score(autoencoder, module, self.feature_names, self.background[[0, -1]])

    @property
    def feature_names(self) -> list[str]:
        """One for each column: from the background, or as given, or "feature 0" and so on."""
        return self._names or [f"feature {feature}" for feature in range(self.background.shape[1])]

    def __call__(self, X: Any) -> Explanation:
        """Explain the rows of ``X``.

        Args:
            X: (n, d), with the columns of the background.

        Returns:
            Values (n, d), or (n, d, k) for a head with several outputs, in the dtype of the model.

        Raises:
            DataError: ``X`` is not a table of finite numbers with the columns of the background.
            ModelError: The model is random in eval mode, mixes rows, or returns NaN.
            UnsupportedOperator: The model runs operators for which backend="deep" has no rule.
            TooLarge: The result, or the smallest chunk, does not fit into ``memory``.
        """
        start = time.perf_counter()
        table = read_rows(X, "rows")
        names = agreed_names(table, self._names or (None if table.names else self.feature_names), "rows")
        refuse_width(table, self.background.shape[1], "rows")
        rows = table.tensor(self.background, "rows")
        with evaluating(self.score), generators(rows), torch.inference_mode(False), torch.enable_grad():
            rows = rows.clone()
            refuse_unsteady(self.score, torch.cat([rows[:64], self.background[:64]]))
            scores, base, values, errors = self._numbers(rows)
        outputs = self.score.outputs(names or self.feature_names)
        arrays: dict[str, Any] = {"values": values, "base_values": base, "scores": scores, "standard_errors": errors}
        if len(outputs) == 1:
            arrays = {name: array if array is None else array[..., 0] for name, array in arrays.items()}
        explanation = Explanation(
            **arrays,
            data=rows.cpu().numpy(),
            feature_names=names or self.feature_names,
            output_names=outputs[0] if len(outputs) == 1 else outputs,
            made_by=self._record(time.perf_counter() - start),
        )
        self._warn(explanation)
        return explanation

    def _numbers(self, rows: Tensor) -> tuple[Array, Array, Array, Array | None]:
        """Scores and base values, (n, k); values and their standard errors, (n, d, k)."""
        n, d = rows.shape
        row_bytes = bytes_per_row(self.score, self.background[[0, -1]])
        result_bytes = d * len(self.score.outputs(self.feature_names)) * rows.element_size()
        room = self._room(n, 2 * result_bytes)
        batch = max(1, int(room // row_bytes))
        scores = _scores(self.score, rows, batch, "rows")
        base = _scores(self.score, self.background, batch, "background rows").mean(axis=0, dtype=np.float64)
        chunks = plan(
            n,
            len(self.background),
            held=lambda b: self._backend.held(b, d) * row_bytes * COPIES,
            result=COPIES * result_bytes,
            room=room,
            jobs=int(effective_n_jobs(self.n_jobs)),
        )
        values, errors = self._attribute(rows, chunks)
        return scores, np.repeat(base[None].astype(scores.dtype), n, axis=0), values, errors

    def _room(self, n: int, row_result: int) -> float:
        """Bytes for each worker, beside the result.

        Raises:
            TooLarge: The result takes more than half of the memory.
        """
        result = n * row_result
        if result > self.memory / 2:
            raise TooLarge(
                f"the values of {n} rows and their standard errors take {spell(result)}, and may take half of "
                f"memory='{spell(self.memory)}'; explain at most {max(1, int(self.memory / 2 // row_result))} rows "
                f"at a time, or fewer outputs, or allow memory='{spell(3 * result)}'."
            )
        return (self.memory - result) / int(effective_n_jobs(self.n_jobs))

    def _attribute(self, rows: Tensor, chunks: list[Chunk]) -> tuple[Array, Array | None]:
        """Values and their standard errors: (n, d, k) each, in the dtype of ``rows``."""
        dtype = np.asarray(rows[:0].cpu()).dtype
        values, errors = [], []
        for part in _merged(chunks, progressing(self._parts(rows, chunks), len(chunks), self.progress)):
            values.append(part.mean.astype(dtype))
            errors.append(part.standard_error)
        known = [error.astype(dtype) for error in errors if error is not None]
        return np.concatenate(values), np.concatenate(known) if known else None

    def _parts(self, rows: Tensor, chunks: list[Chunk]) -> Iterator[Moments]:
        """The moments of each chunk, in their order."""
        seeds = [int(row.generate_state(1)[0]) for row in np.random.SeedSequence(self.seed).spawn(len(rows))]
        task, parent = delayed(_attribute_chunk), os.getpid()
        # Clones, because a view would be pickled with all that it is a view of.
        parts: Iterator[Moments] = Parallel(self.n_jobs, return_as="generator")(
            task(
                self.backend,
                self.score,
                rows[chunk.rows].clone(),
                self.background[chunk.background].clone(),
                seeds[chunk.rows],
                parent,
            )
            for chunk in chunks
        )
        return parts

    def _record(self, seconds: float) -> dict[str, Any]:
        versions = {name: version(name) for name in ("shapae", "torch", "shap", "numpy")}
        return {
            "head": self.head,
            "backend": self.backend,
            "b": len(self.background),
            "seed": self.seed,
            "versions": versions | {"python": platform.python_version()},
            "seconds": round(seconds, 3),
        }

    def _warn(self, explanation: Explanation) -> None:
        """Warn where the values miss the scores by more than the backend promises."""
        eps, scores, values = np.finfo(explanation.values.dtype).eps, explanation.scores, explanation.values
        spread = np.ptp(np.concatenate([scores, explanation.base_values]), axis=0)
        rounded = np.abs(scores).max(axis=0) + np.abs(values).sum(axis=1).max(axis=0)
        promise = eps**0.5 * spread + 100 * eps * rounded
        if not self._backend.ADDITIVE and explanation.standard_errors is not None:
            promise = promise + 5 * explanation.standard_errors.sum(axis=1)
        residual = np.abs(explanation.residual)
        bad = np.flatnonzero((residual > promise).reshape(len(residual), -1).any(axis=1))
        if len(bad):
            warnings.warn(
                f"the values of {len(bad)} of {len(residual)} rows do not add up to their scores: the residual is "
                f"up to {residual.max():.3g}, where the scores spread over {spread.max():.3g}; first in row {bad[0]}. "
                f"{self._backend.REMEDY}",
                AdditivityWarning,
                stacklevel=3,
            )


def _scores(score: Score, rows: Tensor, batch: int, what: str) -> Array:
    """(n, k): the scores of ``rows``, so many at a time."""
    with torch.no_grad():
        scores = torch.cat([score(part) for part in torch.split(rows, batch)])
    refuse_infinite(score, rows, scores, what)
    return np.asarray(scores.cpu())


def _attribute_chunk(
    backend: str, score: Score, rows: Tensor, background: Tensor, seeds: Sequence[int], parent: int
) -> Moments:
    """What a worker does. A process of its own computes with one thread, because its siblings do so too."""
    with threads(torch.get_num_threads() if os.getpid() == parent else 1):
        return backends.named(backend).attribute(score, rows, background, seeds)


def _merged(chunks: Iterable[Chunk], parts: Iterable[Moments]) -> Iterator[Moments]:
    """The moments of each block of rows, over all of the background."""
    for _, block in groupby(zip(chunks, parts, strict=True), key=lambda pair: pair[0].rows):
        yield reduce(add, (part for _, part in block))
