"""Heads, losses, checkpoints, parameters, blocks and workers; and what is refused."""

import copy
import random
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from joblib import parallel_config
from safetensors.torch import save_file
from torch import nn

import shapae
from shapae import Autoencoder, heads
from shapae.analysis.influence import influence as influence_module
from shapae.analysis.influence.products import Plan, plan_products
from shapae.errors import DataError, ModelError, OutputError, TooLarge, UnknownName
from shapae.utils.memory import batches
from tests import cases
from tests.analysis.influence.test_gradients import check, convolution, mse, true_gradients
from tests.deepshap.zoo.base import D
from tests.models.vae import Vae

TRAIN, ROWS = torch.tensor(cases.table(11, D)), torch.tensor(cases.table(5, D, seed=1))


class Model(nn.Module):
    """A plain autoencoder."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(D, 4), nn.Tanh(), nn.Linear(4, 3))
        self.decoder = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, D))

    def forward(self, rows):
        return self.decoder(self.encoder(rows))


class Mixed(Model):
    """A plain autoencoder with parameters that are not of linear layers."""

    def __init__(self):
        super().__init__()
        self.encoder[1] = nn.LayerNorm(4)


@pytest.fixture
def model():
    return cases.build(Model)


def spread(function, model):
    return true_gradients(function, model, TRAIN)


TESTED = {
    "mae": (heads.ReconstructionError("mae"), lambda m: lambda x: (m(x) - x).abs().mean()),
    "fixed target": (heads.ReconstructionError(target="fixed"), mse),
    "l2": (heads.ReconstructionError("l2"), lambda m: lambda x: (m(x) - x).norm()),
    "latent:1": ("latent:1", lambda m: lambda x: m.encoder(x)[0, 1]),
    "latent_norm": ("latent_norm", lambda m: lambda x: (m.encoder(x) ** 2).sum()),
    "label_free": ("label_free", lambda m: lambda x: (m.encoder(x) ** 2).sum()),
    "reconstruction:2": ("reconstruction:2", lambda m: lambda x: m(x)[0, 2]),
    "feature_error:0": ("feature_error:0", lambda m: lambda x: (m(x)[0, 0] - x[0, 0]) ** 2),
    "function": (lambda a, x: a.reconstruct(x).amax(dim=1), lambda m: lambda x: m(x).amax()),
}


@pytest.mark.parametrize("name", TESTED)
def test_any_head_is_tested_against_the_loss_of_the_training(model, name):
    head, function = TESTED[name]
    influence = shapae.influence(model, TRAIN, ROWS, head=head, loss="mse")
    tested, trained = true_gradients(function(model), model, ROWS), spread(mse(model), model)
    check(influence, tested, trained)
    np.testing.assert_allclose(influence.scores, [function(model)(row[None]).item() for row in ROWS])
    np.testing.assert_allclose(influence.losses, [mse(model)(row[None]).item() for row in TRAIN])


def test_the_loss_is_the_head_where_that_is_an_error_and_otherwise_the_mean_squared_error(model):
    for head, loss in (("reconstruction_error", "mse"), ("latent:0", "mse"), (heads.ReconstructionError("mae"), "mae")):
        given, default = (shapae.influence(model, TRAIN, ROWS, head=head, loss=each) for each in (loss, None))
        np.testing.assert_array_equal(given.values, default.values)


@pytest.mark.parametrize("draws", [0, 16])
def test_the_elbo_of_a_vae_over_draws(draws):
    vae = cases.build(Vae)
    noise = (
        torch.randn(16, 3, generator=torch.Generator().manual_seed(0)).double() if draws else torch.zeros(1, 3).double()
    )
    train, rows = TRAIN[:, :6], ROWS[:, :6]

    def loss(row):
        _, mean, log_variance = vae.parts(row)
        latents = mean + (log_variance / 2).exp() * noise
        error = (0.5 * (np.log(2 * np.pi) + (vae.decoder(latents) - row) ** 2)).sum(dim=1).mean()
        return error + 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum()

    tested, trained = (true_gradients(loss, vae, each) for each in (rows, train))
    autoencoder = Autoencoder(vae, latent_distribution=lambda m, x: m.parts(x)[1:])
    influence = shapae.influence(autoencoder, train, rows, head=heads.ELBO(draws=draws))
    check(influence, tested, trained)
    # Training raises the ELBO and lowers an error: a proponent of a row is a proponent by both.
    mixed = shapae.influence(autoencoder, train, rows, head=heads.ELBO(draws=draws), loss="mse")
    errors = true_gradients(lambda row: ((vae(row)[0] - row) ** 2).mean(), vae, train)
    np.testing.assert_allclose(mixed.values, tested @ errors.T, rtol=1e-9, atol=1e-12)


def test_a_linear_autoencoder_has_the_closed_form():
    """r = B A x with loss |r - x|^2 / d: gradients 2/d e h' of B, and 2/d B'e x' of A, with e = r - x and h = A x."""
    model = cases.build(lambda: nn.Sequential(nn.Linear(D, 3, bias=False), nn.Linear(3, D, bias=False)))
    a, b = (layer.weight.detach().numpy() for layer in model)

    def parts(rows):
        x = rows.numpy()
        h = x @ a.T
        e = 2 / D * (h @ b.T - x)
        return x, h, e, e @ b

    (x, h, e, g), (x_, h_, e_, g_) = parts(ROWS), parts(TRAIN)
    want = (h @ h_.T) * (e @ e_.T) + (x @ x_.T) * (g @ g_.T)
    np.testing.assert_allclose(shapae.influence(model, TRAIN, ROWS).values, want, rtol=1e-12)


def train(model, rate, steps):
    """Gradient descent on the sum over all rows; the state before each step."""
    states = []
    for _ in range(steps):
        states.append(copy.deepcopy(model.state_dict()))
        loss = ((model(TRAIN) - TRAIN) ** 2).mean(dim=1).sum()
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter -= rate * gradient
    return states


def test_influences_add_up_to_the_decrease_of_the_score_by_small_steps(model):
    """The law behind TracIn: the first-order decrease, whose rest shrinks with the square of the rate."""
    rests = []
    for rate in (1e-3, 5e-4):
        trained, steps = copy.deepcopy(model), round(0.01 / rate)
        before = [mse(trained)(row[None]).item() for row in ROWS]
        states = train(trained, rate, steps)
        after = [mse(trained)(row[None]).item() for row in ROWS]
        influence = shapae.influence(trained, TRAIN, ROWS, checkpoints=states, learning_rates=rate)
        decrease = np.array(before) - after
        rests.append(np.abs(influence.values.sum(axis=1) - decrease).max() / np.abs(decrease).max())
    assert rests[0] < 0.02
    assert rests[1] < 0.6 * rests[0]


def test_weights_are_rate_times_batch_times_steps_over_rows(model, tmp_path):
    states = train(copy.deepcopy(model), 0.05, 3)
    torch.save(states[1], tmp_path / "one.pt")
    save_file(states[2], tmp_path / "two.safetensors")
    alone = [shapae.influence(model, TRAIN, ROWS, checkpoints=state).values for state in states]
    mixed = [states[0], tmp_path / "one.pt", str(tmp_path / "two.safetensors")]
    influence = shapae.influence(
        model, TRAIN, ROWS, checkpoints=mixed, learning_rates=[0.1, 0.2, 0.3], steps=[5, 6, 7], batch_size=4
    )
    weights = np.array([0.1 * 5, 0.2 * 6, 0.3 * 7]) * 4 / len(TRAIN)
    np.testing.assert_allclose(influence.values, np.tensordot(weights, alone, 1), rtol=1e-12)
    assert not np.allclose(alone[0], alone[2])


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model."])
def test_states_of_wrapped_models_are_understood(model, prefix):
    state = {f"{prefix}{name}": 2 * each for name, each in model.state_dict().items()}
    plain = {name: 2 * each for name, each in model.state_dict().items()}
    values = [
        shapae.influence(model, TRAIN, ROWS, checkpoints=[each]).values for each in (state, {"state_dict": plain})
    ]
    np.testing.assert_array_equal(*values)


PARAMETERS = {
    "last": ["decoder.2.weight", "decoder.2.bias"],
    "last:2": ["decoder.0.weight", "decoder.0.bias", "decoder.2.weight", "decoder.2.bias"],
    "encoder.*": [
        "encoder.0.weight",
        "encoder.0.bias",
        "encoder.1.weight",
        "encoder.1.bias",
        "encoder.2.weight",
        "encoder.2.bias",
    ],
    "*.bias": ["encoder.0.bias", "encoder.1.bias", "encoder.2.bias", "decoder.0.bias", "decoder.2.bias"],
    "decoder.2.weight": ["decoder.2.weight"],
}


@pytest.mark.parametrize("chosen", PARAMETERS)
def test_only_chosen_parameters_count(chosen):
    model = cases.build(Mixed)
    names = [name for name, _ in model.named_parameters()]
    sizes = [each.numel() for each in model.parameters()]
    mask = np.repeat([name in PARAMETERS[chosen] for name in names], sizes)
    tested, trained = (true_gradients(mse(model), model, rows)[:, mask] for rows in (ROWS, TRAIN))
    for given in (chosen, [chosen, PARAMETERS[chosen][0]]):
        check(shapae.influence(model, TRAIN, ROWS, parameters=given), tested, trained)


def test_frozen_parameters_were_not_trained_unless_all_are_frozen(model):
    everything = shapae.influence(model, TRAIN, ROWS).values
    model.encoder.requires_grad_(False)
    decoder = shapae.influence(model, TRAIN, ROWS, parameters="decoder.*").values
    np.testing.assert_array_equal(shapae.influence(model, TRAIN, ROWS).values, decoder)
    model.requires_grad_(False)
    np.testing.assert_array_equal(shapae.influence(model, TRAIN, ROWS).values, everything)


@pytest.mark.parametrize("make", [Model, Mixed, convolution])
def test_values_do_not_depend_on_blocks_or_workers(make, monkeypatch):
    model = cases.build(make)
    rows, table = torch.tensor(cases.table(40, D, seed=3)), torch.tensor(cases.table(60, D, seed=4))
    want = shapae.influence(model, table, rows)
    workers = shapae.influence(model, table, rows, n_jobs=2)
    with parallel_config("threading"):
        threads = shapae.influence(model, table, rows, n_jobs=4)
    cut = Plan(batches(40, 7), batches(60, 11), 3)
    monkeypatch.setattr(influence_module, "plan_products", lambda *_, **__: cut)
    small = shapae.influence(model, table, rows)
    for other in (small, workers, threads):
        for name in ("values", "self_influence", "scores", "losses"):
            want_, got = getattr(want, name), getattr(other, name)
            np.testing.assert_allclose(got, want_, rtol=1e-10, atol=1e-12 * np.abs(want_).max())


@pytest.mark.parametrize("memory", [6e5, 1e6, 1e7])
@pytest.mark.parametrize("jobs", [1, 3])
def test_the_gradients_that_are_held_stay_within_the_memory(memory, jobs):
    model = cases.build(convolution)
    setup = influence_module.set_up(model, (TRAIN, ROWS), "reconstruction_error", None)
    gradients = setup.row_gradients([name for name, _ in model.named_parameters()], None, 0)
    plan = plan_products(gradients, (300, 100), setup.trial, memory=memory, jobs=jobs)
    assert plan.parts[-1].stop == 300
    assert plan.blocks[-1].stop == 100
    held = gradients[0](setup.trial).nbytes / len(setup.trial)
    largest = [max(each.stop - each.start for each in slices) for slices in (plan.parts, plan.blocks)]
    assert 300 * 100 * 8 + jobs * sum(largest) * held <= memory
    for slices in (plan.parts, plan.blocks):
        assert [each.start for each in slices[1:]] == [each.stop for each in slices[:-1]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_models_in_other_precisions(model, dtype):
    want = shapae.influence(copy.deepcopy(model).to(dtype).double(), TRAIN, ROWS).values
    got = shapae.influence(copy.deepcopy(model).to(dtype), TRAIN.float(), ROWS.float()).values
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-5 * np.abs(want).max())


def test_random_projections_are_right_on_average_and_as_far_off_as_they_say():
    model = cases.build(convolution)
    true = shapae.influence(model, TRAIN, ROWS, parameters="1.*")
    drawn = [
        shapae.influence(model, TRAIN, ROWS, parameters="1.*", projection=6, seed=seed).values for seed in range(60)
    ]
    norms = np.sqrt(np.outer(true_norms(model, ROWS), true.self_influence))
    assert (np.abs(np.mean(drawn, axis=0) - true.values) < 5 * np.sqrt(2 / 6 / 60) * norms).all()
    assert (np.std(drawn, axis=0) < 1.4 * np.sqrt(2 / 6) * norms).all()
    np.testing.assert_array_equal(
        *(shapae.influence(model, TRAIN, ROWS, projection=6, seed=1).values for _ in range(2))
    )


def true_norms(model, rows):
    return shapae.influence(model, rows, rows, parameters="1.*").self_influence


def state_of(model):
    return (
        {name: each.clone() for name, each in model.state_dict().items()},
        [module.training for module in model.modules()],
        [each.requires_grad for each in model.parameters()],
        [None if each.grad is None else each.grad.clone() for each in model.parameters()],
        [len(module._forward_hooks) for module in model.modules()],
    )


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_and_the_generators_are_as_before(model, fails):
    model.train()
    model.decoder.eval()
    model.encoder[0].weight.requires_grad_(False)
    for each in model.parameters():
        each.grad = torch.full_like(each, 2.0)
    before = state_of(model)
    generators = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    state = {name: each + 1 for name, each in model.state_dict().items()}
    head = (lambda a, x: 1 / 0) if fails else "reconstruction_error"
    try:
        shapae.influence(model, TRAIN, ROWS, checkpoints=[state], projection=3, head=head)
    except ModelError:
        assert fails
    after = state_of(model)
    for one, other in zip(before[0].values(), after[0].values(), strict=True):
        assert torch.equal(one, other)
    assert before[1:3] == after[1:3]
    assert all(torch.equal(one, other) for one, other in zip(before[3], after[3], strict=True))
    assert before[4] == after[4]
    assert torch.equal(generators[0], torch.get_rng_state())
    assert (generators[1] == np.random.get_state()[1]).all()
    assert generators[2] == random.getstate()


def test_models_in_train_mode_have_the_values_of_eval_mode():
    model = cases.build(lambda: nn.Sequential(nn.Linear(D, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, D)))
    want = shapae.influence(model, TRAIN, ROWS).values
    np.testing.assert_array_equal(shapae.influence(model.train(), TRAIN, ROWS).values, want)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_callers_without_gradients_get_the_same(model, context):
    want = shapae.influence(model, TRAIN, ROWS).values
    with context():
        np.testing.assert_array_equal(shapae.influence(model, TRAIN, ROWS).values, want)


def test_interrupted_work_continues_also_with_other_workers(model, tmp_path, monkeypatch):
    from shapae.analysis.influence import products

    states, folder = train(copy.deepcopy(model), 0.05, 3), tmp_path / "work"
    want = shapae.influence(model, TRAIN, ROWS, checkpoints=states)
    real, calls = products.multiply, []

    def breaking(*args):
        calls.append(len(args[2]))
        if len(calls) > 12:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(products, "multiply", breaking)
    with pytest.raises(KeyboardInterrupt):
        shapae.influence(model, TRAIN, ROWS, checkpoints=states, resume=folder)
    monkeypatch.setattr(products, "multiply", real)
    assert len([*folder.glob("*.safetensors")]) == 12
    damaged = sorted(folder.glob("*.safetensors"))[3]
    damaged.write_bytes(damaged.read_bytes()[:50])
    with pytest.raises(OutputError, match="rows differs"):
        shapae.influence(model, TRAIN, ROWS + 1, checkpoints=states, resume=folder)
    with pytest.raises(OutputError, match="model, scores of some rows differs"):
        shapae.influence(model, TRAIN, ROWS, checkpoints=[states[0], states[0], states[2]], resume=folder)
    got = shapae.influence(model, TRAIN, ROWS, checkpoints=states, resume=folder, n_jobs=2)
    np.testing.assert_allclose(got.values, want.values, rtol=1e-12)
    assert not folder.exists()


def test_files_of_others_are_refused_and_stay(model, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="holds other files"):
        shapae.influence(model, TRAIN, ROWS, resume=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


BAD = {
    "several outputs": ({"head": "latent"}, DataError, r"one number per row, got 3 outputs: latent 0"),
    "several losses": ({"loss": "reconstruction"}, DataError, r"takes a loss with one number per row"),
    "loss": ({"loss": "msee"}, UnknownName, "no loss is called 'msee'; there are: mse"),
    "head": ({"head": "latant"}, UnknownName, "no head"),
    "pattern": ({"parameters": "middle.*"}, UnknownName, r"no parameter is called 'middle.\*'; there are"),
    "no pattern": ({"parameters": []}, DataError, "parameters must be"),
    "layers": ({"parameters": "last:9"}, DataError, "runs 4 layers with parameters"),
    "projection": ({"projection": 0}, DataError, "at least 1, or None, got 0"),
    "no checkpoints": ({"checkpoints": []}, DataError, "checkpoints is empty"),
    "a model": ({"checkpoints": [nn.Linear(2, 2)]}, DataError, "state_dicts, or paths"),
    "a missing key": (
        {"checkpoints": {"encoder.0.weight": torch.zeros(4, D)}},
        ModelError,
        "checkpoint 0 is not of this",
    ),
    "no file": ({"checkpoints": "nowhere.pt"}, ModelError, "can't read the weights in nowhere.pt"),
    "rates": ({"learning_rates": [1, 2]}, DataError, "one for each of the 1 checkpoints"),
    "a negative rate": ({"learning_rates": -1}, DataError, "must be a positive number"),
    "steps": ({"steps": "many"}, DataError, "steps must be a positive number"),
    "batch": ({"batch_size": 3}, DataError, "needs steps="),
    "memory": ({"memory": 900}, TooLarge, "55|influences of 11 training rows on 5 rows|gradient of one row"),
    "unused": (
        {"head": "latent:0", "parameters": "decoder.*"},
        ModelError,
        "the head does not change with parameters decoder",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_can_not_be_done_is_refused_before_the_work(model, name):
    settings, error, match = BAD[name]
    with pytest.raises(error, match=match):
        shapae.influence(model, TRAIN, ROWS, **settings)


def test_tables_must_agree(model):
    train = pd.DataFrame(TRAIN.numpy(), columns=[f"gene {j}" for j in range(D)])
    with pytest.raises(DataError, match="in another order"):
        shapae.influence(model, train, train.iloc[:, ::-1])
    with pytest.raises(DataError, match="columns in the rows"):
        shapae.influence(model, TRAIN, ROWS[:, :-1])
    with pytest.raises(DataError, match="the training rows must be finite"):
        shapae.influence(model, TRAIN / 0, ROWS)


def test_a_checkpoint_with_nan_and_another_shape(model):
    state = {name: each / 0 for name, each in model.state_dict().items()}
    with pytest.raises(ModelError, match="holds NaN or infinity"):
        shapae.influence(model, TRAIN, ROWS, checkpoints=[model.state_dict(), state])
    state = model.state_dict() | {"encoder.0.bias": torch.zeros(9)}
    with pytest.raises(ModelError, match=r"encoder.0.bias of shape \(9,\), expected \(4,\)"):
        shapae.influence(model, TRAIN, ROWS, checkpoints=[state])


def test_a_gradient_that_is_not_finite_is_refused():
    """The root of an error of 0 has no derivative."""
    model = cases.build(lambda: nn.Sequential(nn.Linear(D, D, bias=False)))
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(D))
    with pytest.raises(ModelError, match="NaN or infinite|does not change"):
        shapae.influence(model, TRAIN, ROWS, head=heads.ReconstructionError("l2"), loss="l2")


def test_captum_has_the_same_influences(model):
    """TracInCP of captum, over two checkpoints and their rates."""
    influence_of = pytest.importorskip("captum.influence")
    states = train(copy.deepcopy(model), 0.05, 2)
    rates = dict(zip("ab", (0.1, 0.3), strict=True))

    def load(net, name):
        net.load_state_dict(states["ab".index(name)])
        return rates[name]

    def loss(output, target):
        return ((output - target) ** 2).mean(dim=1)

    data = torch.utils.data.TensorDataset(TRAIN, TRAIN)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tracin = influence_of.TracInCP(copy.deepcopy(model), data, ["a", "b"], load, loss_fn=loss, batch_size=4)
        want = tracin.influence((ROWS, ROWS)).numpy()
    got = shapae.influence(model, TRAIN, ROWS, checkpoints=states, learning_rates=[*rates.values()])
    np.testing.assert_allclose(got.values, want, rtol=1e-10)


MEMORY = """
import resource, torch, shapae
from torch import nn
torch.manual_seed(0)
width = {width}
model = nn.Sequential(nn.Linear(50, width), nn.ReLU(), nn.Linear(width, 50))
rows = torch.randn(1000, 50)
shapae.influence(model, rows[:10], rows[:10])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
shapae.influence(model, rows, rows, memory="200MB")
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e3)
"""


def test_memory_does_not_hold_the_gradients_of_all_rows():
    """The gradients of 1000 rows with respect to 200 000 parameters would take 800 MB."""
    run = subprocess.run([sys.executable, "-c", MEMORY.format(width=2000)], capture_output=True, text=True, check=True)
    assert float(run.stdout) < 200
