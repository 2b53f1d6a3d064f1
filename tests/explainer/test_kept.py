"""What an Explainer keeps between calls is never used for a score that has changed.

The oracle is a new Explainer of the changed model: its values are the same to the last bit.
"""

import copy
import pickle
import threading
import types
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from shapae import Autoencoder, Explainer, heads
from shapae.backends import Backend, Coalitions, Moments
from shapae.backends._kept import Kept
from shapae.backends.deep import Deep
from shapae.deepshap import recording
from shapae.errors import AdditivityWarning
from tests import cases

GAIN = 1.0


class Settings:
    """A module of settings, or any other object of the user."""

    gain = 1.0


class Scaled(nn.Module):
    """An autoencoder with numbers in all places where a model may hold them."""

    shared = 1.0

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(cases.D, 4), nn.Tanh(), nn.Linear(4, 3))
        self.decoder = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, cases.D))
        self.register_buffer("offset", torch.zeros(cases.D))
        self.gain, self.gains, self.settings, self.named = 1.0, [1.0], Settings(), {"gain": 1.0}
        self.tensor, self.array = torch.ones(1), np.ones(1)

    def forward(self, rows):
        gain = self.gain * self.gains[0] * self.settings.gain * self.named["gain"] * self.shared * GAIN
        gain = gain * self.tensor * float(self.array[0])
        return gain * self.decoder(self.encoder(rows + self.offset))


def step(model):
    loss = model(torch.ones(2, cases.D, dtype=torch.float64)).square().sum()
    torch.autograd.backward(loss)
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    model.zero_grad()


def swap(model):
    model.encoder[1] = nn.Sigmoid()


def hook(model):
    model.encoder.register_forward_hook(lambda module, inputs, output: 2 * output)


def patch(model):
    twice = types.MethodType(lambda self, latents: 2 * nn.Sequential.forward(self, latents), model.decoder)
    model.decoder.forward = twice


def several(model):
    model.gain = 2.0
    model.offset += 1
    model.decoder[0].weight.data *= 2


CHANGES = {
    "a step of an optimiser": step,
    "load_state_dict": lambda model: model.load_state_dict(cases.build(Scaled, seed=1).state_dict()),
    "to another dtype and back": lambda model: model.float().double(),
    "a swapped module": swap,
    "data": lambda model: model.encoder[0].weight.data.mul_(2),
    "new data": lambda model: setattr(model.encoder[0].weight, "data", 2 * model.encoder[0].weight.data),
    "a view in numpy": lambda model: model.encoder[0].weight.detach().numpy().fill(0.5),
    "one number of many": lambda model: model.decoder[2].bias.data[0:1].add_(1e-9),
    "a buffer in place": lambda model: model.offset.add_(1),
    "an attribute": lambda model: setattr(model, "gain", 2.0),
    "an item of a list": lambda model: model.gains.__setitem__(0, 2.0),
    "an item of a dict": lambda model: model.named.update(gain=2.0),
    "an attribute of an object": lambda model: setattr(model.settings, "gain", 2.0),
    "a tensor that is no buffer": lambda model: model.tensor.data.fill_(2.0),
    "an array": lambda model: model.array.fill(2.0),
    "a hook": hook,
    "a forward of one module": patch,
    "several at once": several,
}


def values(explainer, rows):
    return explainer(rows).values


def assert_follows(explainer, change, fresh, rows):
    """The values change, and are those of a new Explainer."""
    before = [values(explainer, rows) for _ in range(2)]
    np.testing.assert_array_equal(*before)
    change()
    after = values(explainer, rows)
    np.testing.assert_array_equal(after, values(fresh(), rows))
    assert not np.array_equal(after, before[0])


@pytest.fixture
def recorded(monkeypatch):
    """Counts the recordings of functions."""
    record, calls = recording.record, []
    monkeypatch.setattr(recording, "record", lambda *args: calls.append(args) or record(*args))
    return calls


@pytest.mark.parametrize("wrapped", [False, True], ids=["module", "Autoencoder"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_model_is_explained_as_it_is_now(change, wrapped, rows, background):
    model = cases.build(Scaled)
    model.encoder[0].weight.data += 1e-9  # digits that float32 does not have

    def fresh():
        parts = {"encode": "encoder", "decode": "decoder"}
        return Explainer(Autoencoder(model, **parts) if wrapped else model, background)

    assert_follows(fresh(), lambda: CHANGES[change](model), fresh, rows)


def test_a_class_that_changes_is_seen(rows, background, monkeypatch):
    model = cases.build(Scaled)
    fresh = lambda: Explainer(model, background)  # noqa: E731
    assert_follows(fresh(), lambda: monkeypatch.setattr(Scaled, "shared", 2.0), fresh, rows)
    forward = Scaled.forward
    assert_follows(
        fresh(), lambda: monkeypatch.setattr(Scaled, "forward", lambda self, rows: 2 * forward(self, rows)), fresh, rows
    )
    assert_follows(fresh(), lambda: monkeypatch.setitem(globals(), "GAIN", 2.0), fresh, rows)


def test_variables_of_a_head_are_seen(model, rows, background, monkeypatch):
    gain, held = 1.0, torch.ones(1)

    def head(autoencoder, rows):
        return gain * GAIN * held * (autoencoder(rows) - rows).square().sum(dim=1)

    def change():
        nonlocal gain
        gain = 2.0

    def fresh():
        return Explainer(model, background, head=head)

    assert_follows(fresh(), change, fresh, rows)
    assert_follows(fresh(), lambda: held.data.fill_(3.0), fresh, rows)
    assert_follows(fresh(), lambda: monkeypatch.setitem(globals(), "GAIN", 2.0), fresh, rows)


def test_a_weight_that_only_the_rows_feel_is_seen(rows, background):
    """A unit is off for the whole background, and no version of a tensor counts the write."""
    model = cases.build(cases.Question)
    unit = model.encoder[0]
    with torch.no_grad():
        unit.weight[0] = 0
        unit.weight[0, 0], unit.bias[0] = 1, -10
    rows[0, 0] = 30
    before = Explainer(model, background).scores(background)
    assert_follows(
        Explainer(model, background),
        lambda: unit.weight.data[0, 0].mul_(2),
        lambda: Explainer(model, background),
        rows,
    )
    np.testing.assert_array_equal(Explainer(model, background).scores(background), before)


@pytest.mark.parametrize("limit", ["0.5", "3"], ids=["all rows feel it", "the background does not"])
def test_a_change_that_no_comparison_sees_does_not_stay(rows, background, tmp_path, limit):
    """A file is no Python object that the model holds."""
    model, file = cases.build(Scaled), tmp_path / "limit"
    file.write_text("100")
    rows[0] = 5

    def head(autoencoder, rows):
        return autoencoder(rows.clamp(max=float(file.read_text()))).square().sum(dim=1)

    def fresh():
        return Explainer(model, background, head=head)

    assert (np.abs(background) < 3).all()
    assert_follows(fresh(), lambda: file.write_text(limit), fresh, rows)


def test_interactions_do_not_choose_features_by_what_is_kept(tmp_path):
    """The score of a row with itself as anchor is 0 whatever the file says, so that no comparison tells."""
    file = tmp_path / "order"
    d, weights = 14, torch.arange(1, 15, dtype=torch.float64)
    rows, background = cases.table(4, d, seed=1), cases.table(9, d)

    def head(autoencoder, rows, anchors):
        order = [*range(d)][:: int(file.read_text())]
        return ((rows - anchors).square() * weights[order]).sum(dim=1)

    head.anchored = True
    file.write_text("1")
    explainer, found = Explainer(nn.Identity(), background, head=head), []
    for order in (1, -1):
        file.write_text(str(order))
        found.append(explainer.interactions(rows, top=3).feature_names)
        assert found[-1] == Explainer(nn.Identity(), background, head=head).interactions(rows, top=3).feature_names
    assert found[0] != found[1]


def test_a_change_that_no_score_feels_is_seen(model, rows, background):
    """The decoder is off for the row that is clamped, and on between it and the background."""
    limit, rows[0] = 100, 5

    def head(autoencoder, rows):
        return autoencoder(rows.clamp(max=limit)).square().sum(dim=1)

    def change():
        nonlocal limit
        limit = 3

    def fresh():
        return Explainer(model, background, head=head)

    before = fresh()(rows)
    assert_follows(fresh(), change, fresh, rows)
    np.testing.assert_array_equal(fresh()(rows).scores, before.scores)
    np.testing.assert_array_equal(fresh()(rows).base_values, before.base_values)


def test_values_that_no_longer_add_up_are_computed_anew(model, rows, background, monkeypatch):
    """The gain is behind a weak reference, and the background has zeros for it; the tape holds it by its memory."""
    background[:, 0], rows[:, 0] = 0, 1
    owner = Settings()
    owner.gain = torch.ones(1)
    reference = weakref.ref(owner)

    def head(autoencoder, rows):
        return torch.relu(rows[:, 0] * reference().gain * autoencoder(rows)[:, 1])

    def fresh():
        return Explainer(model, background, head=head)

    assert_follows(fresh(), lambda: owner.gain.data.fill_(2.0), fresh, rows)


@pytest.mark.parametrize("settings", [{}, {"head": "latent"}, {"source": "latent"}, {"tolerance": 0.5}], ids=str)
def test_an_unchanged_model_is_recorded_once(settings, model, rows, background, recorded):
    explainer = Explainer(model, np.concatenate([background] * 6), **settings)
    first = values(explainer, rows)
    count = len(recorded)
    assert count == (1 if "tolerance" not in settings else count)
    for _ in range(3):
        np.testing.assert_array_equal(values(explainer, rows), first)
    explainer.summarize(rows)
    assert len(recorded) == count


def test_runs_of_the_model_between_the_calls_change_nothing(model, rows, background, recorded):
    explainer = Explainer(model, background)
    values(explainer, rows)
    model.train()
    model(torch.from_numpy(rows))
    model.eval()
    explainer.scores(rows)
    values(explainer, rows)
    assert len(recorded) == 1


BACKENDS = {
    "coalitions": lambda: Coalitions(pairs=1, min_players=1),
    "deep": lambda: "deep",
    "exact": lambda: "exact",
    "gradient": lambda: "gradient",
    "sampling": lambda: "sampling",
}


@pytest.mark.parametrize("head", ["reconstruction_error", "latent", "reconstruction"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_all_backends_follow_a_change(backend, head, rows, background):
    model = cases.build(cases.Question)
    fresh = lambda: Explainer(model, background, head=head, backend=BACKENDS[backend]())  # noqa: E731
    assert_follows(fresh(), lambda: model.encoder[0].weight.data.mul_(1.5), fresh, rows[:2])


def test_the_closed_form_follows_a_change(rows, background):
    model = cases.build(nn.Sequential, nn.Linear(14, 9), nn.Sigmoid(), nn.Linear(9, 14))
    rows, background = cases.table(3, 14), cases.table(9, 14, seed=1)
    fresh = lambda: Explainer(model, background, head="reconstruction", backend="coalitions")  # noqa: E731
    assert "closed form" in fresh()(rows).made_by["quantity"]
    assert_follows(fresh(), lambda: model[0].weight.data.mul_(1.5), fresh, rows)


def test_heads_have_their_own(model, rows, background):
    explainer = Explainer(model, background)
    error = values(explainer, rows)
    other = explainer.with_head("latent:0")
    np.testing.assert_array_equal(values(other, rows), values(Explainer(model, background, head="latent:0"), rows))
    np.testing.assert_array_equal(values(explainer, rows), error)
    model.encoder[0].weight.data.mul_(2)
    for each, head in ((explainer, "reconstruction_error"), (other, "latent:0")):
        np.testing.assert_array_equal(values(each, rows), values(Explainer(model, background, head=head), rows))


def test_a_background_that_changes_is_seen(model, rows, background):
    explainer = Explainer(model, background)

    def change():
        explainer.background[0] += 1

    assert_follows(explainer, change, lambda: Explainer(model, explainer.background), rows)


def test_a_model_in_half_precision_is_explained_by_its_copy(rows, background, recorded):
    """The copy was made when the explainer was; changes of the model itself need a new one."""
    model = cases.build(cases.Question, dtype=torch.bfloat16)
    explainer = Explainer(model, background)
    first = values(explainer, rows)
    model.encoder[0].weight.data.mul_(2)
    np.testing.assert_array_equal(values(explainer, rows), first)
    assert len(recorded) == 1


def test_what_is_kept_does_not_travel(model, rows, background, recorded):
    explainer = Explainer(model, background)
    size = len(pickle.dumps(explainer))
    first = values(explainer, rows)
    assert abs(len(pickle.dumps(explainer)) - size) < 50  # the addresses of tensors are in it, with all their digits
    for twin in (pickle.loads(pickle.dumps(explainer)), copy.deepcopy(explainer)):
        count = len(recorded)
        np.testing.assert_array_equal(values(twin, rows), first)
        assert len(recorded) == count + 1
    twin._score.autoencoder.model.encoder[0].weight.data.mul_(2)
    assert not np.array_equal(values(twin, rows), first)
    np.testing.assert_array_equal(values(explainer, rows), first)
    np.testing.assert_array_equal(values(copy.copy(explainer), rows), first)


def test_threads_share_an_explainer(model, rows, background):
    explainer = Explainer(model, background)
    expected = [Explainer(model, background)(row[None]).values for row in rows]
    barrier = threading.Barrier(4)

    def run(start):
        barrier.wait()
        return [values(explainer, rows[[(start + turn) % len(rows)]]) for turn in range(10)]

    with ThreadPoolExecutor(4) as pool:
        for start, results in enumerate(pool.map(run, range(4))):
            for turn, result in enumerate(results):
                np.testing.assert_allclose(result, expected[(start + turn) % len(rows)], rtol=1e-10)


@pytest.mark.parametrize(("memory", "count"), [(1e9, 1), (20_000, 3)])
def test_what_is_kept_takes_a_small_part_of_the_memory(memory, count, model, rows, background, recorded):
    explainer = Explainer(model, background[:2], memory=memory)
    for _ in range(3):
        values(explainer, rows[:1])
    assert len(recorded) == count


class Less(Deep):
    """Nine tenths of the values."""

    calls = 0

    def bind(self, game):
        attribute = super().bind(game)

        def less(rows, *, seeds):
            self.calls += 1
            moments = attribute(rows, seeds=seeds)
            return Moments(moments.count, 0.9 * moments.mean)

        return less


def test_values_that_do_not_add_up_keep_nothing(model, rows, background, recorded):
    """Otherwise each call would be made twice, in search of a change."""
    backend = Less()
    explainer = Explainer(model, background, backend=backend)
    for _ in range(3):
        with pytest.warns(AdditivityWarning):
            values(explainer, rows)
    assert (len(recorded), backend.calls) == (3, 3)


class Counting(Backend):
    """A backend that has a state of its own."""

    additive = False
    bound = 0

    def bind(self, game):
        self.bound += 1
        return lambda rows, *, seeds: Moments(1, np.full((len(rows), cases.D, 1), float(self.bound)))


def test_a_backend_of_the_user_is_bound_anew(model, rows, background):
    explainer = Explainer(model, background, backend=Counting())
    assert [float(values(explainer, rows)[0, 0]) for _ in range(3)] == [1, 2, 3]


ANCHORED = {
    "fixed": lambda: heads.ReconstructionError(target="fixed"),
    "worst": lambda: heads.FeatureError(worst=2),
    "from others": lambda: heads.ErrorFromOthers(),
    "label free": lambda: heads.LabelFree(),
}


@pytest.mark.parametrize("backend", ["deep", "coalitions"])
@pytest.mark.parametrize("head", ANCHORED)
def test_scores_with_anchors_follow_a_change_and_nothing_piles_up(head, backend, rows, background):
    model = cases.build(cases.Question)

    def fresh():
        return Explainer(model, background, head=ANCHORED[head](), backend=backend)

    assert_follows(fresh(), lambda: model.encoder[0].weight.data.mul_(1.5), fresh, rows)
    explainer, counts = fresh(), []
    for _ in range(3):
        values(explainer, rows)
        [(kept, *_)] = explainer._store._held
        counts.append(len(kept._recordings))
    assert counts == [counts[0]] * 3
    if backend == "deep":
        assert counts[0] > 0


def test_a_tensor_without_numbers_in_the_model_takes_no_memory():
    """A model that keeps results has such a tensor while another thread traces it."""
    model, recorded = cases.build(cases.Question), Kept()
    model.results = []
    torch.vmap(lambda row: model.results.append(row) or row)(torch.zeros(2, 3))
    assert recorded.nbytes(model) == 0
