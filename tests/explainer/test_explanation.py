"""An explanation is a shap.Explanation whose parts stay in step."""

import copy
import json
import pickle
import warnings

import numpy as np
import pytest
import shap
from matplotlib import pyplot as plt

from shapae import Explainer, Explanation
from shapae.errors import DataError, OutputError, UnknownName
from shapae.explainer.explanation import single

N, D, K = 8, 6, 3
FEATURES = ["CD79A", "α-Globin", "gène 3", "遺伝子", "5", "a/b $x$"]
OUTPUTS = ["latent 0", "β", "two words"]
PARTS = ("values", "base_values", "data", "scores", "residual", "standard_errors")
NAMES = ("feature_names", "output_names")


def explanation(k=None, *, errors=True, n=N):
    """Of one output, or of ``k``."""
    shape, rng = (n, D) if k is None else (n, D, k), np.random.default_rng(0)
    per_row = (n, *shape[2:])
    return Explanation(
        rng.normal(size=shape),
        rng.normal(size=per_row),
        rng.normal(size=(n, D)),
        feature_names=FEATURES,
        output_names="reconstruction error" if k is None else OUTPUTS[:k],
        scores=rng.normal(size=per_row),
        standard_errors=rng.random(size=shape) if errors else None,
        made_by={"head": "latent", "seed": 0, "versions": {"torch": "2"}},
    )


@pytest.fixture(params=[None, 1, K], ids=["one output", "a list of one", "three outputs"])
def whole(request):
    return explanation(request.param)


def assert_same(got, want):
    """All that ``want`` holds, bit for bit."""
    assert type(got) is type(want)
    for name in PARTS:
        one, other = getattr(got, name), getattr(want, name)
        assert (one is None) == (other is None), name
        if one is not None:
            assert (np.shape(one), np.asarray(one).dtype) == (np.shape(other), np.asarray(other).dtype), name
            assert np.asarray(one).tobytes() == np.asarray(other).tobytes(), name
    for name in NAMES:
        assert np.array_equal(getattr(got, name), getattr(want, name)), name
    assert got.made_by == want.made_by


def test_the_residual_is_what_the_values_miss(whole):
    want = whole.scores - whole.base_values - whole.values.sum(axis=1)
    np.testing.assert_array_equal(whole.residual, want)
    assert whole.residual.shape == whole.scores.shape
    assert isinstance(whole, shap.Explanation)


# Indexing: what slices rows, features and outputs of the arrays slices all parts.

MASK = np.arange(N) % 3 == 0
ROWS = {"row": 2, "last row": -1, "rows": slice(1, 6, 2), "mask": MASK, "list": [5, 0, 3], "array": np.array([4, 1])}
COLUMNS = {"feature": 3, "features": slice(1, 4), "name": "遺伝子", "some features": [4, 0]}
OUTPUT = {"output": 1, "name": "β", "outputs": slice(0, 2), "some outputs": [2, 0]}
AXES = {"values": "rfk", "base_values": "rk", "data": "rf", "scores": "rk", "residual": "rk", "standard_errors": "rfk"}


def position(choice, names):
    return names.index(choice) if isinstance(choice, str) else choice


def taken(array, axes, chosen):
    """``array`` with axes as in "rfk", one choice after the other, the last axis first."""
    for axis in reversed(range(array.ndim)):
        array = array[(slice(None),) * axis + (chosen.get(axes[axis], slice(None)),)]
    return array


def assert_in_step(got, whole, rows=slice(None), columns=slice(None), outputs=slice(None)):
    chosen = {"r": rows, "f": position(columns, FEATURES), "k": position(outputs, OUTPUTS)}
    for name, axes in AXES.items():
        np.testing.assert_array_equal(getattr(got, name), taken(getattr(whole, name), axes, chosen), err_msg=name)
    np.testing.assert_array_equal(got.feature_names, np.array(FEATURES)[chosen["f"]])
    if whole.values.ndim == 3:
        np.testing.assert_array_equal(got.output_names, np.array(OUTPUTS)[chosen["k"]])
    else:
        assert got.output_names == whole.output_names
    assert type(got) is Explanation
    assert got.made_by == whole.made_by


several = pytest.mark.parametrize("k", [None, K])


@several
@pytest.mark.parametrize("rows", ROWS)
def test_rows_stay_in_step(k, rows):
    whole = explanation(k)
    assert_in_step(whole[ROWS[rows]], whole, rows=ROWS[rows])


@several
@pytest.mark.parametrize("columns", COLUMNS)
def test_features_stay_in_step(k, columns):
    whole = explanation(k)
    assert_in_step(whole[:, COLUMNS[columns]], whole, columns=COLUMNS[columns])


@pytest.mark.parametrize("outputs", OUTPUT)
@pytest.mark.parametrize("dots", [True, False])
def test_outputs_stay_in_step(outputs, dots):
    whole = explanation(K)
    index = (..., OUTPUT[outputs]) if dots else (slice(None), slice(None), OUTPUT[outputs])
    assert_in_step(whole[index], whole, outputs=OUTPUT[outputs])


@pytest.mark.parametrize("rows", ["row", "rows", "mask"])
@pytest.mark.parametrize("columns", ["feature", "features", "name"])
@pytest.mark.parametrize("outputs", ["output", "name", "outputs"])
def test_rows_features_and_outputs_stay_in_step(rows, columns, outputs):
    whole, index = explanation(K), (ROWS[rows], COLUMNS[columns], OUTPUT[outputs])
    assert_in_step(whole[index], whole, *index)
    assert_in_step(whole[index[0]][..., index[2]], whole, rows=index[0], outputs=index[2])


@pytest.mark.parametrize("index", [2, slice(1, 5), (slice(None), "CD79A"), (slice(None), slice(0, 2))])
def test_unknown_standard_errors_stay_unknown(index):
    assert explanation(errors=False)[index].standard_errors is None


def test_a_slice_leaves_the_whole_as_it_was(whole):
    before = copy.deepcopy(whole)
    part = whole[:3]
    part.values = part.values * 0
    assert_same(whole, before)


def test_the_rows_of_a_sample_stay_in_step(whole):
    assert_same(
        whole.sample(4, random_state=1), whole[whole.sample(4, random_state=1).data[:, 0].tolist() and _drawn(4)]
    )


def _drawn(count):
    return list(np.random.RandomState(1).choice(N, size=count, replace=False))


@pytest.mark.parametrize("name", OUTPUTS)
def test_an_output_is_taken_by_its_name(name):
    whole = explanation(K)
    assert_same(whole.output(name), whole[..., name])
    assert whole.output(name).output_names == name
    assert whole.output(name).values.shape == (N, D)


def test_the_only_output_is_the_whole():
    assert explanation().output("reconstruction error") is not None
    assert_same(explanation().output("reconstruction error"), explanation())
    assert explanation(1).output("latent 0").values.shape == (N, D)


@pytest.mark.parametrize("index", ["nope", (slice(None), "nope"), (..., "nope")])
def test_a_name_that_no_axis_knows_is_an_error_that_lists_the_known(index):
    with pytest.raises(UnknownName, match="no feature or output is called 'nope'; there are: "):
        explanation(K)[index]


def test_an_unknown_output_is_an_error_that_lists_the_known():
    with pytest.raises(UnknownName, match="no output is called 'latent 7'; there are: latent 0, β, two words"):
        explanation(K).output("latent 7")


def test_several_outputs_are_not_taken_for_interactions():
    assert single(explanation(), "draw").values.shape == (N, D)
    with pytest.raises(
        DataError, match=r"can't draw 3 outputs at once\. Choose one, .*explanation\.output\('latent 0'\)"
    ):
        single(explanation(K), "draw")


# Arithmetic

ARITHMETIC = {
    "abs": lambda e: e.abs,
    "mean": lambda e: e.mean(0),
    "abs mean": lambda e: e.abs.mean(0),
    "max": lambda e: e.max(0),
    "min": lambda e: e.min(0),
    "sum": lambda e: e.sum(1),
    "times": lambda e: e * 2,
    "times, from the left": lambda e: 2 * e,
    "plus": lambda e: e + 1,
    "plus another": lambda e: e + e,
    "minus another": lambda e: e - e,
    "divided": lambda e: e / 2,
    "argsort": lambda e: e.argsort,
    "flip": lambda e: e.flip,
    "percentile": lambda e: e.percentile(50, 0),
    "a part, then abs": lambda e: e[:4, 1:3].abs,
    "a row, then abs": lambda e: e[0].abs,
    "a feature, then times": lambda e: e[:, 1] * 2,
    "largest first": lambda e: e.abs.mean(0).argsort.flip,
}


@several
@pytest.mark.parametrize("name", ARITHMETIC)
@pytest.mark.parametrize("errors", [True, False])
def test_arithmetic_gives_what_it_gives_on_a_plain_explanation(k, name, errors):
    whole = explanation(k, errors=errors)
    before = copy.deepcopy(whole)
    got, want = ARITHMETIC[name](whole), ARITHMETIC[name](plain(whole))
    assert type(got) is shap.Explanation
    for part in ("values", "base_values", "data"):
        np.testing.assert_array_equal(getattr(got, part), getattr(want, part))
    assert_same(whole, before)


def test_features_can_be_ordered_by_the_size_of_their_values():
    whole = explanation()
    order = np.abs(whole.values).mean(axis=0).argsort()[::-1]
    got = whole[:, whole.abs.mean(0).argsort.flip]
    np.testing.assert_array_equal(got.values, whole.values[:, order])
    np.testing.assert_array_equal(got.standard_errors, whole.standard_errors[:, order])


# Copies

COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda e: pickle.loads(pickle.dumps(e)),
}
SLICES = {
    "all": ...,
    "rows": slice(2, 5),
    "a row": 3,
    "features": (slice(None), slice(1, 3)),
    "a feature": (slice(None), "CD79A"),
    "a number": (2, "CD79A"),
}


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("part", SLICES)
@several
@pytest.mark.parametrize("errors", [True, False])
def test_copies_are_the_same_and_can_be_sliced_on(how, part, k, errors):
    whole = explanation(k, errors=errors)[SLICES[part]]
    twin = COPIES[how](whole)
    assert_same(twin, whole)
    if part in {"all", "rows"}:
        assert_same(twin[1:, 2:], whole[1:, 2:])
    twin.values = np.zeros_like(twin.values)
    assert np.any(whole.values)


# Files


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
    whole.made_by["model"] = object()  # can't be written as JSON
    with pytest.raises(TypeError, match="JSON"):
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


# Plots of shap


def plain(whole):
    """The same arrays in a shap.Explanation as shap makes them: with names of outputs only where there are several."""
    outputs = None if isinstance(whole.output_names, str) else list(whole.output_names)
    names = list(whole.feature_names)
    return shap.Explanation(whole.values, whole.base_values, whole.data, feature_names=names, output_names=outputs)


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
