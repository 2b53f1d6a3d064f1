"""Enrichment of sets: exact enumeration, scipy's rank-sum test, planted sets."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import mannwhitneyu

import shapae
from shapae.analysis.latents.enrichment import enrich
from shapae.errors import DataError
from tests.analysis.latents import planted


def importances(d=60, a=3, seed=0, ties=False):
    table = np.random.default_rng(seed).normal(size=(d, a))
    table = np.round(table) if ties else table
    return pd.DataFrame(table, [f"g{j}" for j in range(d)], [f"latent {k}" for k in range(a)])


def names(*positions):
    return [f"g{j}" for j in positions]


@pytest.mark.parametrize("ties", [False, True])
def test_scores_are_those_of_the_rank_sum_test_of_scipy(ties):
    table = importances(ties=ties)
    sets = {"few": names(1, 5, 9), "many": names(*range(0, 60, 2)), "next": names(*range(20))}
    found = enrich(table, sets, permutations=4000, seed=0)
    for (unit, name), line in found.iterrows():
        inside = table.index.isin(sets[name])
        ours, others = table.loc[inside, unit], table.loc[~inside, unit]
        test = mannwhitneyu(ours, others, method="asymptotic", use_continuity=False)
        np.testing.assert_allclose(line["score"], 2 * test.statistic / (len(ours) * len(others)) - 1, atol=1e-12)
        if len(ours) > 10:  # few ranks have few sums
            np.testing.assert_allclose(line["p"], test.pvalue, atol=0.04)
        counts = np.unique(table[unit], return_counts=True)[1]
        n, m, k = 60, len(ours), len(others)
        sigma = np.sqrt(m * k / 12 * (n + 1 - (counts**3 - counts).sum() / (n * (n - 1))))
        np.testing.assert_allclose(line["z"], (test.statistic - m * k / 2) / sigma, atol=1e-10)


@pytest.mark.parametrize("ties", [False, True])
def test_p_values_are_those_of_all_sets_of_the_size(ties):
    table = importances(8, 2, ties=ties)
    found = enrich(table, {"set": names(0, 3, 6)}, permutations=20000, seed=1)
    for unit in table:
        ranks = table[unit].rank().to_numpy() - 4.5
        sums = np.array([abs(ranks[list(each)].sum()) for each in combinations(range(8), 3)])
        exact = (sums >= abs(ranks[[0, 3, 6]].sum())).mean()
        assert found.loc[(unit, "set"), "p"] == pytest.approx(exact, abs=0.015)


def test_q_values_are_those_of_benjamini_and_hochberg_over_all_tests():
    found = enrich(importances(), {f"s{k}": names(*range(k, k + 9)) for k in range(0, 50, 5)}, permutations=200, seed=0)
    p = np.sort(found["p"].to_numpy())
    m = len(p)
    assert m == 30
    for _, line in found.iterrows():
        want = min(1, min(p[i] * m / (i + 1) for i in range(m) if p[i] >= line["p"]))
        assert line["q"] == pytest.approx(want)


def test_p_values_of_random_sets_are_uniform():
    rng = np.random.default_rng(0)
    sets = {f"s{k}": names(*rng.choice(60, 7, replace=False)) for k in range(200)}
    p = enrich(importances(a=1), sets, permutations=500, seed=0)["p"]
    assert abs(p.mean() - 0.5) < 0.08
    assert 0.02 < (p < 0.1).mean() < 0.2


def test_the_smallest_p_is_that_of_the_permutations_and_the_seed_fixes_it():
    table = importances()
    best = {"top": list(table["latent 0"].nlargest(20).index)}
    first, second, other = (enrich(table, best, permutations=99, seed=seed) for seed in (0, 0, 1))
    assert first.loc[("latent 0", "top"), "p"] == 0.01
    assert first.loc[("latent 0", "top"), "score"] == 1
    pd.testing.assert_frame_equal(first, second)
    assert not first.equals(other)


def test_blocks_of_permutations_do_not_change_the_result(monkeypatch):
    table, sets = importances(), {"a": names(*range(10)), "b": names(*range(30))}
    whole = enrich(table, sets, permutations=200, seed=0)
    monkeypatch.setattr("shapae.analysis.latents.enrichment.HELD_BYTES", 8 * 180 * 7)
    pd.testing.assert_frame_equal(enrich(table, sets, permutations=200, seed=0), whole)


def test_features_that_the_table_lacks_are_left_out():
    sets = {"some": ["g1", "x", "g2", "g1", "y"], "none": ["x"], "all": names(*range(60))}
    found = enrich(importances(a=1), sets, permutations=10, seed=0)
    assert found.index.tolist() == [("latent 0", "some")]
    assert found.loc[("latent 0", "some"), ["features", "size"]].tolist() == [2, 4]


def test_planted_sets_are_found_in_both_directions(tmp_path):
    """A set of the features with positive loadings of a unit, and one of those with negative loadings."""
    report = shapae.latents(planted.vae(), planted.rows())
    sets = {"up": ["g0", "g2"], "block": ["g0", "g1", "g2"], "down": ["g1"]}
    (tmp_path / "sets.gmt").write_text(
        "".join(f"{name}\tabout\t" + "\t".join(genes) + "\n" for name, genes in sets.items())
    )
    found = report.enrichment(tmp_path / "sets.gmt", permutations=2000)
    pd.testing.assert_frame_equal(found, report.enrichment(sets, permutations=2000))
    unit = found.xs("latent 1")
    assert (unit.loc["up", "score"], unit.loc["down", "score"]) == (1, -1)
    assert unit.loc["up", "p"] == pytest.approx(1 / 55, abs=0.01)
    assert {*found.index.get_level_values("unit")} == {*report.active}
    sizes = report.enrichment(sets, signed=False, permutations=2000).xs("latent 1")
    assert sizes.loc["block", "score"] == 1
    assert sizes.loc["block", "p"] < 0.02 < unit.loc["block", "p"]


@pytest.mark.parametrize(
    ("sets", "settings", "text"),
    [
        ({}, {}, "gene_sets must be the path of a GMT file, or a dict .* got an empty one"),
        (["g1"], {}, "got list"),
        ({"a": "g1"}, {}, "the set 'a' must be a list of one name or more, got 'g1'"),
        ({"a": ["x", "y"]}, {}, "no set has some features of the table, but not all of them. .* features x, y"),
        ({"a": names(*range(60))}, {}, "no set has some features of the table, but not all of them"),
        ({"a": ["g1"]}, {"permutations": 0}, "permutations must be an integer, at least 1, got 0"),
        ({"a": ["g1"]}, {"permutations": 10.5}, "permutations must be an integer, at least 1, got 10.5"),
        ("nowhere.gmt", {}, "can't read the gene sets in nowhere.gmt"),
    ],
)
def test_wrong_sets_are_refused(sets, settings, text):
    with pytest.raises(DataError, match=text):
        enrich(importances(), sets, **({"permutations": 10, "seed": 0} | settings))
