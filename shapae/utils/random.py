"""Random seeds: independent streams for rows, rounds and repetitions, all from the one seed of the user."""

from array import array

import numpy as np
import torch
from torch import Tensor

# Shifts and multipliers that mix 32 bits, the last ones of MurmurHash3; and the golden ratio in 32 bits.
MIXING, LAST_SHIFT, GOLDEN = ((16, -2048144789), (13, -1028477387)), 16, -1640531527


def generator(seed: int, *key: int) -> np.random.Generator:
    """Random generator of one item, such as a row or a repetition; streams of different keys are independent.

    Args:
        seed: Random seed of the user.
        key: Position of the item.
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def row_seeds(seed: int, n: int, first: int = 0) -> "array[int]":
    """Random seeds of n rows, each by its position, from ``first`` on: they do not depend on chunks or workers.

    They take four bytes each. Those of numpy's ``spawn``, which are the same, would take hundreds.
    """
    return array("I", (_integer(np.random.SeedSequence(seed, spawn_key=(row,))) for row in range(first, first + n)))


def round_seed(seed: int, number: int) -> int:
    """Random seed of a round of samples; the seed of round 0 is ``seed`` itself."""
    return _integer(np.random.SeedSequence([seed, number])) if number else seed


def random_bits(keys: Tensor, count: int) -> Tensor:
    """Make random integers of 32 bits from random keys: the same numbers on each device, where they are made.

    Args:
        keys: (...), int32.
        count: Number of integers for each key.

    Returns:
        (..., count), int32.

    Reference:
        Appleby, 2011, MurmurHash3 (the finalizer, in which each bit of a key changes each bit of the result)
    """
    positions = _mix(torch.arange(count, dtype=torch.int32, device=keys.device) * GOLDEN)
    return _mix(keys.unsqueeze(-1) ^ positions)


def _mix(bits: Tensor) -> Tensor:
    """Mix the bits of integers in place; >> keeps the sign of an integer, which & takes off."""
    for shift, multiplier in MIXING:
        bits ^= (bits >> shift) & (2 ** (32 - shift) - 1)
        bits *= multiplier
    bits ^= (bits >> LAST_SHIFT) & (2 ** (32 - LAST_SHIFT) - 1)
    return bits


def _integer(sequence: np.random.SeedSequence) -> int:
    return int(sequence.generate_state(1)[0])
