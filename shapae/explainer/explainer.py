"""The Explainer: it checks its input, binds model, head and background, and puts the result together."""

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, overload

from numpy.typing import NDArray
from torch import nn

from shapae.backends import Backend, as_backend
from shapae.explainer.binding import bind_game
from shapae.explainer.chunks import result_bytes
from shapae.explainer.estimate import Estimate, estimate
from shapae.explainer.grouped_importance import GroupedImportance, summarize_groups
from shapae.explainer.importance import Importance
from shapae.explainer.in_files import InFiles
from shapae.explainer.inputs import player_names
from shapae.explainer.interactions import Interactions
from shapae.explainer.pairs import check_pairs, describe_pairs, find_players, interact_rows, most_important
from shapae.explainer.run import average_rows, self_scores, trial
from shapae.explainer.store import Store, recompute_if_stale
from shapae.heads.functions import HeadFunction, as_head, head_name
from shapae.heads.score import Score
from shapae.models.adapters import as_autoencoder
from shapae.models.autoencoder import Autoencoder
from shapae.tables.background import read_background
from shapae.tables.labels import read_groups
from shapae.tables.table import resolve_feature_names
from shapae.utils.constraints import check_argument, check_arguments, check_optional
from shapae.utils.described import HEAD, MOST_LINES, Described, count, shorten
from shapae.utils.kinds import Integer, plain
from shapae.utils.memory import parse_bytes
from shapae.utils.text import enumerate_names

if TYPE_CHECKING:
    from shapae.explainer.explanation import Explanation


class Explainer(Described, InFiles):
    """Explain an autoencoder: ``Explainer(model, background)(X)``.

    Args:
        model: Trained. It is put into eval mode while it is used, and comes back as it was, with the lists of results
            that it holds. A model in half precision is computed in float32, on a copy; if this fails because the model
            casts by itself, it is computed as it is. Rows are given to it in float32 or float64: the dtype of most of
            its parameters, or the other one if it refuses that. All results have this dtype.
        background: (b, d), the table to compare with, or the path of its file: 100 typical rows are a good start.
            ``shapae.background`` samples them, and makes weighted backgrounds.
        head: The numbers to explain: a name ("reconstruction_error", "feature_error", "reconstruction", "latent"), a
            name with one output ("latent:3", "reconstruction:CD79A"), an nn.Module with ``forward(autoencoder, rows)``,
            or a function of the autoencoder and the rows.
        backend: The attribution method: one of ``shapae.backends.names()``, or a ``shapae.backends.Backend``.
        n_jobs: Number of workers, as in joblib; None for the number of an outer ``joblib.parallel_config``, or 1.
        memory: Bound on the memory that is used at once, of the device: "1GB", or a number of bytes.
        seed: Random seed.
        progress: Whether a bar is shown; None for a bar that appears in terminals and notebooks if the work takes
            more than a second.
        feature_names: d names, for a background that has none.
        tolerance: Each row is compared with background rows, in random order, until the standard errors of its
            values are at most this fraction of its largest value. ``explanation.used`` has the number of background
            rows, whose mean score is the base value. A backend that samples from the whole background takes more
            samples instead; "sampling" begins with about 100. ``print(explanation)`` says how many rows did not meet
            the tolerance, as the background is too small. None: the whole background, and the backend's own number of
            samples.
        groups: From names to names of features, each in at most one group; see ``shapae.groups``. A group is one player
            of backends that support groups ("exact" and "sampling"); otherwise the values of its features are summed.
        source: "input" to explain by the features of the rows; "latent" to explain by their latents, through the
            decoder alone: the decoded latents are compared with the rows that they were encoded from.

    Raises:
        DataError: The background is not a table of finite numbers, or its names are not ``feature_names``; or the
            groups are not as described; or the backend or the weights do not allow a ``tolerance``.
        TooLarge: The background does not fit into ``memory``.
        ModelError: The model or head returns something that can't be explained.
        UnknownName: There is no such head, output or backend.
    """

    def __init__(
        self,
        model: nn.Module | Autoencoder,
        background: Any,
        *,
        head: str | nn.Module | HeadFunction = "reconstruction_error",
        backend: str | Backend = "deep",
        n_jobs: int | None = None,
        memory: str | float = "1GB",
        seed: int = 0,
        progress: bool | None = None,
        feature_names: Sequence[str] | None = None,
        tolerance: float | None = None,
        groups: Mapping[str, Sequence[str]] | None = None,
        source: str = "input",
    ) -> None:
        check_arguments(seed=seed, memory=memory, source=source)
        check_optional(
            n_jobs=n_jobs, progress=progress, tolerance=tolerance, groups=groups, feature_names=feature_names
        )
        self._given_backend, given_head, autoencoder = as_backend(backend), as_head(head), as_autoencoder(model)
        self.backend = backend if isinstance(backend, str) else backend.name
        self.n_jobs, self.seed, self.progress, self.tolerance = map(plain, (n_jobs, seed, progress, tolerance))
        self.memory, table = parse_bytes(memory), read_background(background)
        self._origin, self._names = table.origin, resolve_feature_names(table.rows, feature_names, "background")
        self.head = head_name(head)
        bind = partial(bind_game, names=self._names, source=source, memory=self.memory, groups=groups)
        self._game, self.background = bind(autoencoder, given_head, table)
        self._groups = {str(name): list(members) for name, members in groups.items()} if groups else None
        self._store = Store()
        self._choose_backend()

    def with_head(self, head: str | nn.Module | HeadFunction) -> "Explainer":
        """Return the same explainer, of the same model, for another head.

        Args:
            head: See ``Explainer``, also for what is raised.
        """
        other = copy.copy(self)
        other.head = head_name(head)
        other._game, other._store = replace(self._game, score=self._score_of(as_head(head))), Store()
        other._choose_backend()
        return other

    def _description(self) -> Sequence[str]:
        b, d = self.background.shape
        head = shorten(" ".join(self.head.split()), HEAD)
        first = f"Explainer of {head!r} by {self.backend!r}, {count(b, 'background row')} of {count(d, 'feature')}"
        model = self._score.autoencoder._description()
        groups = [self._describe_groups(self._groups)] if self._groups else []
        return [
            first,
            *groups,
            *model[: MOST_LINES - 2 - len(groups)],
            "next: explainer(X), explainer.summarize(X), explainer.estimate(len(X))",
        ]

    def _describe_groups(self, groups: dict[str, list[str]]) -> str:
        single = len(self._game.players or ()) - len(groups)
        rest = f", and {count(single, 'single feature')}" if single else ""
        return f"{enumerate_names([*map(shorten, groups)], 'group')}{rest}"

    @property
    def score(self) -> Score:
        """The explained score as an nn.Module, rows (n, d) -> numbers (n, k), for explainers of other libraries.

        It shares the memory of the weights, and nothing else: a library that puts hooks on it or changes its dtype
        leaves the model alone. It is in eval mode. ``score.predict`` is the same as a function of arrays. See also
        ``shapae.backends.shap_rules``.
        """
        return self._score.standalone()

    @property
    def feature_names(self) -> list[str]:
        """Names of the columns: those of the background, or as given, or "feature 0" and so on."""
        return self._feature_names

    @property
    def output_names(self) -> list[str]:
        """Names of the outputs that are explained."""
        return self._score.outputs()

    @property
    def groups(self) -> dict[str, list[str]] | None:
        """Groups that are explained, with the names of their features; None if there are none."""
        return self._groups

    def __call__(self, X: Any) -> "Explanation":
        """Explain the rows of ``X``.

        Args:
            X: (n, d), with the columns of the background; or the path of its file.

        Returns:
            Values (n, d), or (n, d, k) for a head with several outputs, in the dtype in which the model takes rows.

        Raises:
            DataError: ``X`` is not a table of finite numbers with the columns of the background.
            ModelError: The model is random in eval mode, mixes rows, or returns NaN; or the backend needs gradients,
                and the model has none with respect to some features.
            UnsupportedOperator: The model runs operators for which backend="deep" has no rule.
            TooLarge: The result, or the smallest chunk, does not fit into ``memory``.
        """
        with self._running(X) as (names, rows, game):
            self._warn(self._check_gradients(names, rows))
            explanation, message = self._explain(names, rows, game)
        self._warn(message)
        return explanation

    @overload
    def summarize(self, X: Any, by: None = None) -> Importance: ...
    @overload
    def summarize(self, X: Any, by: Any) -> GroupedImportance: ...
    def summarize(self, X: Any, by: Any = None) -> Importance | GroupedImportance:
        """Average the values of all rows of ``X``, which are never held at once.

        Args:
            X: (n, d), with the columns of the background.
            by: n labels of groups of rows; or the name of a column of ``obs``. None: all rows are one group.

        Returns:
            Mean |value| and mean value of each feature for each output, with standard errors over the rows of a group.

        Raises:
            TooLarge: The averages, or the smallest chunk, do not fit into ``memory``; for others see ``__call__``.
        """
        start, (X, groups) = time.perf_counter(), read_groups(X, by)
        with self._running(X) as (names, rows, game):
            self._warn(self._check_gradients(names, rows))
            run = partial(average_rows, self._backend, game, rows, self._settings, groups=groups)
            (averages, sums), message = recompute_if_stale(run, game, lambda result: self._message(result[1]))
            made_by = self._record(start, rows, self._describe(rows, game, sums.used))
        self._warn(message)
        named = {"feature_names": player_names(self._game, names), "output_names": self._score.outputs(names)}
        return summarize_groups(averages, sums, groups, **named, made_by=made_by)

    def interactions(self, X: Any, top: int = 20, features: Sequence[str] | None = None) -> Interactions:
        """Compute how pairs of features act together on the score, by Shapley interaction values.

        They are exact for at most 12 features or groups, and otherwise sampled, for any backend and any score.

        Args:
            X: (n, d), with the columns of the background.
            top: Number of features: those with the largest mean |value| by the backend of this explainer, the largest
                first. All of them, in their own order, if there are no more.
            features: Names of two or more features, or groups, to take instead.

        Raises:
            DataError: There are several outputs, or fewer than two features; for others see ``__call__``.
            UnknownName: There is no such feature.
        """
        check_argument("top", top, Integer(2))
        check_optional(features=features)
        start, game = time.perf_counter(), self._game
        check_pairs(game, self.head)
        with self._running(X) as (names, rows, ordered):
            players = player_names(game, names)
            chosen = [*range(game.n_players)] if features is None else find_players(features, players)
            if features is None and top < game.n_players:
                self._warn(self._check_gradients(names, rows))
                # Nothing kept: no sum of values would tell that it is of another state of the score.
                chosen = most_important(self._backend, replace(ordered, kept=None), rows, self._settings, top)
            parts = interact_rows(game, rows, self._settings, chosen)
            record = self._record(start, rows, describe_pairs(game))
            return Interactions(**parts, feature_names=[players[player] for player in chosen], made_by=record)

    def estimate(self, n: int) -> Estimate:
        """Estimate the cost of explaining ``n`` rows against the whole background, from trials of about a second.

        Args:
            n: Number of rows; rows of the background stand for them.

        Returns:
            Multiplications, bytes of the values and their standard errors, seconds.

        Raises:
            DataError: ``n`` is less than 1.
            TooLarge: Not even one row fits into ``memory``.
        """
        check_arguments(n=n)
        with self._running(self.background) as (_, rows, game):
            return estimate(trial(self._backend, game, rows, self._settings), plain(n), 2 * result_bytes(self._game))

    def scores(self, X: Any) -> NDArray[Any]:
        """Score the rows of ``X`` without explaining them.

        Args:
            X: (n, d), with the columns of the background.

        Returns:
            (n,); (n, k) for a head with several outputs.

        Raises:
            DataError: See ``__call__``.
            ModelError: See ``__call__``.
        """
        with self._running(X) as (_, rows, game):
            scores = self_scores(self._backend, game, rows, self._settings)
        return scores[:, 0] if scores.shape[1] == 1 else scores
