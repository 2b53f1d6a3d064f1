"""Folders of results: explanations, tables and pictures."""

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from shapae import plots
from shapae.analysis.ranking.result import GlobalRanking
from shapae.explainer.explanation import Explanation
from shapae.explainer.importance import Importance
from shapae.explainer.interactions import Interactions
from shapae.plots._figure import parent_figure

EXPLANATION, TABLE, TOP = "explanation", "importance.csv", "top.csv"
COMPARISON, RANKING, AGREEMENT, CORRELATED = "comparison", "ranking", "agreement", "correlated.csv"
INTERACTIONS, NETWORK = "interactions", "interaction_network.png"
# Names of all files and folders of results: only these may be replaced by new results.
NAMES = (
    *(EXPLANATION, TABLE, TOP, "summary.png", "bar.png", "latents.png", "waterfall.png", "latents"),
    *(f"{name}.{kind}" for name in (COMPARISON, RANKING, AGREEMENT) for kind in ("csv", "png")),
    *(f"{RANKING}_raw.csv", f"{RANKING}_errors.csv", CORRELATED),
    *(INTERACTIONS, f"{INTERACTIONS}.csv", f"{INTERACTIONS}.png", NETWORK),
)


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write ``table``, with an apostrophe before names that a spreadsheet would run as a formula."""
    table.rename(index=_escape_formula, columns=_escape_formula).to_csv(path)


def _escape_formula(name: object) -> str:
    return f"'{name}" if str(name).startswith(("=", "+", "-", "@", "\t", "\r")) else str(name)


def write_results(explanation: Explanation, folder: Path) -> None:
    """Write the explanation, its importances and its pictures.

    Args:
        explanation: Explanation of one output or several.
        folder: Empty folder, such as that of ``utils.directories.atomic_directory``.
    """
    explanation.save(folder / EXPLANATION)
    write_csv(Importance.of(explanation).table, folder / TABLE)
    for name in ["latents"] if explanation.values.ndim == 3 else ["summary", "bar"]:
        save_picture(getattr(plots, name)(explanation), folder / f"{name}.png")


def write_importance(importance: Importance, folder: Path) -> None:
    """Write the table of importances, and the most important features of each output.

    Args:
        importance: Importances for one output or several.
        folder: See ``write_results``.
    """
    write_csv(importance.table, folder / TABLE)
    write_csv(importance.top(), folder / TOP)


def write_interactions(interactions: Interactions, folder: Path) -> None:
    """Write the interactions, a table of all pairs averaged over the rows, and pictures; see ``write_results``."""
    interactions.save(folder / INTERACTIONS)
    write_csv(interactions.top(len(interactions.feature_names) ** 2), folder / f"{INTERACTIONS}.csv")
    save_picture(plots.interactions(interactions), folder / f"{INTERACTIONS}.png")
    save_picture(plots.interaction_network(interactions), folder / NETWORK)


def write_comparison(table: pd.DataFrame, picture: Figure, folder: Path) -> None:
    """Write the table of a comparison and its picture.

    Args:
        table: One row for each backend.
        picture: Figure of a ``Comparison``.
        folder: See ``write_results``.
    """
    write_csv(table, folder / f"{COMPARISON}.csv")
    picture.savefig(folder / f"{COMPARISON}.png", dpi=150)


def write_ranking(ranking: GlobalRanking, folder: Path) -> None:
    """Write the tables and the pictures of a ranking; see ``write_results`` for the folder."""
    for suffix, frame in {"": ranking.table, "_raw": ranking.raw, "_errors": ranking.errors}.items():
        write_csv(frame, folder / f"{RANKING}{suffix}.csv")
    write_csv(ranking.agreement, folder / f"{AGREEMENT}.csv")
    if ranking.together is not None:
        write_csv(ranking.together, folder / CORRELATED)
    save_picture(ranking.plot(), folder / f"{RANKING}.png")
    save_picture(ranking.plot_agreement(), folder / f"{AGREEMENT}.png")


def save_picture(ax: Axes, path: Path) -> None:
    """Save the figure of ``ax`` as a PNG."""
    parent_figure(ax).savefig(path, dpi=150)
