"""Faults of threads: several explain one model, which is in train mode, or writes into itself, or raises."""

from functools import partial

import numpy as np
import torch
from joblib import Parallel, delayed

from shapae import Explainer, backends
from tests.cases import D, Nested, Question, build, snapshot, table
from tests.faults.table import Fault


class Counting(Nested):
    """Counts its forward passes, and keeps the last rows."""

    def __init__(self):
        super().__init__()
        self.register_buffer("count", torch.zeros(1))
        self.last, self.calls = None, 0

    def forward(self, rows):
        self.count += len(rows)
        self.last, self.calls = rows, self.calls + 1
        return super().forward(rows)


class Refusing(Question):
    """Refuses some rows by an exception of its own."""

    def forward(self, rows):
        if (rows > 5).any():
            raise LookupError("a number above 5")
        return super().forward(rows)


def _together(make, backend, folder):
    """Explain in two threads at once a model in train mode: the values of one alone, and the model as it was."""
    want = Explainer(build(make), table(4), backend=backend)(table(2, seed=1)).values
    model = build(make).train()
    before, explainer = snapshot(model), Explainer(model, table(4), backend=backend)
    for each in Parallel(2, "threading")(delayed(lambda: explainer(table(2, seed=1)).values)() for _ in range(2)):
        np.testing.assert_array_equal(each, want)
    assert snapshot(model) == before


def _refused(backend, folder):
    """Explain rows of which the model refuses row 5."""
    rows = np.minimum(table(9, seed=1), 4)
    rows[5, D - 1] = 6
    model = build(Refusing).train()
    before = snapshot(model)
    try:
        Explainer(model, np.minimum(table(4), 4), backend=backend)(rows)
    finally:
        assert snapshot(model) == before


CASES = {"train mode": Nested, "a model that counts": Counting}
FAULTS = [
    *(
        Fault(
            "threads",
            f"{name}, two threads, {backend}",
            partial(_together, make, backend),
            None,
            "the values of one alone, the model as it was",
        )
        for name, make in CASES.items()
        for backend in backends.names()
    ),
    *(
        Fault(
            "threads",
            f"an exception of the model for one row, {backend}",
            partial(_refused, backend),
            "raised LookupError for row 5, in Score.*a number above 5",
            "refused, the model as it was",
        )
        for backend in backends.names()
    ),
]
