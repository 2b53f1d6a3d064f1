"""The pure function that explains a block: the lines of the whole, whatever maps it."""

import pickle

import numpy as np
import pandas as pd
import pytest

import shapae
from shapae.errors import DataError
from tests import cases
from tests.explainer.written.test_write import BACKGROUND, NAMES, X, explainer


@pytest.mark.parametrize("settings", [{}, {"head": "latent"}, {"backend": "sampling"}], ids=str)
def test_blocks_have_the_lines_of_the_whole(settings):
    explain = explainer(**settings)
    want = explain(X)
    k = 1 if isinstance(want.output_names, str) else len(want.output_names)
    lines = pd.concat([shapae.explain_block(X[start : start + 5], explain, start=start) for start in range(0, 23, 5)])
    assert [*lines.index] == [*np.repeat(X.index, k)]
    values = lines[[f"value:{name}" for name in NAMES]].to_numpy().reshape(23, k, -1).transpose(0, 2, 1)
    np.testing.assert_allclose(values, want.values.reshape(values.shape), rtol=1e-10)
    np.testing.assert_allclose(lines["score"], want.scores.reshape(-1), rtol=1e-10)
    np.testing.assert_allclose(lines["base_value"], want.base_values.reshape(-1), rtol=1e-10)
    assert "output" not in lines or [*lines["output"]] == want.output_names * 23


def attributes(explain):
    """Which objects the explainer holds, by their names."""
    return {name: id(each) for name, each in vars(explain).items()}


def test_it_changes_nothing_and_takes_what_was_pickled():
    explain = explainer(head="latent", n_jobs=2)
    pickled, held = pickle.dumps(explain), attributes(explain)
    before = [*map(cases.bits, cases.tensors(explain.score))]
    one = shapae.explain_block(X, explain)
    assert attributes(explain) == held
    assert [*map(cases.bits, cases.tensors(explain.score))] == before
    pd.testing.assert_frame_equal(one, shapae.explain_block(X, pickle.loads(pickled)))


def test_rows_without_names_are_numbered_from_the_start():
    lines = shapae.explain_block(X.to_numpy()[:3], explainer(), start=20)
    assert [*lines.index] == [20, 21, 22]


@pytest.mark.parametrize("start", [-1, 1.5, "0", True, None])
def test_a_start_that_is_no_position_is_refused(start):
    with pytest.raises(DataError, match="start must be an integer, at least 0"):
        shapae.explain_block(X, explainer(), start=start)


def test_columns_in_another_order_are_refused():
    with pytest.raises(DataError, match="order"):
        shapae.explain_block(X[NAMES[::-1]], explainer())
    assert shapae.Explainer(cases.build(cases.Question), BACKGROUND).feature_names == NAMES
