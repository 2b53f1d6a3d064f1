"""Pickles of explainers: by any pickler, also of what pickle itself refuses, and read by another process."""

import copy
import io
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import cloudpickle
import joblib
import numpy as np
import pytest
import torch
from torch import nn

import shapae
from shapae import Autoencoder, Explainer, heads
from shapae.errors import OutputError
from tests import cases
from tests.explainer import factories
from tests.explainer.test_saved import assert_same, trained


def through_joblib(explainer):
    file = io.BytesIO()
    joblib.dump(explainer, file)
    file.seek(0)
    return joblib.load(file)


PICKLERS = {
    "pickle": lambda each: pickle.loads(pickle.dumps(each)),
    "the first protocol": lambda each: pickle.loads(pickle.dumps(each, protocol=2)),
    "joblib": through_joblib,
    "cloudpickle": lambda each: pickle.loads(cloudpickle.dumps(each)),
    "deepcopy": copy.deepcopy,
}


def hooked():
    model = factories.Plain()
    model.register_forward_hook(lambda module, args, output: 2 * output)
    return model


def explain(model=factories.Plain, **settings):
    return lambda background: Explainer(model(), background, **settings)


def lambdas():
    return Autoencoder(
        factories.Plain(), encode=lambda m, x: m.encoder(x), noise=lambda like, n, call: torch.zeros_like(like)
    )


EXPLAINERS = {
    "a class": explain(),
    "in train mode": explain(lambda: factories.Plain().train()),
    "in bfloat16": explain(lambda: factories.Plain().bfloat16()),
    "a compiled model": explain(lambda: torch.compile(factories.Plain())),
    "a Sequential": explain(lambda: nn.Sequential(nn.Linear(6, 2), nn.Linear(2, 6))),
    "a VAE": explain(cases.Variational, head="elbo"),
    "lambdas": explain(lambdas),
    "a lambda as head": explain(head=lambda a, x: a.encode(x).sum(dim=1)),
    "a lambda that seems to name torch.backends": explain(
        head=lambda a, x: torch.ones(1) * len(shapae.backends.names()) * x.sum(dim=1)
    ),
    "a hook": explain(hooked),
    "an anchored head": explain(head=heads.ReconstructionError(target="fixed")),
    "latents": explain(source="latent"),
    "groups": explain(groups={"a": ["feature 1", "feature 4"]}, backend="exact"),
    "another head": lambda background: Explainer(factories.Plain(), background).with_head("latent:1"),
}


@pytest.mark.filterwarnings("ignore:`torch.jit.script.*` is deprecated:DeprecationWarning")
@pytest.mark.parametrize("called", [False, True])
@pytest.mark.parametrize("through", PICKLERS.values(), ids=PICKLERS)
@pytest.mark.parametrize("make", EXPLAINERS.values(), ids=EXPLAINERS)
def test_a_pickled_explainer_gives_the_same_bits(make, through, called, rows, background):
    explainer = make(background)
    if called:
        explainer(rows)
    twin = through(explainer)
    assert_same(twin, explainer, rows)
    assert_same(twin.with_head("feature_error"), explainer.with_head("feature_error"), rows)


@pytest.mark.parametrize("through", PICKLERS.values(), ids=PICKLERS)
def test_a_pickled_explainer_is_independent(through, rows, background):
    explainer = Explainer(trained(factories.Plain()), background)
    first = explainer(rows).values
    twin = through(explainer)
    trained(twin._score.autoencoder.model, seed=3)
    twin.background += 1
    np.testing.assert_array_equal(explainer(rows).values, first)
    assert not np.array_equal(twin(rows).values, first)


def test_a_shallow_copy_shares_the_model(rows, background):
    explainer = Explainer(trained(factories.Plain()), background)
    twin = copy.copy(explainer)
    trained(explainer._score.autoencoder.model, seed=3)
    assert_same(twin, explainer, rows)


@pytest.mark.parametrize("called", [False, True])
def test_a_pickle_holds_the_background_once(called):
    table = torch.randn(4000, 6, generator=torch.Generator().manual_seed(0))
    explainer = Explainer(factories.Plain(), table)
    if called:
        explainer(table[:9])
    assert len(pickle.dumps(explainer)) < 1.2 * table.nbytes


def test_what_no_pickle_takes_is_still_copied(rows, background):
    explainer = Explainer(trained(factories.normed()), background)
    assert_same(copy.deepcopy(explainer), explainer, rows)


class Locked(factories.Plain):
    """Holds a lock."""

    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()


@pytest.mark.filterwarnings("ignore:`torch.jit.script.*` is deprecated:DeprecationWarning")
@pytest.mark.parametrize(
    ("make", "text"),
    [(Locked, "cannot pickle '_thread.lock'"), (factories.normed, "parametriz"), (factories.scripted, "__getstate__")],
)
@pytest.mark.parametrize("dumps", [pickle.dumps, cloudpickle.dumps, lambda each: joblib.dump(each, io.BytesIO())])
def test_a_model_that_no_pickle_takes_is_an_error_that_says_how_to_save_it(make, text, dumps, background):
    with pytest.raises(OutputError, match=rf"can't be pickled: .*{text}.*explainer\.save\(folder, factory=") as caught:
        dumps(Explainer(make(), background, backend="sampling"))
    assert "\n" not in str(caught.value)


def test_a_pickle_without_its_packages_is_an_error(background, monkeypatch):
    pickled = pickle.dumps(Explainer(factories.Plain(), background))
    monkeypatch.delattr(factories, "Plain")
    with pytest.raises(OutputError, match=r"pickled Explainer can't be read: .*Plain.*It needs the packages"):
        pickle.loads(pickled)


SCRIPT = """
import sys, numpy, joblib, torch, shapae

class Net(torch.nn.Module):  # as in a notebook
    def __init__(self):
        super().__init__()
        self.into, self.out = torch.nn.Linear(6, 3), torch.nn.Linear(3, 6)
    def forward(self, x):
        return self.out(torch.tanh(self.into(x)))

table = numpy.random.default_rng(0).normal(size=(20, 6))
model = shapae.Autoencoder(Net(), encode=lambda m, x: torch.tanh(m.into(x)), decode="out")
explainer = shapae.Explainer(model, table, head="latent:1")
numpy.save(sys.argv[2], explainer(table[:1]).values)
joblib.dump(explainer, sys.argv[1])
"""
LATER = """
import sys, numpy, joblib
table = numpy.random.default_rng(0).normal(size=(20, 6))
numpy.save(sys.argv[2], joblib.load(sys.argv[1])(table[:1]).values)
"""


def test_the_model_of_a_notebook_is_read_by_another_process(tmp_path):
    """Its class and its lambda are of a script that has ended."""
    file, now, later = (str(tmp_path / name) for name in ("explainer.joblib", "now.npy", "later.npy"))
    for code, values in ((SCRIPT, now), (LATER, later)):
        subprocess.run([sys.executable, "-c", code, file, values], check=True, cwd=Path(__file__).parents[2])
    np.testing.assert_array_equal(np.load(later), np.load(now))
