"""The Explainer: checks, plan, parallel chunks, merge."""

import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, partial, reduce
from itertools import groupby
from operator import add
from typing import Any, TypeVar

import numpy as np
import torch
from joblib import Parallel, delayed, effective_n_jobs
from torch import nn

from shapae import backends, heads
from shapae.autoencoder import Autoencoder, as_autoencoder, example, full_precision
from shapae.backends import Attribution
from shapae.background import Background, read_background
from shapae.borrow import evaluating, generators
from shapae.compared import Compared, tensors
from shapae.data import Streamed, agreed_names, read_rows, refuse_width
from shapae.errors import AdditivityWarning, DataError, TooLarge
from shapae.estimate import Estimate, estimated
from shapae.explanation import Explanation
from shapae.found import Found, promised
from shapae.groups import players
from shapae.importance import Importance, OverRows
from shapae.moments import Array
from shapae.plan import AT_HAND, COPIES, Chunk, bytes_per_row, cut, plan, read_bytes, spell
from shapae.progress import progressing
from shapae.provenance import versions
from shapae.score import Score, refuse_unsteady
from shapae.scored import base_values, scored
from shapae.work import BATCH, ROUNDS, Part, attributed, attributed_until, averaged_over_rows, part_of

T = TypeVar("T")
Against = Callable[[slice], Attribution]
# Averages over rows are held as means and spreads of values and of their sizes, in float64, with room for one more.
AVERAGES = 16


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
            value is the mean score of these. Backends that draw, out of all of the background, draw again instead.
            None for all of the background, and no more draws than the backend makes by itself.
        groups: From names to names of features, each in one group at most; see ``shapae.groups``. Each group is
            explained as one: as one player of backends that can ("exact" and "sampling"), otherwise by the sum of the
            values of its features.

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
    ) -> None:
        self._backend = backends.named(backend)
        self.backend, self.n_jobs, self.seed, self.progress = backend, n_jobs, seed, progress
        self.memory, self.head, self.tolerance = read_bytes(memory), str(head), tolerance
        given = read_background(background)
        self._refuse_tolerance(given)
        self._origin, self._names = given.origin, agreed_names(given.rows, feature_names, "background")
        autoencoder, module = full_precision(as_autoencoder(model)), full_precision(heads.as_head(head))
        with torch.inference_mode(False):
            like = example(autoencoder, torch.from_numpy(given.rows.dense(slice(1))))
            self.background, weights = tensors(given, like, self.memory)
        playing = players(groups, self.feature_names, disjoint=True) if groups else None
        self._groups = {str(name): list(members) for name, members in groups.items()} if groups else None
        self._compared = Compared(self._backend, self.background, weights, playing)
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
        with self._at_work(X) as (names, rows):
            found, data = self._found(rows), rows.rows.tensor(self.background, "rows").cpu().numpy()
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
            Averages over the rows, (d, k), against all of the background, whatever the ``tolerance``.

        Raises:
            TooLarge: The averages, or the smallest chunk, do not fit into ``memory``; for others see ``__call__``.
        """
        start = time.perf_counter()
        with self._at_work(X) as (names, rows):
            over, scores, base = self._over_rows(rows)
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
        return Importance(over, self._features(names), self.score.outputs(names), made_by, residual)

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
        with self._at_work(self.background):
            chunks, _ = self._plan(1, 0)
            against = self._sharing(self._compared, chunks)
            given = [against(chunk.background) for chunk in chunks]

            def run(count: int) -> None:
                some = self.background[torch.arange(count, device=self.background.device) % len(self.background)]
                averaged_over_rows(given, some, range(count), os.getpid())

            return estimated(run, n, 2 * self._row_result)

    @contextmanager
    def _at_work(self, X: Any) -> Iterator[tuple[list[str], Streamed]]:
        """The names of the columns and the rows of ``X``, while the model is in eval mode."""
        table = read_rows(X, "rows")
        free = table.names and not self._compared.players
        names = agreed_names(table, self._names or (None if free else self.feature_names), "rows")
        refuse_width(table, self.background.shape[1], "rows")
        with evaluating(self.score), generators(self.background), torch.inference_mode(False), torch.enable_grad():
            rows = Streamed(table, self.background, "rows")
            refuse_unsteady(self.score, torch.cat([rows[:64], self.background[:64]]))
            yield names or self.feature_names, rows

    def _refuse_tolerance(self, background: Background) -> None:
        if self.tolerance is not None and not 0 < self.tolerance < np.inf:
            raise DataError(f"tolerance must be a positive number such as 0.05, or None, got {self.tolerance!r}.")
        if self.tolerance is not None and not self._in_parts and not self._backend.DRAWS:
            raise DataError(
                f"backend={self.backend!r} needs all of the background at once and draws nothing, so that it can't "
                f"stop early; leave tolerance= out, or use backend='deep'."
            )
        if self.tolerance is not None and self._in_parts and background.weights is not None:
            raise DataError(
                "standard errors are not known with weights, so that a tolerance has nothing to go by; leave "
                "tolerance= out, or draw a background without weights, shapae.background.sample(X, 100)."
            )

    @property
    def _in_parts(self) -> bool:
        """Whether a ``tolerance`` means parts of the background, rather than draws out of all of it."""
        return backends.in_parts(self._backend)

    def _found(self, rows: Streamed) -> Found:
        """What is found for each of ``rows``."""
        n = len(rows)
        self._refuse_result(n)
        chunks, batch = self._plan(n, 2 * n * self._row_result)
        parts = self.tolerance is not None and self._in_parts
        compared = self._compared.shuffled(self.seed) if parts else self._compared
        scores = scored(self.score, rows, batch, "rows")
        base = scored(self.score, compared.background, batch, "background rows")
        found, start = Found(scores, len(base), compared.width), 0
        for part in self._parts(rows, compared, chunks):
            start = found.put(start, part)
        used = found.used if parts else np.full(n, len(base))
        found.base_values = base_values(self.score, rows, compared, base=base, used=used, batch=batch)
        return found

    def _parts(self, rows: Streamed, compared: Compared, chunks: list[Chunk]) -> Iterator[Part]:
        """The values of each block of rows."""
        against = self._sharing(compared, chunks)
        if self.tolerance is not None:
            b, work = len(compared.background), partial(attributed_until, tolerance=self.tolerance)
            batches = cut(b, BATCH) if self._in_parts else [slice(0, b)] * ROUNDS
            yield from self._run(work, against, rows, [(batches, block) for block in _blocks(chunks)])
            return
        moments = self._run(attributed, against, rows, [([chunk.background], chunk.rows) for chunk in chunks])
        for _, block in groupby(zip(chunks, moments, strict=True), key=lambda pair: pair[0].rows):
            yield part_of([reduce(add, (part for _, part in block))])

    def _over_rows(self, rows: Streamed) -> tuple[OverRows, Array, Array]:
        """Averages over ``rows``, (n, k) scores of these and (k,) their mean base value.

        Raises:
            TooLarge: They take more than half of the memory.
        """
        taken = AVERAGES * self._row_result
        if taken > self.memory / 2:
            raise TooLarge(
                f"the averages over the rows take {spell(taken)}, and may take half of memory='{spell(self.memory)}'; "
                f"explain fewer outputs, or allow memory='{spell(3 * taken)}'."
            )
        chunks, batch = self._plan(len(rows), taken)
        scores = scored(self.score, rows, batch, "rows")
        base = scored(self.score, self.background, batch, "background rows")
        parts = [chunk.background for chunk in chunks if chunk.rows == chunks[0].rows]
        jobs = [(parts, block) for block in _blocks(chunks)]
        found = self._run(averaged_over_rows, self._sharing(self._compared, chunks), rows, jobs)
        used = np.full(len(rows), len(self.background))
        values = base_values(self.score, rows, self._compared, base=base, used=used, batch=batch)
        return reduce(add, found), scores, values.mean(axis=0)

    def _run(
        self, work: Callable[..., T], against: Against, rows: Streamed, jobs: Sequence[tuple[list[slice], slice]]
    ) -> Iterator[T]:
        """What ``work`` finds for each job, parts of the background and a block of rows; in their order."""
        seeds = self._seeds(len(rows)) if self._backend.DRAWS else range(len(rows))
        task, parent = delayed(work), os.getpid()
        done: Iterator[T] = Parallel(self.n_jobs, return_as="generator")(
            task([against(part) for part in parts], rows[block], seeds[block], parent) for parts, block in jobs
        )
        return progressing(done, len(jobs), self.progress)

    def _seeds(self, n: int) -> list[int]:
        """One for each row, by its position."""
        return [int(row.generate_state(1)[0]) for row in np.random.SeedSequence(self.seed).spawn(n)]

    def _sharing(self, compared: Compared, chunks: Sequence[Chunk]) -> Against:
        """From a part of the background to what attributes against it: each time the same, if all of it fits."""
        against = partial(compared.against, self.score)
        fits = chunks[0].background == slice(0, len(compared.background))
        made = cache(against) if fits else against
        return lambda part: made(part.start, part.stop)

    @property
    def _row_result(self) -> int:
        """Bytes of the values of one row."""
        return self._compared.width * len(self.score.outputs(self.feature_names)) * self.background.element_size()

    def _refuse_result(self, n: int) -> None:
        result, most = 2 * n * self._row_result, int(self.memory / 4 // self._row_result)
        if result > self.memory / 2:
            raise TooLarge(
                f"the values of {n} rows and their standard errors take {spell(result)}, and may take half of "
                f"memory='{spell(self.memory)}'; explain at most {max(1, most)} rows at a time, or fewer outputs, or "
                f"allow memory='{spell(3 * result)}'. For averages over all rows, summarize(X) holds no row's values."
            )

    def _plan(self, n: int, taken: float) -> tuple[list[Chunk], int]:
        """Chunks of ``n`` rows, and how many rows can be scored at once, beside so many bytes that are taken."""
        jobs = int(effective_n_jobs(self.n_jobs))
        row_bytes, room = bytes_per_row(self.score, self.background[[0, -1]]), (self.memory - taken) / jobs
        b, width = len(self.background), self._compared.attributed
        chunks = plan(
            n,
            b,
            held=lambda count: self._backend.held(count, width) * row_bytes * COPIES,
            result=COPIES * self._row_result * width // self._compared.width,
            room=room,
            jobs=jobs,
        )
        return chunks, max(1, int(min(room, AT_HAND) // row_bytes))

    def _features(self, names: list[str]) -> list[str]:
        return self._compared.players.names if self._compared.players else names

    def _record(self, seconds: float, rows: Streamed) -> dict[str, Any]:
        note = "the rows are also the background, so that each is compared with itself, too"
        given = {"background": self._origin, "groups": self._groups}
        given |= {"note": note} if self._compared.same_as(rows) else {}
        return {
            "head": self.head,
            "backend": self.backend,
            "b": len(self.background),
            "seed": self.seed,
            "versions": versions(),
            "seconds": round(seconds, 3),
            **{name: each for name, each in given.items() if each is not None},
        }


def _blocks(chunks: Iterable[Chunk]) -> list[slice]:
    return [rows for rows, _ in groupby(chunks, key=lambda chunk: chunk.rows)]
