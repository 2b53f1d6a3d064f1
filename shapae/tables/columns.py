"""Names in words, and what is said of those that come repeatedly or are not the expected ones."""

from collections import Counter
from collections.abc import Sequence

from shapae.errors import DataError
from shapae.utils.text import enumerate_names


def check_unique_names(names: Sequence[str], what: str, remedy: str = "") -> None:
    """Refuse names that are not unique.

    Args:
        names: Of columns.
        what: Whose they are, for the message.
        remedy: What to do, for the message.

    Raises:
        DataError: Some come repeatedly.
    """
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise DataError(
            f"the names of the {what} must be unique, but {enumerate_names(repeated, 'column')} came "
            f"repeatedly{remedy}."
        )


def check_expected_names(got: Sequence[str], expected: Sequence[str], what: str) -> None:
    """Refuse columns that are not the expected ones, in their order.

    Raises:
        DataError: Some are missing, unexpected, or moved.
    """
    if list(got) != list(expected):
        raise DataError(f"the columns of the {what} are {_difference(got, expected)}.")


def _difference(got: Sequence[str], expected: Sequence[str]) -> str:
    missing, extra = (
        [name for name in one if name not in {*other}] for one, other in ((expected, got), (got, expected))
    )
    if not missing and not extra:
        moved = [name for name, other in zip(got, expected, strict=True) if name != other]
        order = f"in another order than expected ({enumerate_names(moved, 'column')} moved)"
        return f"{order}; select them as X[explainer.feature_names], or X[:, explainer.feature_names] of an AnnData"
    parts = [f"without {enumerate_names(missing, 'column')}"] if missing else []
    parts += [f"with unexpected {enumerate_names(extra, 'column')}"] if extra else []
    return " and ".join(parts)
