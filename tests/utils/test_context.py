"""State that is changed inside a context comes back, also after an exception."""

import random
import threading
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from shapae.errors import AdditivityWarning, ModelError
from shapae.utils.context import (
    eval_mode,
    ignored_warnings,
    inference_state,
    preserve_rng,
    seeded,
    torch_threads,
)
from tests import cases


@pytest.fixture(params=[False, True], ids=["well", "raising"])
def ending(request):
    """Leaves a block in the usual way, or with an exception that the test does not see."""

    def leave():
        if request.param:
            raise KeyboardInterrupt

    return leave


def enter(context, inside, ending):
    try:
        with context:
            inside()
            ending()
    except KeyboardInterrupt:
        pass


def test_modes_are_borrowed(ending):
    model = nn.Sequential(nn.Sequential(nn.Dropout(), nn.ReLU()), nn.BatchNorm1d(3)).train()
    model[0].eval()
    model[0][1].train()
    before, seen = cases.snapshot(model), []
    enter(eval_mode(model), lambda: seen.extend(module.training for module in model.modules()), ending)
    assert seen == [False] * 5
    assert cases.snapshot(model) == before


def draw():
    return random.random(), np.random.random(), float(torch.rand(1))


def test_generators_are_borrowed(ending):
    before = cases.world()
    enter(preserve_rng(torch.zeros(1)), draw, ending)
    assert cases.world() == before
    with preserve_rng():
        first = draw()
    with preserve_rng():
        assert draw() == first


def test_threads_are_borrowed(ending):
    before, seen = torch.get_num_threads(), []
    enter(torch_threads(before + 1), lambda: seen.append(torch.get_num_threads()), ending)
    assert seen == [before + 1]
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("gradients", [False, True])
def test_a_model_is_run_in_eval_mode_also_within_inference_mode(gradients, ending):
    model = nn.Sequential(nn.Linear(2, 1), nn.Dropout()).train()
    before, seen = (cases.snapshot(model), cases.world()), []

    def run():
        draw()
        seen.append((model.training, model(torch.ones(1, 2)).requires_grad, torch.is_inference_mode_enabled()))

    with torch.inference_mode():
        enter(inference_state(model, torch.zeros(1), gradients=gradients), run, ending)
    assert seen == [(False, gradients, False)]
    assert (cases.snapshot(model), cases.world()) == before


class Writing(nn.Module):
    """Writes its state in each forward pass, in eval mode, too."""

    def __init__(self, write):
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.register_buffer("seen", torch.tensor([1.0, torch.nan]))
        self.register_buffer("count", torch.tensor(0))
        self.register_buffer("unset", None)
        self.plain, self.last, self.calls, self.kept = torch.zeros(3), None, 0, {"last": torch.zeros(3)}
        self.write = write

    def forward(self, rows):
        self.write(self, rows.mean(dim=0))
        return self.linear(rows)


def initialise(model, mean):
    """The lazy way: a flag, and what it stands for."""
    if not model.calls:
        model.calls, model.scale = 1, mean
    model.scale.add_(1)


WRITES = {
    "a buffer in place": lambda model, mean: model.count.add_(1),
    "a buffer in place, past the counter of torch": lambda model, mean: model.count.data.add_(1),
    "a buffer, replaced": lambda model, mean: setattr(model, "count", model.count + 1),
    "a buffer of None": lambda model, mean: setattr(model, "unset", mean),
    "a buffer, with a graph": lambda model, mean: model.seen.mul_(0.9).add_(0.1 * model.linear.weight[0, :2]),
    "a plain tensor in place": lambda model, mean: model.plain.add_(mean.detach()),
    "a plain tensor, replaced": lambda model, mean: setattr(model, "plain", mean),
    "None, replaced": lambda model, mean: setattr(model, "last", mean),
    "a number": lambda model, mean: setattr(model, "calls", model.calls + 1),
    "an item of a dict": lambda model, mean: model.kept.update(last=mean),
    "a new attribute and a flag": initialise,
}


@pytest.mark.parametrize("write", WRITES)
def test_what_a_model_writes_comes_back(write, ending):
    model = Writing(WRITES[write]).train()
    objects, kept = {name: id(each) for name, each in vars(model).items()}, dict(model.kept)
    before, buffers = cases.snapshot(model), dict(model._buffers)
    numbers = model.plain.clone()
    enter(inference_state(model, torch.zeros(1), gradients=True), lambda: model(torch.ones(2, 3)), ending)
    assert cases.snapshot(model) == before
    assert {name: id(each) for name, each in vars(model).items()} == objects
    assert all(model._buffers[name] is each for name, each in buffers.items())
    assert model.kept["last"] is kept["last"]
    assert torch.equal(model.plain, numbers)
    assert model.seen.grad_fn is None


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
def test_a_scripted_model_that_counts_comes_back():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("count", torch.tensor(0))

        def forward(self, x):
            self.count += 1
            return x + self.count

    model = torch.jit.script(Counting())
    with inference_state(model, torch.zeros(1)):
        model(torch.zeros(1))
    assert int(model.count) == 0


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_part_that_two_models_share_stays_in_eval_mode_until_the_last_leaves(order):
    shared = nn.BatchNorm1d(3)
    models = nn.Sequential(shared, nn.Dropout()), nn.Sequential(nn.Dropout(), shared)
    contexts = [eval_mode(model.train()) for model in models]  # no nesting, as in two threads
    for context in contexts:
        context.__enter__()
    contexts[order[0]].__exit__(None, None, None)
    assert [models[at].training for at in order] == [True, False]
    assert not shared.training
    contexts[order[1]].__exit__(None, None, None)
    assert all(module.training for model in models for module in model.modules())


def test_a_thread_that_dies_inside_gives_back_what_it_has():
    model = nn.BatchNorm1d(3)
    context = eval_mode(model)
    context.__enter__()
    del context  # as if it were interrupted before its end
    model.train()
    with eval_mode(model):
        assert not model.training
    assert model.training


def in_thread(work):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def test_the_last_one_restores_the_generators():
    before = cases.world()
    with preserve_rng():
        draw()

        def other():
            with preserve_rng():
                draw()

        in_thread(other)
        third = draw()
    assert cases.world() == before
    assert third == [draw() for _ in range(3)][2]


def test_a_model_that_does_not_draw_leaves_the_draws_of_other_threads_alone():
    drawn, leave = [], threading.Event()

    def other():
        drawn.append(draw())
        leave.wait()

    thread = threading.Thread(target=other)
    before = cases.world()
    with preserve_rng():
        with inference_state(nn.Linear(2, 2), torch.zeros(1), draws=False):
            thread.start()
            while not drawn:
                pass
        assert draw() != drawn[0]
        leave.set()
        thread.join()
    assert cases.world() == before


def test_draws_from_a_seed_are_those_of_one_thread_at_a_time():
    barrier, drawn = threading.Barrier(3), []

    def work():
        barrier.wait()
        for _ in range(20):
            with seeded(5):
                drawn.append((draw(), draw()))

    threads = [threading.Thread(target=work) for _ in range(3)]
    before = cases.world()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(drawn)) == 1
    assert cases.world() == before


def test_warnings_are_ignored_in_one_thread_and_filters_come_back():
    filters, seen = [*warnings.filters], []

    def other():
        with pytest.raises(AdditivityWarning):
            warnings.warn("a residual", AdditivityWarning, stacklevel=1)
        seen.append(True)

    with ignored_warnings():
        warnings.warn("a residual", AdditivityWarning, stacklevel=1)
        in_thread(other)
    with ignored_warnings(UserWarning, start="a res"):
        warnings.warn("a residual", AdditivityWarning, stacklevel=1)
        pytest.raises(UserWarning, warnings.warn, "another")
    assert seen
    assert warnings.filters == filters


def test_an_exception_of_a_model_is_one_of_shapae_with_its_place():
    class Refusing(nn.Module):
        def forward(self, rows):
            raise KeyError("no such gene")

    model = nn.Sequential(Refusing())
    with pytest.raises(ModelError, match=r"raised KeyError, in Sequential\.0: 'no such gene'") as caught:
        with inference_state(model, torch.zeros(1)):
            model(torch.ones(1, 1))
    assert isinstance(caught.value.__cause__, KeyError)
    with pytest.raises(KeyError), inference_state(model, torch.zeros(1)):
        raise KeyError("not of the model")
