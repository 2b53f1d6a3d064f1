"""Averages in parts are averages of the whole."""

from functools import reduce
from operator import add

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from shapae.utils.moments import Moments, concatenate

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


def test_rows_that_end_after_different_numbers_of_items_are_put_together():
    """Each row is as if it had been averaged by itself."""
    items = np.random.default_rng(0).normal(size=(20, 5, 2, 3))
    result = Moments.empty(5, moments(items))
    for rows, count in ((np.array([1, 3]), 4), (np.array([0]), 9), (np.array([2, 4]), 20)):
        result.put(rows, moments(items[:count]).select(rows))
    for row, count in enumerate((9, 4, 20, 4, 20)):
        alone = moments(items[:count]).select([row])
        assert result.count[row] == count
        np.testing.assert_array_equal(result.mean[row], alone.mean[0])
        np.testing.assert_allclose(result.standard_error[row], alone.standard_error[0], rtol=1e-12)


@pytest.mark.parametrize("axis", [0, 1])
def test_rows_and_outputs_are_concatenated(axis):
    items = np.random.default_rng(0).normal(size=(7, 4, 3))
    whole, parts = moments(items), [moments(part) for part in np.split(items, [1], axis=axis + 1)]
    got = concatenate(parts, axis)
    np.testing.assert_array_equal(got.mean, whole.mean)
    np.testing.assert_array_equal(got.standard_error, whole.standard_error)


def test_a_spread_is_known_only_if_all_parts_know_theirs():
    items = np.ones((3, 2, 1))
    assert concatenate([moments(items), moments(items, spread=False)], 0).sum_of_squares is None
    with pytest.raises(
        ValueError, match=r"only moments of equal counts can be concatenated, got \[\(2, 2\), \(3, 3\)\]"
    ):
        concatenate([moments(items), moments(items[:2])], 0)


def test_groups_without_a_spread_tell_it_by_their_differences():
    """Groups of equal size: the standard error of the mean of their means."""
    items = np.random.default_rng(0).normal(size=(6, 10, 1, 1))
    total = reduce(add, (moments(group, spread=False).as_group() for group in items))
    want = items.mean(axis=1).std(axis=0, ddof=1) / np.sqrt(6)
    np.testing.assert_allclose(total.standard_error, want, rtol=1e-12)


def of_rows(items):
    """(count, n, d, k) -> moments over the first axis, with those of the sums over the features."""
    return concatenate([Moments.of_samples(items[:, row]) for row in range(items.shape[1])], axis=0)


def sums_alone(items):
    return moments(items.sum(axis=2, keepdims=True))


def assert_same_sums(got, want):
    np.testing.assert_allclose(got.sums.mean, want.mean, rtol=0, atol=1e-12)
    np.testing.assert_allclose(got.sums.standard_error, want.standard_error, rtol=1e-10)


def test_sums_over_features_have_the_spread_of_the_samples_whatever_is_done_with_them():
    items = np.random.default_rng(0).normal(size=(20, 5, 4, 3))
    items[..., 1, :] -= 0.9 * items[..., 0, :]  # so that sums spread less than their terms say
    whole = of_rows(items)
    np.testing.assert_allclose(whole.standard_error, moments(items).standard_error, rtol=1e-10)
    assert_same_sums(whole, sums_alone(items))
    assert_same_sums(of_rows(items[:7]) + of_rows(items[7:]), sums_alone(items))
    assert_same_sums(whole.select([1, 3]), sums_alone(items[:, [1, 3]]))
    assert_same_sums(concatenate([of_rows(items[..., :1]), of_rows(items[..., 1:])], axis=2), sums_alone(items))
    result = Moments.empty(5, whole)
    for rows, count in ((np.array([1, 3]), 4), (np.array([0]), 9), (np.array([2, 4]), 20)):
        result.put(rows, of_rows(items[:count]).select(rows))
    np.testing.assert_allclose(result.sums.standard_error[0], sums_alone(items[:9, :1]).standard_error[0], rtol=1e-10)
    np.testing.assert_allclose(result.sums.standard_error[3], sums_alone(items[:4, 3:4]).standard_error[0], rtol=1e-10)


def test_sums_that_are_not_known_have_the_sum_of_the_standard_errors_and_never_less_than_their_own():
    items = np.random.default_rng(0).normal(size=(20, 5, 4, 3))
    bound = moments(items).with_sums().sums.standard_error
    np.testing.assert_allclose(bound, moments(items).standard_error.sum(axis=1, keepdims=True), rtol=1e-12)
    assert (bound >= sums_alone(items).standard_error).all()
    assert moments(items, spread=False).with_sums().sums is None
    assert (moments(items, spread=False) + of_rows(items)).sums is None


def test_the_error_of_a_mean_over_dependent_outputs_is_at_most_the_mean_of_their_errors():
    items = np.random.default_rng(0).normal(size=(50, 5, 4, 1)) * np.array([1.0, 2.0, 3.0])
    averaged, alone = of_rows(items).average_outputs().sums, sums_alone(items.mean(axis=3, keepdims=True))
    np.testing.assert_allclose(averaged.mean, alone.mean, rtol=0, atol=1e-12)
    np.testing.assert_allclose(averaged.standard_error, alone.standard_error, rtol=1e-10)
