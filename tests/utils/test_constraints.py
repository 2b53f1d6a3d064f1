"""Constraints of arguments: which values they accept, and the one form of message."""

from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
import torch

from shapae.errors import DataError
from shapae.utils.constraints import CONSTRAINTS, MEMBERS, check_argument, check_arguments, check_optional
from shapae.utils.kinds import Function, Integer, Label, Name, Number, OneOf, Output, Several, Text, plain, written

NAN, INF = float("nan"), float("inf")
ACCEPTED = {
    "integers": (
        Integer(1, 9),
        [1, 9, np.int8(3), np.uint64(9)],
        [0, 10, 1.0, "1", True, None, np.bool_(True), 10**400],
    ),
    "all but 0": (Integer(excluded=0), [-1, 1, np.int64(-2)], [0, np.int64(0), 0.0, False]),
    "numbers": (
        Number(0, 1),
        [0, 1, 0.5, np.float32(0.5), np.float16(1), np.int64(1)],
        [-1e-9, 1.1, NAN, INF, True, "0"],
    ),
    "positive numbers": (Number(above=0), [1e-300, 10**9, np.float32(3e38)], [0, -1, NAN, INF, -INF, 10**400, 1j]),
    "others that count": (Number(), [-1.5], [Fraction(1, 2), np.array(1.0), torch.tensor(1.0), [1.0], None]),
    "texts": (Text(1), ["a", np.str_("b")], ["", b"a", 5, None]),
    "options": (OneOf("a", "b"), ["a", np.str_("b")], ["c", "", ["a"], None, np.array(["a"])]),
    "functions": (Function(), [len, lambda: 0, torch.nn.Identity()], [int, "len", None]),
    "names": (Several(Name(), ""), [["a"], ("a", 1), pd.Index(["a"]), np.array(["a"]), range(2), {"a": 1}.keys()], []),
    "no names": (Several(Name(), ""), [], ["ab", {"a"}, {"a": 1}, [b"a"], [None], [NAN], np.eye(2), iter("ab"), 5]),
    "outputs": (
        Several(Output(), "", alone=True),
        ["a", 0, -1, [0, "a"], torch.arange(2), np.arange(2)],
        [0.5, [0.5], True],
    ),
    "no outputs": (
        Several(Output(), "", alone=True),
        [],
        [torch.ones(2), torch.ones(2, dtype=bool), np.array([True]), {0}],
    ),
    "members": (MEMBERS, [["a"], {"a"}, ("a", 5), frozenset("ab")], [[], "a", 5, None, [["a"]], {"a": 1}]),
    "two of them": (Several(Number(), "", count=2), [(1, 2), [0.5, 1]], [(1,), (1, 2, 3), 1]),
    "labels": (Label(), ["a", 0, 1.5, ("a", 1), pd.Timestamp(0)], [None, True, [0], np.arange(2), torch.arange(2), {}]),
}


@pytest.mark.parametrize("kind", ACCEPTED)
def test_a_kind_accepts_these_values_and_no_others(kind):
    constraint, accepted, refused = ACCEPTED[kind]
    assert [each for each in accepted if not constraint.accepts(each)] == []
    assert [each for each in refused if constraint.accepts(each)] == []


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("constraint", [Number(), Number(above=0), Number(0, 10)])
def test_numbers_of_each_precision_are_compared_without_warnings(constraint, dtype):
    assert constraint.accepts(dtype(3))
    assert not constraint.accepts(dtype("nan"))
    assert not constraint.accepts(dtype("inf"))


def test_every_message_has_one_form():
    with pytest.raises(DataError, match=r"^n_jobs must be an integer other than 0, or None, got 1\.5\.$"):
        check_optional(n_jobs=1.5)
    with pytest.raises(DataError, match=r"^seed must be an integer from 0 to 2\*\*32 - 1, got None\.$"):
        check_arguments(seed=None)
    with pytest.raises(DataError, match=r"^k must be an integer from 1 to 5, got 'a'\.$"):
        check_argument("k", "a", Integer(1, 5))


def test_none_is_accepted_where_it_is_optional_only():
    check_optional(**dict.fromkeys(CONSTRAINTS))
    for name in CONSTRAINTS:
        if name != "labels":
            with pytest.raises(DataError, match=f"^{name} must be .*, got None"):
                check_arguments(**{name: None})


def test_the_first_wrong_argument_is_named():
    with pytest.raises(DataError, match="^top must be"):
        check_arguments(seed=0, top=0, probes=0)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("x" * 10**5, "'" + "x" * 56 + "..."),
        (["a", 1.5, None], "['a', 1.5, None]"),
        ([object()] * 3, "[object, object, object]"),
        ([10**5000], "[an integer of 16610 bits]"),
        (np.float32(0.5), "0.5"),
        (np.zeros((2, 3)), "an array of shape (2, 3)"),
        (torch.zeros(2), "Tensor"),
        (pd.DataFrame({"a": [1]}), "DataFrame"),
        (dict, "the class dict"),
        (NAN, "nan"),
    ],
)
def test_values_are_written_in_a_few_words(value, text):
    assert written(value) == text


def test_plain_numbers_are_those_of_python():
    assert [type(plain(each)) for each in (np.int64(1), np.float32(1), np.bool_(True), 1, None)] == [
        *(int, float, bool, int, type(None))
    ]
