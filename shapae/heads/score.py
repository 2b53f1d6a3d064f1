"""A score is a head bound to an autoencoder: from rows to the numbers that are explained."""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shapae.errors import ModelError, ShapaeError, UnknownName
from shapae.heads.checked_losses import checked_losses
from shapae.heads.functions import as_head, output_names, refuse_known, short_name
from shapae.heads.returned import advice, check_numbers
from shapae.models.adapters import as_autoencoder
from shapae.models.autoencoder import Autoencoder
from shapae.models.decoder import DecoderOnly
from shapae.models.precision import run_in_precision
from shapae.models.unwrapping import share_parameters
from shapae.tables.columns import numbered_features
from shapae.tables.table import check_n_features, read_table, resolve_feature_names
from shapae.utils.constraints import check_optional
from shapae.utils.context import evaluate, inference_state
from shapae.utils.hooks import hide_constants
from shapae.utils.memory import CHUNK_BYTES, batched, bytes_per_row
from shapae.utils.random_trace import draws_globally
from shapae.utils.rounding import rounding_error
from shapae.utils.text import one_line
from shapae.utils.torch_trace import coarsest_dtype, runs_on_cudnn
from shapae.utils.turns import in_turn, stores_noticed


class Score(nn.Module):
    """A head bound to an autoencoder: rows (n, d) -> numbers (n, k), always with two axes.

    Args:
        autoencoder: Its modules are shared, not copied.
        head: A module with ``forward(autoencoder, rows)``; or with ``forward(autoencoder, rows, anchors)``, if its
            attribute ``anchored`` is true.
        features: d names, among which the head may choose.
        rows: (2 or more, d), rows on which the score is tried.
        source: "input" to score rows; "latent" to score latents (n, m), with the rows (n, d) that they were encoded
            from as their anchors.

    Attributes:
        draws_globally: Whether it draws from the global generators of Python, numpy or torch.

    Raises:
        ShapeError: The head returns neither (n,) nor (n, k).
        ModelError: No output was chosen, or one output twice; or there is no such source.
    """

    original: Tensor

    def __init__(
        self, autoencoder: Autoencoder, head: nn.Module, features: Sequence[str], rows: Tensor, source: str = "input"
    ) -> None:
        super().__init__()
        if source not in ("input", "latent"):
            raise ModelError(f"the source must be 'input' or 'latent', got {source!r}.")
        self.autoencoder, self.head, self.source = autoencoder, head, source
        self.anchored, self.needs_anchors = source == "latent" or bool(getattr(head, "anchored", False)), False
        self.draws = int(getattr(head, "draws", 0))
        self.register_buffer("original", rows[:1].clone(), persistent=False)
        self._columns: slice | list[int] = slice(None)
        with stores_noticed(self):
            inputs = self.inputs(rows)
            numbers = self._try(inputs)
        self._width, self.draws_globally = numbers.shape[1], draws_globally(self, inputs)
        self._coarsest, self._on_cudnn = coarsest_dtype(self, inputs), runs_on_cudnn(self, inputs)
        self._features, chosen = list(features), getattr(head, "chosen", None)
        names = output_names(head, features, self._width)
        if chosen is not None:
            self._columns = [_output_position(choice, names, head) for choice in chosen]
            if not self._columns or len(set(self._columns)) < len(self._columns):
                raise ModelError(
                    f"choose one or more outputs of {short_name(head)}, each once, or None for all; got {chosen}."
                )

    @property
    def eps(self) -> float:
        """Relative rounding error of the least precise dtype, or products, by which the scores are computed now."""
        return rounding_error(self._coarsest, by_cudnn=self._on_cudnn)

    def _try(self, rows: Tensor) -> Tensor:
        where = f"rows of shape {tuple(rows.shape)} and {rows.dtype}"
        try:
            with checked_losses(self):
                numbers: Tensor = self(rows)
        except ShapaeError as error:
            error.add_note(f"(shapae ran the model on {where})")
            raise
        except Exception as error:
            raise ModelError(
                f"the model or the head {short_name(self.head)} fails on {where}: {type(error).__name__}: "
                f"{one_line(error).rstrip('.')}. {advice(self.head, self.autoencoder, error, self.source)}"
            ) from error
        return numbers

    def inputs(self, rows: Tensor) -> Tensor:
        """Compute the inputs of the score for ``rows`` (n, d): the rows themselves, or their latents (n, m)."""
        with in_turn(self):
            return rows if self.source == "input" else self.autoencoder.encode(rows).detach()

    def self_scores(self, rows: Tensor) -> Tensor:
        """(n, d) -> (n, k): the scores of ``rows``, each of which is its own anchor."""
        scores: Tensor = self(self.inputs(rows), rows)
        return scores

    def default_anchors(self, inputs: Tensor) -> Tensor:
        """Choose anchors for inputs without anchors: the inputs themselves; for latents, one row of the background."""
        return inputs if self.source == "input" else self.original.expand(len(inputs), -1)

    @property
    def feature_names(self) -> list[str]:
        """Names of the d features that the score was made with."""
        return self._features

    @property
    def width(self) -> int:
        """k."""
        return len(np.arange(self._width)[self._columns])

    def outputs(self, features: Sequence[str] | None = None) -> list[str]:
        """Name the k outputs.

        Args:
            features: d names; None for the names that the score was made with.
        """
        names = output_names(self.head, self._features if features is None else features, self._width)
        return list(np.array(names, dtype=object)[self._columns])

    def per_sample(self) -> "Score":
        """Make each sample of the head an output, (n, draws), if the head has samples; else return the score itself."""
        every = copy.copy(self)
        every.draws = 0
        return every if self.draws else self

    def anchored_at(self, anchor: Tensor) -> nn.Module:
        """Bind ``anchor`` (a,), one row: the score of rows (n, d) that are compared with it, (n, d) -> (n, k).

        Raises:
            ModelError: The anchor is not one row.
        """
        anchor = torch.as_tensor(anchor).to(self.original)
        if anchor.shape != self.original.shape[1:]:
            raise ModelError(
                f"an anchor is one row, of shape {tuple(self.original.shape[1:])}, got {tuple(anchor.shape)}. "
                f"Bind each row by itself: score.anchored_at(row)."
            )
        return AnchoredScore(self, anchor) if self.anchored else self

    def standalone(self) -> "Score":
        """Copy the score for other libraries, in eval mode; only the memory of the weights is shared.

        An anchored score then needs its anchors, because a library that mixes rows would score each mixture against
        itself. Its parameters have no gradients, so that hooks can tell rows from anchors; see ``hide_constants``.
        """
        twin = share_parameters(self)
        evaluate(twin)
        twin.needs_anchors = self.anchored
        if self.anchored:
            hide_constants(twin)
        return twin

    def predict(self, X: Any) -> NDArray[Any]:
        """Score the rows of a table, for libraries that take a function: shap.KernelExplainer, shapiq, LIME.

        Args:
            X: (n, d), any table.

        Returns:
            (n,), or (n, k) for k outputs, in the dtype of the model.

        Raises:
            DataError: ``X`` is not a table of d columns of finite numbers.
        """
        return _predict(self, X, self.original)

    def forward(self, rows: Tensor, anchors: Tensor | None = None) -> Tensor:
        """(n, d) -> (n, k), in the dtype of ``rows``, whatever the dtype is that the head returns.

        Args:
            rows: (n, d), some of whose features may be replaced.
            anchors: (n, a), the rows being explained, for an anchored score; None for ``default_anchors``.

        Raises:
            ShapeError: The head returns something else.
            ModelError: The rows are no tensor; or the score needs anchors, and there are none; or the head leaves
                torch.
            RuntimeError: The model or the head fails.
        """
        if not isinstance(rows, Tensor):
            raise ModelError(
                f"a score is called with a tensor, got {type(rows).__name__}. Use score.predict for arrays."
            )
        if anchors is None and self.needs_anchors:
            raise ModelError(
                "this score compares each row with the row being explained, its anchor, and got none. Explain one row "
                "at a time with score.anchored_at(row), a module of (n, d) -> (n, k)."
            )
        anchors = self.default_anchors(rows) if anchors is None else anchors
        rows, anchors = rows.clone(), anchors.clone()  # for heads that write into them
        model = self.autoencoder if self.source == "input" else DecoderOnly(self.autoencoder, anchors)
        extra = [self.inputs(anchors)] if getattr(self.head, "anchored", False) else []
        try:
            with in_turn(self):
                numbers = check_numbers(self.head, self.head(model, rows, *extra), len(rows)).to(rows.dtype)
        except RuntimeError as error:
            refuse_known(self.head, error)
            raise
        chosen: Tensor = numbers[:, self._columns]
        return chosen.mean(dim=1, keepdim=True) if self.draws else chosen


class AnchoredScore(nn.Module):
    """An anchored score with one anchor for all rows; see ``Score.anchored_at``."""

    anchor: Tensor

    def __init__(self, score: Score, anchor: Tensor) -> None:
        super().__init__()
        self.score = score
        self.register_buffer("anchor", anchor)

    def predict(self, X: Any) -> NDArray[Any]:
        """See ``Score.predict``; ``X`` are latents, (n, m), if the source is "latent"."""
        with torch.no_grad():
            return _predict(self, X, self.score.inputs(self.score.original))

    def forward(self, rows: Tensor) -> Tensor:
        """(n, d) -> (n, k)."""
        numbers: Tensor = self.score(rows, self.anchor.expand(len(rows), -1))
        return numbers


def score(
    model: nn.Module | Autoencoder,
    X: Any,
    head: Any = "reconstruction_error",
    *,
    feature_names: Sequence[str] | None = None,
) -> Score:
    """Wrap an autoencoder as a module of one number per row, for explainers of other libraries.

    The module shares the memory of the weights of the model, and nothing else: a library that puts hooks on it or
    changes its dtype leaves the model alone. It is in eval mode. Its ``predict`` is the same as a function of arrays.

    Args:
        model: Trained.
        X: (n, d), any table of a row or more: it says how many features there are, and their names.
        head: See ``Explainer``.
        feature_names: d names, for a table that has none.

    Raises:
        DataError: ``X`` is not a table of finite numbers.
        ModelError: The model or head returns something that can't be explained.
        UnknownName: There is no such head or output.

    >>> import shap, torch, shapae
    >>> model, table = torch.nn.Linear(3, 3), torch.randn(10, 3)
    >>> shap.GradientExplainer(shapae.score(model, table), table).shap_values(table[:2]).shape
    (2, 3, 1)
    """
    check_optional(feature_names=feature_names)
    autoencoder, module = as_autoencoder(model), as_head(head)
    table = read_table(X, "rows")
    names = resolve_feature_names(table, feature_names, "rows")
    names = names or numbered_features(table.shape[1])
    return make_score(autoencoder, module, names, table.trial_rows()).standalone()


def make_score(
    autoencoder: Autoencoder,
    head: nn.Module,
    features: Sequence[str],
    rows: NDArray[Any] | Tensor,
    source: str = "input",
) -> Score:
    """Make a ``Score`` while the model is in eval mode.

    Args:
        autoencoder: See ``Score``.
        head: See ``Score``.
        features: See ``Score``.
        rows: See ``Score``. An array is converted to the first precision that the model and the head accept, see
            ``run_in_precision``; the dtype of a tensor is kept.
        source: See ``Score``.

    Raises:
        ModelError: Dtypes of the model and the head do not fit; for others see ``Score``.
        ShapeError: See ``Score``.
    """

    def make(autoencoder: Autoencoder, head: nn.Module, some: Tensor) -> Score:
        bound = autoencoder if some is rows else autoencoder.understood(some)
        with inference_state(nn.ModuleList([bound, head]), some):
            return Score(bound, head, features, some, source)

    with torch.inference_mode(False):
        dtypes = [rows.dtype] if isinstance(rows, Tensor) else None
        return run_in_precision(make, torch.as_tensor(rows), [autoencoder, head], dtypes)


def _predict(score: nn.Module, X: Any, like: Tensor) -> NDArray[Any]:
    table = read_table(X, "rows")
    check_n_features(table, like.shape[1], "rows")
    with inference_state(score, like):
        rows = table.tensor(like, "rows")
        size = max(1, int(CHUNK_BYTES // bytes_per_row(score, like.expand(2, -1))))
        scores: NDArray[Any] = batched(score, rows, size).cpu().numpy()
    return scores[:, 0] if scores.shape[1] == 1 else scores


def _output_position(choice: str | int, names: list[str], head: nn.Module) -> int:
    """Find the position of ``choice`` among ``names``; a choice that is no name is read as a position.

    A string of digits is no position if there are names of digits, too: "12" could be a gene that is missing.

    Raises:
        UnknownName: It is neither a name nor a position.
    """
    if choice in names:
        return names.index(str(choice))
    decimal = str(choice).isdecimal() and (isinstance(choice, int) or not any(name.isdecimal() for name in names))
    if decimal and int(choice) < len(names):
        return int(choice)
    raise UnknownName(f"output of {short_name(head)}", choice, names)
