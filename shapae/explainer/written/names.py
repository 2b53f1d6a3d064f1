"""Names in files: of one type for all blocks, and text that a file can hold."""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from shapae.errors import DataError
from shapae.explainer.files import plain_name


def are_of_one_type(names: Any) -> bool:
    """Return whether names of rows make one column of numbers: all are integers of 64 bits, or all are floats.

    >>> are_of_one_type([1, 2]), are_of_one_type([1, "a"]), are_of_one_type([2**70]), are_of_one_type(None)
    (True, False, False, True)
    """
    if names is None:
        return True
    plain: list[Any] = [plain_name(name) for name in pd.Index(names)]
    kinds = {*map(type, plain)}
    return kinds in ({float}, {bool}) or (kinds == {int} and -(2**63) <= min(plain) <= max(plain) < 2**63)


def check_text(names: Mapping[str, Iterable[Any] | None]) -> None:
    """Check that names can be written.

    Args:
        names: Names, by what they are names of.

    Raises:
        DataError: One of them is not text in UTF-8.
    """
    for what, each in names.items():
        for name in () if each is None else map(str, each):
            try:
                name.encode()
            except UnicodeEncodeError as error:
                raise DataError(
                    f"the name {ascii(name)} among those of the {what} can't be written: it holds characters that "
                    f"UTF-8 does not have. Give it another name."
                ) from error
