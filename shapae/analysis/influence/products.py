"""All inner products of gradients: tested rows x training rows, block by block, on all workers."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from shapae.analysis.influence.checkpoints import Checkpoints
from shapae.analysis.influence.gradients import Gradients, RowGradients
from shapae.analysis.influence.setup import Setup
from shapae.errors import TooLarge
from shapae.tables.table import TableStream
from shapae.utils.memory import BLOCKS_PER_WORKER, MIN_BLOCKS, batches, format_bytes
from shapae.utils.parallel import count_workers, parallel_map
from shapae.utils.resumable import Resumable

T = TypeVar("T")
# Part of the memory for each of: the gradients of tested rows, those of training rows, and their computation.
SHARE = 1 / 4


@dataclass(frozen=True)
class Plan:
    """A cut of n tested rows x m training rows.

    Attributes:
        parts: Slices of the tested rows, the gradients of which are held at once.
        blocks: Slices of the training rows, each of which is a task of a worker.
        batch_size: Number of rows whose gradients are computed at once.
    """

    parts: list[slice]
    blocks: list[slice]
    batch_size: int

    @property
    def n_tasks(self) -> int:
        """Number of pairs of a part and a block."""
        return len(self.parts) * len(self.blocks)

    def record(self) -> dict[str, list[int]]:
        """Describe the cut for JSON, by the ends of its slices."""
        return {"parts": [each.stop for each in self.parts], "blocks": [each.stop for each in self.blocks]}

    def recorded(self, record: dict[str, list[int]]) -> "Plan":
        """Return the same plan with the cut of a record."""
        parts, blocks = (
            [slice(*each) for each in zip([0, *ends[:-1]], ends, strict=True)]
            for ends in (record["parts"], record["blocks"])
        )
        return replace(self, parts=parts, blocks=blocks)


def plan_products(
    gradients: Sequence[RowGradients], sizes: tuple[int, int], rows: Tensor, *, memory: float, jobs: int
) -> Plan:
    """Cut the work so that it fits the memory.

    Args:
        gradients: Gradients of the tested rows, and of the training rows.
        sizes: Numbers of tested rows and of training rows.
        rows: Some rows, on which the sizes are measured.
        memory: Number of bytes that may be held at once.
        jobs: Number of workers.

    Raises:
        TooLarge: The result takes more than half of the memory, or the gradient of one row does not fit.
    """
    n, m = sizes
    result = n * m * np.dtype(np.float64).itemsize
    if result > memory / 2:
        raise TooLarge(
            f"the influences of {m} training rows on {n} rows take {format_bytes(result)}, but only half of "
            f"memory='{format_bytes(memory)}' may be used for them. Give fewer rows, or allow "
            f"memory='{format_bytes(2.1 * result)}'."
        )
    room = (memory - result) * SHARE / jobs
    held = [each(rows[:2]).nbytes / 2 for each in gradients]
    working = max(each.bytes_while_computed(rows) for each in gradients)
    if max(*held, working) > room:
        raise TooLarge(
            f"the gradient of one row takes {format_bytes(max(*held, working))}, but there is room for "
            f"{format_bytes(room)}. Choose fewer parameters, parameters='last', or raise memory=."
        )
    height = min(-(-m // max(MIN_BLOCKS, BLOCKS_PER_WORKER * jobs)), int(room // held[1]))
    return Plan(batches(n, int(room // held[0])), batches(m, height), int(room // working))


@dataclass(frozen=True, eq=False)
class Products:
    """The products of one part of the tested rows and one block of the training rows.

    Attributes:
        values: (n, m), inner products of the gradients.
        squared_norms: (m,), of the gradients of the training rows.
        scores: (n,), of the tested rows.
        losses: (m,), of the training rows.
    """

    values: NDArray[Any]
    squared_norms: NDArray[Any]
    scores: NDArray[Any]
    losses: NDArray[Any]


def multiply(trained: RowGradients, tested: Gradients, rows: Tensor) -> Products:
    """Multiply the gradients of training rows (m, d) with those of tested rows."""
    gradients = trained(rows)
    arrays = (tested.dot(gradients), gradients.squared_norms(), tested.scores, gradients.scores)
    return Products(*(each.cpu().double().numpy() for each in arrays))


# A slice of the tested rows, a slice of the training rows, the weight of the checkpoint, and the products.
Block = tuple[slice, slice, float, Products]


def all_products(
    setup: Setup,
    gradients: Sequence[RowGradients],
    states: Checkpoints,
    plan: Plan,
    *,
    store: Resumable,
    n_jobs: int | None,
) -> Iterator[Block]:
    """Compute the products of all rows at all checkpoints.

    Args:
        setup: The rows, and the model into which the checkpoints are loaded.
        gradients: Gradients of the tested rows, and of the training rows.
        states: The checkpoints.
        plan: The cut.
        store: Finished blocks, which are not computed again.
        n_jobs: Number of workers, as in joblib.

    Yields:
        The blocks.
    """
    tested, trained = (replace(each, batch_size=plan.batch_size) for each in gradients)
    for checkpoint, weight in enumerate(states.load_each(setup.model)):
        for number, part in enumerate(plan.parts):
            names = {f"{checkpoint}-{number}-{place}": block for place, block in enumerate(plan.blocks)}
            missing = []
            for name, block in names.items():
                known = store.load(name)
                if known is None:
                    missing.append(name)
                else:
                    yield part, block, weight, Products(**known)
            if not missing:
                continue
            work = partial(multiply, trained, _of_part(tested, setup.rows, part, n_jobs))
            computed = _map_blocks(work, setup.train, [names[name] for name in missing], n_jobs)
            for name, products in zip(missing, computed, strict=True):
                store.save(name, vars(products))
                yield part, names[name], weight, products


def _of_part(tested: RowGradients, rows: TableStream, part: slice, n_jobs: int | None) -> Gradients:
    """Compute the gradients of a part of the tested rows, on all workers."""
    n = part.stop - part.start
    blocks = [
        slice(part.start + each.start, part.start + each.stop) for each in batches(n, -(-n // count_workers(n_jobs)))
    ]
    return Gradients.concatenate([*_map_blocks(tested, rows, blocks, n_jobs)])


def _map_blocks(
    work: Callable[[Tensor], T], rows: TableStream, blocks: Sequence[slice], n_jobs: int | None
) -> Iterator[T]:
    """Do ``work`` on each block of rows, on all workers."""
    return parallel_map(work, lambda number: (rows[blocks[number]],), len(blocks), n_jobs=n_jobs, progress=False)


def add_up(setup: Setup, blocks: Iterator[Block]) -> dict[str, NDArray[Any]]:
    """Add up the products over the checkpoints, by their weights.

    Returns:
        ``values``, ``self_influence``, ``scores`` and ``losses``, see ``Influence``. Scores and losses are those of the
        last checkpoint.
    """
    n, m = setup.sizes
    arrays = {"values": np.zeros((n, m)), "self_influence": np.zeros(m), "scores": np.zeros(n), "losses": np.zeros(m)}
    for part, block, weight, products in blocks:
        arrays["values"][part, block] += setup.sign * weight * products.values
        arrays["self_influence"][block] += weight * products.squared_norms * (part.start == 0)
        arrays["scores"][part], arrays["losses"][block] = products.scores, products.losses
    return arrays
