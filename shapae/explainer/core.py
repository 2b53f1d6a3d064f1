"""The bound game of an Explainer, and the state in which its calls run."""

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shapae.backends import Backend, as_backend
from shapae.backends.game import Game
from shapae.errors import AdditivityWarning, UnknownName
from shapae.explainer.additivity import Additivity
from shapae.explainer.binding import CHECKED_ROWS
from shapae.explainer.chunks import Settings
from shapae.explainer.cuts import check_gradients, rows_to_follow
from shapae.explainer.inputs import input_names
from shapae.explainer.pickling import Picklable
from shapae.explainer.record import describe_backend, make_record
from shapae.explainer.result import as_explanation
from shapae.explainer.run import attribute_rows
from shapae.explainer.store import Store, recompute_if_stale
from shapae.explainer.tolerance import check_tolerance
from shapae.explainer.twins import Saved, probe_rows
from shapae.heads.checks import check_more_rows, check_score
from shapae.heads.functions import as_head
from shapae.heads.score import Score, make_score
from shapae.tables.background import Background
from shapae.tables.columns import numbered_features
from shapae.tables.table import Table, TableStream, check_n_features, read_table, resolve_feature_names, same
from shapae.utils.arguments import alike
from shapae.utils.blocks import device_memory
from shapae.utils.context import inference_state
from shapae.utils.failures import model_failures

if TYPE_CHECKING:
    from shapae.explainer.explanation import Explanation


class Core(Picklable):
    """The bound game of an Explainer, and the state in which its calls run; the verbs are those of ``Explainer``.

    Attributes:
        head: Name of the head.
        backend: Name of the backend.
        background: (b, d), in the dtype and on the device of the model.
        memory: Number of bytes.
    """

    head: str
    backend: str
    background: Tensor
    n_jobs: int | None
    memory: float
    seed: int
    progress: bool | None
    tolerance: float | None
    _game: Game
    _given_backend: Backend
    _backend: Backend
    _groups: dict[str, list[str]] | None
    _names: list[str] | None
    _origin: str | None
    _store: Store

    @property
    def _feature_names(self) -> list[str]:
        return self._names or numbered_features(self.background.shape[1])

    @property
    def _score(self) -> Score:
        assert isinstance(self._game.score, Score)
        return self._game.score

    def _score_of(self, head: nn.Module) -> Score:
        """Make the score of another head of the same model."""
        score = self._score
        return make_score(score.autoencoder, head, self._feature_names, self.background[[0, -1]], score.source)

    def _saved(self) -> Saved:
        """Collect the parts of the explainer that are saved, some scores among them."""
        weights = None if self._game.weights is None else self._game.weights.double().cpu().numpy()
        arguments = {
            "model": self._score.autoencoder,
            "background": Background(Table(self.background.cpu().numpy(), None), weights, self._origin),
            "head": _name_or_object(self.head, self._score.head, as_head),
            "backend": _name_or_object(self.backend, self._given_backend, as_backend),
            "feature_names": self._names,
            "source": self._score.source,
            "groups": self._groups,
            **{name: getattr(self, name) for name in ("n_jobs", "memory", "seed", "progress", "tolerance")},
        }
        with inference_state(self._score, self.background):
            scores = self._score.self_scores(probe_rows(self.background)).cpu()
        return Saved(arguments, scores, (self.head, self._score.source), self._score.autoencoder.record)

    def _choose_backend(self) -> None:
        with inference_state(self._score, self.background, gradients=True):
            self._backend = self._given_backend.for_game(self._game, self.tolerance)
        check_tolerance(self.tolerance, self._backend, self._game, self.head)

    @contextmanager
    def _running(self, X: Any) -> Iterator[tuple[list[str], TableStream, Game]]:
        """Read ``X``, and check the score on some rows: the names of its columns, its rows, and the game."""
        table = read_table(X, "rows")
        free = table.names and not self._game.players
        names = resolve_feature_names(table, self._names or (None if free else self._feature_names), "rows")
        check_n_features(table, self.background.shape[1], "rows")
        lent = self._store.lend(self._score, len(table), self.memory)
        state = inference_state(self._score, self.background, gradients=True, draws=self._score.draws_globally)
        with lent as kept, state, device_memory(self.memory):
            rows = TableStream(table, self.background, "rows")
            some, others = (self._score.inputs(each[:CHECKED_ROWS]) for each in (rows, self.background))
            with model_failures(self._score, lambda part: self._score(some[part]), len(some)):
                if kept.from_earlier_call:
                    check_more_rows(self._score, some, others)
                else:
                    check_score(self._score, torch.cat([some, others]))
            yield names or self._feature_names, rows, replace(self._ordered_game, kept=kept)

    @property
    def _settings(self) -> Settings:
        return Settings(self.n_jobs, self.memory, self.seed, self.progress, self.tolerance)

    @property
    def _ordered_game(self) -> Game:
        """The game, with its background in random order if rows are compared with only a part of it."""
        in_batches = self.tolerance is not None and self._backend.splits_background
        return self._game.shuffle(self.seed) if in_batches else self._game

    def _explain(
        self, names: list[str], rows: TableStream, game: Game, first_row: int = 0
    ) -> tuple["Explanation", str | None]:
        """Explain rows, of which the first is ``first_row`` in its table; and describe the values that don't add up."""
        start, settings = time.perf_counter(), replace(self._settings, first_row=first_row)
        run = partial(attribute_rows, self._backend, game, rows, settings)
        attributions, message = recompute_if_stale(run, game, self._message)
        made_by = self._record(start, rows, self._describe(rows, game, attributions.used))
        return as_explanation(attributions, game, rows, names, made_by=made_by), message

    def _describe(self, rows: TableStream, game: Game, used: NDArray[Any] | None) -> dict[str, Any]:
        described = describe_backend(self._backend, game, used) | {"backend": self.backend}
        return described | self._backend.notes(game, rows[:CHECKED_ROWS])

    def _record(self, start: float, rows: TableStream, method: dict[str, Any]) -> dict[str, Any]:
        """Record what made a result: enough to compute it again."""
        note = "the rows are also the background, so that each is compared with itself, too"
        optional = {
            "model": self._score.autoencoder.record or None,
            "background": self._origin,
            "groups": self._groups,
            "source": self._score.source if self._score.source != "input" else None,
            "tolerance": self.tolerance,
            "note": note if same(rows, self.background) else None,
        }
        return make_record(start, optional | method, head=self.head, b=len(self.background), seed=self.seed)

    def _check_gradients(self, names: list[str], rows: TableStream) -> str | None:
        if not self._backend.needs_gradients:
            return None
        inputs = input_names(self._score, names, self._game.n_features)
        return check_gradients(self._game, rows_to_follow(rows, self.background), self.backend, inputs)

    def _message(self, sums: Additivity) -> str | None:
        return sums.message(self._backend.additive, self._score.eps)

    def _warn(self, message: str | None, stacklevel: int = 3) -> None:
        if message:
            warnings.warn(f"{message} {self._backend.hint}", AdditivityWarning, stacklevel=stacklevel)


def _name_or_object(name: str, each: Any, make: Callable[[str], Any]) -> Any:
    """Return ``name`` if an object that is equal to ``each`` is made by it, and ``each`` otherwise."""
    try:
        return name if alike(make(name), each) else each
    except UnknownName:
        return each
