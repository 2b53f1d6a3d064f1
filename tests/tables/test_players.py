"""Groups of features as players."""

import pickle
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from shapae import Explainer, backends
from shapae.errors import DataError, TooLarge
from shapae.tables.background import weighted
from shapae.tables.players import players
from tests import cases

GROUPS = {"first": ["b", "e"], "second": ["f", "a", "d"]}
every_backend = pytest.mark.parametrize("backend", backends.names())
PLAYING = [name for name in backends.names() if backends.named(name).supports_groups]
SUMMING = sorted({*backends.names()} - {*PLAYING})


def named(table):
    return pd.DataFrame(table, columns=list("abcdef"))


class Function(nn.Module):
    """A head that is any function of the rows."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, autoencoder, rows):
        return self.function(rows)


# Sums


def test_the_sum_over_a_group_is_not_the_value_of_the_group_as_a_player():
    """Three features share 6 x y z in equal parts, so that two of them sum to 4; two players get half of it each."""
    head, background = Function(lambda rows: 6 * rows.prod(dim=1)), pd.DataFrame([[0.0, 0.0, 0.0]], columns=list("xyz"))
    row, groups = pd.DataFrame([[1.0, 1.0, 1.0]], columns=list("xyz")), {"xy": ["x", "y"]}
    explain = [Explainer(nn.Identity(), background, head=head, backend=name) for name in ("exact", "deep")]
    np.testing.assert_allclose(explain[0](row).grouped(groups).values, [[4, 2]])
    np.testing.assert_allclose(
        Explainer(nn.Identity(), background, head=head, backend="exact", groups=groups)(row).values, [[3, 3]]
    )


def shapley(score, row, background, players):
    """Shapley values of ``players``, lists of features, as averages over all permutations."""
    values = np.zeros(len(players))
    orders = list(permutations(range(len(players))))
    for b in background:
        for order in orders:
            mixed, before = b.copy(), score(b)
            for player in order:
                mixed[players[player]] = row[players[player]]
                after = score(mixed)
                values[player] += after - before
                before = after
    return values / len(background) / len(orders)


@pytest.mark.parametrize("backend", PLAYING)
def test_players_have_the_values_of_all_permutations(backend, model, rows, background):
    got = Explainer(model, named(background), backend=backend, groups=GROUPS)(named(rows))

    def score(row):
        with torch.no_grad():
            return float(((model(torch.tensor(row)) - torch.tensor(row)) ** 2).mean())

    want = [shapley(score, row, background, [[1, 4], [5, 0, 3], [2]]) for row in rows]
    sampled = backends.named(backend).n_samples and got.standard_errors is not None
    tolerance = 1e-9 + (5 * got.standard_errors if sampled else 0)
    assert (np.abs(got.values - want) <= tolerance).all()


@every_backend
@pytest.mark.parametrize("head", ["reconstruction_error", "latent"])
def test_the_values_of_players_add_up_with_every_backend(backend, head, model, rows, background):
    explainer = Explainer(model, named(background), head=head, backend=backend, groups=GROUPS)
    got, plain = explainer(named(rows[:2])), Explainer(model, background, head=head, backend=backend)(rows[:2])
    assert got.feature_names == ["first", "second", "c"]
    assert got.values.shape == (2, 3, *plain.values.shape[2:])
    np.testing.assert_allclose(got.data[:, 0], rows[:2][:, [1, 4]].mean(axis=1), rtol=0, atol=1e-14)
    np.testing.assert_allclose(got.scores, plain.scores, rtol=0, atol=1e-14)
    if backends.named(backend).additive:
        np.testing.assert_allclose(got.residual, 0, atol=1e-12)
    if backend in SUMMING:
        want = Explainer(model, named(background), head=head, backend=backend)(named(rows[:2])).grouped(GROUPS)
        np.testing.assert_allclose(got.values, want.values, rtol=0, atol=1e-12)
        assert got.standard_errors is None


@pytest.mark.parametrize("backend", ["deep", "exact"])
def test_a_summary_averages_the_values_of_players(backend, model, rows, background):
    explainer = Explainer(model, named(background), head="latent", backend=backend, groups=GROUPS)
    got, values = explainer.summarize(named(rows)), explainer(named(rows)).values
    assert list(got.table.index) == ["first", "second", "c"]
    np.testing.assert_allclose(got.mean_abs, np.abs(values).mean(axis=0), rtol=0, atol=1e-14)


@pytest.mark.parametrize("backend", ["deep", "exact"])
def test_groups_work_with_weights(backend, model, rows, background):
    few, settings = weighted(named(background), np.arange(1, 8)), {"backend": backend, "groups": GROUPS}
    got = Explainer(model, few, **settings)(named(rows))
    want = Explainer(model, named(np.repeat(background, np.arange(1, 8), axis=0)), **settings)(named(rows))
    np.testing.assert_allclose(got.values, want.values, rtol=0, atol=1e-12)


@pytest.mark.parametrize("backend", ["deep", "exact"])
def test_groups_work_with_a_tolerance(backend, model, rows):
    large, settings = named(cases.table(400, seed=4)), {"backend": backend, "groups": GROUPS}
    whole = Explainer(model, large, **settings)(named(rows)).values
    sure, some = (Explainer(model, large, tolerance=size, **settings)(named(rows)) for size in (1e-9, 0.2))
    np.testing.assert_allclose(sure.values, whole, rtol=0, atol=1e-12)
    assert (sure.used == 400).all()
    assert (some.used < 400).any()
    assert (np.abs(some.values - whole) < 5 * some.standard_errors).all()


@every_backend
def test_groups_reach_workers(backend, model, rows, background):
    explainer = Explainer(model, named(background), backend=backend, groups=GROUPS)
    here = cases.attribution(backends.named(backend), explainer._game)
    there, row = pickle.loads(pickle.dumps(here)), torch.tensor(rows[:1])
    np.testing.assert_array_equal(there(row, seeds=[3]).mean, here(row, seeds=[3]).mean)


def test_thirty_features_in_few_groups_are_explained_exactly():
    names = [f"x{j}" for j in range(30)]
    tables = [pd.DataFrame(cases.table(3, 30, seed=seed), columns=names) for seed in (1, 2)]
    model = cases.build(cases.Question, 30)
    groups = {"left": names[:14], "middle": names[14:20], "right": names[20:]}
    got = Explainer(model, tables[0], backend="exact", groups=groups)(tables[1])
    np.testing.assert_allclose(got.residual, 0, atol=1e-12)
    with pytest.raises(
        TooLarge, match=r"at most 12 features, got 30 .* fewer features, or groups of them: Explainer\("
    ):
        Explainer(model, tables[0], backend="exact")(tables[1])


def test_an_empty_dict_of_groups_changes_nothing(model, rows, background):
    np.testing.assert_array_equal(
        Explainer(model, background, groups={})(rows).values, Explainer(model, background)(rows).values
    )


BAD = {
    "a list": (["a", "b"], r"groups must be a dict from names to lists of features, .*got \['a', 'b'\]"),
    "a string": ({"x": "ab"}, "the group 'x' must be a list of one name or more, got 'ab'"),
    "nothing": ({"x": []}, r"the group 'x' must be a list of one name or more, got \[\]"),
    "twice": ({"x": ["a", "b", "a"]}, r"the group 'x' names a feature twice: \['a', 'b', 'a'\]"),
    "unknown": (
        {"x": ["a", "red"], "y": [f"n{j}" for j in range(12)]},
        r"features that are not there: red \(in x\), n0 \(in y\), .* n11 \(in y\)\.",
    ),
    "a name that is taken": (
        {"c": ["a", "b"]},
        r"from each other and from the features outside of groups\. Rename group c",
    ),
    "a name that comes twice": ({1: ["a"], "1": ["b"]}, r"must differ from each other .*\. Rename group 1"),
    "overlapping": (
        {"x": ["a", "b"], "y": ["b", "c"], "z": ["b", "c"]},
        r"one player only, but groups share features b \(in x and y and z\), c \(in y and z\)\. "
        r"Remove .*explanation\.grouped\(groups\)",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_groups_are_refused(kind, model, background):
    groups, message = BAD[kind]
    with pytest.raises(DataError, match=message):
        Explainer(model, named(background), groups=groups)


def test_a_group_may_have_the_name_of_one_of_its_features(model, rows, background):
    got = Explainer(model, named(background), groups={"a": ["a", "b"]})(named(rows))
    assert got.feature_names == ["a", "c", "d", "e", "f"]


def test_features_without_names_are_grouped_by_their_numbers(model, rows, background):
    groups = {"x": ["feature 0", "feature 5"]}
    assert Explainer(model, background, groups=groups)(rows).feature_names[0] == "x"
    with pytest.raises(DataError, match="features that are not there: a"):
        Explainer(model, background, groups={"x": ["a"]})
    with pytest.raises(DataError, match="without columns feature 0"):
        Explainer(model, background, groups=groups)(named(rows))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_sums_and_means_go_along_any_axis(axis):
    by = players({"x": ["a", "c"], "y": ["c", "b"]}, list("abcd"), disjoint=False)
    table = np.moveaxis(np.random.default_rng(0).normal(size=(4, 2, 3)), 0, axis)
    parts = [np.take(table, members, axis) for members in ([0, 2], [2, 1], [3])]
    np.testing.assert_allclose(by.sums(table, axis), np.stack([part.sum(axis) for part in parts], axis))
    np.testing.assert_allclose(by.means(table, axis), np.stack([part.mean(axis) for part in parts], axis))
    assert by.names == ["x", "y", "d"]


# One-hot columns
