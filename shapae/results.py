"""An explanation as a folder for people: the explanation itself, a table of importances, pictures."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from shapae import plots
from shapae.explanation import Explanation
from shapae.plots._canvas import root

EXPLANATION, TABLE = "explanation", "importance.csv"
# All that may be in a folder of results, and be replaced by new ones.
NAMES = (EXPLANATION, TABLE, "summary.png", "bar.png", "latents.png", "waterfall.png", "latents")


def importance(explanation: Explanation) -> pd.DataFrame:
    """How much each feature matters over all rows.

    Args:
        explanation: (n, d), or (n, d, k).

    Returns:
        d rows, one for each feature; for one output the mean |value| and the mean value, sorted by the first; for
        several the mean |value| for each.
    """
    features = pd.Index(explanation.feature_names, name="feature")
    size = np.abs(explanation.values).mean(axis=0)
    if size.ndim == 2:
        return pd.DataFrame(size, index=features, columns=explanation.output_names)
    table = pd.DataFrame({"mean_abs_value": size, "mean_value": explanation.values.mean(axis=0)}, index=features)
    return table.sort_values("mean_abs_value", ascending=False, kind="stable")


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write ``table``, with an apostrophe before names that a spreadsheet would run as a formula."""
    table.rename(index=_harmless, columns=_harmless).to_csv(path)


def _harmless(name: object) -> str:
    return f"'{name}" if str(name).startswith(("=", "+", "-", "@", "\t", "\r")) else str(name)


def write_results(explanation: Explanation, folder: Path) -> None:
    """Write the explanation, the importances and the pictures that suit it.

    Args:
        explanation: Of one output or several.
        folder: Empty; see ``folder.written_whole`` for one that is written whole or not at all.
    """
    explanation.save(folder / EXPLANATION)
    write_csv(importance(explanation), folder / TABLE)
    for name in ["latents"] if explanation.values.ndim == 3 else ["summary", "bar"]:
        save_picture(getattr(plots, name)(explanation), folder / f"{name}.png")


def save_picture(ax: Axes, path: Path) -> None:
    """Write the figure of ``ax`` as a PNG."""
    root(ax).savefig(path, dpi=150)
