"""Checks of the names of columns."""

from collections import Counter
from collections.abc import Sequence

from shapae.errors import DataError
from shapae.utils.text import enumerate_names


def check_unique_names(names: Sequence[str], what: str, remedy: str = "") -> None:
    """Check that names are unique.

    Args:
        names: Names of the columns.
        what: Name of the table in the error message.
        remedy: Advice at the end of the error message, one sentence.

    Raises:
        DataError: Some names are repeated.
    """
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise DataError(
            f"the names of the {what} must be unique, but {enumerate_names(repeated, 'column')} came repeatedly."
            f"{remedy and ' '}{remedy}"
        )


def check_expected_names(
    names: Sequence[str], expected: Sequence[str], what: str, where: str = "explainer.feature_names"
) -> None:
    """Check that names are the expected names, in their order.

    Args:
        names: Names of the columns.
        expected: Expected names.
        what: Name of the table in the error message.
        where: Code of the expected names.

    Raises:
        DataError: Some names are missing, unexpected, or in another order.
    """
    if list(names) != list(expected):
        raise DataError(f"the columns of the {what} are {_difference(names, expected, where)}.")


def _difference(names: Sequence[str], expected: Sequence[str], where: str) -> str:
    known, given = {*expected}, {*names}
    select = f"Select them as X[{where}], or X[:, {where}] of an AnnData"
    missing, unexpected = (
        [name for name in expected if name not in given],
        [name for name in names if name not in known],
    )
    if not missing and not unexpected:
        moved = [name for name, other in zip(names, expected, strict=True) if name != other]
        order = f"in another order than expected ({enumerate_names(moved, 'column')} moved)"
        return f"{order}. {select}"
    parts = [f"without {enumerate_names(missing, 'column')}"] if missing else []
    parts += [f"with unexpected {enumerate_names(unexpected, 'column')}"] if unexpected else []
    remedy = "All of them are needed, in their order" if missing else select
    return f"{' and '.join(parts)}. {remedy}"


def numbered_features(d: int) -> list[str]:
    """Name the columns of a table without names: "feature 0" and so on."""
    return [f"feature {feature}" for feature in range(d)]
