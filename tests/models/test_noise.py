"""Parts of a model run with gradients, and with their Gaussian noise replaced."""

import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Beta, Independent, LogNormal, LowRankMultivariateNormal, MultivariateNormal, Normal

from shapae import Autoencoder, Explainer
from shapae.errors import ModelError
from shapae.models.noise import FixedNoise
from tests import cases

X = torch.tensor(cases.table(4))

# From mean and standard deviation, (n, 3) each, to latents.
SAMPLED = {
    "randn_like": lambda mean, std: mean + std * torch.randn_like(std),
    "randn": lambda mean, std: mean + std * torch.randn(mean.shape, dtype=mean.dtype),
    "randn of sizes": lambda mean, std: mean + std * torch.randn(*mean.shape, dtype=mean.dtype, generator=None),
    "normal_": lambda mean, std: mean + std * std.new_empty(std.shape).normal_(),
    "normal_ of its own": lambda mean, std: mean + std * (torch.empty_like(mean).normal_(1, 2) - 1) / 2,
    "normal": lambda mean, std: torch.normal(mean, std),
    "normal by keyword": lambda mean, std: torch.normal(mean=mean, std=std),
    "normal_ by keyword": lambda mean, std: mean + std * (torch.empty_like(mean).normal_(mean=1, std=2) - 1) / 2,
    "normal of the deviations": lambda mean, std: mean + torch.normal(0.0, std),
    "normal of a size": lambda mean, std: mean + std * torch.normal(0.0, 1.0, mean.shape, dtype=mean.dtype),
    "rsample": lambda mean, std: Normal(mean, std).rsample(),
    "sample": lambda mean, std: Normal(mean, std).sample(),
    "independent": lambda mean, std: Independent(Normal(mean, std), 1).rsample(),
    "low rank": lambda mean, std: LowRankMultivariateNormal(mean, 0 * std.unsqueeze(2), std**2).rsample(),
    "in place": lambda mean, std: torch.randn_like(std).mul_(std).add_(mean),
    "randn into": lambda mean, std: mean + std * into(torch.empty_like(std), torch.randn, std.shape),
    "randn into another shape": lambda mean, std: mean + std * into(std.new_empty(0), torch.randn, *std.shape),
    "normal into": lambda mean, std: into(torch.empty_like(std), torch.normal, mean, std),
    "normal of a size into": lambda mean, std: mean + std * into(torch.empty_like(std), torch.normal, 0, 1, std.shape),
    "init": lambda mean, std: mean + std * nn.init.normal_(torch.empty_like(std)),
    "init of its own": lambda mean, std: mean + std * (nn.init.normal_(torch.empty_like(std), 1, std=2) - 1) / 2,
    "log_normal_": lambda mean, std: mean + std * (torch.empty_like(std).log_normal_(3, std=2).log() - 3) / 2,
    "log normal": lambda mean, std: LogNormal(mean, std).rsample().log(),
    "multivariate": lambda mean, std: MultivariateNormal(mean, scale_tril=torch.diag_embed(std)).rsample(),
    "operator": lambda mean, std: mean + std * torch.ops.aten.randn_like.default(std),
}


def into(out, draw, *args):
    """Draw into a tensor, as models do that keep one for this, without gradients."""
    with torch.no_grad():
        assert draw(*args, out=out) is out
    return out


class Scripted(nn.Module):
    """Operators that draw in scripted code, which no mode for functions of torch sees."""

    def __init__(self, kind: str):
        super().__init__()
        self.kind = kind

    def forward(self, mean: torch.Tensor, std: torch.Tensor):
        noise = torch.empty_like(std)
        if self.kind == "randn_like":
            noise = torch.randn_like(std)
        elif self.kind == "randn":
            noise = torch.randn([std.size(0), std.size(1)], dtype=std.dtype)
        elif self.kind == "normal":
            noise = torch.normal(torch.zeros_like(std), torch.ones_like(std))
        elif self.kind == "normal of a size":
            noise = torch.normal(0.0, 1.0, [std.size(0), std.size(1)], dtype=std.dtype)
        else:
            noise.normal_(0.0, 1.0)
        return mean + std * noise


class Drawing(nn.Module):
    def forward(self, mean, std):
        return mean + std * torch.randn_like(std)


SCRIPTED = {
    **{kind: lambda kind=kind: torch.jit.script(Scripted(kind)) for kind in ("randn_like", "randn", "normal_")},
    **{kind: lambda kind=kind: torch.jit.script(Scripted(kind)) for kind in ("normal", "normal of a size")},
    "frozen": lambda: torch.jit.freeze(torch.jit.script(Scripted("randn_like").eval())),
    "traced": lambda: torch.jit.trace(Drawing(), (X[:, :3], X[:, :3]), check_trace=False),
    "fx": lambda: torch.fx.symbolic_trace(Drawing()),
}


class Vae(nn.Module):
    """An autoencoder that samples, also in eval mode."""

    def __init__(self, sampled):
        super().__init__()
        self.sampled, self.trunk, self.exp = sampled, nn.Sequential(nn.Linear(6, 5), nn.Tanh()), Exp()
        self.mean, self.spread, self.decoder = nn.Linear(5, 3), nn.Linear(5, 3), nn.Linear(3, 6)
        self.last = nn.Tanh()

    def encode(self, rows):
        hidden = self.trunk(rows)
        return self.mean(hidden), self.exp(self.spread(hidden))

    def forward(self, rows):
        return self.last(self.decoder(self.sampled(*self.encode(rows))))


class Exp(nn.Module):
    def forward(self, values):
        return torch.exp(values)


def reconstruct_with(model, noise):
    """Reconstruct X with ``noise`` (4, 3), or (3,), in place of the noise that the model draws."""
    mean, std = model.encode(X)
    return torch.tanh(model.decoder(mean + std * noise))


@pytest.mark.parametrize("kind", SCRIPTED)
@pytest.mark.parametrize("backend", ["deep", "gradient", "exact"])
@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_noise_in_scripted_code_is_replaced(kind, backend, rows, background):
    """Gradients pass through its mean and its standard deviation."""
    noise = torch.as_tensor(np.random.default_rng((7, 0)).standard_normal(3))
    model, before = cases.build(Vae, SCRIPTED[kind]()), cases.world()
    torch.testing.assert_close(Autoencoder(model, noise="mean").reconstruct(X), reconstruct_with(model, 0))
    torch.testing.assert_close(Autoencoder(model, noise=7).reconstruct(X), reconstruct_with(model, noise))
    steady = cases.build(Vae, lambda mean, std: mean + std * noise)
    got = Explainer(Autoencoder(model, noise=7), background, backend=backend)(rows[:2])
    want = Explainer(steady, background, backend=backend)(rows[:2])
    np.testing.assert_allclose(got.values, want.values, rtol=0, atol=1e-12)
    assert cases.world() == before


def test_noise_in_an_exported_program_is_replaced():
    class Whole(Vae):
        def __init__(self):
            super().__init__(SAMPLED["randn_like"])

    model = cases.build(Whole)
    exported = torch.export.export(model, (X,)).module()
    torch.testing.assert_close(Autoencoder(exported, noise="mean").reconstruct(X), reconstruct_with(model, 0))


@pytest.mark.parametrize("kind", ["init", "normal into", "log_normal_"])
@pytest.mark.parametrize("backend", ["gradient", "shap_deep", "exact"])
@pytest.mark.filterwarnings("ignore::shapae.errors.AdditivityWarning")
def test_fixed_noise_has_the_values_of_a_constant(kind, backend, rows, background):
    noise = torch.as_tensor(np.random.default_rng((7, 0)).standard_normal(3))
    model, steady = cases.build(Vae, SAMPLED[kind]), cases.build(Vae, lambda mean, std: mean + std * noise)
    got = Explainer(Autoencoder(model, noise=7), background, backend=backend)(rows[:2])
    want = Explainer(steady, background, backend=backend)(rows[:2])
    np.testing.assert_allclose(got.values, want.values, rtol=0, atol=1e-12)


TRANSFORMED = {
    "grad": lambda std: torch.func.grad(lambda t: (t * torch.randn_like(std)).sum())(std),
    "grad of init": lambda std: torch.func.grad(lambda t: (t * nn.init.normal_(torch.empty_like(std))).sum())(std),
    "vmap": lambda std: torch.vmap(torch.randn_like, randomness="same")(std),
}


@pytest.mark.parametrize("kind", TRANSFORMED)
def test_noise_within_transforms_is_replaced(kind):
    model = cases.build(Vae, lambda mean, std: mean + std * TRANSFORMED[kind](std))
    noise = torch.as_tensor(np.random.default_rng((7, 0)).standard_normal(3))
    torch.testing.assert_close(Autoencoder(model, noise="mean").reconstruct(X), reconstruct_with(model, 0))
    torch.testing.assert_close(Autoencoder(model, noise=7).reconstruct(X), reconstruct_with(model, noise))


def test_a_function_that_draws_may_be_the_noise():
    model = cases.build(Vae, SAMPLED["init"])
    seeds = []

    def noise(like, n, call):
        seeds.append(call)
        return torch.randn(like.shape, generator=torch.Generator().manual_seed(5), dtype=like.dtype)

    want = torch.randn((4, 3), generator=torch.Generator().manual_seed(5), dtype=X.dtype)
    for kind in ("init", "randn_like"):
        model = cases.build(Vae, SAMPLED[kind])
        torch.testing.assert_close(Autoencoder(model, noise=noise).reconstruct(X), reconstruct_with(model, want))
    assert {*seeds} == {0}


@pytest.mark.parametrize("kind", SAMPLED)
def test_noise_is_replaced_by_its_mean(kind):
    model, before = cases.build(Vae, SAMPLED[kind]), cases.world()
    torch.testing.assert_close(Autoencoder(model, noise="mean").reconstruct(X), reconstruct_with(model, 0))
    assert cases.world() == before


@pytest.mark.parametrize("kind", [kind for kind in SAMPLED if kind != "low rank"])
def test_a_sample_of_the_noise_is_equal_for_all_rows_and_all_calls(kind):
    model, before = cases.build(Vae, SAMPLED[kind]), cases.world()
    autoencoder = Autoencoder(model, noise=7)
    noise = torch.as_tensor(np.random.default_rng((7, 0)).standard_normal(3))
    torch.testing.assert_close(autoencoder.reconstruct(X), reconstruct_with(model, noise))
    assert torch.equal(autoencoder.reconstruct(X), autoencoder.reconstruct(X))
    alone = torch.cat([autoencoder.reconstruct(row[None]) for row in X])
    torch.testing.assert_close(alone, autoencoder.reconstruct(X))
    assert cases.world() == before


@pytest.mark.parametrize("n", [1, 4, 5])
def test_several_samples_at_once_differ_but_are_equal_for_all_rows(n):
    noise = FixedNoise(3)(torch.empty(2, n, 3), n, 0)
    assert torch.equal(noise, noise[:, :1].expand(2, n, 3))
    assert torch.equal(noise[:, 0], FixedNoise(3)(torch.empty(2, 1, 3), 1, 0)[:, 0])
    assert len(noise[:, 0].unique()) == 6


def test_samples_are_standard_normal_and_differ_between_calls_and_numbers():
    draws = torch.stack([FixedNoise(number)(X, 4, call)[0] for number in range(40) for call in range(40)])
    assert len(draws.unique(dim=0)) == 1600
    torch.testing.assert_close(draws.mean(dim=0), torch.zeros(6).double(), atol=0.12, rtol=0)
    torch.testing.assert_close(draws.T.cov(), torch.eye(6).double(), atol=0.16, rtol=0)


def test_each_call_of_a_part_draws_again():
    model = cases.build(Vae, lambda mean, std: torch.stack([torch.randn_like(mean), torch.randn_like(mean)]).sum(0))
    first, second = (np.random.default_rng((0, call)).standard_normal(3) for call in range(2))
    want = torch.tanh(model.decoder(torch.as_tensor(first + second).expand(4, 3)))
    torch.testing.assert_close(Autoencoder(model, noise=0).reconstruct(X), want)


def test_the_noise_of_a_decoder_is_replaced_too():
    autoencoder = Autoencoder(cases.build(cases.Question), decode=lambda m, z: m.decoder(z + torch.randn_like(z)))
    latents = autoencoder.encode(X)
    assert torch.equal(autoencoder.drawn(0).decode(latents), autoencoder.drawn(0).decode(latents))
    assert not torch.equal(autoencoder.drawn(0).decode(latents), autoencoder.drawn(1).decode(latents))


def test_the_noise_of_an_autoencoder_can_be_fixed_to_each_sample():
    model = cases.build(Vae, SAMPLED["rsample"])
    autoencoder = Autoencoder(model, noise="mean")
    for number in (0, 1):
        twin = autoencoder.drawn(number)
        assert torch.equal(twin.reconstruct(X), Autoencoder(model, noise=number).reconstruct(X))
        assert twin.model is model
    torch.testing.assert_close(autoencoder.reconstruct(X), reconstruct_with(model, 0))


class AverageError(nn.Module):
    """Mean squared error, averaged over three samples of the noise."""

    def forward(self, autoencoder, rows):
        errors = [(autoencoder.drawn(number).reconstruct(rows) - rows).square().mean(dim=1) for number in range(3)]
        return torch.stack(errors).mean(dim=0)


@pytest.mark.parametrize("backend", ["deep", "exact"])
def test_an_average_over_samples_of_the_noise_is_explained(backend, rows, background):
    model = cases.build(Vae, SAMPLED["rsample"])
    explanation = Explainer(model, background, head=AverageError(), backend=backend)(rows)
    np.testing.assert_allclose(explanation.residual, 0, atol=1e-12)
    with torch.no_grad():
        want = torch.stack([Autoencoder(model, noise=number)(torch.tensor(rows)) for number in range(3)])
    errors = (want - torch.tensor(rows)).square().mean(dim=(0, 2))
    np.testing.assert_allclose(explanation.scores, errors, rtol=1e-12)


@pytest.mark.parametrize("kind", SAMPLED)
@pytest.mark.parametrize("noise", ["mean", 2])
def test_a_model_that_samples_is_explained_with_replaced_noise(kind, noise, rows, background):
    autoencoder = Autoencoder(cases.build(Vae, SAMPLED[kind]), noise=noise)
    explanation = Explainer(autoencoder, background)(rows)
    np.testing.assert_allclose(explanation.residual, 0, atol=1e-12)


@pytest.mark.parametrize("backend", ["deep", "exact", "gradient", "shap_deep"])
def test_values_with_mean_noise_equal_the_values_of_the_model_without_noise(backend, rows, background):
    sampling, steady = (cases.build(Vae, sampled) for sampled in (SAMPLED["randn_like"], lambda mean, std: mean))
    got = Explainer(Autoencoder(sampling, noise="mean"), background, head="reconstruction", backend=backend)(rows)
    want = Explainer(steady, background, head="reconstruction", backend=backend)(rows)
    np.testing.assert_allclose(got.values, want.values, rtol=1e-9, atol=1e-12)


def test_noise_may_be_a_function():
    model = cases.build(Vae, SAMPLED["randn_like"])
    autoencoder = Autoencoder(model, noise=lambda like, n, call: torch.full_like(like, n + 10 * call))
    torch.testing.assert_close(autoencoder.reconstruct(X), reconstruct_with(model, 4))


def test_a_model_that_may_draw_is_refused_before_any_row_is_explained(background):
    model = cases.build(Vae, SAMPLED["rsample"])
    with pytest.raises(ModelError, match=r"random in eval mode: .* Autoencoder\(model, noise='mean'\)"):
        Explainer(Autoencoder(model, noise=None), background)


@pytest.mark.parametrize("kind", SAMPLED)
def test_the_mean_of_the_noise_is_explained_by_default_and_the_record_says_so(kind, rows, background):
    model = cases.build(Vae, SAMPLED[kind])
    got, want = (Explainer(each, background)(rows) for each in (model, Autoencoder(model, noise="mean")))
    np.testing.assert_array_equal(got.values, want.values)
    assert got.made_by["model"]["noise"].startswith("the model draws Gaussian noise in eval mode; the mean")
    assert want.made_by["model"]["noise"] == "Gaussian noise that the model draws is replaced as given by noise="


def test_gaussian_numbers_that_are_the_same_each_time_are_no_noise(rows, background):
    """A random projection from a seed of its own is a constant of the model."""

    def projected(mean, std):
        return mean @ torch.randn(3, 3, dtype=mean.dtype, generator=torch.Generator().manual_seed(0))

    model = cases.build(Vae, projected)
    explanation = Explainer(model, background, head="reconstruction")(rows)
    with torch.no_grad():
        np.testing.assert_allclose(explanation.scores, model(torch.tensor(rows)), rtol=1e-12)
    assert "noise" not in explanation.made_by["model"]


OTHER = {
    "aten.rand_like.default in Score.autoencoder.model": torch.rand_like,
    "aten.bernoulli.default in Score.autoencoder.model": torch.bernoulli,
    "aten.exponential_.default in Score.autoencoder.model": nn.functional.gumbel_softmax,
    "aten._sample_dirichlet.default in Score.autoencoder.model": lambda like: Beta(like, like).rsample(),
    "aten.bernoulli_.float in .* nn.functional.dropout.x, training=self.training.": nn.functional.dropout,
    "numpy.random in some module": lambda like: torch.as_tensor(np.random.randn(3)),  # noqa: NPY002
    "Python's random in some module": lambda like: random.random(),
}


@pytest.mark.parametrize("place", OTHER)
@pytest.mark.parametrize("noise", [None, "mean"])
def test_other_random_numbers_are_refused_by_name(place, noise, rows, background):
    """With what can be done, which is not to replace Gaussian noise."""
    model = cases.build(Vae, lambda mean, std: mean + OTHER[place](torch.full_like(std, 0.5)))
    with pytest.raises(ModelError, match=rf"drawn by {place}.*Say what .*reconstruct=lambda m, x") as error:
        Explainer(Autoencoder(model, noise=noise), background)(rows)
    assert "noise='mean'" not in str(error.value)


def test_of_two_kinds_of_random_numbers_both_are_named(rows, background):
    model = cases.build(Vae, lambda mean, std: mean + torch.randn_like(std) + torch.rand_like(std))
    for noise, both in [(None, True), ("mean", False)]:
        with pytest.raises(ModelError, match="aten.rand_like.default.* Only Gaussian noise") as error:
            Explainer(Autoencoder(model, noise=noise), background)(rows)
        assert ("aten.randn_like.default in" in str(error.value)) is both
        assert ("noise='mean'" in str(error.value)) is both


def random_head(autoencoder, rows):
    return autoencoder(rows).sum(dim=1) + torch.randn(1, dtype=rows.dtype)


def repeatable_head(autoencoder, rows):
    noise = torch.randn(6, dtype=rows.dtype, generator=torch.Generator().manual_seed(0))
    return autoencoder(rows + noise).sum(dim=1)


@pytest.mark.parametrize("noise", [None, "mean"])
def test_a_head_that_draws_is_told_to_start_its_generator_anew(noise, model, rows, background):
    autoencoder = Autoencoder(model, noise=noise)
    with pytest.raises(ModelError, match=r"aten.randn.default in Score.head. .*generator=torch.Generator") as error:
        Explainer(autoencoder, background, head=random_head)(rows)
    assert "Autoencoder" not in str(error.value)
    Explainer(autoencoder, background, head=repeatable_head)(rows)


def test_what_is_kept_between_runs_is_no_operator_that_draws(rows, background):
    class Counting(cases.Question):
        runs = 0

        def forward(self, rows):
            self.runs += 1
            return super().forward(rows) + self.runs

    with pytest.raises(ModelError, match="No operator of torch draws: .* results that are kept between runs"):
        Explainer(cases.build(Counting), background)(rows)


@pytest.mark.parametrize("noise", ["median", 0.5])
def test_other_noise_is_refused(noise, model):
    with pytest.raises(ModelError, match=rf"noise must be 'auto', 'mean', the number of a draw, .*, got '?{noise}"):
        Autoencoder(model, noise=noise)


class Context(cases.Question):
    """An autoencoder that encodes within a context manager."""

    def __init__(self, context):
        super().__init__()
        self.context = context

    def encode(self, rows):
        with self.context():
            return self.encoder(rows)

    def forward(self, rows):
        return self.decoder(self.encode(rows))


WITHOUT = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "set_grad_enabled": lambda: torch.set_grad_enabled(False),
}
STATES = {"gradients": nullcontext, "no gradients": torch.no_grad, "inference": torch.inference_mode}


@pytest.mark.parametrize("kind", WITHOUT)
@pytest.mark.parametrize("backend", ["deep", "gradient", "exact"])
@pytest.mark.parametrize("head", ["latent", "reconstruction_error"])
def test_models_that_disable_gradients_are_explained_like_others(kind, backend, head, rows, background):
    got = Explainer(cases.build(Context, WITHOUT[kind]), background, head=head, backend=backend)(rows)
    want = Explainer(cases.build(cases.Question), background, head=head, backend=backend)(rows)
    np.testing.assert_allclose(got.values, want.values, rtol=1e-12, atol=1e-14)
    assert np.abs(got.values).max() > 1e-3


@pytest.mark.parametrize("kind", ["no_grad", "set_grad_enabled"])
def test_hooks_see_gradients_in_models_that_disable_them(kind, rows, background):
    got = Explainer(cases.build(Context, WITHOUT[kind]), background, backend="shap_deep")(rows)
    np.testing.assert_allclose(got.residual, 0, atol=1e-12)


@pytest.mark.parametrize("kind", [*WITHOUT, "enable_grad"])
@pytest.mark.parametrize("state", STATES)
def test_the_gradient_mode_of_the_caller_is_kept(kind, state):
    autoencoder = Autoencoder(cases.build(Context, (WITHOUT | {"enable_grad": torch.enable_grad})[kind]))
    with STATES[state]():
        before = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        got = autoencoder.encode(X)
        assert (torch.is_grad_enabled(), torch.is_inference_mode_enabled()) == before
    assert got.requires_grad == (state == "gradients" or (kind == "enable_grad" and state == "no gradients"))
    assert got.is_inference() == (state == "inference")


def test_the_gradient_mode_of_the_caller_is_kept_when_the_model_fails():
    def failing():
        with torch.no_grad():
            raise KeyError

    autoencoder = Autoencoder(cases.build(cases.Question), encode=lambda m, x: failing())
    with pytest.raises(ModelError, match="KeyError"):
        autoencoder.encode(X)
    assert torch.is_grad_enabled()


def test_threads_have_separate_noise():
    autoencoder = Autoencoder(cases.build(Vae, SAMPLED["randn_like"]))
    want = [autoencoder.drawn(number).reconstruct(X) for number in range(8)]
    with ThreadPoolExecutor(8) as threads:
        got = list(threads.map(lambda number: autoencoder.drawn(number % 8).reconstruct(X), range(64)))
    assert all(torch.equal(one, want[number % 8]) for number, one in enumerate(got))
