"""Sizes of blocks on each device, within its memory."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from math import inf

import torch
from torch import Tensor

from shapae.errors import MemoryWarning, TooLarge

# Blocks are chosen for the caches of a processor. Other devices have no such caches, and a call takes as long there as
# some million multiplications: they compute this many times as much at once.
DEVICE_FACTOR = 32
# Number of values of the size of a block that are held at once.
HELD_BLOCKS = 8
# Bytes below which a room is not halved further: then something else holds the memory of the device.
SMALLEST_ROOM = 2**20
TOO_LITTLE = (
    "the device has too little memory even for small blocks ({}). Free some, which other processes or notebooks may "
    "hold, or move the model to the CPU: model.cpu()."
)


@dataclass
class Room:
    """Bytes that may be held on a device; they are halved where it has fewer.

    Attributes:
        size: Number of bytes.
        said: What the user was told; rooms of one call share it, so that it is said once.
    """

    size: float
    said: list[str] = field(default_factory=list)

    def say(self, error: Exception) -> str:
        """Tell the user, the first time, that the device ran out of memory; and return what it said."""
        reason = str(error).partition(". ")[0]
        if not self.said:
            self.said.append(f"the device ran out of memory ({reason}), so that smaller blocks are computed.")
            warnings.warn(f"{self.said[0]} A smaller bound, memory=, avoids this.", MemoryWarning, stacklevel=2)
        return reason

    def halve(self, error: Exception) -> None:
        """Halve the room after the device ran out of memory.

        Raises:
            TooLarge: It is so small that this can't help.
        """
        reason = self.say(error)
        if self.size < SMALLEST_ROOM:
            raise TooLarge(TOO_LITTLE.format(reason)) from error
        self.size /= 2


_room: ContextVar[Room | None] = ContextVar("room", default=None)


def current_room() -> Room:
    """Return the room of this thread, without a bound where nothing set one."""
    return _room.get() or Room(inf)


@contextmanager
def memory_bound(room: Room) -> Iterator[None]:
    """Bound the blocks of this thread, on devices other than a processor."""
    token = _room.set(room)
    try:
        yield
    finally:
        _room.reset(token)


@contextmanager
def device_memory(size: float) -> Iterator[None]:
    """Bound the blocks of this thread to a number of bytes, on devices other than a processor.

    Raises:
        TooLarge: A device ran out of memory where smaller blocks did not help.
    """
    try:
        with memory_bound(Room(size)):
            yield
    except torch.cuda.OutOfMemoryError as error:
        raise TooLarge(TOO_LITTLE.format(str(error).partition(". ")[0])) from error


def on_processor(like: Tensor) -> bool:
    """Tell whether a tensor is where caches count, and not calls."""
    return like.device.type == "cpu"


def device_factor(like: Tensor) -> int:
    """How many times as much as on a processor is computed at once on the device of a tensor."""
    return 1 if on_processor(like) else DEVICE_FACTOR


def block_bytes(size: int, like: Tensor) -> int:
    """Choose the number of bytes of a block on the device of a tensor.

    A processor always gets the same blocks, so that sums come out with the same digits for any ``memory``.

    Args:
        size: Number of bytes that stay in the caches of a processor.
        like: Any tensor on the device.

    Returns:
        ``size`` on a processor. Elsewhere ``DEVICE_FACTOR`` times as many, but within the room of this thread.
    """
    return size if on_processor(like) else int(min(DEVICE_FACTOR * size, current_room().size / HELD_BLOCKS))


def block_rows(size: int, rows: Tensor) -> int:
    """Choose the number of rows of a block, from the number ``size`` for a processor, see ``block_bytes``."""
    row_bytes = max(1, rows[:1].nbytes)
    return max(1, block_bytes(size * row_bytes, rows) // row_bytes)
