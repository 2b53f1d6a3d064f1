"""Stopping when the values are sure enough; and what a call would take."""

import numpy as np
import pytest
import torch

from shapae import Explainer, backends
from shapae.backends.base import FIRST_SAMPLES
from shapae.errors import DataError
from shapae.explainer.estimate import Products
from shapae.explainer.importance import Importance
from shapae.explainer.run import BACKGROUND_BATCH
from shapae.explainer.worker import MIN_GROUPS
from tests import cases

ROWS, MANY = cases.table(12, seed=1), cases.table(400, seed=2)


@pytest.mark.parametrize("backend", ["deep", "exact", "shap_deep"])
@pytest.mark.parametrize("head", ["reconstruction_error", "reconstruction"])
def test_each_row_stops_when_it_is_sure_and_still_adds_up(backend, head, model):
    got = Explainer(model, MANY, head=head, backend=backend, tolerance=0.2)(ROWS)
    np.testing.assert_allclose(got.residual, 0, atol=1e-12)
    values, errors = (array.reshape(12, -1) for array in (got.values, got.standard_errors))
    stopped = got.used < len(MANY)
    assert stopped.any()
    assert (errors.max(axis=1) <= 0.2 * np.abs(values).max(axis=1))[stopped].all()
    assert set(got.used[stopped] % BACKGROUND_BATCH) == {0}


def test_rows_use_the_first_rows_of_one_random_order(model):
    got = Explainer(model, MANY, tolerance=0.15, seed=3)(ROWS)
    order = np.random.default_rng(3).permutation(len(MANY))
    assert len(set(got.used)) > 1
    for row, count in enumerate(got.used):
        want = Explainer(model, MANY[order[:count]])(ROWS[row : row + 1])
        np.testing.assert_allclose(got.values[row], want.values[0], rtol=0, atol=1e-12)
        np.testing.assert_allclose(got.base_values[row], want.base_values[0], rtol=0, atol=1e-12)
        np.testing.assert_allclose(got.standard_errors[row], want.standard_errors[0], rtol=1e-9)


def test_a_row_stops_at_the_same_place_alone_in_a_batch_and_in_a_worker(model):
    explainers = [
        Explainer(model, MANY, tolerance=0.15, n_jobs=jobs, memory=size) for jobs, size in ((1, "1GB"), (2, "1MB"))
    ]
    want, *others = [explainer(ROWS) for explainer in explainers]
    others.append(np.concatenate([explainers[0](row[None]).values for row in ROWS]))
    for other in others:
        np.testing.assert_allclose(getattr(other, "values", other), want.values, rtol=0, atol=1e-12)


def test_a_tolerance_that_is_never_reached_takes_all_of_the_background(model):
    got, want = (Explainer(model, MANY, tolerance=tolerance)(ROWS) for tolerance in (1e-9, None))
    assert got.used.tolist() == [len(MANY)] * len(ROWS)
    np.testing.assert_allclose(got.values, want.values, rtol=0, atol=1e-12)
    np.testing.assert_allclose(got.base_values, want.base_values, rtol=0, atol=1e-12)
    assert want.used is None


def test_the_text_says_how_many_rows_did_not_meet_the_tolerance(model):
    for tolerance, many in ((0.1, True), (1e-9, True), (2.0, False)):
        got = Explainer(model, MANY[:80], tolerance=tolerance)(ROWS)
        assert got.made_by["tolerance"] == tolerance
        errors, values = (abs(each).max(axis=1) for each in (got.standard_errors, got.values))
        missed = int((errors > tolerance * values).sum())
        assert (missed > 0) == many
        assert (f"tolerance {tolerance:g}: not met by {missed} of 12 rows" in repr(got)) == many
        assert ("tolerance" in repr(got)) == many
    assert "tolerance" not in repr(Explainer(model, MANY[:80])(ROWS))


def test_standard_errors_of_batches_say_how_far_the_values_are_from_those_of_all(model):
    """Where no pairs are formed, what differs between batches tells; 40 backgrounds, a normal interval."""
    rows, everything = ROWS[:3], cases.table(20_000, seed=5)
    truth = Explainer(model, everything, head="reconstruction")(rows)
    inside = []
    for seed in range(40):
        drawn = everything[np.random.default_rng(seed).permutation(len(everything))[:640]]
        got = Explainer(model, drawn, head="reconstruction", tolerance=1e-9)(rows)
        inside.append(np.abs(got.values - truth.values) <= 1.96 * got.standard_errors)
    assert 0.92 <= np.mean(inside) <= 0.97


def test_nobody_is_sure_after_a_few_batches(model):
    got = Explainer(model, MANY, head="reconstruction", tolerance=10)(ROWS)
    assert set(got.used) == {MIN_GROUPS * BACKGROUND_BATCH}


@pytest.mark.parametrize("tolerance", [0, -1, np.nan, np.inf])
def test_a_tolerance_that_is_none_is_refused(tolerance, model):
    with pytest.raises(DataError, match=f"tolerance must be a positive number, such as 0.05, or None, got {tolerance}"):
        Explainer(model, MANY, tolerance=tolerance)


DRAWING = pytest.mark.parametrize(("backend", "tolerance"), [("gradient", 0.1), ("sampling", 0.03)])


@DRAWING
def test_backends_that_draw_draw_again_until_they_are_sure(backend, tolerance, model):
    once, got = (Explainer(model, MANY, backend=backend, tolerance=each)(ROWS) for each in (10, tolerance))
    assert set(once.used) == {FIRST_SAMPLES}
    assert set(got.used % once.used) == {0}
    assert got.used.max() > got.used.min()
    assert (got.standard_errors.max(axis=1) <= tolerance * np.abs(got.values).max(axis=1)).all()
    np.testing.assert_allclose(got.base_values, once.base_values, rtol=0, atol=1e-12)
    assert (np.abs(got.residual) <= 1e-12 + 4 * got.standard_errors.sum(axis=1)).all()


@DRAWING
def test_drawn_again_is_drawn_anew_and_what_is_drawn_first_is_what_is_drawn_without_a_tolerance(
    backend, tolerance, model, monkeypatch
):
    with monkeypatch.context() as patched:
        patched.setattr(type(backends.named(backend)), "n_samples", FIRST_SAMPLES)
        want = Explainer(model, MANY, backend=backend)(ROWS)
    once = Explainer(model, MANY, backend=backend, tolerance=10)(ROWS)
    np.testing.assert_array_equal(once.values, want.values)
    np.testing.assert_array_equal(once.standard_errors, want.standard_errors)
    got = Explainer(model, MANY, backend=backend, tolerance=tolerance)(ROWS)
    more = got.used > once.used
    assert (got.values[more] != once.values[more]).all()
    ratio = (
        np.median(got.standard_errors[more] / once.standard_errors[more], axis=1) * np.sqrt(got.used / once.used)[more]
    )
    # Later draws come from fewer neighbours of MANY each, which halves the part of the variance that they cause.
    assert (ratio > 0.75 * np.sqrt(0.5)).all()
    assert (ratio < 1.25).all()


def test_nobody_draws_again_for_ever(model, monkeypatch):
    monkeypatch.setattr("shapae.explainer.run.MAX_ROUNDS", 3)
    got = Explainer(model, MANY, backend="sampling", tolerance=1e-9)(ROWS)
    assert set(got.used) == {FIRST_SAMPLES + 2 * FIRST_SAMPLES + 4 * FIRST_SAMPLES}
    np.testing.assert_allclose(got.residual, 0, atol=1e-12)


@pytest.mark.parametrize("backend", ["shap_kernel", "shap_permutation"])
def test_backends_that_draw_and_go_through_the_background_stop_early(backend, model):
    got = Explainer(model, MANY, backend=backend, tolerance=0.2)(ROWS[:3])
    np.testing.assert_allclose(got.residual, 0, atol=1e-12)
    assert (got.used < len(MANY)).any()
    assert set(got.used[got.used < len(MANY)] % BACKGROUND_BATCH) == {0}


def test_a_backend_that_needs_all_of_the_background_and_draws_nothing_can_not_stop_early(model):
    with pytest.raises(DataError, match="backend='shap_partition' needs the whole background .* use backend='deep'"):
        Explainer(model, MANY, backend="shap_partition", tolerance=0.1)


def test_what_was_used_is_sliced_and_saved(model, tmp_path):
    from shapae import Explanation

    got = Explainer(model, MANY, tolerance=0.15)(ROWS)
    np.testing.assert_array_equal(got[3:7].used, got.used[3:7])
    got.save(tmp_path / "it")
    np.testing.assert_array_equal(Explanation.load(tmp_path / "it").used, got.used)


STOPPING = {
    "deep": 0.15,
    "gradient": 0.1,
    "sampling": 0.03,
    "exact": 0.15,
    "captum_deep": 0.15,
    "shap_kernel": 0.15,
    "shap_permutation": 0.2,
}


@pytest.mark.filterwarnings("ignore::shapae.errors.AdditivityWarning")  # captum does not know the product of label_free
@pytest.mark.parametrize("head", ["latent", "label_free"])
@pytest.mark.parametrize("backend", STOPPING)
def test_a_summary_stops_where_each_row_does(backend, head, model):
    settings = {"head": head, "backend": backend, "tolerance": STOPPING[backend], "memory": "100MB"}
    explainer = Explainer(model, MANY, **settings)
    got, explanation = explainer.summarize(ROWS), explainer(ROWS)
    want = Importance.of(explanation)
    assert len({*got.used}) > 1
    np.testing.assert_array_equal(got.used, explanation.used)
    for name in ("mean", "mean_abs", "mean_error", "mean_abs_error", "residual"):
        np.testing.assert_allclose(getattr(got, name), getattr(want, name), rtol=1e-9, atol=1e-12)


# Estimates

PRODUCTS = {
    "mm": lambda a, b: a @ b,
    "bmm": lambda a, b: a[None] @ b[None],
    "addmm_": lambda a, b: torch.zeros(3, 5).addmm_(a, b),
    "baddbmm_": lambda a, b: torch.zeros(1, 3, 5).baddbmm_(a[None], b[None]),
    "out": lambda a, b: torch.mm(a, b, out=torch.empty(3, 5)),
    "mv": lambda a, b: [a @ column for column in b.T],
    "dot": lambda a, b: [[row @ column for column in b.T] for row in a],
    "vmap": lambda a, b: torch.vmap(lambda row: row @ b)(a),
}


@pytest.mark.parametrize("kind", PRODUCTS)
def test_multiplications_are_counted(kind):
    with Products() as products:
        PRODUCTS[kind](torch.ones(3, 4), torch.ones(4, 5))
    assert products.flops == 2 * 3 * 4 * 5


@pytest.mark.parametrize("backend", ["deep", "gradient", "exact", "shap_deep"])
def test_an_estimate_grows_with_the_rows(backend, model, background):
    explainer = Explainer(model, background, head="latent", backend=backend)
    few, many = explainer.estimate(10), explainer.estimate(1000)
    assert (few.rows, few.bytes) == (10, 2 * 10 * 6 * 3 * 8)
    assert many.bytes == 100 * few.bytes
    assert 50 < many.multiplications / few.multiplications < 200
    assert str(many).startswith("1000 rows: ")


def test_the_number_of_rows_of_an_estimate_may_be_a_small_integer_of_numpy(model, background):
    got, want = (Explainer(model, background).estimate(n) for n in (np.uint8(200), 200))
    assert (got.rows, got.bytes, got.multiplications) == (want.rows, want.bytes, want.multiplications)


def test_an_estimate_of_no_rows_is_refused(model, background):
    with pytest.raises(DataError, match="n must be an integer, at least 1, got 0"):
        Explainer(model, background).estimate(0)


def test_the_multiplications_of_a_latent_are_those_of_its_pairs():
    """A row meets 50 background rows: one output back through 30 x 40, and the encoder forward once."""
    model = cases.build(cases.Question, 40)
    explainer = Explainer(model, cases.table(50, 40), head="latent:3")
    got = explainer.estimate(1000).multiplications / 1000
    assert 50 * 30 * 40 <= got <= 1.2 * 50 * 30 * 40
