"""Cross-entropy of shares and of logits: what it takes, and what it says of other numbers."""

import numpy as np
import pytest
import torch
from sklearn.preprocessing import MinMaxScaler
from torch import nn
from torch.nn import functional

import shapae
from shapae import Autoencoder, Explainer, heads, losses
from shapae.errors import DataError, ModelError
from tests import cases
from tests.closed_forms import affine

SHARES = torch.tensor(cases.table(40)).sigmoid().numpy()


class Shares(cases.Question):
    """An autoencoder of shares."""

    def forward(self, rows):
        return super().forward(rows).sigmoid()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_logits_have_their_loss_however_large_they_are(dtype):
    """In extended precision, since the loss of torch itself cancels."""
    size = torch.tensor([0, 1e-3, 1, 10, 19, 21, 39, 41, 88, 1e3, 1e6], dtype=dtype)
    r, x = torch.meshgrid(torch.cat([size, -size]), torch.tensor([0, 1e-6, 0.3, 1], dtype=dtype), indexing="ij")
    long_r, long_x = (each.double().numpy().astype(np.longdouble) for each in (r, x))
    want = long_x * np.logaddexp(0, -long_r) + (1 - long_x) * np.logaddexp(0, long_r)
    eps = torch.finfo(dtype).eps
    np.testing.assert_allclose(losses.CrossEntropyWithLogits()(r, x), want, rtol=8 * eps, atol=torch.finfo(dtype).tiny)


@pytest.mark.parametrize("backend", ["deep", "exact", "gradient"])
@pytest.mark.parametrize("head", [heads.FeatureError, heads.ReconstructionError])
def test_logits_have_the_values_of_their_sigmoid(head, backend, rows, background):
    rows, background = SHARES[:3], SHARES[20:]
    settings = {"backend": backend}
    got = Explainer(cases.build(cases.Question), background, head=head(loss="bce_with_logits"), **settings)(rows)
    want = Explainer(cases.build(Shares), background, head=head(loss="bce"), **settings)(rows)
    np.testing.assert_allclose(got.scores, want.scores, rtol=0, atol=1e-12)
    np.testing.assert_allclose(got.values, want.values, rtol=0, atol=1e-12)


def test_two_features_of_a_linear_model_have_their_shapley_values(rows):
    """Of the loss of torch, over both orders."""
    model, x, b = cases.build(cases.Linear, 2, 1), SHARES[:1, :2], SHARES[1:2, :2]
    w, c = affine(model.encoder, model.decoder)

    def score(row):
        each = functional.binary_cross_entropy_with_logits(torch.tensor(row @ w.T + c), torch.tensor(row))
        return each.item()

    first, second = np.array([[x[0, 0], b[0, 1]]]), np.array([[b[0, 0], x[0, 1]]])
    want = [(score(first) - score(b) + score(x) - score(second)) / 2]
    want.append(score(x) - score(b) - want[0])
    got = Explainer(model, b, head=heads.ReconstructionError("bce_with_logits"), backend="exact")(x)
    np.testing.assert_allclose(got.values[0], want, rtol=0, atol=1e-12)


@pytest.mark.parametrize("scale", [1, 100, 1e4, 1e6])
def test_values_of_large_logits_add_up_in_float32(scale):
    model = cases.build(cases.Question, dtype=torch.float32)
    with torch.no_grad():
        model.decoder[2].weight.mul_(scale)
    rows, background = SHARES[:10].astype(np.float32), SHARES[20:].astype(np.float32)
    got = Explainer(model, background, head=heads.FeatureError(loss="bce_with_logits"))(rows)
    size = np.abs(got.scores).max() + np.abs(got.base_values).max()
    assert np.abs(got.residual).max() <= 8 * np.finfo(np.float32).eps * size


@pytest.mark.parametrize("loss", ["bce", "bce_with_logits"])
@pytest.mark.parametrize("backend", ["shap_deep", "captum_deep"])
def test_libraries_with_hooks_agree_with_deep_on_a_fixed_target(loss, backend):
    class ByModule(Shares):
        def __init__(self):
            super().__init__()
            self.last = nn.Sigmoid()

        def forward(self, rows):
            return self.last(cases.Question.forward(self, rows))

    model = cases.build(ByModule if loss == "bce" else cases.Question)
    head = heads.ReconstructionError(loss, target="fixed")
    got, want = (Explainer(model, SHARES[20:], head=head, backend=name)(SHARES[:2]) for name in (backend, "deep"))
    np.testing.assert_allclose(got.values, want.values, rtol=0, atol=1e-10)


class OwnHead(nn.Module):
    """A head that has the loss as a part."""

    def __init__(self, loss):
        super().__init__()
        self.loss = loss

    def forward(self, autoencoder, rows):
        return self.loss(autoencoder(rows), rows).mean(dim=1)


TAKE_SHARES = {
    "bce": lambda: heads.ReconstructionError("bce"),
    "each feature": lambda: heads.FeatureError(loss="bce"),
    "fixed": lambda: heads.ReconstructionError("bce", target="fixed"),
    "worst": lambda: heads.FeatureError(loss="bce", worst=2),
    "torch's": lambda: heads.ReconstructionError(nn.BCELoss(reduction="none")),
    "in a head": lambda: OwnHead(losses.CrossEntropy()),
    "torch's in a head": lambda: OwnHead(nn.BCELoss(reduction="none")),
}
TAKE_LOGITS = {
    "logits": lambda: heads.ReconstructionError("bce_with_logits"),
    "torch's logits": lambda: heads.ReconstructionError(nn.BCEWithLogitsLoss(reduction="none")),
}


def changed(place, value):
    """The shares with one number replaced."""
    table = cases.table(300, seed=6)
    table = torch.tensor(table).sigmoid().numpy()
    table[place, 3] = value
    return table


@pytest.mark.parametrize("head", TAKE_SHARES | TAKE_LOGITS)
@pytest.mark.parametrize("value", [-0.25, 1.5])
def test_rows_that_are_no_shares_are_refused_wherever_they_are(head, value):
    """With their range and what to do."""
    model, head = cases.build(Shares), (TAKE_SHARES | TAKE_LOGITS)[head]()
    where = rf"targets between 0 and 1, but the rows go from .*{value}"
    for place in (0, -1):
        with pytest.raises(DataError, match=where):
            Explainer(model, changed(place, value), head=head)
    explainer = Explainer(model, changed(150, value), head=head)
    with pytest.raises(DataError, match=where):
        explainer(SHARES)
    explainer, before = Explainer(model, SHARES, head=head), cases.snapshot(head)
    for place, run in [(0, explainer), (200, explainer), (200, explainer.scores), (200, explainer.summarize)]:
        with pytest.raises(DataError, match=rf"{where}.*preprocess=sklearn.preprocessing.MinMaxScaler"):
            run(changed(place, value))
    assert cases.snapshot(head) == before


@pytest.mark.parametrize("head", TAKE_SHARES)
def test_reconstructions_that_are_no_shares_are_refused(head):
    with pytest.raises(ModelError, match=r"reconstructions between 0 and 1, but .* go from -.*'bce_with_logits'"):
        Explainer(cases.build(cases.Question), SHARES, head=TAKE_SHARES[head]())


def test_reconstructions_of_some_rows_that_are_no_shares_are_refused():
    """Of a row of the background, and of a row to explain, far from the first."""
    decode = nn.Hardtanh(0.4, 0.6)
    for at in (150, 200):
        odd = changed(at, 0.999999)

        def forward(m, x):
            return torch.where(x[:, 3:4] > 0.99999, torch.full_like(x, 1.25), decode(x))

        model = Autoencoder(nn.Identity(), reconstruct=forward)
        for background, rows in [(odd, SHARES), (SHARES, odd)]:
            explainer = Explainer(model, background, head=heads.ReconstructionError("bce"), backend="sampling")
            with pytest.raises(ModelError, match=r"reconstructions between 0 and 1, but .* to 1\.25"):
                explainer(rows)


@pytest.mark.parametrize("head", TAKE_LOGITS)
def test_logits_may_be_any_number(head):
    Explainer(cases.build(cases.Question), SHARES, head=TAKE_LOGITS[head]())(SHARES[:3])


def test_the_elbo_takes_shares_too():
    vae = Autoencoder(cases.build(cases.Variational), noise="mean")
    with pytest.raises(ModelError, match="reconstructions between 0 and 1"):
        Explainer(vae, SHARES, head=heads.ELBO("bce"))
    with pytest.raises(DataError, match="targets between 0 and 1"):
        Explainer(vae, SHARES, head=heads.ELBO("bce_with_logits"))(cases.table(3))
    got = Explainer(vae, SHARES, head=heads.ELBO("bce_with_logits"))(SHARES[:3])
    np.testing.assert_allclose(got.residual, 0, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_columns_scaled_to_shares_are_shares_up_to_rounding(dtype):
    table = (1e3 + cases.table(200, seed=3)).astype(dtype)
    scaler = MinMaxScaler().fit(table)
    model = cases.build(Shares, dtype=torch.float32 if dtype is np.float32 else torch.float64)
    for explainer, rows in [
        (Explainer(Autoencoder(model, preprocess=scaler), table, head=heads.ReconstructionError("bce")), table),
        (Explainer(model, scaler.transform(table), head=heads.ReconstructionError("bce")), scaler.transform(table)),
    ]:
        assert np.isfinite(explainer.scores(rows)).all()


def square(rows):
    """Reconstructions that are shares where the first two features are equal."""
    return 0.5 + torch.cat([2 * (rows[:, :1] - rows[:, 1:2])] * rows.shape[1], dim=1)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (losses.CrossEntropy(), "NaN or infinite"),
        (
            nn.BCELoss(reduction="none"),
            "computes a binary cross-entropy of numbers .* replaced features .*bce_with_logits",
        ),
        (
            lambda r, x: functional.binary_cross_entropy(r, x, reduction="none"),
            "computes a binary cross-entropy of numbers .* replaced features .*bce_with_logits",
        ),
    ],
)
@pytest.mark.parametrize("backend", ["exact", "sampling"])
def test_mixtures_of_rows_that_leave_the_shares_are_refused(loss, message, backend):
    model = Autoencoder(nn.Identity(), reconstruct=lambda m, x: square(x))
    rows = np.array([[0.9, 0.9, 0.5], [0.8, 0.8, 0.5]])
    with pytest.raises(ModelError, match=message):
        Explainer(model, 1 - rows, head=OwnHead(loss) if isinstance(loss, nn.Module) else own(loss), backend=backend)(
            rows
        )


def own(loss):
    return lambda autoencoder, rows: loss(autoencoder(rows), rows).mean(dim=1)


def test_a_loss_of_your_own_says_what_it_takes(background):
    class Poisson(losses.Loss):
        def forward(self, reconstruction, target):
            return reconstruction.exp() - target * reconstruction

        def check(self, reconstruction, target):
            if (target < 0).any():
                raise DataError("counts are not negative.")

    for explain in (
        lambda head: Explainer(cases.build(cases.Question), background, head=head),
        lambda head: shapae.score(cases.build(cases.Question), background, head),
    ):
        with pytest.raises(DataError, match="counts are not negative"):
            explain(heads.ReconstructionError(Poisson()))
