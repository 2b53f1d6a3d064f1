"""The binding of model, head and background into the game of an Explainer."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from shapae.backends.game import Game
from shapae.explainer.inputs import input_names
from shapae.heads.checks import check_fitted_names, check_score
from shapae.heads.losses import LogSquare
from shapae.heads.score import make_score
from shapae.models.autoencoder import Autoencoder
from shapae.models.fit import warn_of_poor_reconstruction
from shapae.tables.background import Background, tensors
from shapae.tables.columns import numbered_features
from shapae.tables.players import players
from shapae.utils.context import inference_state
from shapae.utils.failures import model_failures

# Number of rows, of those to explain and of the background, on which the score is checked.
CHECKED_ROWS = 64


def bind_game(
    autoencoder: Autoencoder,
    head: nn.Module,
    background: Background,
    *,
    names: Sequence[str] | None,
    source: str,
    memory: float,
    groups: Mapping[str, Sequence[str]] | None,
) -> tuple[Game, Tensor]:
    """Bind model, head and background, and check the score on rows of the background; see ``Explainer`` for errors.

    Args:
        autoencoder: Its parts are found on rows of the background.
        head: See ``shapae.heads.score.Score``.
        background: b rows of d features.
        names: d names; None if the features have none.
        source: See ``Explainer``.
        memory: Maximum number of bytes of the background.
        groups: See ``Explainer``.

    Returns:
        The game, and the background (b, d): rows also where the game is one of latents.
    """
    features = names or numbered_features(background.rows.shape[1])
    check_fitted_names(autoencoder, background.rows, "background")
    score = make_score(autoencoder, head, features, background.rows.trial_rows(), source)
    with inference_state(score, score.original):
        rows, weights = tensors(background, score.original, memory)
        inputs = score.inputs(rows)
        some = inputs[:CHECKED_ROWS]
        with model_failures(score, lambda part: score(some[part]), len(some), named="background row {}"):
            check_score(score, some)
        if not isinstance(getattr(head, "loss", None), LogSquare):  # which says that the model reconstructs logarithms
            warn_of_poor_reconstruction(score.autoencoder, rows, stacklevel=3)
    named = input_names(score, list(features), inputs.shape[1])
    return Game(score, inputs, weights, players(groups, named, disjoint=True) if groups else None), rows
