"""The operator that makes infinity or NaN of mixtures of rows, each of which has a finite score."""

from collections.abc import Iterator

import torch
from torch import Tensor

from shapae.heads.score import Score
from shapae.utils.torch_trace import Function, ModuleNames, first_nonfinite_of

# Number of background rows that a row is mixed with, and of mixtures with each of them.
N_BACKGROUND, N_MIXTURES = 128, 96
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
        A sentence that names the operator and its place; "" if none was found.
    """

    def scores(rows: Tensor) -> Tensor:
        out: Tensor = score(rows, anchor.expand(len(rows), -1))
        return out

    def gradients(rows: Tensor) -> Tensor:
        with torch.enable_grad():
            leaf = rows.detach().requires_grad_()
            return torch.autograd.grad(scores(leaf).sum(), leaf)[0]

    found = _search(scores, score, row, background, players)
    if found:
        return f"Mixtures of this row and {found}. {ADVICE}"
    try:
        found = _search(gradients, score, row, background, players)
    except RuntimeError:  # no gradients
        found = ""
    return f"The gradients of mixtures of this row and {found}. {ADVICE}" if found else ""


ADVICE = (
    "A head or model that only takes some rows, such as compositions, must be finite for their mixtures, too: clamp "
    "the input of this operator."
)


def _search(function: Function, score: Score, row: Tensor, background: Tensor, players: Tensor) -> str:
    names = ModuleNames(score)
    for number in range(0, len(background), -(-len(background) // N_BACKGROUND)):
        other = background[number : number + 1]
        mixed = torch.cat([*mixtures(row, other, players, seed=number)])
        if torch.isfinite(function(mixed)).all():
            continue
        finite = torch.cat([row, other]).repeat(-(-len(mixed) // 2), 1)[: len(mixed)]
        first = first_nonfinite_of(function, mixed, finite, names)
        if first:
            return f"background row {number} are not finite: look at {first}"
    return ""


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
