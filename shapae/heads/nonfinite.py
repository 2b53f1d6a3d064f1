"""The operator that makes infinity or NaN of mixtures of rows, each of which has a finite score."""

from collections.abc import Iterator
from contextlib import suppress

import torch
from torch import Tensor

from shapae.heads.score import Score
from shapae.utils.torch_trace import Function, ModuleNames, first_nonfinite_of

# Number of background rows that a row is mixed with, and of mixtures with each of them.
N_BACKGROUND, N_MIXTURES = 128, 96
# Number of rows of which one is looked for.
N_ROWS = 16
# Steps of the path from a background row to the row.
STEPS = 9


def first_in_mixtures(score: Score, row: Tensor, anchor: Tensor, background: Tensor, players: Tensor) -> str:
    """Find the operator that makes infinity or NaN of mixtures of a row and the background, or of their gradients.

    Args:
        score: In eval mode.
        row: (1, d), its input for the row.
        anchor: (1, a), the row itself.
        background: (b, d).
        players: (d,), number of the player of each feature.

    Returns:
        Sentences that name the operator and its place; "" if none was found.
    """

    def scores(rows: Tensor) -> Tensor:
        out: Tensor = score(rows, anchor.expand(len(rows), -1))
        return out

    def gradients(rows: Tensor) -> Tensor:
        with torch.enable_grad():
            leaf = rows.detach().requires_grad_()
            return torch.autograd.grad(scores(leaf).sum(), leaf)[0]

    for what, function in {"scores": scores, "gradients": gradients}.items():
        with suppress(RuntimeError):  # of a score that has no gradients
            for number, mixed in _all_mixtures(row, background, players):
                found = _first(function, score, mixed, torch.cat([row, background[number : number + 1]]))
                if found:
                    return (
                        f"The {what} of its mixtures with background row {number} are not: look at {found}. The model "
                        f"and the head must be finite for all mixtures: clamp the input of this operator."
                    )
    return ""


def first_in_rows(score: Score, rows: Tensor, background: Tensor, players: Tensor) -> str:
    """Find the operator for some of the rows (n, d), each of which is its own anchor; see ``first_in_mixtures``."""
    for number in range(min(N_ROWS, len(rows))):
        row = rows[number : number + 1]
        found = first_in_mixtures(score, score.inputs(row), row, background, players)
        if found:
            return f"Row {number} is finite. {found}"
    return "The rows themselves have finite scores: scale the columns, so that no number overflows."


def _first(function: Function, score: Score, mixed: Tensor, ends: Tensor) -> str:
    """Find the first operator that is not finite for mixed rows; ``ends`` are finite rows. "" if all is finite."""
    if torch.isfinite(function(mixed)).all():
        return ""
    finite = ends.repeat(-(-len(mixed) // len(ends)), 1)[: len(mixed)]
    return first_nonfinite_of(function, mixed, finite, ModuleNames(score))


def _all_mixtures(row: Tensor, background: Tensor, players: Tensor) -> Iterator[tuple[int, Tensor]]:
    for number in range(0, len(background), -(-len(background) // N_BACKGROUND)):
        yield number, torch.cat([*mixtures(row, background[number : number + 1], players, seed=number)])


def mixtures(row: Tensor, other: Tensor, players: Tensor, *, seed: int) -> Iterator[Tensor]:
    """Mix a row (1, d) with another one: random coalitions of all sizes, and steps on the straight path between them.

    Yields:
        (m, d).
    """
    count, generator = int(players.max()) + 1, torch.Generator().manual_seed(seed)
    order = torch.rand(N_MIXTURES, count, generator=generator).argsort(dim=1).argsort(dim=1)
    sizes = torch.randint(1, max(2, count), (N_MIXTURES, 1), generator=generator)
    sizes[: N_MIXTURES // 3] = 1
    sizes[N_MIXTURES // 3 : 2 * N_MIXTURES // 3] = max(1, count - 1)
    inside = (order < sizes).to(row.device)[:, players]
    yield torch.where(inside, row, other)
    steps = torch.linspace(0, 1, STEPS + 2, dtype=row.dtype, device=row.device)[1:-1, None]
    yield torch.lerp(other.expand(STEPS, -1), row.expand(STEPS, -1), steps)
