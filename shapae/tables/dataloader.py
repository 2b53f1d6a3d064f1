"""Rows in batches: a DataLoader or Dataset of torch."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, SequentialSampler

from shapae.errors import DataError
from shapae.utils.context import preserve_rng
from shapae.utils.text import enumerate_names

# Number of items per batch of a Dataset: large enough that the fixed cost of a batch is small.
BATCH_SIZE = 1024


def read_batches(source: DataLoader[Any] | Dataset[Any], what: str) -> Tensor:
    """Read all rows of ``source``, in its own order.

    Args:
        source: A source of rows, as tensors or as tuples that begin with a tensor.
        what: Name of the table in error messages.

    Returns:
        (n, d).

    Raises:
        DataError: ``source`` contains other items, or rows of several shapes; or it shuffles, or leaves rows out.
    """
    loader = source if isinstance(source, DataLoader) else DataLoader(source, batch_size=BATCH_SIZE)
    if not _keeps_order(loader):
        raise DataError(
            f"the {what} must be complete and in a fixed order, but this DataLoader shuffles or drops rows. Give its "
            f"loader.dataset, or make it with shuffle=False and drop_last=False."
        )
    with preserve_rng():  # a DataLoader draws a seed from torch's global generator
        batches = [_first_tensor(batch, what) for batch in loader]
    shapes = {tuple(batch.shape[1:]) for batch in batches}
    if len(shapes) > 1 or () in {tuple(batch.shape) for batch in batches}:
        raise DataError(f"the rows of the {what} must have one shape, (d,), got {enumerate_names([*shapes], 'shape')}.")
    return torch.cat(batches) if batches else torch.empty(0, 0)


def _keeps_order(loader: DataLoader[Any]) -> bool:
    if isinstance(loader.dataset, IterableDataset):
        return not loader.drop_last
    batches = loader.batch_sampler
    if batches is None:
        return type(loader.sampler) is SequentialSampler
    return type(batches) is BatchSampler and type(batches.sampler) is SequentialSampler and not batches.drop_last


def _first_tensor(batch: Any, what: str) -> Tensor:
    tensor = batch[0] if isinstance(batch, Sequence) and len(batch) else batch
    if not isinstance(tensor, Tensor):
        raise DataError(
            f"the batches of the {what} must be tensors (m, d), or tuples that begin with a tensor, got "
            f"{type(tensor).__name__}. Write a Dataset of the rows, or give the rows as one tensor."
        )
    return tensor
