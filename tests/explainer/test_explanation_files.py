"""Explanations in files, and in the plots of shap."""

import json
import warnings

import numpy as np
import pytest
import shap
from matplotlib import pyplot as plt

from shapae import Explainer, Explanation
from shapae.errors import OutputError
from tests.explainer.explanations import (
    FEATURES,
    MASK,
    NAMES,
    OUTPUTS,
    SLICES,
    K,
    assert_same,
    explanation,
    plain,
    several,
)


@pytest.mark.parametrize("part", SLICES)
@several
@pytest.mark.parametrize("errors", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_was_saved_is_loaded_bit_for_bit(part, k, errors, dtype, tmp_path):
    whole = explanation(k, errors=errors)
    whole = Explanation(
        **{name: getattr(whole, name).astype(dtype) for name in ("values", "base_values", "data", "scores")},
        standard_errors=whole.standard_errors.astype(dtype) if errors else None,
        **{name: getattr(whole, name) for name in (*NAMES, "made_by")},
    )[SLICES[part]]
    assert whole.save(tmp_path / "out") == tmp_path / "out"
    assert_same(Explanation.load(tmp_path / "out"), whole)


@pytest.mark.parametrize("index", [(..., "β"), (..., [2, 0]), (slice(None), slice(None), slice(0, 2)), (1, ..., "β")])
def test_outputs_are_saved_and_loaded(index, tmp_path):
    whole = explanation(K)[index]
    assert_same(Explanation.load(whole.save(tmp_path / "out")), whole)


def test_what_was_loaded_can_be_sliced_on(whole, tmp_path):
    loaded = Explanation.load(whole.save(tmp_path / "out"))
    for index in (2, slice(1, 3), (slice(None), "gène 3"), (slice(None), slice(1, 4))):
        assert_same(loaded[index], whole[index])


def test_an_earlier_save_is_replaced_also_by_itself(tmp_path):
    explanation(K).save(tmp_path / "out")
    explanation().save(tmp_path / "out")
    loaded = Explanation.load(tmp_path / "out")
    assert_same(Explanation.load(loaded.save(tmp_path / "out")), explanation())
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_somebody_else_wrote_is_not_replaced(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(OutputError, match=r"holds thesis\.tex\. Give a new or empty folder"):
        explanation().save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("earlier", [True, False])
def test_a_save_that_fails_leaves_things_as_they_were(earlier, tmp_path):
    if earlier:
        explanation(K).save(tmp_path / "out")
    whole = explanation()
    whole.values[2, 3] = np.nan
    with pytest.raises(OutputError, match=r"can't be saved .*: values has numbers that are NaN or infinite"):
        whole.save(tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == (["out"] if earlier else [])
    if earlier:
        assert_same(Explanation.load(tmp_path / "out"), explanation(K))


GARBAGE = {
    "no folder": None,
    "an empty folder": {},
    "text": {"explanation.json": "mine", "explanation.safetensors": "mine"},
    "only the record": {"explanation.json": "{}"},
    "another record": {"explanation.json": '{"size": 3}'},
    "a list": {"explanation.json": "[1, 2]"},
    "half of the arrays": {"explanation.safetensors": "\x10\x00\x00\x00"},
}


@pytest.mark.parametrize("kind", GARBAGE)
@pytest.mark.parametrize("over", [True, False])
def test_what_can_not_be_read_is_an_error_that_names_the_folder(kind, over, tmp_path):
    folder = tmp_path / "out"
    if over and GARBAGE[kind]:
        explanation().save(folder)
    if GARBAGE[kind] is not None:
        folder.mkdir(exist_ok=True)
        for name, text in GARBAGE[kind].items():
            (folder / name).write_text(text)
    with pytest.raises(OutputError, match=r"out does not hold an explanation that can be read"):
        Explanation.load(folder)


def test_the_record_is_json_that_people_can_read(tmp_path):
    record = json.loads((explanation(K).save(tmp_path / "out") / "explanation.json").read_text(encoding="utf-8"))
    assert record["feature_names"] == FEATURES
    assert record["output_names"] == OUTPUTS
    assert "遺伝子" in (tmp_path / "out" / "explanation.json").read_text(encoding="utf-8")


PLOTS = {
    "beeswarm": lambda e: shap.plots.beeswarm(e, show=False),
    "beeswarm by order": lambda e: shap.plots.beeswarm(e, order=e.abs.max(0), show=False),
    "bar": lambda e: shap.plots.bar(e, show=False),
    "bar of means": lambda e: shap.plots.bar(e.abs.mean(0), show=False),
    "bar of a row": lambda e: shap.plots.bar(e[0], show=False),
    "bar of cohorts": lambda e: shap.plots.bar(e.cohorts(list("aabbaabb")).abs.mean(0), show=False),
    "waterfall": lambda e: shap.plots.waterfall(e[0], show=False),
    "heatmap": lambda e: shap.plots.heatmap(e, show=False),
    "scatter": lambda e: shap.plots.scatter(e[:, "CD79A"], show=False),
    "scatter in colour": lambda e: shap.plots.scatter(e[:, "CD79A"], color=e[:, 1], show=False),
    "scatter in the colour it finds": lambda e: shap.plots.scatter(e[:, 0], color=e, show=False),
    "violin": lambda e: shap.plots.violin(e, show=False),
    "decision": lambda e: shap.plots.decision(e.base_values[0], e.values, e.data, FEATURES, show=False),
    "decision of rows": lambda e: shap.plots.decision(
        e.base_values[0], e[:3].values, feature_names=FEATURES, show=False
    ),
    "force": lambda e: shap.plots.force(e[0], matplotlib=True, show=False),
    "embedding": lambda e: shap.plots.embedding(1, e.values, feature_names=FEATURES, show=False),
    "group difference": lambda e: shap.plots.group_difference(e.values, MASK, FEATURES, show=False),
    "summary": lambda e: shap.summary_plot(e, show=False),
    "summary of arrays": lambda e: shap.summary_plot(e.values, e.data, FEATURES, show=False),
    "summary in bars": lambda e: shap.summary_plot(e, plot_type="bar", show=False),
}


def picture(draw, whole):
    """Pixels of a plot; some of shap's plots draw from numpy's generator."""
    plt.close("all")
    state = np.random.get_state()
    np.random.seed(0)
    try:
        with warnings.catch_warnings():  # shap's own
            warnings.simplefilter("ignore")
            draw(whole)
            figure = plt.gcf()
            figure.canvas.draw()
    finally:
        np.random.set_state(state)
    return np.asarray(figure.canvas.buffer_rgba())


@pytest.mark.parametrize("name", PLOTS)
@pytest.mark.parametrize("output", [None, "β"])
def test_shap_draws_the_same_picture_of_it_as_of_its_own(name, output):
    whole = explanation() if output is None else explanation(K).output(output)
    got, want = (picture(PLOTS[name], each) for each in (whole, plain(whole)))
    assert (want != want[0, 0]).any()  # something was drawn
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("head", ["reconstruction_error", "latent:0"])
def test_an_explained_autoencoder_goes_into_shaps_plots(head, model, rows, background):
    got = Explainer(model, background, head=head, feature_names=FEATURES)(rows)
    for draw in (shap.plots.beeswarm, shap.plots.bar, shap.plots.heatmap):
        pictures = [picture(lambda e, draw=draw: draw(e, show=False), each) for each in (got, plain(got))]
        np.testing.assert_array_equal(*pictures)
