"""Seeds: the same for the same place, others for others."""

import numpy as np

from shapae.utils.random import generator, round_seed, row_seeds


def test_the_seed_of_a_row_depends_on_its_position_only():
    assert row_seeds(3, 5) == row_seeds(3, 8)[:5]
    assert len({*row_seeds(3, 1000), *row_seeds(4, 1000)}) == 2000


def test_rounds_have_seeds_of_their_own_and_the_first_has_that_of_the_row():
    assert round_seed(7, 0) == 7
    assert len({round_seed(seed, number) for seed in range(50) for number in range(20)}) == 1000


def test_generators_of_different_keys_are_independent():
    one, again, other = (generator(0, *key).standard_normal(10_000) for key in ((1, 2), (1, 2), (2, 1)))
    np.testing.assert_array_equal(one, again)
    assert abs(np.corrcoef(one, other)[0, 1]) < 4 / 10_000**0.5
