"""Averages in parts are averages of the whole."""

from functools import reduce
from operator import add

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from shapae.utils.moments import Moments

NUMBERS = st.floats(-1e6, 1e6)
parts = st.lists(st.integers(1, 5), min_size=1, max_size=6).flatmap(
    lambda sizes: st.tuples(*(arrays(float, (size, 2, 3), elements=NUMBERS) for size in sizes))
)


def moments(draws, *, spread=True):
    """(count, d, k) -> the moments over the first axis."""
    return Moments(len(draws), draws.mean(axis=0), draws.var(axis=0) * len(draws) if spread else None)


@given(parts)
def test_parts_merge_to_the_whole_whatever_their_sizes(parts):
    got, whole = reduce(add, map(moments, parts)), np.concatenate(parts)
    scale = max(1, np.abs(whole).max())
    assert got.count == len(whole)
    np.testing.assert_allclose(got.mean, whole.mean(axis=0), rtol=0, atol=1e-12 * scale)
    np.testing.assert_allclose(got.sum_of_squares, whole.var(axis=0) * len(whole), rtol=1e-9, atol=1e-9 * scale**2)
    if len(whole) > 1:
        want = whole.std(axis=0, ddof=1) / np.sqrt(len(whole))
        np.testing.assert_allclose(got.standard_error, want, rtol=1e-6, atol=1e-6 * scale)


def test_a_spread_that_one_part_does_not_know_is_not_known():
    known, unknown = moments(np.ones((3, 1, 1))), moments(np.ones((2, 1, 1)), spread=False)
    for both in (known + unknown, unknown + known):
        assert both.count == 5
        assert both.sum_of_squares is None
        assert both.standard_error is None


def test_one_draw_has_no_standard_error():
    assert moments(np.ones((1, 2, 3))).standard_error is None


def test_a_large_mean_does_not_drown_a_small_spread():
    draws = 1e8 + np.arange(6.0).reshape(6, 1, 1)
    got = reduce(add, (moments(draw[None]) for draw in draws))
    assert got.sum_of_squares.item() == pytest.approx(17.5)
