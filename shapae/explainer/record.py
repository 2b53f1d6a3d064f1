"""The record of a result: how it was made, and with which versions of the libraries and of Python."""

import platform
import sys
import time
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shapae.backends.base import Backend
from shapae.backends.game import Game
from shapae.heads.score import Score
from shapae.utils.version import __version__

# Meanings of the standard errors of an explanation.
OF_SAMPLES, OVER_BACKGROUNDS, OVER_DRAWS = "of the samples", "over backgrounds", "over the draws of the head"
LIBRARIES = ("torch", "shap", "numpy")


@cache  # a look-up takes ten milliseconds
def _versions() -> dict[str, str]:
    libraries = {name: _version(name) for name in LIBRARIES}
    return {"shapae": __version__} | libraries | {"python": platform.python_version()}


def _version(name: str) -> str:
    """Look up a version; a library without metadata says it itself, or it is unknown: no result is lost over it."""
    try:
        return version(name)
    except PackageNotFoundError:
        return str(getattr(sys.modules.get(name), "__version__", "unknown"))


def versions() -> dict[str, str]:
    """Look up all versions, by name."""
    return dict(_versions())


def describe_backend(backend: Backend, game: Game, used: NDArray[Any] | None = None) -> dict[str, Any]:
    """Describe the quantity that the values of a backend estimate, by which samples, and what their errors mean.

    Args:
        backend: The backend that attributed the rows.
        game: Its game.
        used: (n,), number of samples that each row took until it met a tolerance; None for the same number each.
    """
    count: Any = backend.samples(game)
    if count and used is not None:
        count = " to ".join(map(str, sorted({int(used.min()), int(used.max())})))
    known = OF_SAMPLES if count else OVER_BACKGROUNDS
    return {
        "quantity": backend.quantity or f"values by {backend.name}",
        "samples": f"{count} {backend.unit} a row" if count else None,
        "standard errors": OVER_DRAWS if isinstance(game.score, Score) and game.score.draws else known,
    }


def describe_errors(values: Any, errors: Any, record: dict[str, Any]) -> str:
    """Describe in one line the quantity that values estimate, and how sure they are.

    Args:
        values: Values in any shape.
        errors: Their standard errors; None where they are not known.
        record: See ``describe_backend``; an empty record gives an empty line.
    """
    parts = [record[name] for name in ("quantity", "samples") if record.get(name)]
    largest = np.abs(values).max(initial=0)
    if parts and errors is not None and largest > 0 and np.any(errors):  # those of an enumeration are zero
        over = "" if record["standard errors"] == OF_SAMPLES else f" {record['standard errors']}"
        parts.append(f"standard errors{over} up to {np.max(errors) / largest:.2%} of the largest value")
    return ", ".join(parts)


def lines_on_errors(values: Any, errors: Any, record: dict[str, Any]) -> list[str]:
    """Describe in two lines the quantity that values estimate, and how sure they are; see ``describe_errors``."""
    quantity, _, sure = describe_errors(values, errors, record).partition(", standard errors")
    return [quantity, f"standard errors{sure}" if sure else ""]


def make_record(start: float, optional: dict[str, Any], **settings: Any) -> dict[str, Any]:
    """Make the record of a result.

    Args:
        start: Time at which the work began, by ``time.perf_counter``.
        optional: Further entries, which are left out where they are None.
        settings: Entries that every record has.
    """
    entries = settings | {"versions": versions(), "seconds": round(time.perf_counter() - start, 3)}
    return entries | {name: each for name, each in optional.items() if each is not None}
