"""Rows that come in batches: a DataLoader or Dataset of torch."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, SequentialSampler

from shapae.errors import DataError
from shapae.utils.context import preserve_rng

# So many items of a data set are taken at once.
BATCH_SIZE = 1024


def read_batches(source: DataLoader[Any] | Dataset[Any], what: str) -> Tensor:
    """All rows of ``source``, in its own order.

    Args:
        source: Gives rows as tensors, or tuples that begin with one.
        what: What to call the rows in errors.

    Returns:
        (n, d).

    Raises:
        DataError: It gives something else, shuffles, or leaves some rows out.
    """
    loader = source if isinstance(source, DataLoader) else DataLoader(source, batch_size=BATCH_SIZE)
    if not _keeps_order(loader):
        raise DataError(
            f"the {what} must come all of them, and always in the same order, but this DataLoader shuffles or drops "
            f"some; give its loader.dataset, or make it with shuffle=False and drop_last=False."
        )
    with preserve_rng():  # a DataLoader draws from torch's
        batches = [_first_tensor(batch, what) for batch in loader]
    return torch.cat(batches) if batches else torch.empty(0, 0)


def _keeps_order(loader: DataLoader[Any]) -> bool:
    if isinstance(loader.dataset, IterableDataset):
        return not loader.drop_last
    batches = loader.batch_sampler
    if batches is None:
        return type(loader.sampler) is SequentialSampler
    return type(batches) is BatchSampler and type(batches.sampler) is SequentialSampler and not batches.drop_last


def _first_tensor(batch: Any, what: str) -> Tensor:
    part = batch[0] if isinstance(batch, Sequence) and len(batch) else batch
    if not isinstance(part, Tensor):
        raise DataError(
            f"the batches of the {what} must be tensors (m, d), or tuples that begin with one, got "
            f"{type(part).__name__}; write a Dataset that gives the rows, or give them as one tensor."
        )
    return part
