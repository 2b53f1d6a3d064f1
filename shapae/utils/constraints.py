"""Constraints of arguments: one table of what each argument may be, and one form of message.

The name of an argument has one meaning in the whole package, so that the table goes by names. Public functions call
``check_arguments`` before any work, and ``check_optional`` for arguments that may also be None.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from shapae.errors import DataError
from shapae.utils.kinds import (
    Constraint,
    Function,
    Integer,
    Kind,
    Label,
    Name,
    Number,
    OneOf,
    Output,
    Several,
    Text,
    written,
)

COUNT, FLAG = Integer(1), Kind((bool, np.bool_), "True or False")
PATH = Kind((str, os.PathLike), "a path, such as 'results'")
NAMES = Several(Name(), "a list of names")
OUTPUTS = Several(Output(), "a name or a position, or a list of them", alone=True)
MEMBERS = Several(Label(), "a list of one name or more", least=1, ordered=False)
# Constraint of each argument by its name, for arguments that are not None.
CONSTRAINTS: dict[str, Constraint] = {
    "n_jobs": Integer(excluded=0),
    "seed": Integer(0, 2**32 - 1),
    **dict.fromkeys(("progress", "raw", "signed", "force"), FLAG),
    **dict.fromkeys(("n", "k", "count", "top", "most", "max_display", "max_outputs", "worst", "probes"), COUNT),
    **dict.fromkeys(("latents", "modules", "blocks", "size", "hidden", "drivers"), COUNT),
    **dict.fromkeys(("repeats", "sample", "permutations", "projection", "batch_size", "pairs", "d", "epochs"), COUNT),
    **dict.fromkeys(("draws", "named", "batch", "min_players", "duplicates", "unused", "faulty", "passed"), Integer(0)),
    "tolerance": Number(above=0, example="0.05"),
    "timeout": Number(above=0, example="600 seconds"),
    "start": Integer(0),
    **dict.fromkeys(("delta", "budget"), Number(above=0)),
    **dict.fromkeys(("threshold", "reference_error"), Number()),
    **dict.fromkeys(("beta", "noise"), Number(0)),
    "shift": Several(Number(), "the smallest and the largest number, (1.0, 2.0)", count=2),
    **dict.fromkeys(("row", "unit"), Label()),
    "factory": Kind((str, Callable), "a function, or its name, 'package.module:name'"),
    "device": Kind((str, int, torch.device), "a device, such as 'cpu' or 'cuda:0'"),
    "quantile": Number(0, 1, example="0.99"),
    "clip": Number(above=0, most=1, example="0.99"),
    "feature_names": NAMES,
    **dict.fromkeys(("keep_aside", "controls"), Several(Name(), "a name, or a list of names", alone=True)),
    **dict.fromkeys(("units", "features", "chosen"), OUTPUTS),
    "feature": Output(),
    "q": Number(0, 100),
    "variance": Several(Number(above=0), "a positive number, or a list of one for each feature", alone=True),
    "methods": Several(Text(), "a name, or a list of names", alone=True),
    "labels": Several(Kind(object, "a label"), "a list of labels"),
    "function": Function(),
    "groups": Kind(Mapping, "a dict from names to lists of features, such as {'colour': ['red', 'blue']}"),
    "separator": Text(1),
    "source": OneOf("input", "latent"),
    "target": OneOf("moving", "fixed"),
    "correlation": OneOf("spearman", "pearson"),
    **dict.fromkeys(("title", "verb", "label", "layer", "output", "name", "measure", "reference", "format"), Text()),
    **dict.fromkeys(("folder", "resume", "path"), PATH),
    "fit": Function(),
}


def check_arguments(**given: Any) -> None:
    """Check arguments against the table, before any work.

    Args:
        **given: The arguments, by their names.

    Raises:
        DataError: One of them is not what the table says, or is None.

    >>> check_arguments(n_jobs=-1, seed=0)
    >>> check_arguments(n_jobs=1.5)
    Traceback (most recent call last):
    shapae.errors.DataError: n_jobs must be an integer other than 0, got 1.5.
    """
    for name, value in given.items():
        check_argument(name, value, CONSTRAINTS[name])


def check_optional(**given: Any) -> None:
    """Check arguments that may be None; see ``check_arguments``.

    Raises:
        DataError: One of them is neither None nor what the table says.
    """
    for name, value in given.items():
        if value is not None:
            check_argument(name, value, CONSTRAINTS[name], ", or None")


def check_argument(name: str, value: Any, constraint: Constraint, otherwise: str = "") -> None:
    """Check an argument against a constraint of its own, such as a bound that another argument sets.

    Args:
        name: Name of the argument.
        value: The argument.
        constraint: The values that it may have.
        otherwise: Words for other values that were accepted before.

    Raises:
        DataError: It has another value.
    """
    if not constraint.accepts(value):
        raise DataError(f"{name} must be {constraint}{otherwise}, got {written(value)}.")
