"""The first line of a text file: names of columns, or a row."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from shapae.errors import DataError
from shapae.tables.columns import check_unique_names

# Words for missing numbers, in lower case.
MISSING = {"na", "n/a", "nan", "null", "none", "#n/a", "<na>", "inf", "-inf"}


def check_headings(names: Sequence[str], where: str, *, is_quoted: bool) -> None:
    """Check that the first line of a text file holds unique names of columns, and not a row.

    Args:
        names: Fields of the first line.
        where: Path of the file.
        is_quoted: Whether these fields are in quotes, so that numbers are names.

    Raises:
        DataError: Some names are repeated, or the line may be a row: it holds numbers that are no counted names.
    """
    by_hand = f"pd.read_csv({where!r}, header=None)"
    remedy = f"Rename them. If the first line is a row, give {by_hand}."
    check_unique_names([name for name in names if name], f"columns in {where}", remedy)
    if not is_quoted and _may_be_row(names):
        raise DataError(
            f"the first line of {where} holds numbers, so that it may be a row or names of columns. If it is a row, "
            f"put a line of names before it, or give the table without names: {by_hand}. If these are names, put them "
            f"in quotes."
        )


def _may_be_row(names: Sequence[str]) -> bool:
    """Return whether all fields, apart from the name of a row, are numbers that neither count nor go up in steps."""
    fields = (
        "\0".join(name.strip().lower() for name in names).rstrip("\0").split("\0")
    )  # also with separators at the end
    numbers = pd.to_numeric(pd.Series(fields, dtype=object), errors="coerce").to_numpy(dtype=float)
    is_number = np.isfinite(numbers) | np.isin(fields, [*MISSING])
    if not is_number[1:].all() or not np.isfinite(numbers[1:]).any():
        return len(fields) == 1 and bool(is_number.all())
    has_corner = not is_number[0]  # the name of the column of row names
    return not _are_counted(numbers[1:] if has_corner else numbers, has_corner)


def _are_counted(numbers: "np.ndarray[tuple[int], np.dtype[np.float64]]", has_corner: bool) -> bool:
    """Return whether numbers are names: 0, 1, 2 or 1, 2, 3; in equal steps; or increasing beside a column of names."""
    steps = np.diff(numbers)
    if has_corner:
        return bool((steps > 0).all())
    counted = numbers[0] in (0, 1) and (steps == 1).all()
    even = len(numbers) > 2 and steps[0] > 0 and (steps == steps[0]).all() and (numbers % 1 == 0).all()
    return bool(counted or even)
