"""Settings of a wrong kind, work that is continued with other settings, and names that come back."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import shapae
from shapae import Autoencoder, losses
from shapae.analysis.influence import products
from shapae.errors import DataError, ModelError, OutputError
from tests import cases

X = torch.tensor(cases.table(24, 4))


def model(act=nn.Tanh):
    return cases.build(lambda: nn.Sequential(nn.Linear(4, 3), act(), nn.Linear(3, 4)))


STATE = model().state_dict()
BAD = {
    "True as a rate": ({"learning_rates": True}, DataError, "learning_rates must be a positive number"),
    "half a row": ({"steps": 2, "batch_size": 2.5}, DataError, "batch_size must be an integer.*got 2.5"),
    "a batch of text": ({"steps": 2, "batch_size": "4"}, DataError, "batch_size must be an integer.*got '4'"),
    "a projection of text": ({"projection": "10"}, DataError, "projection must be"),
    "half a dimension": ({"projection": 2.5}, DataError, "projection must be"),
    "no seed": ({"seed": None}, DataError, "seed must be an integer from 0"),
    "no parameters": ({"parameters": None}, DataError, "parameters must be"),
    "an array as a loss": ({"loss": np.ones(4)}, ModelError, "must be a name, a torch.nn.Module"),
    "states by epoch": ({"checkpoints": {1: STATE, 2: STATE}}, ModelError, r"\['1', '2'\] is unexpected"),
    "no tensors": ({"checkpoints": dict.fromkeys(STATE)}, ModelError, "0.weight of shape"),
}


@pytest.mark.parametrize("name", BAD)
def test_settings_of_a_wrong_kind_are_refused(name):
    settings, error, match = BAD[name]
    with pytest.raises(error, match=match):
        shapae.influence(model(), X, X[:3], **settings)


@pytest.mark.parametrize("prefix", ["module._orig_mod.", "_orig_mod.module.", "model.module."])
def test_states_of_models_with_two_wrappers_are_understood(prefix):
    state = {f"{prefix}{name}": 2 * each for name, each in STATE.items()}
    plain = {name: 2 * each for name, each in STATE.items()}
    np.testing.assert_array_equal(
        *(shapae.influence(model(), X, X, checkpoints=each).values for each in (state, plain))
    )


def absolute(autoencoder, rows):
    return (autoencoder.reconstruct(rows) - rows).abs().mean(dim=1)


def cubic(autoencoder, rows):
    return (autoencoder.reconstruct(rows) - rows).abs().pow(3).mean(dim=1)


cubic.__name__ = absolute.__name__
OTHERS = {
    "another setting of a loss": ({"loss": losses.Huber(0.5)}, {"loss": losses.Huber(2.0)}),
    "a loss of the same name": ({"loss": absolute}, {"loss": cubic}),
    "another activation": ({"model": model()}, {"model": model(nn.ReLU)}),
    "another preprocessing": (
        {"model": Autoencoder(model(), preprocess=(np.zeros(4), np.ones(4)))},
        {"model": Autoencoder(model(), preprocess=(np.zeros(4), np.full(4, 2.0)))},
    ),
    "another reconstruction": (
        {"model": Autoencoder(model(), reconstruct=lambda m, x: m(x))},
        {"model": Autoencoder(model(), reconstruct=lambda m, x: 2 * m(x))},
    ),
}


def interrupt(monkeypatch, folder, **settings):
    real, calls = products.multiply, []

    def breaking(*args):
        calls.append(args)
        if len(calls) > 2:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(products, "multiply", breaking)
    with pytest.raises(KeyboardInterrupt):
        shapae.influence(**{"model": model(), "train": X, "rows": X[:3]} | settings, resume=folder)
    monkeypatch.setattr(products, "multiply", real)


@pytest.mark.parametrize("name", OTHERS)
def test_blocks_of_other_functions_are_not_mixed_in(name, monkeypatch, tmp_path):
    before, after = OTHERS[name]
    interrupt(monkeypatch, tmp_path / "work", **before)
    blocks = sorted((tmp_path / "work").glob("*.safetensors"))
    with pytest.raises(OutputError, match="scores of some rows differs"):
        shapae.influence(**{"model": model(), "train": X, "rows": X[:3]} | after, resume=tmp_path / "work")
    assert len(blocks) == 2
    assert sorted((tmp_path / "work").glob("*.safetensors")) == blocks


@pytest.mark.parametrize(
    "settings", [{"projection": np.int64(4)}, {"seed": np.int64(3)}, {"parameters": np.array(["last"])}]
)
def test_settings_from_numpy_are_continued(settings, monkeypatch, tmp_path):
    interrupt(monkeypatch, tmp_path / "work", **settings)
    got = shapae.influence(model(), X, X[:3], **settings, resume=tmp_path / "work")
    np.testing.assert_array_equal(got.values, shapae.influence(model(), X, X[:3], **settings).values)


@pytest.mark.parametrize("kind", ["numbers", "dates"])
def test_names_of_both_tables_come_back_alike(kind, tmp_path):
    names = pd.RangeIndex(100, 340, 10) if kind == "numbers" else pd.date_range("2024-01-01", periods=24)
    table = pd.DataFrame(X.numpy(), names, list("abcd"))
    influence = shapae.influence(model(), table, table)
    loaded = shapae.Influence.load(influence.save(tmp_path / "influence"))
    assert [*loaded.train_index] == [*loaded.row_index]
    assert [*loaded.train_index] == ([*names] if kind == "numbers" else [str(name) for name in names])
    planted = influence.cleaning(names[[2, 5]])
    for given in ([*names[[2, 5]]], np.asarray(names[[2, 5]]), {*names[[2, 5]]}, np.isin(np.arange(24), [2, 5])):
        pd.testing.assert_frame_equal(influence.cleaning(given).curves, planted.curves)
    pd.testing.assert_frame_equal(loaded.cleaning([*loaded.train_index[[2, 5]]]).curves, planted.curves)


@pytest.mark.parametrize("planted", [["a"], [[1, 2]], np.arange(23) < 2, [-1]])
def test_planted_rows_that_are_none_are_refused(planted):
    influence = shapae.influence(model(), X, X)
    with pytest.raises(DataError, match="there are no training rows"):
        influence.cleaning(planted)
    repeated = shapae.influence(model(), pd.DataFrame(X.numpy(), ["a"] * 24, list("abcd")), X.numpy())
    with pytest.raises(DataError, match="some names are repeated"):
        repeated.cleaning(["a"])


@pytest.mark.parametrize("k", [0, 2.5, True, "2", None, 25])
def test_numbers_of_rows_are_whole(k):
    wanted = "between 1 and the 24 training rows" if k == 25 else "an integer, at least 1"
    influence = shapae.influence(model(), X, X)
    for use in (influence.proponents, influence.opponents, lambda k: influence.by_label(range(24), k=k)):
        with pytest.raises(DataError, match=f"k must be {wanted}, got {k!r}"):
            use(k)
