"""Folders of anomalies: tables, sentences, pictures and a summary."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from shapae.analysis.anomalies.explain import explain_anomalies
from shapae.analysis.anomalies.result import Anomalies
from shapae.cli.output import Files, Pictures, Report
from shapae.cli.source import Source
from shapae.errors import DataError, NamesWarning
from shapae.explainer.explainer import Explainer
from shapae.heads import ReconstructionError
from shapae.tables.aside import keep_aside
from shapae.tables.background import Background, sample
from shapae.tables.files import is_path, load_table
from shapae.tables.groups import one_hot
from shapae.tables.table import Table, read_table
from shapae.utils.context import ignored_warnings
from shapae.utils.records import plain
from shapae.utils.text import enumerate_names, escape_formula, one_line
from shapae.utils.version import __version__

TABLE, SENTENCES, SUMMARY, PAGE = "anomalies", "sentences.txt", "summary.json", "report.html"
# Largest number of pictures.
PICTURES = 1000
# Separators of the names of one-hot columns that are tried, in this order.
SEPARATORS = ("=", "_", ":", ".")


def _picture(place: int) -> str:
    return f"anomaly_{place + 1:03d}.png"


# Patterns of all files: only these may be replaced by new results.
NAMES = (f"{TABLE}.csv", f"{TABLE}.parquet", SENTENCES, SUMMARY, PAGE, "anomaly_[0-9]*.png")


@dataclass(frozen=True, eq=False)
class Tables:
    """Files of rows.

    Attributes:
        background: File of normal rows; None if there is none.
        aside: Columns that are no features; the file of normal rows need not have them.
        row_names: Column of all files that names the rows; None for those that the files themselves name.
    """

    background: Path | None
    aside: Sequence[str]
    row_names: str | None

    def open(self, path: Path) -> Any:
        """Load a file if its rows are named by a column; otherwise return its path."""
        return path if self.row_names is None else load_table(path, self.aside, self.row_names)

    def read_normal(self) -> Table | None:
        """Read the normal rows, without the columns that are no features; None if there is no file of them."""
        if self.background is None:
            return None
        given = self.open(self.background)
        features, _ = keep_aside(given, self.aside, where_present=True)
        return read_table(features, "background" if is_path(features) else f"background in {self.background}")

    def refuse_text(self, path: Path) -> None:
        """Check that the columns of a file that are not kept aside hold numbers.

        Raises:
            DataError: Some columns hold text or times; they are named.
        """
        with ignored_warnings(NamesWarning):  # which were issued when the file was read
            table = load_table(path, self.aside, self.row_names)
        features, _ = keep_aside(table, self.aside, where_present=True)
        if isinstance(features, pd.DataFrame):
            text = [*features.select_dtypes(exclude=["number", "bool"]).columns.astype(str)]
            if text:
                raise DataError(
                    f"{path} has no numbers in {enumerate_names(text, 'column')}. Keep columns that are no features "
                    f"aside: --keep-aside '{','.join([*self.aside, *text])}'. If the model was trained on them as "
                    f"one-hot columns, the file must hold these columns instead."
                )


@dataclass(frozen=True, eq=False)
class Job:
    """A model and its normal rows.

    Attributes:
        source: The model, or a saved explainer.
        tables: Files of rows.
        loss: Name of the loss.
        groups: "one-hot", or a JSON file of groups; None for single features.
        count: Number of normal rows that are the background of the explainer, drawn at random.
        settings: Other settings of the explainer, among them the seed.
    """

    source: Source
    tables: Tables
    loss: str
    groups: str | None
    count: int
    settings: dict[str, Any]

    def find(self, data: Path, choice: dict[str, Any]) -> tuple[Anomalies, Explainer]:
        """Find the anomalies among the rows in a file.

        Args:
            data: File of rows.
            choice: Arguments of ``explain_anomalies``.

        Returns:
            The anomalies, and the explainer of their scores.

        Raises:
            DataError: A table can't be explained; columns of text are named first.
        """
        tables = self.tables
        try:
            explainer, normal = self._load()
            rows, aside = tables.open(data), tables.aside
            return explain_anomalies(explainer, rows, normal=normal, keep_aside=aside, **choice), explainer
        except DataError:
            for path in filter(None, (tables.background, data)):
                tables.refuse_text(path)
            raise

    def _load(self) -> tuple[Explainer, Background | None]:
        normal = self.tables.read_normal()
        if self.source.saved is not None:
            return self.source.load(self.settings), None if normal is None else Background(normal)
        assert normal is not None
        drawn = sample(normal, min(self.count, len(normal)), seed=self.settings["seed"])
        groups = None if self.groups is None else _read_groups(self.groups, normal)
        head = "reconstruction_error" if self.loss == "mse" else ReconstructionError(self.loss)
        return Explainer(self.source.load_model(), drawn, head=head, groups=groups, **self.settings), Background(normal)


def _read_groups(groups: str, normal: Any) -> Any:
    """Find one-hot columns, or read groups from a file.

    Raises:
        DataError: There are no one-hot columns, or the file can't be read.
    """
    if groups == "one-hot":
        found = next(filter(None, (one_hot(normal, separator=each) for each in SEPARATORS)), None)
        if found is None:
            raise DataError(
                "no columns are one-hot: called as colour_red and colour_blue, or goods=fuel and goods=rent, with 0 "
                "and 1 only, and a single 1 in each row. Give a JSON file of groups: --groups groups.json."
            )
        return found
    try:
        return json.loads(Path(groups).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"can't read groups from {groups}: {one_line(error)}. Give one-hot, or a JSON file such as "
            f'{{"colour": ["red", "blue"]}}.'
        ) from error


def report_anomalies(anomalies: Anomalies, *, pictures: int, explainer: Explainer | None = None) -> Report:
    """Report on anomalies: the table as .csv and .parquet, the sentences, a summary, some pictures and a page.

    Args:
        anomalies: Any number of anomalies, also none.
        pictures: Largest number of pictures.
        explainer: The explainer that checks the values on the page; None for no page. There is no page on no anomalies.
    """
    files: Files = {f"{TABLE}.csv": partial(_write_csv, anomalies)}
    if find_spec("pyarrow"):
        files[f"{TABLE}.parquet"] = partial(_write_parquet, anomalies)
    lines = {SENTENCES: lambda: "".join(f"{line}\n" for line in anomalies.sentences())}
    lines |= {SUMMARY: lambda: f"{json.dumps(plain(summarize(anomalies)), indent=1, ensure_ascii=False)}\n"}
    files |= {name: partial(_write_text, make) for name, make in lines.items()}
    if explainer is not None and len(anomalies):
        files[PAGE] = partial(anomalies.explanation.report, explainer=explainer, title=str(anomalies).splitlines()[0])
    drawn: Pictures = {
        _picture(place): partial(anomalies.plot, place) for place in range(min(pictures, len(anomalies)))
    }
    return Report(files, drawn)


def _write_text(make: Callable[[], str], path: Path) -> None:
    path.write_text(make(), encoding="utf-8", errors="backslashreplace")


def _write_csv(anomalies: Anomalies, path: Path) -> None:
    escaped = _table(anomalies).rename(columns=escape_formula).map(_escape_cell)
    escaped.to_csv(path, index=False, encoding="utf-8", errors="backslashreplace")


def _write_parquet(anomalies: Anomalies, path: Path) -> None:
    table = _table(anomalies)
    texts = table.select_dtypes(exclude=["number", "bool", "datetime", "datetimetz"])
    table[texts.columns] = texts.map(_as_text)
    table.to_parquet(path, index=False)


def _table(anomalies: Anomalies) -> pd.DataFrame:
    table = anomalies.table.reset_index()
    kept = table.columns[2 : 2 + anomalies.aside.shape[1]]
    return table[["row", *kept, "feature", *table.columns[2 + len(kept) :]]]


def _escape_cell(cell: Any) -> Any:
    """Put an apostrophe before text that a spreadsheet would run as a formula; text of a number stays."""
    if not isinstance(cell, str):
        return cell
    try:
        float(cell)
    except ValueError:
        return escape_formula(cell)
    return cell


def _as_text(cell: Any) -> str | None:
    """Convert a cell of a column of several types to text, as Parquet needs it; missing cells stay missing."""
    if cell is None or (np.ndim(cell) == 0 and pd.isna(cell)):
        return None
    return str(cell).encode(errors="backslashreplace").decode()  # halves of surrogate pairs are no UTF-8


def summarize(anomalies: Anomalies) -> dict[str, Any]:
    """Summarize a run in numbers, for programs."""
    return {
        "anomalies": anomalies.found,
        "explained": len(anomalies),
        "limit": anomalies.limit,
        "median score of normal rows": anomalies.median,
        "units of the readings": anomalies.units,
        "made_by": anomalies.explanation.made_by,
        "shapae": __version__,
    }


def describe(anomalies: Anomalies, files: Sequence[str], out: Path) -> str:
    """Describe a run in words: the number of anomalies, their sentences and the files that were written to ``out``."""
    others = [] if f"{TABLE}.parquet" in files else ["for anomalies.parquet, pip install 'shapae[parquet]'"]
    return "\n".join([str(anomalies), *others, f"wrote {', '.join(files)} to {out}"])
