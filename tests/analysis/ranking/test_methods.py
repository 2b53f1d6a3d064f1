"""Each method against a closed form, a slow independent computation, or another library."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
import torch
from captum.attr import FeatureAblation, FeaturePermutation
from sklearn.inspection import permutation_importance
from torch import nn

from shapae import Autoencoder, Explainer
from shapae.analysis.ranking import methods as importances
from shapae.analysis.ranking.methods import permutation, retraining
from shapae.analysis.ranking.task import RankingTask
from shapae.errors import ModelError, UnknownName, UnsupportedOperator
from shapae.heads import ReconstructionError
from shapae.models.autoencoder import as_autoencoder
from tests import cases

N, D = 11, cases.D
ALONE = tuple((j,) for j in range(D))
SOME = ((0, 3), (1,), (5, 2), (4,))
every_grouping = pytest.mark.parametrize("players", [ALONE, SOME], ids=["alone", "groups"])


def case(model=None, n=N, players=ALONE, **settings):
    model = cases.build(cases.Question) if model is None else model
    rows, background = (torch.tensor(cases.table(count, seed=seed)) for count, seed in ((n, 1), (7, 2)))
    return RankingTask(as_autoencoder(model), rows, background, players, **settings)


def measured(name, given, columns=None):
    """(p, q, 2)."""
    method = importances.named(name)
    with torch.no_grad():
        return method.measure(given, method.DEFAULT if columns is None else columns)


def error(model, rows, target):
    """(n,), by the formula."""
    with torch.no_grad():
        return ((model(torch.as_tensor(rows)) - target) ** 2).mean(dim=1)


def loop(given, replace):
    """Rise of the error and change of the reconstruction, (n, 2) for each player, row by row."""
    for player in given.players:
        moved = []
        for place, row in enumerate(given.rows):
            other = row.clone()
            for j in player:
                other[j] = replace(place, j)
            with torch.no_grad():
                old, new = (given.autoencoder(each[None])[0] for each in (row, other))
            moved.append([((new - row) ** 2 - (old - row) ** 2).mean(), ((new - old) ** 2).mean()])
        yield np.array(moved)


# Permutation and ablation


def donors_of(calls, table, j):
    """Which rows the values of column ``j`` came from, in the calls of an estimator in which they moved."""
    moved = [X for X in calls if (X[:, j] != table[:, j]).any()]
    return np.stack([(X[:, j, None] == table[:, j]).argmax(axis=1) for X in moved])


def test_permutation_is_scikit_learns_with_the_same_shuffles():
    given = case()
    model, table = given.autoencoder.model, given.rows.numpy()

    class Estimator:
        def fit(self, X, y):
            return self

    def score(estimator, X, y):
        calls.append(X.copy())
        return -error(model, X, torch.as_tensor(y)).mean().item()

    calls = []
    want = permutation_importance(Estimator(), table, table, scoring=score, n_repeats=3, random_state=0)
    for j in range(D):
        donors = donors_of(calls, table, j)
        assert donors.shape == (3, N)
        got = permutation.permutation_effects(given, (j,), ["error"], donors)
        assert got.mean().item() == pytest.approx(want.importances_mean[j], rel=1e-9)


def test_permutation_is_captums_for_one_shuffle():
    given, donors = case(), np.random.default_rng(0).permutation(N)

    def shuffle(rows, mask):
        return torch.where(mask.bool(), rows[donors], rows)

    with torch.no_grad():
        peer = FeaturePermutation(lambda rows: error(given.autoencoder, rows, given.rows), perm_func=shuffle)
        want = -peer.attribute(given.rows).mean(dim=0)
        got = [permutation.permutation_effects(given, (j,), ["error"], donors[None]).mean() for j in range(D)]
    np.testing.assert_allclose(got, want, rtol=1e-9)


@every_grouping
def test_permutation_is_the_mean_over_all_shuffles_which_keep_groups_together(players):
    given = case(cases.build(cases.Nested), n=4, players=players, repeats=400)
    every = [
        [values.mean(axis=0) for values in loop(given, lambda place, j, donors=donors: given.rows[donors[place], j])]
        for donors in permutations(range(4))
    ]
    got, sure = measured("permutation", given), np.std(every, axis=0) / np.sqrt(400)
    assert (np.abs(got[..., 0] - np.mean(every, axis=0)) < 4 * sure).all()


@pytest.mark.parametrize("repeats", [1, 5])
def test_standard_errors_of_permutation_cover_what_another_sample_would_give(repeats):
    """Of independent standard normal features and f(x) = W x the rise of the error is 2 W_ii / d."""
    model, found = cases.build(cases.Linear, D, D), []
    with torch.no_grad():
        for layer, weight in ((model.encoder, torch.eye(D)), (model.decoder, 0.9 * torch.eye(D))):
            layer.weight.copy_(weight)
            layer.bias.zero_()
    for seed in range(100):
        rows = torch.tensor(cases.table(200, seed=seed))
        found.append(
            measured("permutation", RankingTask(as_autoencoder(model), rows, rows, ALONE, repeats, seed), ["error"])
        )
    means, errors = np.moveaxis(found, -1, 0)[..., 0]
    covered = (np.abs(means - 2 * 0.9 / D) < 1.96 * errors).mean()
    assert 0.93 <= covered <= 0.98  # the fewer shuffles, the more on the safe side


@every_grouping
@pytest.mark.parametrize("name", ["ablation_zero", "ablation_mean"])
def test_ablation_is_captums_and_its_standard_errors_are_over_the_rows(name, players):
    given = case(players=players)
    point = given.background.mean(dim=0) if name == "ablation_mean" else torch.zeros(D, dtype=torch.float64)
    mask = torch.tensor([next(place for place, player in enumerate(players) if j in player) for j in range(D)])
    with torch.no_grad():
        peer = FeatureAblation(lambda rows: error(given.autoencoder, rows, given.rows))
        falls = -peer.attribute(given.rows, baselines=point[None], feature_mask=mask[None]).numpy()
    falls = falls[:, [player[0] for player in players]]
    got = measured(name, given)
    np.testing.assert_allclose(got[:, 0, 0], falls.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(got[:, 0, 1], falls.std(axis=0, ddof=1) / np.sqrt(N), rtol=1e-9)
    slow = [values[:, 1].mean() for values in loop(given, lambda place, j: point[j])]
    np.testing.assert_allclose(got[:, 1, 0], slow, rtol=1e-9)


# Activations, gradients, weights


def test_activations_of_a_linear_encoder_are_its_weights_times_the_distance_to_the_mean():
    given = case(cases.build(cases.Linear))
    weights = given.autoencoder.model.encoder.weight.detach().abs().mean(dim=0)
    want = (given.rows - given.background.mean(dim=0)).abs() * weights
    got = measured("activations", given)[:, 0]
    np.testing.assert_allclose(got[:, 0], want.mean(dim=0), rtol=1e-10)
    np.testing.assert_allclose(got[:, 1], want.std(dim=0) / np.sqrt(N), rtol=1e-10)


@every_grouping
def test_gradient_x_input_of_a_linear_autoencoder_by_hand(players):
    """error(z) = |W z + c - t|^2 / d, with t = z or fixed: its gradient is 2 (W - I)' r / d or 2 W' r / d."""
    given = case(cases.build(cases.Linear), players=players)
    model, x = given.autoencoder.model, given.rows.numpy()
    W = (model.decoder.weight @ model.encoder.weight).detach().numpy()
    rest = given.autoencoder(given.rows).detach().numpy() - x
    got = measured("gradient_x_input", given)
    for column, jacobian in enumerate((W - np.eye(D), W)):
        products = 2 / D * rest @ jacobian * x
        want = np.abs(np.stack([products[:, list(player)].sum(axis=1) for player in players], axis=1))
        np.testing.assert_allclose(got[:, column, 0], want.mean(axis=0), rtol=1e-10)
        np.testing.assert_allclose(got[:, column, 1], want.std(axis=0, ddof=1) / np.sqrt(N), rtol=1e-10)


class Constant(nn.Module):
    def forward(self, rows):
        return torch.ones(rows.shape, dtype=rows.dtype)


def test_the_gradient_of_a_model_that_does_not_look_at_its_rows_is_zero():
    got = measured("gradient_x_input", case(Constant()), ["fixed"])
    assert (got == 0).all()


class Hand(nn.Module):
    """2 -> 2 -> 2, with weights written by hand."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(2, 2).double(), nn.Linear(2, 2).double()
        with torch.no_grad():
            self.encoder.weight.copy_(torch.tensor([[3.0, -1.0], [0.0, 2.0]]))
            self.decoder.weight.copy_(torch.tensor([[1.0, -3.0], [0.0, 0.0]]))

    def forward(self, rows):
        return self.decoder(torch.relu(self.encoder(rows)))


def test_gedeon_on_hand_made_weights():
    """Units share (3/4, 1/4) and (0, 1); the first output (1/4, 3/4); the second, without weights, has none."""
    rows = torch.eye(2, dtype=torch.float64)
    got = measured("weights", RankingTask(as_autoencoder(Hand()), rows, rows, ((0,), (1,))))
    by_gedeon = np.array([1 / 4 * 3 / 4, 1 / 4 * 1 / 4 + 3 / 4]) / 2
    np.testing.assert_allclose(got[..., 0], np.array([[3, 5**0.5], by_gedeon, [3, 1 + 6]]).T, rtol=1e-12)
    assert (got[..., 1] == 0).all()


def test_paths_are_enumerated_and_gedeons_shares_sum_to_one():
    given = case(cases.build(cases.Question), players=SOME)
    layers = [
        layer.weight.detach().abs().numpy() for layer in given.autoencoder.modules() if isinstance(layer, nn.Linear)
    ]
    units = [range(len(layer)) for layer in layers]
    sums = np.zeros(D)
    for j, *path in product(range(D), *units):
        sums[j] += np.prod([layer[to, start] for layer, start, to in zip(layers, [j, *path], path, strict=False)])
    first, gedeon, paths = measured("weights", given)[..., 0].T
    np.testing.assert_allclose(paths, [sums[list(player)].sum() for player in SOME], rtol=1e-10)
    np.testing.assert_allclose(first, [np.linalg.norm(layers[0][:, list(player)]) for player in SOME], rtol=1e-12)
    assert gedeon.sum() == pytest.approx(1)


def test_weights_are_refused_where_they_do_not_lead_from_features_to_outputs():
    with pytest.raises(
        ModelError, match=r"from 6 features to 6 outputs; the model runs 6 to 5, 5 to 3, 5 to 3, 3 to 5"
    ):
        measured("weights", case(Autoencoder(cases.build(cases.Variational), reconstruct=lambda m, x: m(x)[0])))
    with pytest.raises(ModelError, match="the model runs none"):
        measured("weights", case(Constant()))


# Mutual information


class Mixed(nn.Module):
    """One latent, with correlations of 0.8 and 0.6 with the first two of independent features."""

    def encode(self, rows):
        return rows[:, :2] @ rows.new_tensor([[0.8], [0.6]])

    def forward(self, rows):
        return rows


class Doubled(Mixed):
    """The same latent twice, and one that is always 1."""

    def encode(self, rows):
        latent = super().encode(rows)
        return torch.cat([latent, torch.ones_like(latent), -latent], dim=1)


def test_mutual_information_of_normal_columns():
    """-1/2 log(1 - rho^2), within its standard error."""
    rows = torch.tensor(cases.table(2000, 2))
    got = measured("mutual_information", RankingTask(as_autoencoder(Mixed()), rows, rows, ((0,), (1,)), 10))
    want = -np.log(1 - np.array([0.8, 0.6]) ** 2) / 2
    assert (np.abs(got[:, 0, 0] - want) < 2.5 * got[:, 0, 1]).all()
    assert (got[:, 0, 1] < 0.1 * want).all()


def test_mutual_information_is_summed_over_latents_and_of_a_group_the_best_feature_counts():
    rows = torch.tensor(cases.table(60, 3))
    rows[:, 2] = 1
    one, two = (
        measured("mutual_information", RankingTask(as_autoencoder(model), rows, rows, players, 3))[:, 0, 0]
        for model, players in ((Mixed(), ((0,), (1,), (2,))), (Doubled(), ((0, 1, 2),)))
    )
    assert one[2] == 0
    assert two == pytest.approx(2 * one.max())


def test_from_few_rows_mutual_information_has_no_standard_error():
    rows = torch.tensor(cases.table(12, 2))
    got = measured("mutual_information", RankingTask(as_autoencoder(Mixed()), rows, rows, ((0,), (1,)), 3))
    assert np.isnan(got[..., 1]).all()
    assert (got[..., 0] >= 0).all()


# Shapley values


def test_shap_is_the_summary_of_the_explainer():
    given = case()
    for column, target in enumerate(("moving", "fixed")):
        head = ReconstructionError(target=target)
        want = Explainer(given.autoencoder, given.background, head=head).summarize(given.rows)
        got = measured("shap", given, ["moving", "fixed"])[:, column]
        np.testing.assert_allclose(got[:, 0], want.mean_abs[:, 0], rtol=1e-9)
        np.testing.assert_allclose(got[:, 1], want.mean_abs_error[:, 0], rtol=1e-9)


def test_shap_of_a_group_is_the_size_of_the_sum_of_its_values():
    given = case(players=SOME)
    values = Explainer(given.autoencoder, given.background)(given.rows).values
    want = [np.abs(values[:, list(player)].sum(axis=1)).mean() for player in SOME]
    np.testing.assert_allclose(measured("shap", given, ["moving"])[:, 0, 0], want, rtol=1e-9)


def test_sage_of_a_linear_autoencoder_is_the_mean_of_exact_shapley_values():
    """Features act in pairs there, so that a background row, an order and its reverse give the very values."""
    given = case(cases.build(cases.Linear), n=9, repeats=60)
    head = ReconstructionError(target="fixed")
    want = -Explainer(given.autoencoder, given.background, head=head, backend="exact")(given.rows).values.mean(axis=0)
    got = measured("sage", given)[:, 0]
    one = RankingTask(given.autoencoder, given.rows, given.background[:1], ALONE, 1)
    exact = -Explainer(one.autoencoder, one.background, head=head, backend="exact")(one.rows).values.mean(axis=0)
    np.testing.assert_allclose(measured("sage", one)[:, 0, 0], exact, atol=1e-12)
    assert (np.abs(got[:, 0] - want) < 3 * got[:, 1]).all()


def losses(given, start):
    return error(given.autoencoder, start.expand_as(given.rows), given.rows)


@every_grouping
def test_sage_sums_to_the_loss_that_is_explained(players):
    given = case(players=players)
    one = RankingTask(given.autoencoder, given.rows, given.background[:1], players, 2)
    explained = losses(one, one.background) - losses(one, one.rows)
    np.testing.assert_allclose(measured("sage", one)[..., 0].sum(), explained.mean(), rtol=1e-10)
    many = RankingTask(given.autoencoder, given.rows, given.background, players, 100)
    explained = torch.stack([losses(many, start) for start in many.background[:, None]]) - losses(many, many.rows)
    got = measured("sage", many)[:, 0]
    assert abs(got[:, 0].sum() - explained.mean().item()) < np.linalg.norm(got[:, 1])


class Blind(cases.Question):
    """Looks at all features but the last."""

    def forward(self, rows):
        return super().forward(torch.cat([rows[:, :-1], 0 * rows[:, -1:]], dim=1))


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("sage", [""]),
        ("permutation", ["error", "reconstruction"]),
        ("ablation_mean", ["error", "reconstruction"]),
        ("ablation_zero", ["error", "reconstruction"]),
        ("gradient_x_input", ["fixed"]),
        ("shap", ["fixed"]),
    ],
)
def test_a_feature_that_the_model_does_not_use_counts_nothing(name, columns):
    got = measured(name, case(cases.build(Blind)), columns)
    assert (got[-1] == 0).all()
    assert (np.abs(got[:-1, :, 0]) > 1e-9).all()


# Retraining


def module_case(copy=False, trained_by=cases.fit, **settings):
    """A signal in features 0 and 1, noise in feature 2, which one latent has no room for; maybe a copy of feature 0."""
    rng = np.random.default_rng(0)
    signal = rng.standard_normal((200, 1))
    columns = [signal + 0.5 * rng.standard_normal((200, 2)), 0.3 * rng.standard_normal((200, 1))]
    rows = torch.tensor(np.hstack([*columns, *([columns[0][:, :1]] if copy else [])]))
    model = cases.fit(cases.build(cases.Linear, rows.shape[1], 1), rows, 200)
    return RankingTask(
        as_autoencoder(model), rows, rows, tuple((j,) for j in range(rows.shape[1])), fit=trained_by, **settings
    )


@pytest.mark.parametrize("way", ["zero", "shuffle"])
def test_retraining_without_noise_changes_nothing_and_without_a_needed_feature_it_does(way):
    means, errors = measured("retraining", module_case(), [way])[:, 0].T
    assert (means[:2] > 3 * errors[:2]).all()
    assert abs(means[2]) < 2 * errors[2]
    assert abs(means[2]) < 0.02 * means[:2].min()


class Projection(nn.Module):
    """The line through 0 that is nearest to the rows, found anew for as many features as these have."""

    def __init__(self, rows):
        super().__init__()
        self.register_buffer("line", torch.tensor(np.linalg.svd(rows.numpy())[2][0]))

    def forward(self, rows):
        return (rows @ self.line)[:, None] * self.line


def test_retraining_by_dropping_columns_trains_on_smaller_tables():
    players = ((0, 2), (1,), (3,))
    given = replace(module_case(copy=True, trained_by=lambda model, rows: Projection(rows)), players=players, repeats=3)
    rows, want = given.rows.numpy(), np.zeros((3, 3))
    for repeat, (at, player) in product(range(3), enumerate(players)):
        split, left = retraining.Split(given, repeat), [j for j in range(4) if j not in player]
        train, judge = rows[split.train], rows[split.judge]
        whole, narrow = (_missed(train[:, seen], judge[:, seen]) for seen in (slice(None), left))
        want[at, repeat] = (narrow**2 - whole[:, left] ** 2).mean()
    got = measured("retraining", given, ["drop"])[:, 0, 0]
    np.testing.assert_allclose(got, want.mean(axis=1), rtol=1e-9, atol=1e-14)


def _missed(train, judge):
    line = np.linalg.eigh(train.T @ train)[1][:, -1]
    return np.outer(judge @ line, line) - judge


def test_a_fit_that_can_not_do_with_fewer_columns_is_told_so():
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied") as caught:
        measured("retraining", module_case(repeats=1), ["drop"])
    assert "fit must build a model of rows.shape[1] features, here 2" in caught.value.__notes__[0]


def test_a_group_of_all_features_can_not_be_dropped():
    given = replace(module_case(), players=((0, 1, 2),))
    with pytest.raises(ModelError, match="a group holds all features, so that without it no column is left"):
        measured("retraining", given, ["zero", "drop"])


def test_ways_of_retraining_do_not_depend_on_each_other():
    def by_batches(model, rows):
        for _ in range(3):
            cases.fit(model, rows[torch.randperm(len(rows))[:50]], 1)
        return model

    given = module_case(repeats=2, trained_by=by_batches)
    alone = {way: measured("retraining", given, [way])[:, 0] for way in ("zero", "shuffle")}
    for ways in (["zero", "shuffle"], ["shuffle", "zero"]):
        both = measured("retraining", given, ways)
        np.testing.assert_array_equal(both, np.stack([alone[way] for way in ways], axis=1))


def test_a_model_that_was_trained_to_nan_is_refused():
    def overflowing(model, rows):
        model(rows)
        with torch.no_grad():
            model.decoder.bias[1] = torch.nan
        return model

    with pytest.raises(ModelError, match="the model that fit returned gives NaN or infinity"):
        measured("retraining", module_case(trained_by=overflowing), ["zero"])


def test_retraining_knows_that_a_copy_stands_in_where_permutation_does_not():
    given = module_case(copy=True)
    trained, shuffled = (
        measured(name, given, [column])[:, 0] for name, column in (("retraining", "zero"), ("permutation", "error"))
    )
    assert abs(trained[0, 0]) < 0.1 * trained[1, 0]
    assert shuffled[0, 0] > 0.5 * shuffled[1, 0]


def test_retraining_is_done_on_copies_that_do_not_see_the_feature():
    seen = []

    def watch(model, rows):
        assert model.training
        handle = model.encoder.register_forward_pre_hook(lambda module, given: seen.append(given[0].clone()))
        model(rows)
        handle.remove()
        with torch.no_grad():
            model.decoder.weight.zero_()
        assert torch.is_grad_enabled()
        return model

    given = module_case(repeats=1)
    before, world = cases.snapshot(given.autoencoder), cases.world()
    measured("retraining", RankingTask(given.autoencoder, given.rows, given.rows, given.players, 1, fit=watch))
    assert cases.snapshot(given.autoencoder) == before
    assert cases.world() == world
    assert [(rows == 0).all(dim=0).tolist() for rows in seen] == [[at == j for at in range(3)] for j in (-1, 0, 1, 2)]
    assert {len(rows) for rows in seen} == {100}


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (None, "retraining needs fit=, a function"),
        (lambda model, rows: None, "and return it; got NoneType"),
        (lambda model, rows: nn.Linear(3, 3), "and return it; got another one"),
        (lambda model, rows: model(rows=rows), r"fit must call the model with rows \(m, 3\): model\(rows\)"),
        (lambda model, rows: model(rows[:, :2]), r"fit must call the model with rows \(m, 3\): model\(rows\)"),
    ],
)
def test_a_fit_that_does_not_train_the_model_is_refused(wrong, text):
    given = module_case()
    with pytest.raises(ModelError, match=text):
        measured("retraining", RankingTask(given.autoencoder, given.rows, given.rows, given.players, fit=wrong))


class Killed(Exception):
    pass


def test_retraining_goes_on_where_it_was_killed(tmp_path):
    given, calls = module_case(repeats=2), []

    def run(folder, most, seed=0, way="zero"):
        calls.clear()

        def counting(model, rows):
            calls.append(1)
            if len(calls) > most:
                raise Killed
            return cases.fit(model, rows, 3)

        one = RankingTask(
            given.autoencoder, given.rows, given.rows, given.players, 2, seed, fit=counting, folder=folder
        )
        return measured("retraining", one, [way])

    want = run(None, 8)
    assert len(calls) == 8
    with pytest.raises(Killed):
        run(tmp_path, 5)
    np.testing.assert_array_equal(run(tmp_path, 8), want)
    assert len(calls) == 4  # of the model with all features and of the first player, two repeats each were kept
    np.testing.assert_array_equal(run(tmp_path, 0), want)
    run(tmp_path, 8, seed=1)
    assert len(calls) == 8
    run(tmp_path, 6, way="shuffle")
    assert len(calls) == 6  # all features are seen as before


SCRIPT = """
import os, signal, torch
from pathlib import Path
from shapae.models.autoencoder import as_autoencoder
from shapae.analysis.ranking.methods import retraining
from shapae.analysis.ranking.task import RankingTask
from tests import cases

def fit(model, rows):
    with open("log", "a") as log:
        log.write("one ")
    if Path("log").read_text().count("one") == 6:
        os.kill(os.getpid(), signal.SIGKILL)
    return cases.fit(model, rows, 3)

model, rows = cases.build(cases.Linear, 3, 1), torch.tensor(cases.table(20, 3))
case = RankingTask(as_autoencoder(model), rows, rows, ((0,), (1,), (2,)), 2, fit=fit, folder=Path("kept"))
retraining.measure(case, ["zero"])
"""


def test_what_a_killed_process_has_left_is_whole(tmp_path):
    there = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=tmp_path, env=there, check=False)
    assert done.returncode == -signal.SIGKILL
    (kept,) = (tmp_path / "kept").iterdir()
    assert sorted(path.name for path in kept.iterdir()) == ["all.npy", "zero-0.npy"]
    calls = []

    def fit(model, rows):
        calls.append(1)
        return cases.fit(model, rows, 3)

    model, rows = cases.build(cases.Linear, 3, 1), torch.tensor(cases.table(20, 3))
    got, want = (
        measured("retraining", RankingTask(as_autoencoder(model), rows, rows, ALONE[:3], 2, fit=fit, folder=folder))
        for folder in (tmp_path / "kept", None)
    )
    assert len(calls) == 4 + 8
    np.testing.assert_array_equal(got, want)


# All of them


@pytest.mark.parametrize("name", ["permutation", "sage"])
def test_workers_find_the_same(name):
    one, two = (measured(name, case(players=SOME, n_jobs=jobs)) for jobs in (1, 2))
    np.testing.assert_allclose(one, two, rtol=1e-9, atol=1e-14)


def test_workers_that_train_find_the_same():
    one, two = (measured("retraining", module_case(repeats=1, n_jobs=jobs))[..., 0] for jobs in (1, 2))
    np.testing.assert_allclose(one, two, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("name", [name for name in importances.names() if name != "retraining"])
def test_a_model_that_writes_into_its_input_is_measured_as_it_is(name):
    class Writing(cases.Question):
        def forward(self, rows):
            return super().forward(rows.mul_(2))

        def encode(self, rows):
            return self.encoder(rows.mul_(2))

    class Doubling(cases.Question):
        def forward(self, rows):
            return super().forward(2 * rows)

        def encode(self, rows):
            return self.encoder(2 * rows)

    columns = ["fixed"] if name in {"gradient_x_input", "shap"} else None
    got, want = (measured(name, case(cases.build(model)), columns) for model in (Writing, Doubling))
    np.testing.assert_allclose(got, want, rtol=1e-9)


def test_the_methods_are_the_files_of_their_folder():
    files = [file.stem for file in Path(importances.__path__[0]).glob("[!_]*.py")]
    assert sorted(importances.names()) == sorted(files)
    with pytest.raises(UnknownName, match="no method is called 'permutations'; there are: permutation, "):
        importances.named("permutations")


def test_what_the_model_does_not_allow_is_refused():
    headless = Autoencoder(nn.Linear(D, D).double())
    for name in ("activations", "mutual_information"):
        with pytest.raises(ModelError, match="Linear can't be found: it has neither `encode` nor `encoder`"):
            measured(name, case(headless))

    class Sorting(cases.Question):
        def forward(self, rows):
            return super().forward(rows.sort(dim=1).values)

    with pytest.raises(UnsupportedOperator, match=r"aten\.sort"):
        measured("shap", case(cases.build(Sorting)))
