"""Seeds: the same for the same place, others for others."""

import numpy as np
import torch

from shapae.utils.random import generator, random_bits, round_seed, row_seeds


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


def test_bits_of_keys_are_uniform_and_independent_over_keys_and_places():
    """Mean, variance and correlations of 64 positions x 20 000 keys, each within 5 standard errors; and every bit."""
    keys = torch.randint(-(2**31), 2**31, (20_000,), generator=torch.Generator().manual_seed(0)).to(torch.int32)
    bits = random_bits(keys, 64)
    uniform = bits.double() / 2**32  # in [-1/2, 1/2)
    n = len(keys)
    assert (uniform.mean(dim=0).abs() < 5 * (1 / 12 / n) ** 0.5).all()
    assert ((12 * uniform.square()).mean(dim=0) - 1).abs().max() < 5 * (0.8 / n) ** 0.5
    correlations = torch.corrcoef(uniform.T) - torch.eye(64, dtype=torch.float64)
    assert correlations.abs().max() < 5 / n**0.5
    each = torch.stack([(bits >> place) & 1 for place in range(32)], dim=-1).double()
    assert (each.mean(dim=0) - 0.5).abs().max() < 5.5 * 0.5 / n**0.5
    assert torch.equal(random_bits(keys[5:6], 40), bits[5:6, :40])  # alone as together


def test_bits_of_near_keys_have_nothing_in_common():
    """Keys that differ by one bit, whose results differ in half of all bits (16 +- 2.83 of 32, binomial)."""
    keys = torch.arange(4000, dtype=torch.int32)
    changed = random_bits(keys, 8) ^ random_bits(keys ^ 2**20, 8)
    counts = sum((changed >> place) & 1 for place in range(32)).double()
    assert abs(counts.mean() - 16) < 5 * 8**0.5 / counts.numel() ** 0.5
    assert abs(counts.std() - 8**0.5) < 0.1
