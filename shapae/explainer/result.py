"""The result of an Explainer, put together."""

from typing import TYPE_CHECKING, Any

from shapae.backends.game import Game
from shapae.explainer.attributions import Attributions
from shapae.explainer.inputs import input_data, player_names
from shapae.heads.score import Score
from shapae.tables.table import TableStream

if TYPE_CHECKING:
    from shapae.explainer.explanation import Explanation


def as_explanation(
    attributions: Attributions,
    game: Game,
    rows: TableStream,
    names: list[str],
    *,
    made_by: dict[str, Any],
) -> "Explanation":
    """Make the Explanation of some attributions.

    Args:
        attributions: Of n rows.
        game: Its score is a ``Score``.
        rows: (n, d), the rows that were explained.
        names: Names of their columns.
        made_by: See ``Explanation``.
    """
    from shapae.explainer.explanation import Explanation  # its base class is shap's, whose import takes a second

    assert isinstance(game.score, Score)
    outputs, arrays = game.score.outputs(names), ("values", "base_values", "scores", "residual")
    parts = {name: getattr(attributions, name) for name in (*arrays, "standard_errors", "background_errors")}
    if len(outputs) == 1:
        parts = {name: array if array is None else array[..., 0] for name, array in parts.items()}
    data, players = input_data(game, rows), game.players
    return Explanation(
        **parts,
        data=players.means(data) if players else data,
        categories=players.categories(data) if players else None,
        feature_names=player_names(game, names),
        output_names=outputs[0] if len(outputs) == 1 else outputs,
        used=attributions.used,
        made_by=made_by,
        row_names=rows.rows.row_names,
    )
