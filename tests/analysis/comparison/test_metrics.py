"""Each metric against another library or a slow independent computation."""

import numpy as np
import pytest
import torch
from captum.metrics import infidelity as captum_infidelity
from captum.metrics import sensitivity_max
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from shapae import Explainer, heads
from shapae.analysis.comparison import metrics
from shapae.errors import DataError
from tests import cases

N, D, M = 4, cases.D, 7


@pytest.fixture
def values():
    """(4, 6), with ties."""
    return np.random.default_rng(5).normal(size=(N, D)).round(0)


@pytest.fixture
def reference():
    """(4, 6)."""
    return np.random.default_rng(6).normal(size=(N, D))


def test_relative_error_is_over_all_rows_together(values, reference):
    want = np.sqrt(((values - reference) ** 2).sum() / (reference**2).sum())
    assert metrics.relative_error(values, reference) == pytest.approx(want)
    assert metrics.relative_error(1.25 * reference, reference) == pytest.approx(0.25)
    assert np.isnan(metrics.relative_error(0 * values, 0 * values))


def test_rank_correlation_matches_scipy_in_each_row(values, reference):
    want = np.mean([spearmanr(one, other).statistic for one, other in zip(values, reference, strict=True)])
    assert metrics.rank_correlation(values, reference) == pytest.approx(want)


def test_agreement_of_explanations_is_that_of_their_values_and_one_row_has_its_own_error():
    rows = cases.table(5, seed=3)
    one, other = (Explainer(cases.build(cases.Linear), rows, backend=name)(rows) for name in ("gradient", "exact"))
    for metric in (metrics.relative_error, metrics.rank_correlation, lambda *both: metrics.overlap(*both, 3)):
        assert metric(one, other) == metric(one.values, other.values)
        with pytest.raises(DataError, match="are of other features, or in another order"):
            metric(one, other[:, other.feature_names[::-1]])
    squares = [np.square(other.values[row]).sum() for row in range(5)]
    errors = [metrics.relative_error(one[row], other[row]) for row in range(5)]
    together = np.sqrt(np.average(np.square(errors), weights=squares))
    assert metrics.relative_error(one, other) == pytest.approx(together)


def test_the_rank_correlation_of_a_constant_row_is_zero(reference):
    flat = reference.copy()
    flat[0] = 3
    assert metrics.rank_correlation(flat, reference) == pytest.approx((N - 1) / N)


@pytest.mark.parametrize("most", [1, 3, 6])
def test_overlap_counts_the_common_largest_features(most, reference):
    other = np.random.default_rng(7).normal(size=(N, D))
    tops = [[{*np.argsort(-np.abs(row))[:most]} for row in each] for each in (reference, other)]
    want = np.mean([len(one & two) / most for one, two in zip(*tops, strict=True)])
    assert metrics.overlap(reference, other, most) == pytest.approx(want)
    assert metrics.overlap(-reference, reference, most) == 1


def in_order_of_captum(arrays):
    """(N, M, D) -> (N * M, D): captum repeats each row M times in succession."""
    return torch.tensor(arrays.reshape(N * M, D))


def test_infidelity_matches_captum(reference):
    model, x = cases.build(cases.Question), cases.table(N)
    rng = np.random.default_rng(0)
    removed, others = rng.random((N, M, D)) < 0.5, rng.normal(size=(N, M, D))
    mixed = np.where(removed, others, x[:, None])

    def score(rows):
        return (model(rows) - rows).square().mean(dim=1)

    with torch.no_grad():
        falls = score(torch.tensor(x)).numpy()[:, None] - score(in_order_of_captum(mixed)).numpy().reshape(N, M)
    want = captum_infidelity(
        score,
        lambda rows: (in_order_of_captum(removed.astype(float)), in_order_of_captum(mixed)),
        torch.tensor(x),
        torch.tensor(reference),
        n_perturb_samples=M,
    )
    np.testing.assert_allclose(metrics.infidelity(reference, removed, falls), want, rtol=1e-6)


def test_the_infidelity_of_a_linear_score_is_zero():
    """The contribution of a set of features to a linear score is the sum of their values."""
    model, x, b = cases.build(cases.Linear), cases.table(N), cases.table(3, seed=2)
    explainer = Explainer(model, b, head="reconstruction:2")
    values = explainer(x).values
    removed = np.random.default_rng(0).random((N, M, D)) < 0.5
    coalitions = np.concatenate([np.ones((N, 1, D), bool), ~removed], axis=1)
    worths = metrics.worths(explainer.score.anchored_at, torch.tensor(x), explainer.background, coalitions)
    np.testing.assert_allclose(metrics.infidelity(values, removed, worths[:, :1] - worths[:, 1:]), 0, atol=1e-20)
    assert metrics.infidelity(2 * values, removed, worths[:, :1] - worths[:, 1:]).min() > 1e-3


def test_sensitivity_matches_captum():
    explainer = Explainer(cases.build(cases.Question), cases.table(5, seed=2))
    x = cases.table(N)
    moved = x + np.random.default_rng(0).uniform(-0.1, 0.1, (M, N, D))

    def explain(rows):
        table = rows[0] if isinstance(rows, tuple) else rows
        return (torch.tensor(explainer(table).values),)

    want = sensitivity_max(
        explain, torch.tensor(x), lambda rows: in_order_of_captum(moved.transpose(1, 0, 2)), n_perturb_samples=M
    )
    got = metrics.sensitivity(explainer(x).values, np.stack([explainer(rows).values for rows in moved]))
    np.testing.assert_allclose(got, want, rtol=1e-6)
    assert got.min() > 1e-3


def test_the_largest_values_are_removed_first_and_inserted_first():
    values = np.array([[1.0, -9, 5, 2]])
    deletion, insertion = metrics.coalitions_of_order(values, np.array([0, 1, 3]))
    assert insertion.astype(int).tolist() == [[[0, 0, 0, 0], [0, 0, 1, 0], [1, 0, 1, 1]]]
    assert (deletion == ~insertion).all()


@pytest.mark.parametrize("limit", [2**22, 1])
@pytest.mark.parametrize("head", ["reconstruction_error", heads.ReconstructionError(target="fixed")])
def test_worths_are_means_over_the_background(head, limit, monkeypatch):
    """One coalition and one background row at a time, for any batch size, with and without an anchor."""
    monkeypatch.setattr(metrics, "MAX_MIXED_NUMBERS", limit)
    model, x, b = cases.build(cases.Question), cases.table(N), cases.table(3, seed=2)
    score = Explainer(model, b, head=head).score
    coalitions = np.random.default_rng(0).random((N, M, D)) < 0.5
    got = metrics.worths(score.anchored_at, torch.tensor(x), torch.tensor(b), coalitions)
    for row, m in [(0, 0), (1, 3), (3, 6)]:
        mixed = [torch.tensor(np.where(coalitions[row, m], x[row], other)) for other in b]
        with torch.no_grad():
            targets = mixed if head == "reconstruction_error" else [torch.tensor(x[row])] * len(b)
            errors = [(model(z[None])[0] - t).square().mean() for z, t in zip(mixed, targets, strict=True)]
        assert got[row, m] == pytest.approx(float(sum(errors)) / len(b))


def test_the_area_under_a_line_is_its_mean():
    assert metrics.area(np.array([4.0, 3, 0]), np.array([0, 0.25, 1])) == pytest.approx(2.0)


def test_auroc_matches_scikit_learn_in_each_row(values):
    truth = np.random.default_rng(0).random((N, D)) < 0.5
    want = [roc_auc_score(each, row) for each, row in zip(truth, values, strict=True)]
    np.testing.assert_allclose(metrics.auroc(values, truth), want)
    assert np.isnan(metrics.auroc(values, truth | True)).all()


def test_reciprocal_ranks_match_ranks_by_hand():
    sizes = np.array([[5.0, 1, 3], [5, 1, 3], [0, 0, 0]])
    truth = np.array([[True, True, False], [False, True, True], [True, False, False]])
    assert metrics.reciprocal_rank(sizes, truth).tolist() == [1, 1 / 2, 1 / 2]
