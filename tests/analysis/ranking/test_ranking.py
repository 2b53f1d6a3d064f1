"""Rankings: inputs, errors, shares, agreement, correlated features, plots."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import kendalltau, spearmanr
from torch import nn

from shapae import Autoencoder, GlobalRanking, rank_features
from shapae.analysis.ranking import methods as importances
from shapae.analysis.ranking.task import RankingTask
from shapae.errors import DataError, ModelError, RankingWarning, UnknownName
from shapae.tables.background import sample, weighted
from shapae.tables.groups import correlated_clusters
from tests import cases

NAMES = list("abcdef")
QUICK = ["ablation_mean", "activations", "weights"]


@pytest.fixture
def X():
    return pd.DataFrame(cases.table(25), columns=NAMES)


@pytest.fixture
def ranking():
    """Three methods of five features, one of them without positive importances."""
    raw = {"one": [4.0, 3, 2, 1, -5], "two": [1.0, 2, 8, 4, 5], "none": [-1.0, 0, -2, -3, -4]}
    index = pd.Index(list("abcde"), name="feature")
    errors = {"one": [1.0, 1, 1.5, 1, 1], "two": [0.1] * 5, "none": [np.nan] * 5}
    return GlobalRanking(pd.DataFrame(raw, index), pd.DataFrame(errors, index))


# Results


def test_shares_sum_to_one_and_negative_importances_count_as_zero(ranking):
    np.testing.assert_allclose(ranking.table["one"], [0.4, 0.3, 0.2, 0.1, 0])
    np.testing.assert_allclose(ranking.table["two"], np.array([1, 2, 8, 4, 5]) / 20)
    assert (ranking.table["none"] == 0).all()
    np.testing.assert_allclose(ranking.table_errors["one"], np.array([1, 1, 1.5, 1, 1]) / 10)


def test_agreement_matches_scipy_and_the_overlap_counts_common_top_features(ranking):
    for measure, peer in {"spearman": spearmanr, "kendall": kendalltau}.items():
        agreement = ranking.agreement.loc[measure]
        for first, second in [("one", "two"), ("two", "none"), ("one", "none")]:
            want = peer(ranking.raw[first], ranking.raw[second]).statistic
            assert agreement.loc[first, second] == agreement.loc[second, first] == pytest.approx(want)
    assert ranking.top == 2
    overlap = ranking.agreement.loc["overlap"]
    assert overlap.loc["one", "two"] == 0  # a, b; c, e
    assert overlap.loc["one", "none"] == 1
    assert np.diag(overlap).tolist() == [1, 1, 1]


def test_the_agreement_with_a_constant_method_is_nan():
    raw = pd.DataFrame({"one": [1.0, 2, 3], "flat": [1.0, 1, 1]})
    assert np.isnan(GlobalRanking(raw, 0 * raw).agreement.loc["spearman"].loc["one", "flat"])


def test_the_ranking_holds_the_results_of_the_methods(model, X):
    table = torch.tensor(X.to_numpy())
    task = RankingTask(Autoencoder(model), table, table, tuple((j,) for j in range(6)))
    got = rank_features(model, X, background=X, methods=[*QUICK, "permutation:reconstruction"])
    columns = ["ablation_mean:error", "ablation_mean:reconstruction", "activations"]
    weights = ["weights:first_layer", "weights:gedeon", "weights:paths"]
    assert list(got.raw) == [*columns, *weights, "permutation:reconstruction"]
    assert list(got.raw.index) == NAMES
    with torch.no_grad():
        want = importances.named("permutation").measure(task, ["reconstruction"])[:, 0]
    np.testing.assert_allclose(got.raw["permutation:reconstruction"], want[:, 0], rtol=1e-12)
    np.testing.assert_allclose(got.errors["permutation:reconstruction"], want[:, 1], rtol=1e-12)
    np.testing.assert_allclose(got.table.sum(), 1)
    assert {name: got.made_by[name] for name in ("rows", "b", "repeats", "seed")} == dict(
        rows=25, b=25, repeats=5, seed=0
    )


def test_groups_come_first_and_their_features_are_replaced_together(model, X):
    groups = {"outer": ["f", "a"], "c or d": ["d", "c"]}
    got = rank_features(model, X, background=X, methods=QUICK, groups=groups).raw
    assert list(got.index) == ["outer", "c or d", "b", "e"]
    ablated = X.assign(a=X["a"].mean(), f=X["f"].mean())
    with torch.no_grad():
        old, new = (model(torch.tensor(table.to_numpy())).numpy() for table in (X, ablated))
    want = ((new - old) ** 2).mean()
    assert got.loc["outer", "ablation_mean:reconstruction"] == pytest.approx(want)


@pytest.mark.parametrize("kind", [tuple, np.array, pd.Index, pd.Series])
def test_methods_may_be_named_by_any_sequence(kind, model, X):
    got, want = (rank_features(model, X, methods=names) for names in (kind(QUICK), QUICK))
    pd.testing.assert_frame_equal(got.raw, want.raw)


def test_background_and_sample_are_drawn_with_the_random_seed(model):
    X = pd.DataFrame(cases.table(130), columns=NAMES)
    got = rank_features(model, X, methods="ablation_mean", sample=40, seed=3)
    want = rank_features(model, sample(X, 40, seed=3).rows, methods="ablation_mean", background=sample(X, 100, seed=3))
    pd.testing.assert_frame_equal(got.raw, want.raw)
    assert (got.made_by["rows"], got.made_by["b"]) == (40, 100)


def test_results_are_a_function_of_the_random_seed(model, X):
    first, second, other = (
        rank_features(model, X, methods=["permutation", "sage", "mutual_information"], repeats=3, seed=seed).errors
        for seed in (0, 0, 1)
    )
    pd.testing.assert_frame_equal(first, second)
    assert (first != other).any(axis=0).all()


def test_by_default_all_methods_that_apply_to_the_model_are_used(X):
    without_encoder = nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 6)).double()
    got = rank_features(without_encoder, X, repeats=1)
    assert {column.partition(":")[0] for column in got.raw} == {
        *({*importances.names()} - {"retraining", "activations", "mutual_information"})
    }
    assert {*got.left_out} == {"activations", "mutual_information"}
    assert "latents of Sequential can't be found" in got.left_out["activations"]
    with pytest.raises(ModelError, match="latents of Sequential can't be found"):
        rank_features(without_encoder, X, methods=["activations"])


def test_a_fit_adds_retraining(model, X):
    got = rank_features(model, X, repeats=1, fit=lambda model, rows: cases.fit(model, rows, 1), sample=10)
    assert "retraining:zero" in got.raw


def test_a_method_that_fails_leaves_the_others_and_a_warning_with_its_reason(model, X):
    def diverges(model, rows):
        raise ZeroDivisionError("of the user")

    with pytest.warns(RankingWarning, match="'retraining' is left out of the ranking, as it fails: fit returned None"):
        got = rank_features(model, X, repeats=1, fit=lambda model, rows: None, sample=10)
    alone = rank_features(model, X, repeats=1, sample=10)
    pd.testing.assert_frame_equal(got.raw, alone.raw)
    with pytest.warns(RankingWarning, match="as it fails: ZeroDivisionError: of the user"):
        got = rank_features(model, X, methods=["retraining", "weights:gedeon"], repeats=1, fit=diverges, sample=10)
    assert [*got.raw] == ["weights:gedeon"]
    assert got.left_out == {"retraining": "ZeroDivisionError: of the user"}
    with pytest.raises(ZeroDivisionError, match="of the user"):
        rank_features(model, X, methods=["retraining"], repeats=1, fit=diverges, sample=10)
    without_encoder = nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 6)).double()
    with pytest.raises(ModelError, match=r"none of the methods \['activations', 'retraining'\] works. activations: "):
        with pytest.warns(RankingWarning):
            rank_features(without_encoder, X, methods=["activations", "retraining"], repeats=1, fit=diverges, sample=10)
    with pytest.raises(ModelError, match="retraining needs fit="):
        rank_features(model, X, methods=["weights", "retraining"])


@pytest.mark.parametrize("breaks", [False, True])
def test_model_data_and_process_are_left_as_they_were(breaks, X):
    model = cases.build(cases.Breaking if breaks else cases.Nested).train()
    model.encoder.eval()
    before, table, world = cases.snapshot(model), X.copy(), cases.world()
    if breaks:
        cases.Breaking.left = 40
        with pytest.raises(KeyboardInterrupt):
            rank_features(model, X)
    else:
        rank_features(model, X, repeats=1, fit=lambda model, rows: cases.fit(model, rows, 1))
    assert cases.snapshot(model) == before
    assert cases.world() == world
    pd.testing.assert_frame_equal(X, table)


# Errors


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"methods": ["shapp"]}, UnknownName, "no method is called 'shapp'; there are: shap, "),
        ({"methods": ["weights:gideon"]}, UnknownName, "no quantity of weights is called 'gideon'; there are: gedeon"),
        ({"methods": []}, DataError, r"methods must be some of \['ablation_mean', "),
        ({"methods": ["retraining"]}, ModelError, "retraining needs fit="),
        ({"repeats": 0}, DataError, "repeats must be an integer, at least 1, got 0"),
        ({"sample": 1}, DataError, "1 row is too few for a ranking. rank_features takes 2 rows or more"),
        ({"background": np.zeros((3, 5))}, DataError, "expected 6"),
        ({"background": weighted(np.zeros((3, 6)), [1, 2, 1])}, DataError, "the background has weights for its 3 rows"),
        ({"groups": {"g": ["a", "z"]}}, DataError, r"features that are not there: z \(in g\)"),
        ({"groups": {"g": ["a"], "h": ["b", "a"]}}, DataError, r"one player only, but groups share .*a \(in g and h\)"),
        ({"groups": {"g": []}}, DataError, "the group 'g' must be a list of one name or more"),
        (
            {"groups": {"b": ["a"]}},
            DataError,
            r"must differ from each other and from the features outside of groups\. Rename group b",
        ),
    ],
)
def test_invalid_arguments_are_errors(options, kind, text, model, X):
    with pytest.raises(kind, match=text):
        rank_features(model, X, **options)


def test_a_random_model_and_nan_scores_are_errors(X):
    with pytest.raises(ModelError, match="random in eval mode"):
        rank_features(Autoencoder(cases.build(cases.Variational), reconstruct=lambda m, x: m(x)[0], noise=None), X)
    with pytest.raises(ModelError, match="NaN or infinite scores for 25 of 25 rows"):
        rank_features(Autoencoder(cases.build(cases.Linear), reconstruct=lambda m, x: m(x) / 0), X)


# Correlated features


def test_clusters_are_connected_by_correlations_above_nine_tenths():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((100, 7))
    rows[:, 3] = -rows[:, 0] + 0.3 * rng.standard_normal(100)
    rows[:, 5] = rows[:, 3] + 0.3 * rng.standard_normal(100)  # correlates with 3 above 0.9, with 0 below
    rows[:, 4] = 2
    rows[:, 6] = 5 * rows[:, 2] + 1
    r = np.abs(np.corrcoef(rows[:, [0, 3, 5]].T))
    assert r[0, 1] > 0.9
    assert r[1, 2] > 0.9
    assert correlated_clusters(rows) == [[0, 3, 5], [2, 6]]
    assert correlated_clusters(rows, 0.999) == [[2, 6]]


def copied_feature():
    """A linear autoencoder of 4 features that uses the last feature, a copy of the first, as much as the first."""
    rows = cases.table(60, 4)
    rows[:, 3] = rows[:, 0]
    model = cases.build(cases.Linear, 4, 3)
    with torch.no_grad():
        model.encoder.weight.copy_(torch.tensor([[0.5, 0, 0, 0.5], [0, 1, 0, 0], [0, 0, 1, 0]]))
        model.decoder.weight.copy_(torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]]))
        model.encoder.bias.zero_(), model.decoder.bias.zero_()
    return model, pd.DataFrame(rows, columns=list("abcd"))


def test_a_warning_is_issued_if_permutation_underestimates_copied_features():
    """Each copy alone changes two outputs by half; both change them by the whole: 4 times the squared error."""
    model, X = copied_feature()
    with pytest.warns(RankingWarning, match=r"in 1 of 1 clusters\. For the cluster 'a and 1 more', .* in total"):
        got = rank_features(model, X, methods=["permutation"])
    assert got.clusters == {"a and 1 more": ["a", "d"]}
    (alone, _, together, _, difference, sure) = got.together.loc["a and 1 more"]
    assert alone == pytest.approx(got.raw["permutation:error"][["a", "d"]].sum())
    assert together == pytest.approx(2 * alone)
    assert difference == pytest.approx(together - alone)
    assert 0 < sure < difference / 2
    grouped = rank_features(model, X, methods=["permutation"], groups=got.clusters)
    assert grouped.raw.loc["a and 1 more", "permutation:error"] == pytest.approx(together)
    assert grouped.together is None


def test_no_warning_is_issued_if_copies_do_not_substitute_for_each_other():
    """The model ignores the second copy."""
    model, X = copied_feature()
    with torch.no_grad():
        model.encoder.weight[0, 3] = 0
    got = rank_features(model, X, methods=["permutation"])
    assert got.together["difference"].abs().max() < 1e-12
    assert rank_features(model, X, methods=["ablation_mean"]).together is None
    assert rank_features(model, X, methods=["permutation"], sample=29).clusters == {}


# Plots


def test_the_plot_shows_clusters_side_by_side_and_dots_for_insignificant_ranks(ranking):
    shown = GlobalRanking(ranking.raw, ranking.errors, {"a and 1 more": ["a", "e"]}).plot(max_display=4)
    labels = [label.get_text() for label in shown.get_yticklabels()]
    assert labels == ["c", "a", "e", "b"]  # mean shares of 0.6, 0.45, 0.25 and 0.4 thirds; e follows a
    texts = np.array([text.get_text() for text in shown.texts]).reshape(4, 3)
    assert texts[:, 0].tolist() == ["·", "1", "·", "2"]
    assert texts[:, 1].tolist() == ["1", "5", "2", "4"]
    assert set(texts[:, 2]) == {"·"}


def test_the_plot_of_agreement_shows_the_numbers_under_their_names(ranking):
    ax = ranking.plot_agreement("kendall")
    (image,) = ax.images
    names = [label.get_text() for label in ax.get_xticklabels()]
    np.testing.assert_allclose(image.get_array(), ranking.agreement.loc["kendall"].loc[names, names])
    with pytest.raises(UnknownName, match="no measure of agreement is called 'pearson'"):
        ranking.plot_agreement("pearson")
