"""The interface of rules."""

import torch

from shapae.deepshap.rules.terms import vmap_leading
from tests import cases
from tests.deepshap.helpers import assert_close


def test_a_term_has_only_the_axes_that_it_depends_on():
    m, row, background = (torch.tensor(cases.table(n, 6, seed=n)) for n in (1, 3, 4))
    given = m[None, None], row[None, :, None], background[None, None]
    both, one, other, none = vmap_leading(lambda m, x, b: (m * x * b, m * x, m * b, 2 * m), *given)
    assert [tuple(each.shape[:3]) for each in (both, one, other, none)] == [(1, 3, 4), (1, 3, 1), (1, 1, 4), (1, 1, 1)]
    wanted = m * row[:, None] * background, (m * row)[:, None], m * background
    for got, want in zip((both, one, other), wanted, strict=True):
        assert_close(got[0], want.reshape(got[0].shape))
    assert_close(none.flatten(), 2 * m.flatten())
