"""Gradients that are cut: features that change a score whose gradient with respect to them is zero, or too small.

Embeddings of codes, rounding, comparisons, ``.detach()`` and numpy cut the gradient of a model without an error. Here
the score is followed on straight ways, from background rows to rows and along single features. A piece of a way is
halved where the change of the score is not its length times a slope between those at both ends. By the mean value
theorem this ends soon for a continuous function that has the gradient it claims, also at kinks; a jump, or a part
without a gradient, remains.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from shapae.backends.game import Game
from shapae.errors import ModelError
from shapae.heads.score import Score
from shapae.tables.table import TableStream
from shapae.utils.blocks import block_rows
from shapae.utils.memory import batched
from shapae.utils.rounding import rounding_error
from shapae.utils.text import enumerate_names

# Number of ways from background rows to rows, and of ways along single features.
WAYS, FEATURE_WAYS = 32, 256
# Number of pieces of a way before they are halved, how often pieces are halved, and how many for each way at once: a
# latent unit bends at each hidden unit, so that the ways of some scores are followed again, with more pieces.
PIECES, HALVINGS, AT_ONCE, FINELY = 8, 16, 4, 16
# Parts of the typical change of the score. A piece is not halved if less than RESOLUTION can be lost in it. Where the
# gradient is zero, more than BLIND is an error: steep and kinked functions stay below it. Elsewhere more than LOST is a
# warning; below it the standard errors of the values are larger.
RESOLUTION, BLIND, LOST = 1e-4, 1e-3, 0.02
# Number of rows whose gradients are computed at once, and rounding errors of a score in units of its last digit.
BATCH_ROWS, ROUNDING = 256, 16

# From points (m, d) and the numbers of their ways (m,) to numbers (m, k).
Function = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Cuts:
    """Features whose effect on the score is not, or not completely, in its gradient.

    Attributes:
        blind: Positions of the features that the score, or the model inside of it, has no gradient with respect to.
        partly: Positions of the other features of which a part is lost.
        part: Largest change that is lost, as a part of the typical change of the score.
        dead: What has no gradient at all with respect to any feature; empty otherwise.
    """

    blind: list[int]
    partly: list[int]
    part: float
    dead: str = ""


@dataclass(frozen=True)
class Followed:
    """A function that was followed on s ways.

    Attributes:
        change: (s,), sum of the sizes of its changes, piece by piece.
        lost: (s,), size of the change that its gradient does not explain.
        alive: (s,). Whether it has a gradient somewhere on the way, with respect to a feature that changes.
    """

    change: Tensor
    lost: Tensor
    alive: Tensor


def rows_to_follow(rows: TableStream, background: Tensor) -> Tensor:
    """Choose rows from the whole table, and for features that do not change in these some rows in which they do.

    Args:
        rows: (n, d), all rows to explain.
        background: (b, d).

    Returns:
        (at most 32, d).
    """
    n = len(rows)
    even = torch.cat([rows[place : place + 1] for place in dict.fromkeys(k * n // WAYS for k in range(WAYS))])
    known = torch.cat([even, background])
    constant = (known == known[0]).all(dim=0)
    rare: list[Tensor] = []
    for block in rows.rows.blocks() if bool(constant.any()) and n > WAYS else ():
        part = rows[block]
        differs = (part != known[0]) & constant
        constant = constant & ~differs.any(dim=0)
        rare += [part[differs[:, feature]][:1] for feature in differs.any(dim=0).nonzero().flatten().tolist()]
    return torch.cat([*rare[: WAYS // 2], even])[:WAYS]


def check_gradients(game: Game, rows: Tensor, backend: str, names: list[str]) -> str | None:
    """Check that the gradients of a score tell the effects of its features, on a few rows.

    Args:
        game: Its score is a ``Score``.
        rows: (n, d), some rows to explain, not their latents; they are the anchors of an anchored score.
        backend: Name of the backend, for messages.
        names: Names of the inputs of the score.

    Returns:
        A warning, if a part of the effects is lost; None if nothing is.

    Raises:
        ModelError: The score has no gradient, or none with respect to some features; all of them are named.
    """
    cuts = find_cuts(game, rows)
    if cuts is None:
        return None
    way_out = "Use backend='exact' or 'sampling'" if game.n_players <= 12 else "Use backend='sampling'"
    causes = "Embeddings of codes, rounding, comparisons, .detach() and numpy have no gradient"
    if cuts.dead:
        raise ModelError(
            f"{cuts.dead} no gradient, although the score changes with the features, so that backend={backend!r} can't "
            f"explain it. {causes}. {way_out} instead."
        )
    if cuts.blind:
        blind = enumerate_names([names[feature] for feature in cuts.blind], "feature")
        raise ModelError(
            f"the score changes with {blind}, but its gradient does not tell, so that the values of "
            f"backend={backend!r} would lack these effects. {causes}. {way_out} instead."
        )
    where = f" of {enumerate_names([names[feature] for feature in cuts.partly], 'feature')}" if cuts.partly else ""
    return (
        f"the gradients of the score miss effects{where}: up to {cuts.part:.0%} of the typical change of the score. "
        f"Jumps, parts without a gradient and straight-through estimators are usual causes. {way_out} instead."
    )


def find_cuts(game: Game, rows: Tensor) -> Cuts | None:
    """Find the features whose effects are not in the gradients of a score; None if all of them are.

    Args:
        game: See ``check_gradients``.
        rows: See ``check_gradients``.
    """
    score = game.score
    assert isinstance(score, Score)
    with torch.no_grad():
        x, b = score.inputs(rows), game.background
    chosen = [torch.arange(WAYS, device=b.device) * len(each) // WAYS for each in (x, b)]
    # The background in another order, as it may be the same table.
    start, end, anchors = b[chosen[1].roll(WAYS // 2)], x[chosen[0]], rows[chosen[0]]
    parts: dict[str, Function] = {"the score has": partial(_score, score, anchors)}
    with torch.no_grad():  # scores that are not finite are refused where all of them are computed
        ways = torch.arange(WAYS, device=b.device)
        if not all(parts["the score has"](each, ways).isfinite().all() for each in (start, end)):
            return None
    projected = _project(parts["the score has"], start, end)
    for at_once in (AT_ONCE, FINELY):
        whole = follow(projected, start, end, at_once)
        typical = whole.change.square().mean().sqrt()
        if not whole.lost.max() > BLIND * typical:
            return None
    parts |= {f"the {name} of the model has": partial(_ignore_ways, part) for name, part in _model_parts(score)}
    lost, blind = torch.zeros_like(start[0]), torch.zeros_like(start[0], dtype=torch.bool)
    for name, function in parts.items():
        try:
            projected = _project(function, start, end)
            whole_part = follow(projected, start, end)
        except ModelError:  # a part that the model does not have
            continue
        if not whole_part.alive.any() and whole_part.change.any():
            return Cuts([], [], 1.0, name)
        found = _follow_features(projected, start, end)
        size = BLIND * whole_part.change.square().mean().sqrt()
        lost = found.lost / typical if name == "the score has" else lost
        blind |= (lost > BLIND) & (found.lost > size) & ~found.alive
    partly = (lost > LOST) & ~blind
    part = float(torch.maximum(whole.lost.max() / typical, lost.max()))
    if part < LOST and not blind.any():
        return None
    return Cuts(blind.nonzero().flatten().tolist(), partly.nonzero().flatten().tolist(), part)


def follow(function: Function, start: Tensor, end: Tensor, at_once: int = AT_ONCE) -> Followed:
    """Follow a function of one number on the ways from ``start`` to ``end``, (s, d) each."""
    s, direction = len(start), end - start

    def at(ways: Tensor, t: Tensor) -> Tensor:
        """Value, slope along the way, whether there is a gradient, and rounding: (m, 4)."""
        points = torch.lerp(start[ways], end[ways], t.unsqueeze(1)).requires_grad_()
        numbers, size = function(points, ways).unbind(dim=1)
        gradient = _gradient(numbers, points)
        slopes = gradient * direction[ways]
        return torch.stack([numbers.detach(), slopes.sum(1), (slopes != 0).any(1).to(slopes), size.detach()], dim=1)

    def evaluate(ways: Tensor, t: Tensor) -> Tensor:
        places = torch.arange(len(ways), device=ways.device)
        return batched(lambda few: at(ways[few], t[few]), places, block_rows(BATCH_ROWS, start))

    inner = (torch.arange(PIECES).to(start) + 0.618) / PIECES
    t = torch.cat([inner.new_zeros(1), inner, inner.new_ones(1)])
    ways = torch.arange(s, device=start.device).repeat_interleave(len(t))
    known = evaluate(ways, t.repeat(s)).view(s, len(t), 4)
    alive = known[..., 2].sum(dim=1)
    pieces = _Pieces(
        *(ways.view(s, -1)[:, 1:].flatten(), t[:-1].repeat(s), t[1:].repeat(s)),
        *(known[:, :-1].flatten(0, 1), known[:, 1:].flatten(0, 1)),
    )
    resolution = RESOLUTION * torch.nan_to_num(known[:, -1, 0] - known[:, 0, 0], 0, 0, 0).square().mean().sqrt()
    for _ in range(HALVINGS):
        halved = pieces.worst(at_once * s, resolution)
        if not len(halved):
            break
        few = pieces.select(halved)
        middle = (few.t0 + few.t1) / 2
        between = evaluate(few.ways, middle)
        alive = alive.index_add(0, few.ways, between[:, 2])
        pieces = pieces.replace(halved, few, middle, between)
    change, lost = (alive.new_zeros(s).index_add(0, pieces.ways, each) for each in (pieces.change.abs(), pieces.lost))
    return Followed(change, lost.abs(), alive > 0)


@dataclass(frozen=True)
class _Pieces:
    """Pieces of ways: the number of the way, both ends, and what is known there, (p, 4)."""

    ways: Tensor
    t0: Tensor
    t1: Tensor
    known0: Tensor
    known1: Tensor

    @property
    def parts(self) -> tuple[Tensor, ...]:
        return self.ways, self.t0, self.t1, self.known0, self.known1

    @property
    def change(self) -> Tensor:
        return torch.nan_to_num(self.known1[:, 0] - self.known0[:, 0], 0, 0, 0)

    @property
    def rounding(self) -> Tensor:
        sizes = torch.maximum(self.known0[:, 3], self.known1[:, 3])
        return ROUNDING * rounding_error(sizes.dtype) * sizes

    @property
    def lost(self) -> Tensor:
        """Change beyond what the slopes at both ends allow."""
        slopes = torch.stack([self.known0[:, 1], self.known1[:, 1]]) * (self.t1 - self.t0)
        lost = self.change - self.change.clamp(slopes.amin(dim=0), slopes.amax(dim=0))
        return torch.nan_to_num(lost.where(lost.abs() > self.rounding, 0), 0, 0, 0)

    def worst(self, most: int, resolution: Tensor) -> Tensor:
        """Positions of the pieces with the largest differences between change and mean slope."""
        slopes = (self.known0[:, 1] + self.known1[:, 1]) / 2 * (self.t1 - self.t0)
        difference = torch.nan_to_num((self.change - slopes).abs(), 0, 0, 0)
        open_pieces = (difference > (8 * self.rounding).clamp(min=resolution)).nonzero().flatten()
        return open_pieces[difference[open_pieces].argsort(descending=True)[:most]]

    def select(self, at: Tensor) -> "_Pieces":
        return _Pieces(*(part[at] for part in self.parts))

    def replace(self, at: Tensor, few: "_Pieces", middle: Tensor, between: Tensor) -> "_Pieces":
        """Replace the pieces ``few`` at the positions ``at`` by their halves."""
        kept = torch.ones(len(self.ways), dtype=torch.bool, device=at.device)
        kept[at] = False
        left = _Pieces(few.ways, few.t0, middle, few.known0, between)
        right = _Pieces(few.ways, middle, few.t1, between, few.known1)
        return _Pieces(
            *(torch.cat(each) for each in zip(self.select(kept).parts, left.parts, right.parts, strict=True))
        )


def _follow_features(function: Function, start: Tensor, end: Tensor) -> Followed:
    """Follow a function along each of d features alone, on the ways where it changes most: (d,)."""
    d = start.shape[1]
    most = max(1, min(len(start), FEATURE_WAYS // d))
    ways = (end - start).abs().topk(most, dim=0).indices.T.flatten()  # (d * most,)
    where = torch.arange(len(ways), device=ways.device)
    features = where // most
    results = []
    for base, other in ((start, end), (end, start)):
        origin = base[ways]
        target = origin.clone()
        target[where, features] = other[ways, features]
        results.append(follow(lambda points, at: function(points, ways[at]), origin, target))
    changes, lost, alive = (
        torch.stack([getattr(each, name).view(d, most).amax(dim=1) for each in results]).amax(dim=0)
        for name in ("change", "lost", "alive")
    )
    return Followed(changes, lost, alive)


def _project(function: Function, start: Tensor, end: Tensor) -> Function:
    """Project k outputs, in units of their typical changes, on one number, beside the size of its terms: (m, 2)."""
    ways = torch.arange(len(start), device=start.device)
    with torch.no_grad():
        changes = function(end, ways).detach() - function(start, ways).detach()
    scale = torch.nan_to_num(changes, 0, 0, 0).square().mean(dim=0).sqrt()
    random = torch.rand(scale.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(scale)
    signs = torch.where(random < 0.5, random - 1, random)
    weights = torch.where(scale > 0, signs / scale, 0)

    def projected(points: Tensor, at: Tensor) -> Tensor:
        try:
            terms = function(points, at) * weights
        except RuntimeError as error:
            with torch.no_grad():
                function(points.detach(), at)  # what fails without gradients, too, fails as it does elsewhere
            raise ModelError(_without_gradients(error)) from error
        return torch.stack([terms.sum(dim=1), terms.detach().abs().sum(dim=1)], dim=1)

    return projected


def _gradient(numbers: Tensor, points: Tensor) -> Tensor:
    """Compute the gradient of the sum of ``numbers``; zeros where there is none.

    Raises:
        ModelError: The backward pass fails.
    """
    if not numbers.requires_grad:
        return torch.zeros_like(points)
    try:
        (found,) = torch.autograd.grad(numbers.sum(), points, allow_unused=True)
    except RuntimeError as error:
        raise ModelError(_without_gradients(error)) from error
    return torch.zeros_like(points) if found is None else found


def _without_gradients(error: RuntimeError) -> str:
    reason = " ".join(str(error).split()).rstrip(".")
    return f"the model or the head can't be run with gradients: {reason}. Use backend='sampling' instead."


def _score(score: Score, anchors: Tensor, points: Tensor, ways: Tensor) -> Tensor:
    numbers: Tensor = score(points, anchors[ways]) if score.anchored else score(points)
    return numbers


def _ignore_ways(part: Callable[[Tensor], Tensor], points: Tensor, ways: Tensor) -> Tensor:
    return part(points)


def _model_parts(score: Score) -> Iterator[tuple[str, Any]]:
    """Name the parts of the model that a head may use: a head may have a gradient of its own beside theirs."""
    model = score.autoencoder
    if score.source == "latent":
        yield "decoder", model.decode
    else:
        yield "reconstruction", model.reconstruct
        yield "encoder", model.encode
