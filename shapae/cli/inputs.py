"""Tables and lists that the commands read. Slow imports are inside of the functions."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any


def read_rows(data: Path, row_names: str | None = None) -> Any:
    """Read the rows of a file.

    Args:
        data: Path of the file.
        row_names: Name of the column that holds the names of the rows; None for those that the file itself names.
    """
    from shapae.tables.files import open_table
    from shapae.tables.table import read_table

    return read_table(
        data if row_names is None else open_table(data, row_names), f"rows in {data}" if row_names else "rows"
    )


def load_background(background: str, rows: Any, seed: int, row_names: str | None = None) -> Any:
    """Draw a number of rows, or load a file, see ``read_rows``."""
    from shapae.tables.background import read_background, sample
    from shapae.tables.files import open_table

    if background.isdecimal():
        return sample(rows, min(int(background), len(rows)), seed=seed)
    return read_background(background if row_names is None else open_table(background, row_names))


def read_head(head: str) -> Any:
    """Return the name of a head as it is, and import a head of the user's own, "package.module:head".

    Raises:
        ModelError: The module has no such head, or can't be imported.
    """
    from shapae.heads import HEADS
    from shapae.models.files import import_object

    module, colon, _ = head.partition(":")
    if not colon or module in HEADS or not _is_module(module):
        return head
    found = import_object(head, "head")
    return found() if isinstance(found, type) else found


def _is_module(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):  # no package has it, or no module has such a name
        return False


def split_names(names: str | None) -> list[str] | None:
    """Split names at commas."""
    return None if names is None else [name.strip() for name in names.split(",")]
