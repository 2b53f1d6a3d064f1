"""Folders of results: explanations, tables and pictures. And the file of a benchmark."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from shapae import plots
from shapae.analysis.comparison.benchmark import Benchmark
from shapae.analysis.ranking.result import GlobalRanking
from shapae.errors import OutputError
from shapae.explainer.explanation import Explanation
from shapae.explainer.grouped_importance import GroupedImportance
from shapae.explainer.importance import Importance
from shapae.explainer.interactions import Interactions
from shapae.plots._figure import parent_figure
from shapae.utils.directories import atomic_file

EXPLANATION, TABLE, TOP = "explanation", "importance.csv", "top.csv"
COMPARISON, RANKING, AGREEMENT, CORRELATED = "comparison", "ranking", "agreement", "correlated.csv"
INTERACTIONS, NETWORK, GROUPS = "interactions", "interaction_network.png", "groups"
INFLUENCE = "influence"
LATENT_TABLES = ("units", "drives", "moves", "top", "covariates", "covariates_of_units", "groups", "sets")
# Names of all files and folders of results: only these may be replaced by new results.
NAMES = (
    *(EXPLANATION, TABLE, TOP, "summary.png", "bar.png", "latents.png", "waterfall.png", "latents"),
    *(f"{name}.{kind}" for name in (COMPARISON, RANKING, AGREEMENT) for kind in ("csv", "png")),
    *(f"{RANKING}_raw.csv", f"{RANKING}_errors.csv", CORRELATED),
    *(INTERACTIONS, f"{INTERACTIONS}.csv", f"{INTERACTIONS}.png", NETWORK, f"{GROUPS}.csv", f"{GROUPS}.png"),
    *(INFLUENCE, "proponents.csv", "opponents.csv", "self_influence.csv", "self_influence.png", "rows"),
    *(*(f"latent_{name}.csv" for name in LATENT_TABLES), "latent_map.png", "drives", "sweeps"),
)

# Beginnings of the files of benchmarks, by their suffixes: only files that begin so may be replaced by new results.
BENCHMARKS = {".json": '{\n "shapae benchmark": ', ".csv": "backend,time (s),time per row (s),"}


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write ``table``, with an apostrophe before names that a spreadsheet would run as a formula."""
    table.rename(index=escape_formula, columns=escape_formula).to_csv(path)


def escape_formula(name: object) -> str:
    """Put an apostrophe before a name that a spreadsheet would run as a formula."""
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


def write_grouped_importance(grouped: GroupedImportance, folder: Path) -> None:
    """Write tables of all rows and of each group, the most important features of each, and a picture of one output.

    Args:
        grouped: Importances of groups of rows, for one output or several.
        folder: See ``write_results``.
    """
    write_csv(grouped.overall.table, folder / TABLE)
    write_csv(grouped.table, folder / f"{GROUPS}.csv")
    write_csv(grouped.top(), folder / TOP)
    if len(grouped.output_names) == 1:
        save_picture(plots.groups(grouped), folder / f"{GROUPS}.png")


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


@contextmanager
def new_benchmark(path: Path, *, force: bool) -> Iterator[Callable[[Benchmark], None]]:
    """Create the file of a benchmark, as a whole or not at all.

    Args:
        path: Its suffix says what is written: ".json", or ".csv" for one line per backend, each with all facts.
        force: Whether the file of an earlier benchmark is replaced.

    Yields:
        Function that writes a benchmark.

    Raises:
        OutputError: The suffix is another one, or ``path`` is another file.
    """
    kind = path.suffix.lower()
    if kind not in BENCHMARKS:
        raise OutputError(f"the results of a benchmark are written to a .json or .csv file, got '{path}'.")
    remedy = "Give the name of a new file, or --force to replace the results of an earlier run."
    write = _write_benchmark_json if kind == ".json" else _write_benchmark_csv
    with atomic_file(path, replaces=BENCHMARKS[kind] if force else None, remedy=remedy) as fresh:
        yield lambda benchmark: write(benchmark, fresh)


def _write_benchmark_json(benchmark: Benchmark, path: Path) -> None:
    records = benchmark.table.reset_index().to_dict("records")
    methods = [{str(name): _number_or_none(each) for name, each in record.items()} for record in records]
    parts = {"shapae benchmark": methods, "task": benchmark.task, "machine": benchmark.machine}
    path.write_text(json.dumps(parts, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def _number_or_none(each: Any) -> Any:
    """Replace what JSON does not have: NaN, and the infinite relative error of a reference of zeros."""
    return None if isinstance(each, float) and not isfinite(each) else each


def _write_benchmark_csv(benchmark: Benchmark, path: Path) -> None:
    benchmark.table.assign(**benchmark.task, **benchmark.machine).to_csv(path)


def describe_benchmark(benchmark: Benchmark) -> str:
    """Describe a benchmark in a table, with the reference and the reasons of failures below."""
    table, task = benchmark.table, benchmark.task
    worked = table[table["error"] == ""].drop(columns="error")
    failed = [f"{name} failed: {reason}" for name, reason in table["error"].items() if reason]
    error = task["relative error of the reference"]
    known = "unknown" if error is None else f"{error:.2g}"
    return "\n".join([
        f"{task['rows']} rows of {task['features']} features against {task['background rows']} background rows, "
        f"head {task['head']!r}, {benchmark.machine['threads']} threads",
        "no backend worked" if worked.empty else worked.to_string(float_format=lambda number: f"{number:.3g}"),
        f"reference: {task['reference']}, relative error {known}",
        *failed,
    ])


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
