"""The contracts of the package, swept over heads, backends and models."""

from functools import cache

import numpy as np
import pytest
import torch
from joblib import parallel_config

from shapae import Autoencoder, Explainer, backends, heads
from shapae.backends import Backend
from shapae.backends.coalitions import Coalitions
from shapae.explainer.chunks import COPIES, explanation_bytes
from shapae.utils.memory import bytes_per_row
from tests import cases

HEADS = {
    "error mse": heads.ReconstructionError,
    "error mae": lambda: heads.ReconstructionError(loss="mae"),
    "feature_error": lambda: "feature_error",
    "reconstruction": lambda: "reconstruction",
    "latent": lambda: "latent",
    "latent:1": lambda: "latent:1",
    "latent_norm": lambda: "latent_norm",
    "user": cases.LatentEnergy,
}
# The same scores in numpy, from rows, latents z and reconstruction r.
SCORES = {
    "error mse": lambda x, z, r: ((r - x) ** 2).mean(axis=1),
    "error mae": lambda x, z, r: np.abs(r - x).mean(axis=1),
    "feature_error": lambda x, z, r: (r - x) ** 2,
    "reconstruction": lambda x, z, r: r,
    "latent": lambda x, z, r: z,
    "latent:1": lambda x, z, r: z[:, 1],
    "latent_norm": lambda x, z, r: (z**2).sum(axis=1),
    "user": lambda x, z, r: (z**2).sum(axis=1) / 2,
}
MODELS = [cases.Question, cases.Nested, cases.Linear]
every_backend = pytest.mark.parametrize("backend", backends.names())
every_head = pytest.mark.parametrize("head", HEADS)
DETERMINISTIC = [name for name in backends.names() if not backends.named(name).n_samples]
IN_PARTS = [name for name in backends.names() if backends.named(name).splits_background]

# Other libraries draw one by one, which is slow; the laws hold for any number of draws.
FEWER = {"shap_gradient": 60, "captum_gradient_shap": 60, "shap_permutation": 3, "captum_shapley": 8}


@pytest.fixture(autouse=True)
def _fewer_draws(request, monkeypatch):
    if request.node.callspec.params.get("where") != "processes":  # these have modules of their own
        for backend, draws in FEWER.items():
            monkeypatch.setattr(type(backends.named(backend)), "n_samples", draws)
        monkeypatch.setattr(Coalitions, "for_game", Backend.for_game)  # the laws hold for few features, too


def explain(model, background, rows, *, head="error mse", **settings):
    return Explainer(model, background, head=HEADS[head]() if head in HEADS else head, **settings)(rows)


def assert_same(got, want, atol=1e-12):
    for name in ("values", "base_values", "scores", "standard_errors"):
        one, other = getattr(got, name), getattr(want, name)
        assert (one is None) == (other is None), name
        if one is not None:
            np.testing.assert_allclose(one, other, rtol=0, atol=atol, err_msg=name)


@cache
def scores_of(make, head, dtype, n, seed):
    """The scores of ``table(n, seed=seed)``, without shapae."""
    model, x = cases.build(make, dtype=dtype), cases.table(n, seed=seed)
    with torch.no_grad():
        z = model.encoder(torch.tensor(x, dtype=dtype))
        return SCORES[head](x, z.double().numpy(), model.decoder(z).double().numpy())


@every_backend
@every_head
@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize(("dtype", "precision"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_values_sum_to_the_score_minus_the_base_value(backend, head, make, dtype, precision):
    got = explain(
        cases.build(make, dtype=dtype),
        cases.table(7, seed=2),
        cases.table(2, seed=1),
        head=head,
        backend=backend,
    )
    scores, background = scores_of(make, head, dtype, 2, 1), scores_of(make, head, dtype, 7, 2)
    room = precision * max(np.abs(scores).max(), np.abs(background).max())
    np.testing.assert_allclose(got.scores, scores, rtol=0, atol=room)
    np.testing.assert_allclose(got.base_values, np.broadcast_to(background.mean(axis=0), scores.shape), atol=room)
    if not backends.named(backend).additive:
        room = room + 4 * got.standard_errors.sum(axis=1)
    missed = np.abs(scores - background.mean(axis=0) - got.values.sum(axis=1))
    assert (missed <= room).all(), missed.max()
    np.testing.assert_allclose(got.residual, got.scores - got.base_values - got.values.sum(axis=1), atol=1e-12)


def used(make):
    """A model with gradients, hooks, a frozen parameter, and modes that ``model.train()`` would not restore."""
    model = cases.build(make).train()
    model.encoder.eval()
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 2.0)
    next(model.parameters()).requires_grad_(False)
    model.decoder.register_forward_hook(keep)
    model.decoder.register_forward_pre_hook(keep_inputs)
    model.encoder.register_full_backward_hook(keep_gradients)
    return model


def keep(module, inputs, output):
    return output


def keep_inputs(module, inputs):
    return inputs


def keep_gradients(module, grad_input, grad_output):
    return grad_input


@every_backend
@every_head
@pytest.mark.parametrize("make", [cases.Question, cases.Nested])
def test_the_model_comes_back_as_it_went_in(backend, head, make, rows, background):
    model = used(make)
    before = cases.snapshot(model)
    explain(model, background, rows[:1], head=head, backend=backend)
    assert cases.snapshot(model) == before


@every_backend
def test_the_head_comes_back_as_it_went_in(backend, model, rows, background):
    head = cases.Normed()
    before = cases.snapshot(head)
    explain(model, background, rows[:1], head=head, backend=backend)
    assert cases.snapshot(head) == before


@every_backend
def test_the_model_and_the_process_come_back_wherever_the_work_is_interrupted(backend, rows, background):
    model = used(cases.Breaking)
    cases.Breaking.left = 0
    explain(model, background, rows[:2], backend=backend)
    passes = -cases.Breaking.left
    before = cases.snapshot(model), cases.world()
    for cases.Breaking.left in {*range(1, 9), *range(9, passes, 7), passes}:
        with pytest.raises(KeyboardInterrupt):
            explain(model, background, rows[:2], backend=backend)
        assert (cases.snapshot(model), cases.world()) == before


@every_backend
@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
def test_the_precision_of_matrix_products_is_that_of_the_user(backend, precision, model, rows, background):
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision(precision)
        explain(model, background, rows[:1], backend=backend)
        assert torch.get_float32_matmul_precision() == precision
    finally:
        torch.set_float32_matmul_precision(before)


@every_backend
@every_head
def test_the_process_is_as_it_was(backend, head, model, rows, background):
    before = cases.world()
    explain(model, background, rows[:1], head=head, backend=backend)
    assert cases.world() == before


@every_backend
def test_what_the_generators_held_before_makes_no_difference(backend, model, rows, background):
    first = explain(model, background, rows, backend=backend)
    with torch.random.fork_rng():
        torch.manual_seed(99)
        assert_same(explain(model, background, rows, backend=backend), first, atol=0)


@every_backend
@pytest.mark.parametrize("head", ["error mse", "feature_error"])
@pytest.mark.parametrize("where", ["processes", "threads"])
def test_the_number_of_jobs_makes_no_difference(backend, head, where, model, rows, background):
    alone = explain(model, background, rows, head=head, backend=backend, n_jobs=1)
    with parallel_config(backend={"processes": "loky", "threads": "threading"}[where]):
        assert_same(explain(model, background, rows, head=head, backend=backend, n_jobs=2), alone)


def memory_for(explainer, n, b):
    """Bytes just enough for the explanation of ``n`` rows, and for one row against ``b`` background rows at once."""
    per_row = bytes_per_row(explainer.score, explainer.background[[0, -1]])
    held = backends.named(explainer.backend).rows_in_memory(b, cases.D)
    return held * per_row * COPIES + n * explanation_bytes(backends.named(explainer.backend), explainer._game)


@pytest.mark.parametrize("backend", IN_PARTS)
@pytest.mark.parametrize("width", [1, 2, 3, 5])
def test_the_memory_cuts_the_background_and_makes_no_difference(backend, width, model, rows, background, monkeypatch):
    whole = Explainer(model, background, backend=backend)
    want, memory = whole(rows), memory_for(whole, len(rows), width)
    seen = sizes_seen(backend, monkeypatch)
    assert_same(Explainer(model, background, backend=backend, memory=memory)(rows), want)
    assert {*seen} == {width, len(background) % width} - {0}


@pytest.mark.parametrize("backend", sorted({*backends.names()} - {*IN_PARTS}))
def test_what_needs_all_of_the_background_gets_it_in_little_memory(backend, model, rows, background, monkeypatch):
    whole = Explainer(model, background, backend=backend)
    want, memory = whole(rows), memory_for(whole, len(rows), 1)
    seen = sizes_seen(backend, monkeypatch)
    assert_same(Explainer(model, background, backend=backend, memory=memory)(rows), want)
    assert {*seen} == {len(background)}


def sizes_seen(backend, monkeypatch):
    """A list, which will hold the sizes of all backgrounds that the backend is given."""
    kind, seen = type(backends.named(backend)), []

    def bind(self, game, really=kind.bind):
        seen.append(len(game.background))
        return really(self, game)

    monkeypatch.setattr(kind, "bind", bind)
    return seen


@every_backend
@pytest.mark.parametrize("head", ["error mse", "latent"])
def test_a_first_row_has_the_same_values_alone_and_in_a_batch(backend, head, model, background):
    rows = cases.table(70, seed=3)  # more than there are blocks, so that rows are attributed together
    together = explain(model, background, rows, head=head, backend=backend)
    assert_same(explain(model, background, rows[:1], head=head, backend=backend), together[:1])


@pytest.mark.parametrize("backend", DETERMINISTIC)
@pytest.mark.parametrize("head", ["error mae", "feature_error"])
def test_the_order_of_the_rows_makes_no_difference(backend, head, model, background):
    rows, order = cases.table(66, seed=3), np.random.default_rng(0).permutation(66)
    together = explain(model, background, rows, head=head, backend=backend)
    assert_same(explain(model, background, rows[order], head=head, backend=backend), together[order.tolist()])


@pytest.mark.parametrize("backend", sorted({*DETERMINISTIC, *IN_PARTS}))
def test_the_order_of_the_background_makes_no_difference(backend, model, rows, background):
    want = explain(model, background, rows, backend=backend)
    assert_same(explain(model, background[::-1].copy(), rows, backend=backend), want)


@pytest.mark.parametrize("backend", sorted({*backends.names()} - {*DETERMINISTIC}))
def test_draws_depend_on_the_seed_and_the_position_only(backend, model, rows, background, monkeypatch):
    monkeypatch.setattr(type(backends.named(backend)), "n_samples", 20)  # fewer than there are coalitions
    twins = np.stack([rows[0]] * 2)
    values, again, other = (explain(model, background, twins, backend=backend, seed=s).values for s in (0, 0, 1))
    np.testing.assert_array_equal(values, again)
    assert (values[0] != values[1]).all()
    assert (values != other).all()


@every_backend
def test_a_row_that_is_the_whole_background_gets_exactly_zero(backend, model, rows):
    got = explain(model, rows[:1], rows[:1], backend=backend)
    np.testing.assert_array_equal(got.values, 0)
    np.testing.assert_array_equal(got.residual, 0)


@every_backend
def test_rows_that_are_also_in_the_background_add_up(backend, model, rows):
    got = explain(model, rows, rows, backend=backend)
    room = 0 if backends.named(backend).additive else 4 * got.standard_errors.sum(axis=1)
    assert (np.abs(got.residual) <= 1e-10 + room).all()


@every_backend
def test_a_wrapped_model_has_the_values_of_the_model(backend, model, rows, background):
    wrapped = Autoencoder(model, reconstruct=lambda m, x: m.decoder(m.encoder(x)), encode=lambda m, x: m.encoder(x))
    for head in ("error mse", "latent"):
        want = explain(model, background, rows[:2], head=head, backend=backend)
        assert_same(explain(wrapped, background, rows[:2], head=head, backend=backend), want)
