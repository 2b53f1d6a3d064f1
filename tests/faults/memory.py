"""Faults of memory: a bound that is too small is refused before the work, with the bytes and the call that fits."""

import re

import numpy as np
import torch
from joblib import parallel_config
from torch import nn

from shapae import Explainer
from shapae.errors import TooLarge
from shapae.utils.memory import parse_bytes
from tests.cases import Question, build, table
from tests.faults.table import Fault

REFUSED = "refused before the model sees a row, with the bytes and the call that fits"


# Largest number of rows on which a model is tried before the work.
TRIED = 100
# Number in the first column of the first row; the others follow.
FIRST = 1000


class Counting(nn.Module):
    """An autoencoder that remembers the numbers of the rows that it was given."""

    def __init__(self):
        super().__init__()
        self.model, self.seen = build(Question), set()

    def forward(self, rows):
        numbers = rows[:, 0].detach()
        self.seen.update(numbers[(numbers >= FIRST) & (numbers == numbers.round())].tolist())
        return self.model(rows)


def _refused(n, verb="__call__", by=None, **settings):
    """Explain n rows; the model has seen no more than those that are tried."""

    def cause(folder):
        model, X = Counting(), table(n)
        X[:, 0] = np.arange(FIRST, FIRST + n)
        given = () if by is None else (np.arange(n) % by,)
        try:
            getattr(Explainer(model, table(20), **settings), verb)(X, *given)
        finally:
            assert len(model.seen) <= TRIED, f"{len(model.seen)} rows were scored before the refusal"

    return cause


def _advice(n, verb="__call__", **settings):
    """Follow the advice of the refusal, both ways: fewer rows, and the larger bound, give the values of a large one."""

    def cause(folder):
        model, X = build(Question), table(n)
        want = getattr(Explainer(model, table(20), **{**settings, "memory": "1GB"}), verb)
        call = getattr(Explainer(model, table(20), **settings), verb)
        try:
            call(X)
        except TooLarge as error:
            most = int(re.search(r"at most (\d+) rows at a time", str(error))[1])
            advised = parse_bytes(re.search(r"set memory='(.*?)'", str(error))[1])
        _assert_same(call(X[:most]), want(X[:most]))
        larger = getattr(Explainer(model, table(20), **{**settings, "memory": advised}), verb)
        _assert_same(larger(X), want(X))

    return cause


def _assert_same(got, want):
    names = ("values",) if hasattr(got, "values") else ("mean_abs", "mean")
    for name in names:
        np.testing.assert_allclose(getattr(got, name), getattr(want, name), rtol=0, atol=1e-12)


def _by_threads(**settings):
    """Explain with two workers in little memory: the values of one process in much memory."""

    def cause(folder):
        model, X = build(Question), table(40)
        want = Explainer(model, table(20), **{**settings, "memory": "1GB"})(X).values
        with parallel_config(backend="threading"):
            got = Explainer(model, table(20), n_jobs=2, **settings)(X).values
        np.testing.assert_array_equal(got, want)

    return cause


def _setting(memory):
    return lambda folder: Explainer(build(Question), table(20), memory=memory)


def _garbage_of_a_refusal(folder):
    """Refuse a call; then the same explainer explains fewer rows as a fresh one does."""
    explainer = Explainer(build(Question), table(20), memory="60kB")
    try:
        explainer(table(1000))
    except TooLarge:
        pass
    want = Explainer(build(Question), table(20), memory="60kB")(table(5))
    assert torch.equal(torch.as_tensor(explainer(table(5)).values), torch.as_tensor(want.values))


CALL, AVERAGES = (
    r"the values of {} rows .* need .*B, .* only half of memory=.*set memory=",
    r"the averages over the rows",
)
SUMS = r"the scores of {} rows and the sums of their values need .*B, .*Summarize at most \d+ rows"
PAIR = r"one row against one background row takes about .*B, but there is room for .*Raise memory="
FAULTS = [
    *(
        Fault(
            "memory",
            f"{n} rows, {head}, under {memory}",
            _refused(n, head=head, memory=memory),
            CALL.format(n),
            REFUSED,
        )
        for n, head, memory in [
            (1000, "reconstruction_error", "60kB"),
            (1000, "latent:1", "60kB"),
            (300, "latent", "60kB"),
            (150, "reconstruction", "60kB"),
        ]
    ),
    *(
        Fault(
            "memory",
            f"1000 rows by {backend}",
            _refused(1000, backend=backend, memory="90kB"),
            CALL.format(1000),
            REFUSED,
        )
        for backend in ("gradient", "sampling", "coalitions", "shap_deep", "captum_gradient_shap")
    ),
    Fault(
        "memory",
        "averages of all outputs",
        _refused(3, "summarize", head="reconstruction", memory="9kB"),
        AVERAGES,
        REFUSED,
    ),
    Fault(
        "memory",
        "averages in each of 40 groups",
        _refused(80, "summarize", 40, memory="60kB"),
        r"each of 40 groups need .*Select fewer outputs or groups, or set memory=",
        REFUSED,
    ),
    Fault(
        "memory",
        "averages of two workers",
        _refused(80, "summarize", 9, memory="20kB", n_jobs=2),
        r"each of 9 groups need .*Lower n_jobs=, select fewer",
        "those of each worker are counted",
    ),
    Fault(
        "memory",
        "scores of 5000 rows, averaged",
        _refused(5000, "summarize", memory="90kB"),
        SUMS.format(5000),
        REFUSED,
    ),
    Fault("memory", "one row and two coalitions", _refused(1, backend="exact", memory="20kB"), PAIR, REFUSED),
    Fault("memory", "eight workers", _refused(1, backend="exact", memory="200kB", n_jobs=8), r"lower n_jobs=", REFUSED),
    Fault(
        "memory",
        "advice of a refusal",
        _advice(1000, memory="60kB"),
        None,
        "fewer rows, or the bound that is named, work",
    ),
    Fault(
        "memory",
        "advice for averages",
        _advice(5000, "summarize", memory="90kB"),
        None,
        "fewer rows, or the bound that is named, work",
    ),
    Fault("memory", "a call after a refusal", _garbage_of_a_refusal, None, "the values of a fresh explainer"),
    *(
        Fault(
            "memory",
            f"two threads, {head}",
            _by_threads(head=head, memory="200kB"),
            None,
            "the same bits",
        )
        for head in ("reconstruction_error", "latent", "reconstruction")
    ),
    *(
        Fault("memory", f"memory={memory!r}", _setting(memory), "memory must be a positive number of bytes", REFUSED)
        for memory in ("1PB", "lots", 0, "-3 MB")
    ),
]
