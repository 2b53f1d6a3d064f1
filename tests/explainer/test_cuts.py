"""Gradients that are cut: features behind embeddings, rounding, detach and numpy are refused by name."""

import warnings
from collections import OrderedDict

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from shapae import Explainer, explain_anomalies, heads
from shapae.backends import Moments, RowwiseBackend
from shapae.errors import AdditivityWarning, ModelError
from shapae.explainer import cuts
from shapae.explainer.cuts import find_cuts
from tests import cases
from tests.deepshap.zoo import ZOO, D

NAMES = ["temperature", "pressure", "flow", "level", "kind", "ward"]
ROWS, BACKGROUND = (pd.DataFrame(2 * cases.table(n, seed=seed), columns=NAMES) for n, seed in ((20, 1), (30, 2)))
GRADIENTS = pytest.mark.parametrize("backend", ["gradient", "shap_gradient", "captum_gradient_shap"])


class Rounding(torch.autograd.Function):
    """Rounds, with no gradient or with that of the identity."""

    @staticmethod
    def forward(ctx, rows, straight):
        ctx.straight = straight
        return rows.round()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.straight, None


class Cut(nn.Module):
    """An autoencoder that encodes some columns by functions of its own."""

    def __init__(self, cuts):
        super().__init__()
        self.cuts, wide = cuts, 6 + 3 * len(cuts)
        self.codes, self.bag = nn.Embedding(9, 3), nn.EmbeddingBag(9, 3)
        self.first = nn.Sequential(nn.Linear(wide, 5), nn.Tanh(), nn.Linear(5, 3))
        self.decoder = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 6))

    def encoder(self, rows):
        plain = [rows[:, [column for column in range(6) if column not in self.cuts]]]
        cut = [make(self, rows[:, column]).expand(-1, 3) for column, make in self.cuts.items()]
        return self.first(torch.cat([*plain, *cut, rows.new_zeros(len(rows), len(cut))], dim=1))

    def forward(self, rows):
        return self.decoder(self.encoder(rows))


def code(column):
    return (column.round().long() + 4).clamp(0, 8)


EDGES = torch.tensor([-1.0, 0.0, 1.5], dtype=torch.float64)
CUTS = {
    "embedding": lambda m, c: m.codes(code(c)),
    "embedding bag": lambda m, c: m.bag(code(c)[:, None]),
    "bucketize": lambda m, c: m.codes(torch.bucketize(c.contiguous(), EDGES)),
    "searchsorted": lambda m, c: torch.searchsorted(EDGES, c.contiguous()).to(c)[:, None],
    "round": lambda m, c: c.round()[:, None],
    "floor": lambda m, c: c.floor()[:, None],
    "sign": lambda m, c: c.sign()[:, None],
    "where": lambda m, c: torch.where(c > 0.3, 2.0, -1.0).to(c)[:, None],
    "one-hot argmax": lambda m, c: nn.functional.one_hot(torch.stack([c, -c, 0 * c], 1).argmax(1), 3).to(c),
    "detach": lambda m, c: c.detach()[:, None],
    "data": lambda m, c: c.data.tanh()[:, None],
    "numpy": lambda m, c: torch.from_numpy(np.tanh(c.detach().numpy()))[:, None],
    "own function": lambda m, c: Rounding.apply(c, 0.0)[:, None],
}


def explainer_of(cuts, **settings):
    return Explainer(cases.build(Cut, cuts), BACKGROUND, **settings)


@pytest.mark.parametrize("head", ["reconstruction_error", "latent"])
@pytest.mark.parametrize("cut", CUTS)
def test_a_feature_without_a_gradient_is_refused_by_name_and_exact_values_tell_it(cut, head):
    explainer = explainer_of({4: CUTS[cut]}, head=head, backend="gradient")
    for explain in (explainer, explainer.summarize):
        with pytest.raises(ModelError, match=r"the score changes with feature kind, .* Use backend='exact' or 'samp"):
            explain(ROWS)
    if head == "latent":
        exact = explainer_of({4: CUTS[cut]}, head=head, backend="exact")(ROWS)
        assert np.abs(exact[:, "kind"].values).max() > 0.01
        np.testing.assert_allclose(exact.residual, 0, atol=1e-12)


@GRADIENTS
def test_all_of_them_are_named_with_every_backend_and_before_anomalies_are_explained(backend):
    cuts = {1: CUTS["round"], 4: CUTS["embedding"], 5: CUTS["numpy"]}
    explainer = explainer_of(cuts, backend=backend)
    calls = explainer, explainer.summarize, lambda X: explain_anomalies(explainer, X, top=2)
    for explain in calls:
        with pytest.raises(ModelError, match=f"features pressure, kind, ward, .* the values of backend='{backend}'"):
            explain(ROWS)


@pytest.mark.parametrize(
    "settings",
    [
        {"groups": {"x": ["flow", "kind"]}},
        {"head": heads.ReconstructionError(target="fixed")},
        {"head": "feature_error"},
        {"head": "label_free"},
        {"tolerance": 0.5},
        {"head": "reconstruction:flow"},
    ],
    ids=str,
)
def test_any_head_and_setting_finds_them(settings):
    with pytest.raises(ModelError, match="with feature kind, "):
        explainer_of({4: CUTS["embedding"]}, backend="gradient", **settings)(ROWS)


def test_rows_that_are_also_the_background_find_them():
    with pytest.raises(ModelError, match="with feature kind, "):
        explainer_of({4: CUTS["embedding"]}, backend="gradient")(BACKGROUND)


class Rounded(cases.Question):
    """Its decoder rounds one latent."""

    def __init__(self):
        super().__init__()
        self.decoder = nn.Sequential(_Code(), *self.decoder)


class _Code(nn.Module):
    def forward(self, latents):
        return torch.cat([latents[:, :2], (4 * latents[:, 2:]).round()], dim=1)


def test_a_latent_without_a_gradient_is_named():
    with pytest.raises(ModelError, match="with feature latent 2, "):
        Explainer(cases.build(Rounded), BACKGROUND, backend="gradient", source="latent")(ROWS)


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (lambda model, rows: model(rows).detach().square().mean(dim=1), "the score has no gradient, although"),
        (
            lambda model, rows: torch.from_numpy(np.tanh(model(rows).numpy())),
            "leaves torch, where neither gradients nor operators are seen",
        ),
    ],
)
def test_a_score_without_any_gradient_is_said_in_one_sentence(head, what):
    with pytest.raises(ModelError, match=what):
        Explainer(cases.build(cases.Question), BACKGROUND, head=head, backend="gradient").summarize(ROWS)


class Detached(cases.Question):
    """Has no gradient, beside that of the target of a reconstruction error."""

    def forward(self, rows):
        return super().forward(rows.detach())


def test_a_model_without_any_gradient_is_told_from_the_gradient_of_its_head():
    with pytest.raises(ModelError, match="the reconstruction of the model has no gradient, although"):
        Explainer(cases.build(Detached), BACKGROUND, backend="gradient")(ROWS)


PARTLY = {
    "and its rounding": lambda m, c: (c + 5 * c.round())[:, None],
    "times its detached self": lambda m, c: (2 * c + c.detach() * c)[:, None],
    "straight through": lambda m, c: Rounding.apply(c, 1.0)[:, None],
    "detach straight through": lambda m, c: (c + ((2 * c).sign() - c).detach())[:, None],
}


@pytest.mark.parametrize("cut", PARTLY)
@GRADIENTS
def test_a_part_of_a_gradient_that_is_lost_is_a_warning_at_the_callers_line(cut, backend):
    explainer = explainer_of({4: PARTLY[cut]}, head="latent:1", backend=backend)
    for explain in (explainer, explainer.summarize):
        with pytest.warns(AdditivityWarning) as caught:
            explain(ROWS)
        assert "miss effects of feature kind: up to " in str(caught[0].message)
        assert caught[0].filename == __file__


JUMPS = {
    *("k-sparse", "vector quantised", "binary latents", "rounded latents", "half detached", "nn.Hardshrink"),
    *("nn.Threshold", "JumpReLU", "every kinked activation", "masked assignments", "memory with hard shrinkage"),
    "max pooling and unpooling",
}


@pytest.mark.parametrize("name", sorted(ZOO))
def test_models_that_have_their_gradients_are_never_suspected(name):
    """In single precision, with all their kinks; those that jump are found, and no feature of theirs is blind."""
    x, b = (torch.tensor(cases.table(40, D, seed=seed)).float() for seed in (1, 2))
    explainer = Explainer(cases.build(ZOO[name], dtype=torch.float32), b, backend="gradient")
    with explainer._running(x):
        cuts = find_cuts(explainer._game, x)
    assert (cuts is not None) == (name in JUMPS)
    assert name not in JUMPS or not cuts.blind


@pytest.mark.parametrize("seed", range(8))
def test_one_row_of_a_relu_network_is_never_suspected(seed):
    x = cases.table(30, 20, seed=seed)
    explainer = Explainer(cases.build(cases.Question, 20, seed=seed), x[1:], head="reconstruction", backend="gradient")
    with explainer._running(x[:1]):
        assert find_cuts(explainer._game, torch.tensor(x[:1])) is None


class Slopes(RowwiseBackend):
    """The gradient of a row: a backend of one's own, which promises nothing."""

    additive, needs_gradients = False, True

    def attribute_row(self, game, row, seed):
        point = row[None].clone().requires_grad_()
        (gradient,) = torch.autograd.grad(game.score(point).sum(), point)
        return Moments(len(game.background), gradient.unsqueeze(2).numpy())


@pytest.mark.parametrize("head", ["latent", "latent:0"])
def test_the_bends_of_many_hidden_units_are_found_on_the_ways_alone(head, monkeypatch):
    """To follow hundreds of features one by one takes many times as long; it is for a change that is surely lost."""
    torch.manual_seed(0)
    d = 300
    encoder = nn.Sequential(nn.Linear(d, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 8))
    model = nn.Sequential(OrderedDict(encoder=encoder, decoder=nn.Linear(8, d)))
    rows, background = (torch.randn(n, d, generator=torch.Generator().manual_seed(n)) for n in (9, 40))
    explainer = Explainer(model, background, head=head, backend="gradient")
    monkeypatch.setattr(cuts, "_follow_features", lambda *_: pytest.fail("features are followed one by one"))
    assert find_cuts(explainer._game, rows) is None
    monkeypatch.setattr(cuts, "FINELY", cuts.AT_ONCE)
    with pytest.raises(pytest.fail.Exception):
        find_cuts(explainer._game, rows)


def test_a_backend_of_ones_own_that_needs_gradients_is_checked_too():
    with pytest.raises(ModelError, match=r"kind.*the values of backend='Slopes' would lack"):
        explainer_of({4: CUTS["floor"]}, backend=Slopes())(ROWS)
    explainer_of({}, backend=Slopes())(ROWS)


def test_many_features_are_counted_and_sampling_is_recommended():
    model = nn.Sequential(nn.Linear(30, 4), nn.Tanh(), nn.Linear(4, 30)).double()
    rounded = lambda autoencoder, rows: autoencoder(torch.cat([rows[:, :10], rows[:, 10:].round()], 1))  # noqa: E731
    with pytest.raises(ModelError, match=r"features feature 10, .* and 12 more, .* Use backend='sampling' instead"):
        Explainer(model, cases.table(40, 30), head=rounded, backend="gradient")(cases.table(9, 30, seed=1))


def test_features_that_change_nothing_are_not_blind():
    """Constant columns, and columns that the head does not use."""
    model, rows, background = cases.build(cases.Question), ROWS.to_numpy(), BACKGROUND.to_numpy()
    with torch.no_grad():
        model.encoder[0].weight[:, 1] = 0
    rows[:, 2] = background[:, 2] = 1
    with warnings.catch_warnings():
        warnings.simplefilter("error", AdditivityWarning)
        got = Explainer(model, background, head="latent", backend="gradient")(rows)
    np.testing.assert_array_equal(got.values[:, 1:3], 0)


def test_a_feature_that_changes_in_one_row_far_down_is_followed_too():
    table = np.zeros((500, 6))
    table[:, :5] = cases.table(500, 5)
    table[430, 5] = 1
    model = cases.build(lambda: nn.Sequential(nn.Linear(6, 3), nn.Tanh(), nn.Linear(3, 6)))
    rounded = lambda autoencoder, rows: autoencoder(torch.cat([rows[:, :5], rows[:, 5:].round()], 1))[:, 0]  # noqa: E731
    for call in ("__call__", "summarize"):
        with pytest.raises(ModelError, match="changes with feature feature 5, but its gradient does not tell"):
            getattr(Explainer(model, table[:30], head=rounded, backend="gradient"), call)(table)


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
def test_a_model_whose_backward_pass_fails_is_refused_with_a_way_out():
    class Reentrant(cases.Question):
        def forward(self, rows):
            return torch.utils.checkpoint.checkpoint(super().forward, rows, use_reentrant=True)

    with pytest.raises(ModelError, match=r"can't be run with gradients: .*Use backend='sampling'"):
        Explainer(cases.build(Reentrant), cases.table(9), backend="gradient")(cases.table(3))
