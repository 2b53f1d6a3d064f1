"""Mean absolute SHAP values against the Explainer."""

import numpy as np
import pytest

from shapae import Explainer
from shapae.errors import UnsupportedOperator
from shapae.heads import ReconstructionError
from tests import cases
from tests.analysis.ranking.methods.tasks import GROUPS, make_task, measure


def test_shap_matches_the_summary_of_the_explainer():
    task = make_task()
    for column, target in enumerate(("moving", "fixed")):
        head = ReconstructionError(target=target)
        want = Explainer(task.autoencoder, task.background, head=head).summarize(task.rows)
        got = measure("shap", task, ["moving", "fixed"])[:, column]
        np.testing.assert_allclose(got[:, 0], want.mean_abs[:, 0], rtol=1e-9)
        np.testing.assert_allclose(got[:, 1], want.mean_abs_error[:, 0], rtol=1e-9)


def test_shap_of_a_group_is_the_mean_absolute_sum_of_its_values():
    task = make_task(players=GROUPS)
    values = Explainer(task.autoencoder, task.background)(task.rows).values
    want = [np.abs(values[:, list(player)].sum(axis=1)).mean() for player in GROUPS]
    np.testing.assert_allclose(measure("shap", task, ["moving"])[:, 0, 0], want, rtol=1e-9)


def test_an_operator_without_a_rule_is_an_error():
    class Sorting(cases.Question):
        def forward(self, rows):
            return super().forward(rows.gather(1, rows.argsort(dim=1)))

    with pytest.raises(UnsupportedOperator, match=r"aten\.gather"):
        measure("shap", make_task(cases.build(Sorting)))
