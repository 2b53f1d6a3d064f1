"""The report as a file: its numbers are those of the explanation, it is small and inert, and refuses what it can't."""

import base64
import hashlib
import os
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import shap
import torch
from scipy.stats import spearmanr
from torch import nn

import shapae
from shapae.errors import DataError, OutputError
from shapae.explainer.importance import Importance
from shapae.report import bars
from shapae.report.words import show
from tests import cases
from tests.report.pages import HOSTILE, Page, explainer, picked, rows, wide


@pytest.fixture(scope="module")
def explanation():
    return explainer()(rows())


@pytest.fixture
def page(explanation, tmp_path):
    return Page.of(explanation.report(tmp_path / "report.html"))


def test_the_rows_to_pick_have_the_numbers_of_the_explanation(explanation, page):
    picked(explanation, page.data())


def test_of_many_features_the_rest_is_one_step(tmp_path):
    explanation = wide()
    data = Page.of(explanation.report(tmp_path / "report.html")).data()
    assert len(data["rows"]) == 80
    assert {row["rest"][0] for row in data["rows"]} == {765 - 12}
    picked(explanation, data)


@pytest.mark.parametrize("loss", ["mse", "mae", "l2"])
@pytest.mark.parametrize("d", [1, cases.D])
def test_raw_errors_are_the_losses_of_single_features(loss, d, tmp_path):
    """A loss of whole rows has none of single features, so that squares are shown."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(d, 3), nn.Tanh(), nn.Linear(3, d))
    X = np.random.default_rng(0).normal(size=(9, d)).astype(np.float32)
    made = shapae.Explainer(model, X[:5], head=shapae.heads.ReconstructionError(loss))
    data = Page.of(made(X).report(tmp_path / "report.html", explainer=made)).data()
    with torch.no_grad():
        difference = np.abs(model(torch.from_numpy(X)).numpy() - X)
    errors = difference if loss == "mae" else difference**2
    assert len(data["rows"]) == 9
    for row in data["rows"]:
        want = errors[int(row["name"].removeprefix("row "))]
        features = [int(data["features"][at].removeprefix("feature ")) for at, *_ in row["items"]]
        np.testing.assert_allclose([error for *_, error in row["items"]], want[features], rtol=1e-4)
        assert f"that of feature {want.argmax()} ({show(want.max())})" in row["sentence"].replace("those", "that")


def test_raw_errors_are_those_of_the_model_that_was_explained_or_not_known(explanation, tmp_path):
    made = explainer()
    assert not Page.of(explanation.report(tmp_path / "alone.html")).data()["raw"]
    latent = explainer("latent:0")(rows())
    strange = cases.build(cases.Question)
    with torch.no_grad():
        for weights in strange.parameters():
            weights.mul_(1.5)
    of_another_model = shapae.Explainer(strange, rows(), head="latent:0")(rows())
    path = explanation.report(tmp_path / "beside.html", explainer=made, others=[latent, of_another_model])
    assert [Page.of(path).data(number)["raw"] for number in (1, 2, 3)] == [True, True, False]
    grouped = explainer(groups={"first": ["gene 0", "gene 1"]})
    assert not Page.of(grouped(rows()).report(tmp_path / "groups.html", explainer=grouped)).data()["raw"]


def test_the_tables_to_download_are_the_importances_and_the_scores(explanation, page):
    tables = dict(page.tables())
    pd.testing.assert_frame_equal(tables["importances.csv"], Importance.of(explanation).table, rtol=1e-5)
    assert tables["scores.csv"]["score"].is_monotonic_decreasing
    want = pd.Series(explanation.scores, explanation.row_names)[tables["scores.csv"].index]
    np.testing.assert_allclose(tables["scores.csv"]["score"], want, rtol=1e-5)


def test_the_most_important_features_are_listed_with_their_standard_errors(explanation, page):
    table = Importance.of(explanation).table
    for feature, line in table.iterrows():
        assert feature in page.text
        assert show(line["mean_abs_value"]) in page.text
    assert page.text.count("±") == len(table)


def test_a_bar_is_as_long_as_its_size_and_its_line_as_long_as_two_errors():
    sizes, errors = np.array([4.0, 2.0, 1.0]), np.array([1.0, 0.5, np.nan])
    long, half, last = bars.size_bars(sizes, errors)
    assert (float(long.width), float(long.high)) == (80, 100)
    assert float(half.width) == 40
    assert float(half.high) - float(half.low) == 20
    assert (last.width, last.low) == ("20", "")


def test_steps_lead_from_the_base_value_to_the_score():
    values = np.array([3.0, -4.0, 2.0])
    steps, start = bars.steps(11.0, values)  # 11, 14, 10, 12
    assert [(each.kind, each.x, each.width) for each in steps] == [
        ("raises", "25", "75"),
        ("lowers", "0", "100"),
        ("raises", "0", "50"),
    ]
    assert start == "25"


def test_every_row_has_a_dot_at_its_value_in_the_colour_of_its_number():
    values, data = np.append(np.linspace(-1, 3, 999), 500), np.linspace(10, 20, 1000)
    low, high = bars.value_range(values)
    line = bars.dots(values, data, (low, high))
    found = [[float(dot.split(" ")[0]) for dot in path.split("M")[1:]] for path in line.paths]
    want = (np.clip(values, low, high) - low) / (high - low) * 100
    np.testing.assert_allclose(np.sort(np.concatenate(found)), np.sort(want), atol=0.06)
    assert [max(each) < min(other) for each, other in pairwise(found[:5])] == [
        True
    ] * 4  # larger numbers, larger values
    assert found[5] == []
    assert (line.clipped, float(line.zero)) == (1, pytest.approx(-low / (high - low) * 100, abs=0.06))
    unknown = bars.dots(values, np.full(1000, np.nan), (low, high))
    assert [path.count("M") for path in unknown.paths] == [0] * 5 + [1000]


def test_a_histogram_has_the_area_of_all_rows():
    scores = np.random.default_rng(0).normal(size=500)
    path, low, high = bars.histogram(scores)
    counts, edges = np.histogram(scores, 40)
    tops = [100 - float(each.split("V")[1].split("h")[0]) for each in path.split("M")[1:]]
    np.testing.assert_allclose(tops, 100 * counts[counts > 0] / counts.max(), atol=0.06)
    assert (low, high) == (edges[0], edges[-1])


def test_the_policy_allows_only_the_style_and_the_script_that_are_there(page):
    parts = dict(part.strip().split(" ", 1) for part in page.policy.split(";"))
    assert parts["default-src"] == "'none'"
    (script,) = ["".join(text) for (tag, name), text in page.texts.items() if tag == "script" and not name]
    (style,) = ["".join(text) for (tag, _), text in page.texts.items() if tag == "style"]
    for source, text in (("script-src", script), ("style-src", style)):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert parts[source] == f"'sha256-{digest}'"
    assert len(script.encode()) <= 30_000


def test_nothing_in_the_file_points_elsewhere(explanation, tmp_path):
    path = explanation.report(tmp_path / "report.html", others=[explainer("latent")(rows())])
    for tag, attributes in Page.of(path).elements:
        assert not {"src", "srcset", "style"} & {*attributes}, tag
        assert not any(name.startswith("on") for name in attributes), tag
        assert attributes.get("href", "#").startswith(("#", "data:"))


def test_hostile_names_are_inert_and_short(tmp_path):
    made = explainer(columns=HOSTILE)
    names = [*HOSTILE[:5], "\u2028=1+1"]
    explanation = made(pd.DataFrame(cases.table(6), names, HOSTILE))
    explanation.made_by["background"] = "</style><script>window.hacked=1</script>" + "y" * 10**6
    path = explanation.report(tmp_path / "report.html", title=HOSTILE[0], explainer=made)
    text, page = path.read_text(encoding="utf-8"), Page.of(path)
    assert len(text) < 200_000
    assert {tag for tag, _ in page.elements} <= {
        *("html", "head", "meta", "link", "title", "style", "body", "a", "header", "h1", "h2", "h3", "p", "nav", "ol"),
        *(
            "li",
            "main",
            "section",
            "div",
            "strong",
            "bdi",
            "table",
            "caption",
            "thead",
            "tbody",
            "tr",
            "th",
            "td",
            "span",
        ),
        *("figure", "figcaption", "svg", "path", "rect", "small", "label", "select", "button", "noscript", "details"),
        *("summary", "script", "ul", "code", "pre", "i"),
    }
    assert [each for tag, each in page.elements if tag == "script"] == [
        {"type": "application/json", "id": "head-1-data"},
        {},
    ]
    assert not {*"\x00\x1b\u202e\u2028"} & {*text}
    assert "{{ 7*7 }}" in page.text
    for _, table in page.tables():
        assert not any(str(name).startswith(("=", "+", "-", "@", "\t")) for name in table.index)
        assert max(len(str(name)) for name in table.index) <= 201
    assert any(str(name).startswith("'=cmd") for name in page.tables()[1][1].index)


def test_the_file_stays_small_whatever_is_explained(tmp_path):
    explanations = [wide(3000, 800, seed) for seed in range(3)]
    k = np.random.default_rng(0).normal(size=(40, 900, 60))
    names = [f"a long name of a feature, {'x' * 30} {j}" for j in range(900)]
    several = shapae.Explanation(
        k,
        np.zeros((40, 60)),
        k[..., 0],
        feature_names=names,
        output_names=[f"output {name}" for name in names[:60]],
        scores=k.sum(axis=1),
    )
    path = several.report(tmp_path / "report.html", others=explanations)
    assert path.stat().st_size < 1_000_000
    assert "the first" in Page.of(path).text
    with pytest.raises(DataError, match=r"at most 4 explanations, got 5"):
        several.report(path, others=[*explanations, several])


def test_checks_are_those_of_other_explainers(tmp_path):
    """Each answer is computed once more, by explainers of this test."""
    made, X = explainer(), rows(40)
    explanation = made(X)
    text = Page.of(explanation.report(tmp_path / "report.html", explainer=made)).text
    chosen = X.iloc[np.unique(np.linspace(0, 39, 30).astype(int))]

    def sizes(**changes):
        settings = {"background": made.background.numpy(), "backend": "deep"} | changes
        background = pd.DataFrame(settings["background"], columns=X.columns)
        other = shapae.Explainer(cases.build(cases.Question), background, backend=settings["backend"])
        return np.abs(other(chosen).values).mean(axis=0)

    def shared(one, other):
        return len({*np.argsort(-one)[:2]} & {*np.argsort(-other)[:2]})

    again, exact = sizes(), sizes(backend="exact")  # for which coalitions stands with six features
    assert f"{shared(again, exact)} of the 2 most important features of 30 rows are the same" in text
    assert f"rank correlation of all importances is {spearmanr(again, exact).statistic:.2f}" in text
    order = np.random.default_rng(0).permutation(12)
    halves = [sizes(background=made.background.numpy()[np.sort(half)]) for half in (order[:6], order[6:])]
    assert f"With either half of the background, {shared(*halves)} of the 2 most important" in text
    assert f"Control: gene {again.argmax()} was set to" in text
    assert "It then gets 0 % of the largest value at most" in text
    assert f"is {show(np.abs(explanation.residual).max())}," in text


class Wrong(shapae.backends.Backend):
    """DeepSHAP values that a function moves to other features; they still add up."""

    def __init__(self, move):
        self.move = move

    def bind(self, game):
        deep = shapae.backends.named("deep").bind(game)

        def attribute(rows, *, seeds):
            moments = deep(rows, seeds=seeds)
            return shapae.backends.Moments(moments.count, self.move(moments.mean).copy(), None)

        return attribute


def test_a_constant_column_that_gets_a_value_is_seen(tmp_path):
    made = explainer(backend=Wrong(lambda mean: np.broadcast_to(mean.mean(axis=1, keepdims=True), mean.shape)))
    text = Page.of(made(rows()).report(tmp_path / "report.html", explainer=made)).text
    assert "It then gets 100 % of the largest value at most" in text


def test_another_method_that_does_not_agree_is_seen(tmp_path):
    made, X = explainer(backend=Wrong(lambda mean: mean[:, ::-1])), rows()
    text = Page.of(made(X).report(tmp_path / "report.html", explainer=made)).text
    right = np.abs(explainer(backend="exact")(X).values).mean(axis=0)
    wrong = np.abs(made(X).values).mean(axis=0)
    same = len({*np.argsort(-right)[:2]} & {*np.argsort(-wrong)[:2]})
    assert same < 2
    assert f"By backend='coalitions', {same} of the 2 most important features of 9 rows are the same" in text
    assert f"rank correlation of all importances is {spearmanr(right, wrong).statistic:.2f}" in text


def test_without_an_explainer_the_report_says_which_call_computes_the_checks(page):
    assert page.text.count("Not computed. explanation.report(path, explainer=explainer)") == 3


def test_other_heads_are_checked_by_the_same_explainer(explanation, tmp_path):
    made, others = explainer(), [explainer("latent")(rows())]
    text = Page.of(explanation.report(tmp_path / "report.html", explainer=made, others=others)).text
    assert text.count("Control: gene") == 2
    assert "Features beside outputs" in text


def test_outputs_are_listed_with_their_importances(tmp_path):
    explanation = explainer("latent")(rows())
    page = Page.of(explanation.report(tmp_path / "report.html"))
    importance = Importance.of(explanation)
    for at, name in enumerate(explanation.output_names):
        assert name in page.text
        assert show(importance.mean_abs[:, at].sum()) in page.text
    (table,) = [each for name, each in page.tables() if name == "importances.csv"]
    np.testing.assert_allclose(table.loc[importance.feature_names], importance.mean_abs, rtol=1e-5)


SLICES = {
    "one row": lambda each: each[0],
    "a list of one row": lambda each: each[:1],
    "one feature": lambda each: each[:, ["gene 1"]],
    "one feature by name": lambda each: each[:, "gene 1"],
    "two rows": lambda each: each[:2],
    "grouped": lambda each: each.grouped({"both": ["gene 0", "gene 1"]}),
}


@pytest.mark.parametrize("name", SLICES)
@pytest.mark.parametrize("head", ["reconstruction_error", "latent"])
def test_slices_are_reported(name, head, explanation, tmp_path):
    part = SLICES[name](explanation if head == "reconstruction_error" else explainer("latent")(rows()))
    page = Page.of(part.report(tmp_path / "report.html"))
    assert f"{np.atleast_2d(part.data).shape[0] if name != 'one feature by name' else 9} row" in page.text
    assert ("both" in page.text) == (name == "grouped")


def test_an_explanation_without_a_record_or_errors_is_reported(tmp_path):
    explanation = wide(5, 3)
    explanation.data[0, 0] = np.nan
    page = Page.of(explanation.report(tmp_path / "report.html"))
    assert "not recorded" in page.text
    assert "The standard errors of the values are not known." in page.text
    assert [None for row in page.data()["rows"] for _, _, number, _ in row["items"] if number is None] == [None]


def test_latents_and_rankings_are_shown(explanation, tmp_path):
    model, X = cases.build(cases.Question), rows(30)
    latents = shapae.latents(model, X, background=X)
    ranking = shapae.rank_features(model, X, background=X, methods=["shap", "gradient_x_input"])
    page = Page.of(explanation.report(tmp_path / "report.html", latents=latents, ranking=ranking))
    for unit in latents.active:
        assert unit in page.text
        drives = latents.signed[unit]
        assert show(drives[drives.abs().idxmax()]) in page.text
    assert all(method.split(":")[0] in page.text for method in ranking.table)
    best = ranking.table.mean(axis=1).idxmax()
    assert page.text.index("Other rankings") < page.text.rindex(best)


REFUSED = {
    "no rows": (lambda each: {"self": each[:0]}, r"0 rows, 6 features and 1 outputs"),
    "NaN": (lambda each: {"self": with_nan()}, r"^the values of this explanation hold NaN"),
    "an explainer of another head": (lambda each: {"explainer": explainer("latent")}, r"explainer\.with_head\('recons"),
    "an explainer of other columns": (lambda each: {"explainer": explainer(columns=list("abcdef"))}, "or others"),
    "an explainer of another model": (lambda each: {"explainer": other_model()}, r"^the explainer has other scores"),
    "no explainer": (lambda each: {"explainer": 5}, r"^explainer must be the Explainer"),
    "an explanation of shap": (lambda each: {"others": [shap.Explanation(np.eye(3))]}, r"must be an Explanation of"),
    "no list": (lambda each: {"others": each}, r"^others must be a list"),
    "no latents": (lambda each: {"latents": each}, r"^latents must be the result of shapae\.latents"),
    "no ranking": (lambda each: {"ranking": each}, r"^ranking must be the result of shapae\.rank_features"),
    "no title": (lambda each: {"title": 5}, r"^title must be a string"),
}


def with_nan():
    explanation = wide(4, 3)
    explanation.values[0, 0] = np.nan
    return explanation


def other_model():
    background = pd.DataFrame(cases.table(12, seed=2), columns=rows().columns)
    return shapae.Explainer(cases.build(cases.Question, seed=5), background)


@pytest.mark.parametrize("name", REFUSED)
def test_parts_that_do_not_fit_are_refused(name, explanation, tmp_path):
    make, says = REFUSED[name]
    arguments = {"self": explanation} | make(explanation)
    with pytest.raises(DataError, match=says):
        arguments.pop("self").report(tmp_path / "report.html", **arguments)
    assert [*tmp_path.iterdir()] == []


def test_groups_as_features_are_reported_without_explaining_again(tmp_path):
    made = explainer(groups={"both": ["gene 0", "gene 1"]})
    text = Page.of(made(rows()).report(tmp_path / "report.html", explainer=made)).text
    assert "the rows are not in the report" in text


def test_an_earlier_report_is_replaced_and_no_other_file(explanation, tmp_path):
    path = tmp_path / "report.html"
    first = explanation.report(path, title="one").read_bytes()
    assert explanation.report(path, title="two").read_bytes() != first
    path.write_text("mine")
    with pytest.raises(OutputError, match=r"only an earlier report is replaced"):
        explanation.report(path)
    assert path.read_text() == "mine"


@pytest.mark.parametrize("path", [".", "/dev/null", "file/report.html"])
def test_a_path_that_can_not_be_written_is_refused_before_the_work(path, explanation, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    monkeypatch.setattr(Importance, "of", lambda *_: pytest.fail("work had begun"))
    with pytest.raises(OutputError):
        explanation.report(path)
    assert os.listdir() == ["file"]


def test_the_code_makes_the_same_explanation_again(tmp_path):
    made = explainer("latent:1", backend="gradient", seed=3)
    explanation = made(rows())
    page = Page.of(explanation.report(tmp_path / "report.html"))
    code = "".join(page.texts["code", "code"]).rpartition("explanation.report(")[0]
    background = pd.DataFrame(made.background, columns=rows().columns)
    names = {"model": cases.build(cases.Question), "background": background, "X": rows()}
    exec(code, names)
    np.testing.assert_array_equal(names["explanation"].values, explanation.values)
