"""Work in chunks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shapae.errors import TooLarge
from shapae.explainer.chunks import MIN_BLOCK_BYTES, cut
from shapae.utils.memory import CHUNK_BYTES, MIN_BLOCKS

SIZES = st.integers(1, 300)


@given(
    n=SIZES, b=SIZES, per_pair=st.integers(1, 50), fixed=st.integers(0, 50), result=SIZES, room=st.integers(100, 9000)
)
def test_each_pair_is_covered_once_by_chunks_that_fit(n, b, per_pair, fixed, result, room):
    blocks, parts = cut(n, b, lambda width: fixed + per_pair * width, result, room)
    assert [row for block in blocks for row in range(n)[block]] == [*range(n)]
    assert [row for part in parts for row in range(b)[part]] == [*range(b)]
    assert all(fixed + per_pair * len(range(b)[part]) <= room for part in parts)
    sizes = [len(range(n)[block]) for block in blocks]
    assert all(rows == 1 or rows * result <= room for rows in sizes)
    if fixed + per_pair * b <= room:
        assert parts == [slice(0, b)]


@pytest.mark.parametrize("n", [1, MIN_BLOCKS, MIN_BLOCKS + 1, 10 * MIN_BLOCKS, 1000])
@pytest.mark.parametrize("jobs", [1, 2, 12])
def test_rows_are_cut_into_blocks_that_can_be_shared_out(n, jobs):
    blocks, _ = cut(n, 10, lambda b: MIN_BLOCK_BYTES, 1, 2 * MIN_BLOCK_BYTES, jobs=jobs)
    most = max(MIN_BLOCKS, 4 * jobs)
    assert min(n, most / 2) <= len(blocks) <= most


def test_small_work_is_cut_for_workers_only():
    small = MIN_BLOCK_BYTES / 1024
    assert cut(1024, 10, lambda b: small, 1, 10**9) == ([slice(0, 1024)], [slice(0, 10)])
    assert len(cut(1025, 10, lambda b: small, 1, 10**9)[0]) == 2
    assert len(cut(1000, 10, lambda b: small, 1, 10**9, jobs=2)[0]) == 8
    # Else results would be copied out of the cache.
    assert len(cut(1000, 10, lambda b: small, CHUNK_BYTES // 8, 10**9)[0]) == 125


def test_a_background_that_has_to_be_there_at_once_is_not_cut():
    assert cut(2, 1000, lambda b: 50, 1, 50, jobs=2)[1] == [slice(0, 1000)]


def test_what_can_not_be_cut_small_enough_is_refused():
    with pytest.raises(TooLarge, match=r"takes about 3 kB, but there is room for 2 kB\. Raise memory=, lower n_jobs="):
        cut(5, 5, lambda b: 3000 * b, 1, 2000)
