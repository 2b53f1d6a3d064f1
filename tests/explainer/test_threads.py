"""Threads that explain one model at the same time: the values of each alone, and the model as it was."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import numpy as np
import pytest
from joblib import Parallel, delayed

from shapae import Explainer, backends
from shapae.models.unwrapping import deep_copy, share_parameters
from shapae.utils.turns import in_turn
from tests import cases

LIMIT = 60


class Meeting(cases.Nested):
    """A model in which the first thread waits for the second one, and this one until the first has left."""

    meeting = None

    def forward(self, rows):
        if Meeting.meeting:
            Meeting.meeting.arrive()
        return super().forward(rows)


class Encounter:
    """The first thread is inside; the second comes; the first leaves, well or not; the second goes on."""

    def __init__(self, raising=False):
        self.raising, self.inside, self.joined, self.left = raising, *(threading.Event() for _ in range(3))

    def arrive(self):
        name = threading.current_thread().name
        if name == "first":
            self.inside.set()
            assert self.joined.wait(LIMIT)
            if self.raising:
                raise LookupError("of the first")
        elif name == "second" and not self.joined.is_set():
            self.joined.set()
            assert self.left.wait(LIMIT)

    def run(self, first, second):
        found = {}

        def work(name, explain):
            try:
                found[name] = explain()
            except Exception as error:
                found[name] = error
            if name == "first":
                self.left.set()

        threads = [
            threading.Thread(target=work, args=pair, name=pair[0]) for pair in (("first", first), ("second", second))
        ]
        Meeting.meeting = self
        try:
            threads[0].start()
            assert self.inside.wait(LIMIT)
            threads[1].start()
            for thread in threads:
                thread.join()
        finally:
            Meeting.meeting = None
        return found["first"], found["second"]


@pytest.fixture
def model():
    model = cases.build(Meeting).train()
    model.encoder.block.dropout.eval()
    return model


X, B = cases.table(3, seed=1), cases.table(8)


@pytest.mark.parametrize("backend", backends.names())
@pytest.mark.parametrize("shared", [True, False])
def test_a_thread_goes_on_in_eval_mode_when_another_has_left(backend, shared, model):
    alone = Explainer(cases.build(cases.Nested), B, backend=backend)(X).values
    before, world = cases.snapshot(model), cases.world()
    explainer = Explainer(model, B, backend=backend)
    other = explainer if shared else Explainer(model, B, backend=backend)
    for each in Encounter().run(lambda: explainer(X).values, lambda: other(X).values):
        np.testing.assert_array_equal(each, alone)
    assert cases.snapshot(model) == before
    assert cases.world() == world


OTHERS = {
    "another head": lambda model: Explainer(model, B, head="latent")(X).values,
    "a summary": lambda model: Explainer(model, B).summarize(X).mean,
    "scores": lambda model: Explainer(model, B, backend="exact").scores(X),
    "interactions": lambda model: Explainer(model, B).interactions(X).values,
    "an explainer that is made": lambda model: Explainer(model, B, backend="gradient")(X).values,
}


@pytest.mark.parametrize("other", OTHERS)
def test_other_verbs_run_beside_an_explanation(other, model):
    before, explainer = cases.snapshot(model), Explainer(model, B)
    want = OTHERS[other](cases.build(cases.Nested))
    first, second = Encounter().run(lambda: explainer(X).values, lambda: OTHERS[other](model))
    np.testing.assert_array_equal(second, want)
    np.testing.assert_array_equal(first, Explainer(cases.build(cases.Nested), B)(X).values)
    assert cases.snapshot(model) == before


def test_an_exception_in_one_thread_does_not_disturb_another(model):
    before, explainer = cases.snapshot(model), Explainer(model, B)
    first, second = Encounter(raising=True).run(lambda: explainer(X), lambda: explainer(X).values)
    assert isinstance(first.__cause__, LookupError)
    np.testing.assert_array_equal(second, Explainer(cases.build(cases.Nested), B)(X).values)
    assert cases.snapshot(model) == before


def test_four_threads_that_make_explainers_of_a_model_with_methods_give_it_back():
    """Calls of ``encoder``, a method, are recorded to find the parts."""
    model = cases.build(cases.Variational).train()
    want = Explainer(cases.build(cases.Variational), B, head="latent_mean")(X).values
    before = cases.snapshot(model)
    tasks = [delayed(lambda: Explainer(model, B, head="latent_mean")(X).values)() for _ in range(8)]
    for each in Parallel(4, "threading")(tasks):
        np.testing.assert_array_equal(each, want)
    assert cases.snapshot(model) == before


class ReadingBack(cases.Question):
    """Stores its latents and the number of rows, and reads both back while other threads may have replaced them."""

    def forward(self, rows):
        self.results, self.n = {"latents": self.encoder(rows)}, len(rows)
        time.sleep(0.001)
        return self.decoder(self.results["latents"][: self.n])


@pytest.mark.parametrize("backend", ["deep", "gradient", "sampling", "exact", "coalitions", "shap_permutation"])
@pytest.mark.parametrize("shared", [True, False], ids=["one explainer", "four explainers"])
def test_models_that_read_back_what_they_store_run_in_turn(backend, shared, background):
    model, tables = cases.build(ReadingBack), [cases.table(3 + seed, seed=seed) for seed in range(4)]
    explainers = [Explainer(model, background, backend=backend) for _ in range(4)]
    want = [Explainer(cases.build(cases.Question), background, backend=backend)(X).values for X in tables]
    tasks = (delayed(explainers[0] if shared else each)(X) for each, X in zip(explainers, tables, strict=True))
    got = Parallel(4, backend="threading")(tasks)
    for each, values in zip(got, want, strict=True):
        np.testing.assert_allclose(each.values, values, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("copied", [deep_copy, share_parameters])
def test_a_copy_of_a_model_that_stores_results_waits_for_its_turn(copied):
    """Half of what another thread stores can't be copied: the libraries of some backends get copies."""
    model = cases.build(ReadingBack)
    Explainer(model, B)(X)
    with ThreadPoolExecutor(1) as other:
        with in_turn(model):
            copy = other.submit(copied, model)
            with pytest.raises(TimeoutError):
                copy.result(0.3)
        assert isinstance(copy.result(30), ReadingBack)


def test_other_models_wait_for_nobody(model, background):
    Explainer(model, background)
    assert isinstance(in_turn(model), nullcontext) or not in_turn(model)._exit_callbacks
