"""Tables to download: CSV in links, which need neither a server nor JavaScript."""

from base64 import b64encode
from dataclasses import dataclass
from typing import Any

import pandas as pd

from shapae.report.words import clean
from shapae.utils.text import escape_formula

# Largest number of characters of a name in a file, and smallest number of bytes of a line.
LONGEST, SHORTEST_LINE = 200, 4


@dataclass(frozen=True, eq=False)
class Download:
    """A table as a link.

    Attributes:
        file: Name of the file.
        link: The file, as a data: address.
        lines: Number of lines in it.
        total: Number of lines of the table.
    """

    file: str
    link: str
    lines: int
    total: int


def csv_link(table: pd.DataFrame, file: str, most_bytes: int) -> Download:
    """Write a table as CSV; the last lines are left out if there is no room.

    Names that a spreadsheet would run as formulas have an apostrophe, and hidden characters are replaced.

    Args:
        table: Its index has a name.
        file: Name of the file.
        most_bytes: Largest number of bytes.
    """
    part = table.iloc[: most_bytes // SHORTEST_LINE]
    names, columns = ([_cell(name) for name in each] for each in (part.index, part.columns))
    part = part.set_axis(columns, axis=1).set_axis(names).map(_cell)
    text = part.to_csv(index_label=_cell(table.index.name), float_format="%.6g")
    head, *lines = text.encode().splitlines(keepends=True)
    kept, size = [head], len(head)
    for line in lines:
        size += len(line)
        if size > most_bytes:
            break
        kept.append(line)
    link = f"data:text/csv;charset=utf-8;base64,{b64encode(b''.join(kept)).decode()}"
    return Download(file, link, len(kept) - 1, len(table))


def _cell(cell: Any) -> Any:
    return cell if isinstance(cell, int | float) else escape_formula(clean(cell, LONGEST))
