"""Folders of results: explanations, tables and pictures. And the file of a benchmark."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any

import pandas as pd

from shapae import plots
from shapae.analysis.comparison.benchmark import Benchmark
from shapae.analysis.comparison.comparison import Comparison
from shapae.analysis.ranking.result import GlobalRanking
from shapae.cli.output import Files, Report, write_or_rescue
from shapae.errors import OutputError
from shapae.explainer.explanation import Explanation
from shapae.explainer.grouped_importance import GroupedImportance
from shapae.explainer.importance import Importance
from shapae.explainer.interactions import Interactions
from shapae.utils.directories import atomic_file
from shapae.utils.records import plain
from shapae.utils.text import escape_formula

EXPLANATION, TABLE, TOP, PAGE = "explanation", "importance.csv", "top.csv", "report.html"
COMPARISON, RANKING, AGREEMENT, CORRELATED = "comparison", "ranking", "agreement", "correlated.csv"
INTERACTIONS, NETWORK, GROUPS = "interactions", "interaction_network.png", "groups"
INFLUENCE = "influence"
LATENT_TABLES = ("units", "drives", "moves", "top", "covariates", "covariates_of_units", "groups", "sets")
# Largest number of outputs with a picture of groups of rows.
PICTURES = 20
# Patterns of the paths of all files of results: only these may be replaced by new results.
NAMES = (
    *(f"{folder}/{EXPLANATION}.*" for folder in (EXPLANATION, "latents")),
    *(TABLE, TOP, PAGE, "summary.png", "bar.png", "latents.png", "waterfall.png"),
    *(f"{name}.{kind}" for name in (COMPARISON, RANKING, AGREEMENT) for kind in ("csv", "png")),
    *(f"{RANKING}_raw.csv", f"{RANKING}_errors.csv", CORRELATED),
    *(f"{INTERACTIONS}/{INTERACTIONS}.*", f"{INTERACTIONS}.csv", f"{INTERACTIONS}.png", NETWORK),
    *(f"{GROUPS}.csv", f"{GROUPS}.png", f"{GROUPS}/output_[0-9]*.png"),
    *(f"{INFLUENCE}/{INFLUENCE}.*", "proponents.csv", "opponents.csv", "self_influence.csv", "self_influence.png"),
    *("rows/[0-9][0-9]*.png", "drives/latent_[0-9]*.png", "sweeps/latent_[0-9]*.png"),
    *(*(f"latent_{name}.csv" for name in LATENT_TABLES), "latent_map.png"),
)

# Beginnings of the files of benchmarks, by their suffixes: only files that begin so may be replaced by new results.
BENCHMARKS = {".json": '{\n "shapae benchmark": ', ".csv": "backend,time (s),time per row (s),"}


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write ``table``, with an apostrophe before names that a spreadsheet would run as a formula."""
    escaped = table.rename(index=escape_formula, columns=escape_formula)
    escaped.to_csv(path, encoding="utf-8", errors="backslashreplace")  # names may hold halves of surrogate pairs


def report_explanation(explanation: Explanation) -> Report:
    """Report on an explanation of one output or several: the explanation, its importances and its pictures."""
    files: Files = {
        EXPLANATION: explanation.save,
        TABLE: lambda path: write_csv(Importance.of(explanation).table, path),
    }
    names = ["latents"] if explanation.values.ndim == 3 else ["summary", "bar"]
    return Report(files, {f"{name}.png": partial(getattr(plots, name), explanation) for name in names})


def report_importance(importance: Importance) -> Report:
    """Report on importances for one output or several: their table, and the most important features of each output."""
    return Report({
        TABLE: lambda path: write_csv(importance.table, path),
        TOP: lambda path: write_csv(importance.top(), path),
    })


def report_grouped_importance(grouped: GroupedImportance) -> Report:
    """Report on groups of rows: tables of all rows and of each group, top features, and a picture of each output."""
    files = report_importance(grouped.overall).files | {
        f"{GROUPS}.csv": lambda path: write_csv(grouped.table, path),
        TOP: lambda path: write_csv(grouped.top(), path),
    }
    outputs = grouped.output_names
    if len(outputs) == 1:
        return Report(files, {f"{GROUPS}.png": partial(plots.groups, grouped)})
    drawn = {f"{GROUPS}/output_{at:02d}.png": name for at, name in enumerate(outputs[:PICTURES])}
    return Report(files, {path: partial(plots.groups, grouped, output=name) for path, name in drawn.items()})


def report_interactions(interactions: Interactions) -> Report:
    """Report on interactions: the arrays, a table of all pairs averaged over the rows, and pictures."""
    pairs = len(interactions.feature_names) ** 2
    files: Files = {
        INTERACTIONS: interactions.save,
        f"{INTERACTIONS}.csv": lambda path: write_csv(interactions.top(pairs), path),
    }
    pictures = {
        f"{INTERACTIONS}.png": lambda: plots.interactions(interactions),
        NETWORK: lambda: plots.interaction_network(interactions),
    }
    return Report(files, pictures)


def report_comparison(comparison: Comparison) -> Report:
    """Report on a comparison of backends: its table and its picture."""
    files: Files = {f"{COMPARISON}.csv": lambda path: write_csv(comparison.table, path)}
    return Report(files, {f"{COMPARISON}.png": comparison.plot})


def report_ranking(ranking: GlobalRanking) -> Report:
    """Report on a ranking: its tables and its pictures."""
    tables = {RANKING: ranking.table, f"{RANKING}_raw": ranking.raw, f"{RANKING}_errors": ranking.errors}
    tables |= {AGREEMENT: ranking.agreement}
    files: Files = {f"{name}.csv": partial(write_csv, table) for name, table in tables.items()}
    files |= {} if ranking.together is None else {CORRELATED: partial(write_csv, ranking.together)}
    return Report(files, {f"{RANKING}.png": ranking.plot, f"{AGREEMENT}.png": ranking.plot_agreement})


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
        yield lambda benchmark: write_or_rescue(Report({fresh.name: partial(write, benchmark)}), fresh.parent, path)


def _write_benchmark_json(benchmark: Benchmark, path: Path) -> None:
    records = benchmark.table.reset_index().to_dict("records")
    methods = [{str(name): plain(_number_or_none(each)) for name, each in record.items()} for record in records]
    parts = {"shapae benchmark": methods, "task": plain(benchmark.task), "machine": plain(benchmark.machine)}
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
