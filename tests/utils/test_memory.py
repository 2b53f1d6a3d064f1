"""Bytes: of rows, as people write them, as people read them; and rows in batches."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from shapae.errors import DataError
from shapae.utils.memory import batched, bytes_per_row, format_bytes, parse_bytes
from tests import cases


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("width", [1, 50])
def test_bytes_per_row_are_those_of_the_row_and_of_all_results(dtype, width):
    """No parameters, which are there once, and no views of them."""
    model = cases.build(lambda: nn.Sequential(nn.Linear(6, width), nn.Sigmoid(), nn.Linear(width, 2)), dtype=dtype)
    got = bytes_per_row(model, torch.zeros(2, 6, dtype=dtype)) / dtype.itemsize
    assert got == 6 + width + width + 2


@pytest.mark.parametrize("make", [cases.Question, cases.Nested])
def test_bytes_per_row_are_at_least_those_that_autograd_keeps(make):
    """Told by the hooks of saved tensors, where these work: what autograd keeps is a row or a result."""
    model, kept = cases.build(make), [set(), set()]
    for n, storages in enumerate(kept, start=1):

        def keep(tensor, storages=storages):
            storages.add((tensor.untyped_storage().data_ptr(), tensor.untyped_storage().nbytes()))
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            result = model(torch.zeros(n, 6, dtype=torch.float64, requires_grad=True))
        keep(result)
    one, two = (sum(size for _, size in storages) for storages in kept)
    assert bytes_per_row(model, torch.zeros(2, 6, dtype=torch.float64)) >= two - one > 0


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


@given(st.integers(1, 40), st.integers(1, 50))
def test_batches_of_any_size_give_the_results_of_all_rows(n, size):
    rows, seen = torch.arange(3.0 * n).reshape(n, 3), []
    got = batched(lambda batch: seen.append(len(batch)) or batch.sum(dim=1), rows, size)
    assert torch.equal(got, rows.sum(dim=1))
    assert max(seen) <= size
