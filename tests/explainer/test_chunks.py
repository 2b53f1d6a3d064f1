"""Work in chunks."""

from itertools import groupby, product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from shapae.errors import DataError, TooLarge
from shapae.explainer.chunks import WORTH_A_BLOCK, Chunk, plan
from shapae.utils.memory import CHUNK_BYTES, MIN_BLOCKS, bytes_per_row, format_bytes, parse_bytes
from tests import cases

SIZES = st.integers(1, 300)


@given(
    n=SIZES, b=SIZES, per_pair=st.integers(1, 50), fixed=st.integers(0, 50), result=SIZES, room=st.integers(100, 9000)
)
def test_each_pair_is_covered_once_by_chunks_that_fit(n, b, per_pair, fixed, result, room):
    chunks = plan(n, b, lambda width: fixed + per_pair * width, result, room)
    pairs = [pair for c in chunks for pair in product(range(n)[c.rows], range(b)[c.background])]
    assert sorted(pairs) == list(product(range(n), range(b)))
    for chunk in chunks:
        rows, width = len(range(n)[chunk.rows]), len(range(b)[chunk.background])
        assert fixed + per_pair * width <= room
        assert rows == 1 or rows * result <= room
    blocks = [key for key, _ in groupby(c.rows for c in chunks)]
    assert len(blocks) == len({block.start for block in blocks})  # those of the same rows come one after the other
    if fixed + per_pair * b <= room:
        assert all(c.background == slice(0, b) for c in chunks)


@pytest.mark.parametrize("n", [1, MIN_BLOCKS, MIN_BLOCKS + 1, 10 * MIN_BLOCKS, 1000])
@pytest.mark.parametrize("jobs", [1, 2, 12])
def test_rows_are_cut_into_blocks_that_can_be_shared_out(n, jobs):
    chunks, most = plan(n, 10, lambda b: WORTH_A_BLOCK, 1, 2 * WORTH_A_BLOCK, jobs=jobs), max(MIN_BLOCKS, 4 * jobs)
    assert min(n, most / 2) <= len(chunks) <= most


def test_small_work_is_cut_for_workers_only():
    small = WORTH_A_BLOCK / 1024
    assert plan(1024, 10, lambda b: small, 1, 10**9) == [Chunk(slice(0, 1024), slice(0, 10))]
    assert len(plan(1025, 10, lambda b: small, 1, 10**9)) == 2
    assert len(plan(1000, 10, lambda b: small, 1, 10**9, jobs=2)) == 8
    assert (
        len(plan(1000, 10, lambda b: small, CHUNK_BYTES // 8, 10**9)) == 125
    )  # lest results be copied out of the cache


def test_a_background_that_has_to_be_there_at_once_is_not_cut():
    assert [c.background for c in plan(2, 1000, lambda b: 50, 1, 50, jobs=2)] == [slice(0, 1000)] * 2


def test_what_can_not_be_cut_small_enough_is_refused():
    with pytest.raises(TooLarge, match=r"takes about 3 kB, but there is room for 2 kB; raise memory=, lower n_jobs="):
        plan(5, 5, lambda b: 3000 * b, 1, 2000)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("width", [1, 50])
def test_bytes_per_row_are_those_of_the_rows_and_of_what_autograd_keeps(dtype, width):
    """Sigmoid keeps its output, Linear its input: no parameters, which are there once."""
    model = cases.build(lambda: nn.Sequential(nn.Linear(6, width), nn.Sigmoid(), nn.Linear(width, 2)), dtype=dtype)
    kept = 6 + width + width + 2  # inputs of both Linears, output of Sigmoid, output
    got = bytes_per_row(model, torch.zeros(2, 6, dtype=dtype)) / dtype.itemsize
    assert 6 + kept - 1 <= got <= 6 + kept + 1


def test_a_function_that_keeps_nothing_takes_the_row_itself():
    assert bytes_per_row(lambda rows: rows.detach()[:, :0], torch.zeros(2, 6)) == 6 * 4


@pytest.mark.parametrize(
    ("memory", "size"),
    [("1GB", 1e9), ("1 gb", 1e9), ("2GiB", 2**31), (" 3 MB ", 3e6), ("1.5k", 1500), ("7", 7), (10**9, 1e9), (2.5, 2.5),
     ("1e3", 1e3), (1e20, 1e20), (1e-3, 1e-3), ("2e-3GB", 2e6)],
)  # fmt: skip
def test_memory_is_read_as_people_write_it(memory, size):
    assert parse_bytes(memory) == size


@pytest.mark.parametrize("memory", ["", "lots", "GB", "1XB", "1.2.3GB", "-1GB", -1, 0, "0GB", None, float("nan")])
def test_what_is_no_size_is_refused(memory):
    with pytest.raises(DataError, match=r"a positive number of bytes such as '1GB' or 10\*\*9, got "):
        parse_bytes(memory)


@given(st.floats(1, 1e15))
def test_sizes_that_were_spelled_can_be_read(size):
    spelled = format_bytes(size)
    assert parse_bytes(spelled.removesuffix(" bytes")) == pytest.approx(size, rel=5e-3)
    assert len(spelled) <= 10
