"""A score is a head bound to an autoencoder: from rows to the numbers that are explained."""

import copy
from collections.abc import Sequence

import numpy as np
from torch import Tensor, nn

from shapae.errors import ModelError, ShapeError, UnknownName
from shapae.heads import Head
from shapae.models.autoencoder import Autoencoder
from shapae.models.decoder import DecoderOnly


class Score(nn.Module):
    """A head bound to an autoencoder: rows (n, d) -> numbers (n, k), always with two axes.

    Args:
        autoencoder: Its modules are shared, not copied.
        head: With ``forward(autoencoder, rows)``; or ``forward(autoencoder, rows, anchors)``, if it has a true
            attribute ``anchored``.
        features: d names, among which the head may choose.
        rows: (2 or more, d), some rows to try it on.
        source: "input" to score rows; "latent" to score latents (n, m), with the rows (n, d) that they were encoded
            from as their anchors.

    Raises:
        ShapeError: The head returns neither (n,) nor (n, k).
        ModelError: No output was chosen, or one twice; or the source is none.
    """

    original: Tensor

    def __init__(
        self, autoencoder: Autoencoder, head: nn.Module, features: Sequence[str], rows: Tensor, source: str = "input"
    ) -> None:
        super().__init__()
        if source not in ("input", "latent"):
            raise ModelError(f"the source must be 'input' or 'latent', got {source!r}.")
        self.autoencoder, self.head, self.source = autoencoder, head, source
        self.anchored = source == "latent" or bool(getattr(head, "anchored", False))
        self.draws = int(getattr(head, "draws", 0))
        self.register_buffer("original", rows[:1].clone(), persistent=False)
        self._columns: slice | list[int] = slice(None)
        self._width = self._tried(self.inputs(rows)).shape[1]
        chosen = getattr(head, "chosen", None)
        if chosen is not None:
            names = self.outputs(features)
            self._columns = [_output_position(choice, names, head) for choice in chosen]
            if not self._columns or len(set(self._columns)) < len(self._columns):
                raise ModelError(
                    f"choose one or more outputs of {type(head).__name__}, each once, or None for all; got {chosen}."
                )

    def _tried(self, rows: Tensor) -> Tensor:
        try:
            numbers: Tensor = self(rows)
        except Exception as error:
            error.add_note(f"(shapae ran the model on rows of shape {tuple(rows.shape)} and {rows.dtype})")
            raise
        return numbers

    def inputs(self, rows: Tensor) -> Tensor:
        """What is explained of ``rows`` (n, d): themselves, or their latents (n, m)."""
        return rows if self.source == "input" else self.autoencoder.encode(rows).detach()

    def self_scores(self, rows: Tensor) -> Tensor:
        """(n, d) -> (n, k): the scores of ``rows``, each of which is its own anchor."""
        scores: Tensor = self(self.inputs(rows), rows)
        return scores

    def default_anchors(self, explained: Tensor) -> Tensor:
        """Anchors for what is explained, where no others are at hand: itself; for latents, some row."""
        return explained if self.source == "input" else self.original.expand(len(explained), -1)

    @property
    def width(self) -> int:
        """k."""
        return len(np.arange(self._width)[self._columns])

    def outputs(self, features: Sequence[str]) -> list[str]:
        """The names of the k outputs, for features of these names."""
        names = np.array(_output_names(self.head, features, self._width), dtype=object)
        return list(names[self._columns])

    def per_sample(self) -> "Score":
        """The same with each of the head's draws, (n, draws), where it has any; else the score itself."""
        every = copy.copy(self)
        every.draws = 0
        return every if self.draws else self

    def anchored_at(self, anchor: Tensor) -> nn.Module:
        """The score of rows (n, d) that are compared with the row of this ``anchor`` (a,): (n, d) -> (n, k)."""
        return AnchoredScore(self, anchor) if self.anchored else self

    def forward(self, rows: Tensor, anchors: Tensor | None = None) -> Tensor:
        """(n, d) -> (n, k).

        Args:
            rows: (n, d), some of whose features may be replaced.
            anchors: (n, a), of the rows being explained, which an anchored score is handed; None for
                ``default_anchors``.

        Raises:
            ShapeError: The head returns something else.
        """
        handed = self.default_anchors(rows) if anchors is None else anchors
        rows, handed = rows.clone(), handed.clone()  # for heads that write into them
        model = self.autoencoder if self.source == "input" else DecoderOnly(self.autoencoder, handed)
        numbers = self.head(model, rows, *([self.inputs(handed)] if getattr(self.head, "anchored", False) else []))
        if not isinstance(numbers, Tensor):
            got = type(numbers).__name__
        elif numbers.ndim not in (1, 2) or len(numbers) != len(rows):
            got = str(tuple(numbers.shape))
        else:
            got = "" if numbers.is_floating_point() else f"{numbers.dtype}, which has no gradient"
        if got:
            raise ShapeError(
                f"the head {type(self.head).__name__} must return one number per row ({len(rows)},) or k numbers "
                f"per row ({len(rows)}, k), floating point, got {got}."
            )
        numbers = numbers.unsqueeze(1) if numbers.ndim == 1 else numbers
        picked: Tensor = numbers[:, self._columns]
        return picked.mean(dim=1, keepdim=True) if self.draws else picked


class AnchoredScore(nn.Module):
    """An anchored score with one anchor for all rows: see ``Score.anchored_at``."""

    anchor: Tensor

    def __init__(self, score: Score, anchor: Tensor) -> None:
        super().__init__()
        self.score = score
        self.register_buffer("anchor", anchor)

    def forward(self, rows: Tensor) -> Tensor:
        """(n, d) -> (n, k)."""
        numbers: Tensor = self.score(rows, self.anchor.expand(len(rows), -1))
        return numbers


class Differentiable(nn.Module):
    """A score that depends on its rows, if only by nothing: where it does not, autograd refuses."""

    def __init__(self, score: nn.Module) -> None:
        super().__init__()
        self.score = score

    def forward(self, rows: Tensor) -> Tensor:
        """(n, d) -> (n, k)."""
        numbers: Tensor = self.score(rows) + 0 * rows[:, :1]
        return numbers


def _output_names(head: nn.Module, features: Sequence[str], width: int) -> list[str]:
    if isinstance(head, Head):
        return head.output_names(features, width)
    name = type(head).__name__
    return [name] if width == 1 else [f"{name} {output}" for output in range(width)]


def _output_position(choice: str | int, names: list[str], head: nn.Module) -> int:
    """Where ``choice`` stands among ``names``; what is no name is read as a position.

    A string of digits is no position where names are digits, too: "12" could be a gene that is not there.

    Raises:
        UnknownName: It is neither.
    """
    if choice in names:
        return names.index(str(choice))
    decimal = str(choice).isdecimal() and (isinstance(choice, int) or not any(name.isdecimal() for name in names))
    if decimal and int(choice) < len(names):
        return int(choice)
    raise UnknownName(f"output of {type(head).__name__}", choice, names)
