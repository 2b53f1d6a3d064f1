"""Random seeds: independent streams for rows, rounds and repetitions, all from the one seed of the user."""

import numpy as np


def generator(seed: int, *key: int) -> np.random.Generator:
    """Random generator of one item, such as a row or a repetition; streams of different keys are independent.

    Args:
        seed: Random seed of the user.
        key: Position of the item.
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def row_seeds(seed: int, n: int) -> list[int]:
    """Random seeds of n rows, each by its position: they do not depend on chunks or workers."""
    return [_integer(row) for row in np.random.SeedSequence(seed).spawn(n)]


def round_seed(seed: int, number: int) -> int:
    """Random seed of a round of samples; the seed of round 0 is ``seed`` itself."""
    return _integer(np.random.SeedSequence([seed, number])) if number else seed


def _integer(sequence: np.random.SeedSequence) -> int:
    return int(sequence.generate_state(1)[0])
