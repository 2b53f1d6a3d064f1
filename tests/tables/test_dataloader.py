"""DataLoaders and Datasets of torch."""

import numpy as np
import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, RandomSampler, TensorDataset

from shapae.errors import DataError
from shapae.tables.dataloader import read_batches
from tests import cases

ROWS = torch.tensor(cases.table(7))


class Items(Dataset):
    """A data set of these items."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


class Stream(IterableDataset):
    """A data set of rows without a length."""

    def __iter__(self):
        yield from ROWS


SOURCES = {
    "tensors": lambda: TensorDataset(ROWS),
    "tensors and labels": lambda: TensorDataset(ROWS, torch.arange(7)),
    "rows of numpy": lambda: Items(ROWS.numpy()),
    "pairs": lambda: Items([(row, "label") for row in ROWS]),
    "a stream": Stream,
    "loader": lambda: DataLoader(TensorDataset(ROWS, torch.arange(7)), batch_size=3),
    "loader without batches": lambda: DataLoader(TensorDataset(ROWS.reshape(7, 1, 6)), batch_size=None),
    "loader of a stream": lambda: DataLoader(Stream(), batch_size=2),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_all_rows_are_read_in_their_order(kind):
    np.testing.assert_array_equal(read_batches(SOURCES[kind](), "rows"), ROWS)


def test_random_generators_are_not_changed():
    before = cases.world()
    read_batches(DataLoader(TensorDataset(ROWS), batch_size=2), "rows")
    assert cases.world() == before


UNSTEADY = {
    "shuffled": lambda: DataLoader(ROWS, shuffle=True),
    "rows left out": lambda: DataLoader(ROWS, batch_size=2, drop_last=True),
    "batches shuffled": lambda: DataLoader(ROWS, batch_sampler=BatchSampler(RandomSampler(ROWS), 2, False)),
    "batches left out": lambda: DataLoader(ROWS, batch_sampler=BatchSampler(range(7), 2, True)),
    "batches of one's own": lambda: DataLoader(ROWS, batch_sampler=[[0, 1], [1, 2]]),
    "a sampler": lambda: DataLoader(ROWS, sampler=RandomSampler(ROWS)),
    "a sampler without batches": lambda: DataLoader(ROWS, sampler=RandomSampler(ROWS), batch_size=None),
    "a stream, rows left out": lambda: DataLoader(Stream(), batch_size=2, drop_last=True),
}


@pytest.mark.parametrize("kind", UNSTEADY)
def test_a_loader_that_shuffles_or_drops_is_refused(kind):
    with pytest.raises(
        DataError, match=r"rows must be complete and in a fixed order, .*\. Give its loader\.dataset, or .*shuffle=F"
    ):
        read_batches(UNSTEADY[kind](), "rows")


def test_batches_of_something_else_are_refused():
    with pytest.raises(DataError, match=r"batches of the background must be tensors .*got dict\. Write a Dataset"):
        read_batches(Items([{"x": row} for row in ROWS]), "background")


def test_an_empty_data_set_is_an_empty_table():
    assert read_batches(Items([]), "rows").shape == (0, 0)
