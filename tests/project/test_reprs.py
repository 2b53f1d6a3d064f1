"""Text forms of results: short, quick, with their shapes; and as HTML, in which no name is more than text."""

import re
import time
from collections.abc import Callable
from functools import cache
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pandas as pd
import pytest
import shap
import torch

import shapae
from shapae import Explainer, Explanation, GlobalRanking, Importance
from shapae.explainer.grouped_importance import GroupedImportance
from shapae.explainer.interactions import Interactions
from shapae.utils.described import as_html
from tests import cases

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "</pre></td></table>",
    "a\nline",
    "&amp; $x$ %s {}",
    "x" * 400,
]
X = pd.DataFrame(cases.table(12), columns=HOSTILE)
TYPES = ["<b>bold</b>", "</pre><script>"] * 6
ROWS = X.set_axis([f"<i>{place}" for place in range(12)])
VOID = {"br", "img", "hr", "input", "meta", "link"}
# Each result, and the words by which its text form says its shape.
MADE: dict[str, tuple[Callable[[], Any], list[str]]] = {
    "Explainer": (lambda: explainer(), ["12 background rows", "6 features"]),
    "Autoencoder": (lambda: used(), ["(n, 6)", "(n, 3)"]),
    "Explanation": (lambda: explainer()(ROWS), ["12 rows", "6 features"]),
    "Explanation of outputs": (lambda: outputs(), ["12 rows", "6 features", "3 outputs"]),
    "Importance": (lambda: explainer().summarize(ROWS), ["6 features", "1 output", "12 rows"]),
    "Importance of outputs": (lambda: Importance.of(outputs()), ["6 features", "3 outputs", "12 rows"]),
    "Importance of one row": (lambda: Importance.of(outputs()[:1]), ["6 features", "3 outputs", "1 row"]),
    "GroupedImportance": (lambda: GroupedImportance.of(outputs(), TYPES), ["6 features", "2 groups", "(6)"]),
    "Interactions": (lambda: explainer().interactions(ROWS), ["6 features", "12 rows"]),
    "Influence": (lambda: shapae.influence(cases.build(cases.Linear), ROWS, X[:5]), ["12 training rows", "5 rows"]),
    "LatentReport": (
        lambda: shapae.latents(cases.build(cases.Variational), ROWS, covariates={"<u>": TYPES}),
        ["3 units", "6 features", "12 rows"],
    ),
    "GlobalRanking": (
        lambda: shapae.rank_features(cases.build(cases.Linear), ROWS, methods=["weights", "gradient_x_input"]),
        ["6 features", "5 methods", "12 rows"],
    ),
    "Anomalies": (lambda: shapae.explain_anomalies(explainer(), ROWS, 7), ["7 anomalies"]),
    "Comparison": (
        lambda: shapae.compare(
            cases.build(cases.Linear), X, ROWS, backends=["deep", "gradient"], reference="exact", probes=2
        ),
        ["2 backends", "12 rows", "6 features"],
    ),
}


@cache
def explainer() -> Explainer:
    return Explainer(cases.build(cases.Linear), X)


@cache
def outputs() -> Explanation:
    return Explainer(cases.build(cases.Linear), X, head="latent")(ROWS)


def used() -> Any:
    autoencoder = shapae.Autoencoder(cases.build(cases.Linear))
    autoencoder.reconstruct(torch.as_tensor(cases.table(3)))
    return autoencoder


@cache
def result(name: str) -> Any:
    with torch.random.fork_rng():
        return MADE[name][0]()


class Elements(HTMLParser):
    """All elements of some HTML, and those that are open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def check(each: Any, words: list[str] = []) -> None:  # noqa: B006 (it stays empty)
    text = repr(each)
    lines = text.split("\n")
    assert 1 <= len(lines) <= 10
    assert len(text) <= 1000
    assert max(map(len, lines)) <= 100
    assert [word for word in words if word not in text] == []
    found = Elements(each._repr_html_())
    assert found.open == []
    assert {*found.seen} <= {"div", "pre", "table", "thead", "tbody", "tr", "th", "td", "style"}
    assert len(each._repr_html_()) < 20_000


@pytest.mark.parametrize("name", MADE)
def test_a_text_form_is_short_and_says_the_shape_and_its_html_is_inert(name):
    check(result(name), MADE[name][1])


@pytest.mark.parametrize("name", sorted({*MADE} - {"Autoencoder"}))
def test_the_next_calls_exist(name):
    following = repr(result(name)).split("next: ")[1]
    for call in re.findall(r"(?<![\w.])(?:explainer)?\.(\w+)", following):
        assert hasattr(result(name), call)
    for plot in re.findall(r"shapae\.plots\.(\w+)", following):
        assert plot in shapae.plots.__all__


@pytest.mark.parametrize("name", ["Explanation", "Explanation of outputs"])
@pytest.mark.parametrize(
    "part",
    [
        0,
        slice(0),
        slice(1),
        (slice(None), 3),
        (0, 3),
        (slice(None), [1, 2]),
        (slice(None), []),
        (..., 0),
        (slice(None), slice(None)),
    ],
    ids=str,
)
def test_a_part_of_an_explanation_has_a_text_form(name, part):
    got = result(name)[part]
    check(got, ["Explanation of "])
    assert len(repr(got)) < 1000


@pytest.mark.parametrize("name", ["Explanation", "Explanation of outputs"])
def test_a_result_of_arithmetic_has_a_text_form_and_stays_shaps(name):
    whole = result(name)
    for each in (whole.abs, whole.abs.mean(0), whole.max(0), whole - 1, whole * whole, whole.percentile(50, axis=0)):
        assert isinstance(each, shap.Explanation)
        assert not isinstance(each, Explanation)
        check(each, [f"shape {np.shape(each.values)}"])
    np.testing.assert_array_equal(whole.abs.mean(0).values, np.abs(whole.values).mean(axis=0))
    assert "abs.mean" in repr(whole.abs.mean(0))


def test_cohorts_have_a_text_form_and_are_drawn_by_shap():
    cohorts = explainer()(X.set_axis(list("abcdef"), axis=1).set_axis(HOSTILE, axis=1)).cohorts(2)
    check(cohorts, ["2 cohorts"])
    check(cohorts.abs.mean(0), ["2 cohorts"])
    check(cohorts[:, 1])
    assert isinstance(cohorts, shap.Cohorts)
    sizes = {name: each.shape for name, each in cohorts.cohorts.items()}
    assert sum(shape[0] for shape in sizes.values()) == 12


def test_a_text_form_of_large_values_reads_few_of_them():
    """A view of one number that stands for 100 000 x 2000: reading all of them would take seconds."""
    values = np.broadcast_to(np.float32(0.5), (100_000, 2000))
    names = [f"feature {place}" for place in range(2000)]
    flat = np.broadcast_to(0.0, 100_000)
    large = Explanation(
        values, flat, values, feature_names=names, output_names="error", scores=flat, residual=flat,
        standard_errors=values, made_by={"quantity": "values", "standard errors": "of the samples"},
    )  # fmt: skip
    start = time.perf_counter()
    text, _ = repr(large), large._repr_html_()
    assert time.perf_counter() - start < 0.5
    assert "100000 rows, 2000 features" in text
    assert "(of 500 rows): feature 0 0.5" in text
    pairs = np.broadcast_to(0.5, (100_000, 40, 40))
    many = Interactions(pairs, pairs, values[:, :40], flat, flat, names[:40])
    start = time.perf_counter()
    assert "40 features in 100000 rows" in repr(many)
    assert time.perf_counter() - start < 0.5


def test_standard_errors_that_are_not_known_are_no_fault():
    values = np.ones((4, 2))
    unknown = Explanation(
        values * np.nan, values[:, 0], values, feature_names=["a", "b"], output_names="e", scores=values[:, 0],
        standard_errors=values * np.nan, made_by={"quantity": "values", "standard errors": "of the samples"},
    )  # fmt: skip
    check(unknown, ["4 rows", "2 features"])
    check(GlobalRanking(pd.DataFrame({"m": [np.nan, 1.0]}, ["a", "b"]), pd.DataFrame({"m": [np.nan] * 2}, ["a", "b"])))
    none = np.zeros((0, 3, 3))
    check(Interactions(none, none, none[:, 0], none[:, 0, 0], none[:, 0, 0], list("abc")), ["3 features in 0 rows"])
    one = np.zeros((2, 1, 1))
    check(Interactions(one, one, one[:, 0], one[:, 0, 0], one[:, 0, 0], ["a"]), ["1 feature in 2 rows"])


@pytest.mark.parametrize("name", ["Explanation", "Explanation of outputs", "Importance", "Interactions", "Influence"])
def test_a_result_from_files_has_the_text_form_of_the_one_that_was_saved(name, tmp_path):
    one = result(name)
    folder = one.save(tmp_path / "saved")
    assert repr(type(one).load(folder)) == repr(one)


def test_blocks_in_files_have_a_text_form(tmp_path):
    blocks = explainer().write(ROWS, tmp_path / "blocks")
    check(blocks, ["12 rows", "6 features", "1 output", "1 of 1 block finished"])


def test_a_table_shows_its_numbers_and_escaped_names():
    html = as_html("<a>", pd.DataFrame({"<x>": [0.123456, 2.0]}, ["&", "'"]))
    assert "<a>" not in html
    for text in ("&lt;a&gt;", "&lt;x&gt;", "0.1235", "&amp;"):
        assert text in html
