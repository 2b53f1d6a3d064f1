"""Whether an explainer can stop at a tolerance."""

from shapae.backends.base import Backend
from shapae.backends.game import Game
from shapae.errors import DataError
from shapae.heads.score import Score


def check_tolerance(tolerance: float | None, backend: Backend, game: Game, head: str) -> None:
    """Check that the standard errors that a ``tolerance`` is tested by are known.

    Args:
        tolerance: See ``Explainer``.
        backend: Any backend.
        game: Its score is a ``Score``.
        head: Name of the head, for messages.

    Raises:
        DataError: They are not.
    """
    if tolerance is None:
        return
    if not backend.splits_background and not backend.n_samples:
        raise DataError(
            f"backend={backend.name!r} needs the whole background at once and samples nothing, so that it can't "
            f"stop early. Leave tolerance= out, or use backend='deep'."
        )
    if backend.splits_background and game.weights is not None:
        raise DataError(
            "standard errors are not known with weights, so that a tolerance can't be tested. Leave tolerance= "
            "out, or sample a background without weights: shapae.background.sample(X, 100)."
        )
    if isinstance(game.score, Score) and game.score.draws:
        raise DataError(
            f"{head} has samples of its own, which a tolerance does not see. Leave tolerance= or draws= out."
        )
