"""The Explainer: what is given is checked, and what comes out is put together."""

import copy
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from shapae import backends, heads
from shapae.backends.compared import Compared
from shapae.errors import AdditivityWarning, DataError
from shapae.explainer.estimate import Estimate, estimated
from shapae.explainer.explanation import Explanation
from shapae.explainer.found import promised
from shapae.explainer.importance import Importance
from shapae.explainer.provenance import versions
from shapae.explainer.run import Job
from shapae.heads.checks import check_steady
from shapae.heads.score import Score
from shapae.models.autoencoder import Autoencoder, as_autoencoder
from shapae.models.unwrapping import full_precision, template_tensor
from shapae.tables.background import read_background, tensors
from shapae.tables.players import players
from shapae.tables.table import TableStream, check_n_features, read_table, resolve_feature_names, same
from shapae.utils.context import eval_mode, preserve_rng
from shapae.utils.memory import parse_bytes


class Explainer:
    """Explains an autoencoder: ``Explainer(model, background)(X)``.

    Args:
        model: Trained. It is put into eval mode while it is used, and comes back as it was. One in half precision is
            computed in float32, on a copy.
        background: (b, d), the table to compare with: 100 typical rows are a good start. ``shapae.background`` draws
            them, and makes backgrounds whose rows count by weight.
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
        tolerance: Each row is compared with background rows, in random order, only until the standard errors of its
            values are at most this part of its largest value; ``explanation.used`` says how many it took. Its base
            value is the mean score of these. Backends that draw, out of all of the background, draw again instead;
            "sampling" begins with about 100 draws. None for all of the background, and as many draws as the backend
            makes by itself.
        groups: From names to names of features, each in one group at most; see ``shapae.groups``. Each group is
            explained as one: as one player of backends that can ("exact" and "sampling"), otherwise by the sum of the
            values of its features.
        source: "input" to explain by the features of the rows; "latent" by their latents, through the decoder alone:
            the rows are encoded, and what the decoder makes of the latents is compared with the rows themselves.

    Raises:
        DataError: The background is not a table of finite numbers, or its names are not ``feature_names``; or the
            groups are none of these; or the backend or weights have no use for a ``tolerance``.
        TooLarge: The background does not fit into ``memory``.
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
        tolerance: float | None = None,
        groups: Mapping[str, Sequence[str]] | None = None,
        source: str = "input",
    ) -> None:
        self._backend = backends.named(backend)
        self.backend, self.n_jobs, self.seed, self.progress = backend, n_jobs, seed, progress
        self.memory, self.head, self.tolerance = parse_bytes(memory), str(head), tolerance
        given = read_background(background)
        self._origin, self._names = given.origin, resolve_feature_names(given.rows, feature_names, "background")
        autoencoder, module = full_precision(as_autoencoder(model)), full_precision(heads.as_head(head))
        with torch.inference_mode(False):
            like = template_tensor(autoencoder, torch.from_numpy(given.rows.dense(slice(1))))
            self.background, weights = tensors(given, like, self.memory)
        self.score = self._scoring(autoencoder, module, source)
        with eval_mode(autoencoder), preserve_rng(self.background), torch.no_grad():
            explained = self.score.inputs(self.background)
        names = self._explained_names(self.feature_names, explained.shape[1])
        playing = players(groups, names, disjoint=True) if groups else None
        self._groups = {str(name): list(members) for name, members in groups.items()} if groups else None
        self._compared = Compared(self._backend, explained, weights, playing)
        self._refuse_tolerance()

    def _scoring(self, autoencoder: Autoencoder, head: nn.Module, source: str) -> Score:
        with eval_mode(nn.ModuleList([autoencoder, head])), preserve_rng(self.background), torch.no_grad():
            return Score(autoencoder, head, self.feature_names, self.background[[0, -1]], source)

    def with_head(self, head: str | nn.Module) -> "Explainer":
        """The same explainer, of the same model, for another head.

        Args:
            head: See ``Explainer``, also for what is raised.
        """
        other = copy.copy(self)
        other.head = str(head)
        other.score = self._scoring(self.score.autoencoder, full_precision(heads.as_head(head)), self.score.source)
        other._refuse_tolerance()
        return other

    @property
    def feature_names(self) -> list[str]:
        """One for each column: from the background, or as given, or "feature 0" and so on."""
        return self._names or [f"feature {feature}" for feature in range(self.background.shape[1])]

    @property
    def groups(self) -> dict[str, list[str]] | None:
        """The groups that are explained, with the names of their features; None if there are none."""
        return self._groups

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
        with self._at_work(X) as (names, rows):
            found, data = self._job.found(rows), self._data(rows)
        outputs = self.score.outputs(names)
        arrays = {name: getattr(found, name) for name in ("values", "base_values", "scores", "residual", "errors")}
        if len(outputs) == 1:
            arrays = {name: array if array is None else array[..., 0] for name, array in arrays.items()}
        explanation = Explanation(
            **{"standard_errors" if name == "errors" else name: array for name, array in arrays.items()},
            data=self._compared.players.means(data) if self._compared.players else data,
            feature_names=self._features(names),
            output_names=outputs[0] if len(outputs) == 1 else outputs,
            used=found.used if self.tolerance is not None else None,
            made_by=self._record(time.perf_counter() - start, rows),
            row_names=rows.rows.row_names,
        )
        missed = found.missed(self._backend.ADDITIVE)
        if missed:
            warnings.warn(f"{missed} {self._backend.REMEDY}", AdditivityWarning, stacklevel=2)
        return explanation

    def summarize(self, X: Any) -> Importance:
        """How much each feature matters to each output over all rows of ``X``, whose values are never held at once.

        Args:
            X: (n, d), with the columns of the background.

        Returns:
            Averages over the rows, (d, k).

        Raises:
            TooLarge: The averages, or the smallest chunk, do not fit into ``memory``; for others see ``__call__``.
        """
        start = time.perf_counter()
        with self._at_work(X) as (names, rows):
            over, scores, base, used = self._job.over_rows(rows)
        residual = scores.mean(axis=0) - base - over.values.mean.sum(axis=0)
        spread, promise = promised(scores, base[None], over.sizes.mean.sum(axis=0))
        if self._backend.ADDITIVE and (np.abs(residual) > promise).any():
            warnings.warn(
                f"the mean values do not add up to the mean score: the residual is {np.abs(residual).max():.3g}, where "
                f"the scores spread over {spread.max():.3g}. {self._backend.REMEDY}",
                AdditivityWarning,
                stacklevel=2,
            )
        made_by = self._record(time.perf_counter() - start, rows)
        used_up = used if self.tolerance is not None else None
        return Importance(over, self._features(names), self.score.outputs(names), made_by, residual, used_up)

    def estimate(self, n: int) -> Estimate:
        """What explaining ``n`` rows against all of the background would take, from trials of about a second.

        Args:
            n: How many rows; rows of the background stand for them.

        Returns:
            Multiplications, bytes of the values and their standard errors, seconds.

        Raises:
            DataError: ``n`` is less than 1.
            TooLarge: Not even one row fits into ``memory``.
        """
        if n < 1:
            raise DataError(f"n must be the number of rows to explain, at least 1, got {n}.")
        with self._at_work(self.background) as (_, rows):
            return estimated(self._job.trial(rows), n, 2 * self._job.row_result)

    def scores(self, X: Any) -> NDArray[Any]:
        """The scores of ``X``, which are not explained.

        Args:
            X: (n, d), with the columns of the background.

        Returns:
            (n,); (n, k) for a head with several outputs.

        Raises:
            DataError: See ``__call__``.
            ModelError: See ``__call__``.
        """
        with self._at_work(X) as (_, rows):
            scores = self._job.scores(rows)
        return scores[:, 0] if scores.shape[1] == 1 else scores

    @contextmanager
    def _at_work(self, X: Any) -> Iterator[tuple[list[str], TableStream]]:
        """The names of the columns and the rows of ``X``, while the model is in eval mode."""
        table = read_table(X, "rows")
        free = table.names and not self._compared.players
        names = resolve_feature_names(table, self._names or (None if free else self.feature_names), "rows")
        check_n_features(table, self.background.shape[1], "rows")
        with eval_mode(self.score), preserve_rng(self.background), torch.inference_mode(False), torch.enable_grad():
            rows = TableStream(table, self.background, "rows")
            check_steady(self.score, self.score.inputs(torch.cat([rows[:64], self.background[:64]])))
            yield names or self.feature_names, rows

    @property
    def _job(self) -> Job:
        in_batches = self.tolerance is not None and backends.in_parts(self._backend)
        compared = self._compared.shuffled(self.seed) if in_batches else self._compared
        return Job(self.score, compared, self.n_jobs, self.memory, self.seed, self.progress, self.tolerance)

    def _refuse_tolerance(self) -> None:
        parts = backends.in_parts(self._backend)
        if self.tolerance is None:
            return
        if not 0 < self.tolerance < np.inf:
            raise DataError(f"tolerance must be a positive number such as 0.05, or None, got {self.tolerance!r}.")
        if not parts and not self._backend.DRAWS:
            raise DataError(
                f"backend={self.backend!r} needs all of the background at once and draws nothing, so that it can't "
                f"stop early; leave tolerance= out, or use backend='deep'."
            )
        if parts and self._compared.weights is not None:
            raise DataError(
                "standard errors are not known with weights, so that a tolerance has nothing to go by; leave "
                "tolerance= out, or draw a background without weights, shapae.background.sample(X, 100)."
            )
        if self.score.draws:
            raise DataError(f"{self.head} has draws of its own, so that a tolerance says too little; leave one out.")

    def _data(self, rows: TableStream) -> NDArray[Any]:
        """What is explained of ``rows``, (n, d) or (n, m)."""
        if self.score.source == "input":
            return np.asarray(rows.rows.tensor(self.background, "rows").cpu())
        with torch.no_grad():
            return torch.cat([self.score.inputs(rows[block]) for block in rows.rows.blocks()]).cpu().numpy()

    def _explained_names(self, features: list[str], count: int) -> list[str]:
        return features if self.score.source == "input" else [f"latent {unit}" for unit in range(count)]

    def _features(self, names: list[str]) -> list[str]:
        if self._compared.players:
            return self._compared.players.names
        return self._explained_names(names, self._compared.width)

    def _record(self, seconds: float, rows: TableStream) -> dict[str, Any]:
        note = "the rows are also the background, so that each is compared with itself, too"
        source = self.score.source if self.score.source != "input" else None
        given = {"background": self._origin, "groups": self._groups, "source": source}
        given |= {"note": note} if same(rows, self.background) else {}
        return {
            "head": self.head,
            "backend": self.backend,
            "b": len(self.background),
            "seed": self.seed,
            "versions": versions(),
            "seconds": round(seconds, 3),
            **{name: each for name, each in given.items() if each is not None},
        }
