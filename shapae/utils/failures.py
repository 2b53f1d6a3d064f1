"""Exceptions that a user's model or head raises: where, and for which row."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import torch
from torch import nn

from shapae.errors import ModelError, ShapaeError
from shapae.utils.text import one_line
from shapae.utils.torch_trace import ModuleNames

# Exceptions that are no fault of the model: of the device, and those that a user makes of warnings.
PASSED_ON = (MemoryError, torch.cuda.OutOfMemoryError, Warning)

# Start of the messages of this context.
START = "the model or the head raised"


@contextmanager
def model_failures(
    function: Any, run: Callable[[slice], Any] | None = None, n: int = 0, *, start: int = 0, named: str = "row {}"
) -> Iterator[None]:
    """Turn an exception that a model or head raises inside into a ModelError, from that exception.

    Args:
        function: The module that runs, or a method of it.
        run: Function that runs a slice of the n rows again; it is used to find a row that fails. None if rows are not
            known.
        n: Number of rows.
        start: Number of the first row.
        named: Name of a row, with braces for its number.

    Raises:
        ModelError: The model or the head raised another exception than one of shapae.
    """
    try:
        yield
    except Exception as error:
        known = isinstance(error, ShapaeError) and str(error).startswith(START)  # of this context, without a row
        cause = error.__cause__ if known and run is not None else error
        if not isinstance(cause, Exception) or isinstance(cause, (ShapaeError, *PASSED_ON)):
            raise
        place = _place(function, cause.__traceback__)
        if place is None:
            raise
        row = None if run is None else first_failing(run, n)
        rows = "" if row is None else f" for {named.format(start + row)}"
        raise ModelError(
            f"{START} {type(cause).__name__}{rows}, in {place}: {one_line(cause).rstrip('.')}. "
            f"All rows, and their mixtures, must get a score: leave out the rows that have none, or return a number."
        ) from cause


def _place(function: Any, traceback: TracebackType | None) -> str | None:
    """Return the name of the innermost module that was running; None if none was."""
    frames = []
    while traceback is not None:
        frames.append(traceback.tb_frame)
        traceback = traceback.tb_next
    modules = (frame.f_locals.get("self") for frame in reversed(frames))
    module = next((each for each in modules if isinstance(each, nn.Module)), None)
    return None if module is None else ModuleNames(function).name(module)


def first_failing(run: Callable[[slice], Any], n: int) -> int | None:
    """Find a row that fails by itself, by halves; None if none does."""
    low, high = 0, n
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _fails(run, slice(low, middle)) else (middle, high)
    return low if _fails(run, slice(low, high)) else None


def _fails(run: Callable[[slice], Any], rows: slice) -> bool:
    try:
        run(rows)
    except Exception:  # of any kind: the first one is reported
        return True
    return False
