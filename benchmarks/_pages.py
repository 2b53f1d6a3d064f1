"""Pages of the site with the results of the benchmarks: one page for each file of ``benchmarks/results``."""

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import RESULTS

# Files that another command than the one of their name has written.
WRITTEN_BY = {"speed_large": "speed"}
# Rows of a table; the file has the others.
MOST = 200


def pages() -> dict[str, str]:
    """Pages in Markdown, by the names of the files."""
    return {path.stem: page(path) for path in sorted(RESULTS.glob("*.json"))}


def page(path: Path) -> str:
    """Describe one file of results: its command, its settings, and its tables."""
    results = json.loads(path.read_text(encoding="utf-8"))
    command = WRITTEN_BY.get(path.stem, path.stem)
    described = ast.get_docstring(ast.parse((path.parents[1] / f"{command}.py").read_text(encoding="utf-8"))) or ""
    settings = {name: each for name, each in results.items() if not _is_nested(each)}
    nested = {name: each for name, each in results.items() if _is_nested(each)}
    parts = [
        f"# {path.stem.replace('_', ' ').capitalize()}",
        described.partition("\n\n")[0].replace("``", "`"),
        f"Command: `python -m benchmarks.{command}`. File: `benchmarks/results/{path.name}`.",
        *([table([{"setting": name, "value": value} for name, value in settings.items()])] if settings else []),
        *(f"## {name}\n\n{table(list(records(each)))}" for name, each in nested.items()),
    ]
    return "\n\n".join(parts) + "\n"


def records(found: Any, **named: Any) -> Iterator[dict[str, Any]]:
    """Rows of a table: each innermost dict is one, with the names on the way to it."""
    if _is_list_of_dicts(found):
        for each in found:
            yield from records(each, **named)
    elif isinstance(found, dict) and all(isinstance(each, dict) or _is_list_of_dicts(each) for each in found.values()):
        for name, each in found.items():
            yield from records(each, **named, **{" " * len(named): name})
    else:
        yield named | (dict(_flat(found)) if isinstance(found, dict) else {"value": found})


def table(rows: list[dict[str, Any]]) -> str:
    """Write a table in Markdown, with the union of the columns; one row alone is written from top to bottom."""
    if len(rows) == 1 and len(rows[0]) > 2:
        rows = [{"": name.strip(), "value": value} for name, value in rows[0].items()]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = [f"| {' | '.join(_cell(row.get(name)) for name in columns)} |" for row in rows[:MOST]]
    more = f"\n\nThe file has {len(rows) - MOST} more rows." if len(rows) > MOST else ""
    return "\n".join([f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}", *lines]) + more


def text(value: Any) -> str:
    """Write a number with three digits, three or more repeats as their median and range, others as they are."""
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, list) and len(value) > 2 and all(isinstance(each, float) for each in value):
        return f"{text(median(value))} ({text(min(value))} to {text(max(value))})".replace(" ", "&nbsp;")
    return ", ".join(map(text, value)) if isinstance(value, list) else str(value)


def _flat(found: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, each in found.items():
        if isinstance(each, dict):
            yield from _flat(each, f"{before}{name}: ")
        else:
            yield f"{before}{name}", each


def _cell(value: Any) -> str:
    return "" if value is None else text(value).replace("|", "\\|").replace("<", "&lt;")


def _is_nested(value: Any) -> bool:
    return isinstance(value, dict) or _is_list_of_dicts(value)


def _is_list_of_dicts(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(isinstance(each, dict) for each in value)
