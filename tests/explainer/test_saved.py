"""Explainers in folders: what is loaded gives the values of what was saved, to the last bit, or nothing is saved."""

import copy
import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from torch import nn

from shapae import Autoencoder, Explainer, backends, background, heads
from shapae.errors import DataError, ModelError, OutputError
from shapae.utils.records import read_record, write_record
from shapae.utils.version import __version__
from tests import cases
from tests.explainer import factories

HERE = "tests.explainer.factories"
RECORD, WEIGHTS, TENSORS = "explainer.json", "model.safetensors", "explainer.safetensors"


def trained(model, seed=0):
    """``model`` with weights that its factory does not make."""
    generator = torch.Generator().manual_seed(seed)
    for each in model.parameters():
        each.data += (0.3 * torch.randn(each.shape, generator=generator)).to(each.dtype)
    for each in model.modules():
        if isinstance(each, nn.BatchNorm1d):
            each.running_mean += 0.1
            each.running_var *= 2
    return model


def assert_same(one, other, rows):
    """Every number of both explanations is the same to the last bit, and so is the record but for the seconds."""
    one, other = one(rows), other(rows)
    for name in ("values", "base_values", "data", "scores", "residual", "standard_errors", "used"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
        assert getattr(getattr(one, name), "dtype", None) == getattr(getattr(other, name), "dtype", None)
    assert one.feature_names == other.feature_names
    assert one.output_names == other.output_names
    assert one.made_by | {"seconds": 0} == other.made_by | {"seconds": 0}


def assert_survives(explainer, folder, rows, factory=None, **changes):
    assert explainer.save(folder / "out", factory) == folder / "out"
    loaded = Explainer.load(folder / "out", **changes)
    assert_same(loaded, explainer, rows)
    return loaded


@pytest.mark.parametrize("backend", backends.names())
def test_a_loaded_explainer_gives_the_same_bits_by_each_backend(backend, tmp_path, rows, background):
    explainer = Explainer(cases.build(cases.Question), background, backend=backend, seed=3)
    assert_survives(explainer, tmp_path, rows[:2])


@pytest.mark.parametrize("head", [*sorted(heads.HEADS), "latent:1", "reconstruction:feature 2", "feature_error:4"])
def test_a_loaded_explainer_has_the_head_of_each_name(head, tmp_path, rows, background):
    explainer = Explainer(cases.build(cases.Variational), background, head=head)
    assert assert_survives(explainer, tmp_path, rows).head == head


@pytest.mark.parametrize(
    "head",
    [
        heads.Latent(units=[2, 0]),
        heads.LatentMean(1),
        heads.ReconstructionError("mae", target="fixed"),
        heads.ReconstructionError("huber"),
        heads.FeatureError(worst=2, loss="mae"),
        heads.FeatureError(["feature 1", 4]),
        heads.Reconstruction(worst=3),
        heads.ErrorFromOthers(2),
        heads.ELBO("gaussian_nll", beta=0.5, draws=4, seed=7),
    ],
    ids=lambda head: type(head).__name__,
)
def test_a_head_with_arguments_is_made_again(head, tmp_path, rows, background):
    explainer = Explainer(cases.build(cases.Variational), background, head=head)
    loaded = assert_survives(explainer, tmp_path, rows)
    assert loaded.with_head("latent_norm").head == "latent_norm"
    assert_same(loaded.with_head("latent_norm"), explainer.with_head("latent_norm"), rows)


MODELS = {
    "by its class": (factories.Plain, None),
    "in train mode": (lambda: factories.Plain().train(), factories.Plain),
    "in float64": (lambda: factories.Plain().double(), None),
    "in bfloat16": (lambda: factories.Plain().bfloat16(), f"{HERE}:Plain"),
    "in float16": (lambda: factories.Plain().half(), None),
    "with tied weights": (factories.Tied, None),
    "with tied weights in float64": (lambda: factories.Tied().double(), None),
    "with a buffer outside of its state": (lambda: factories.Masked().double(), None),
    "without parameters": (factories.Unset, None),
    "that is random": (cases.Variational, None),
    "with arguments": (factories.wide, f"{HERE}:wide"),
    "of a function": (factories.wide, factories.wide),
    "with parametrizations": (factories.normed, f"{HERE}:normed"),
    "scripted, by a plain one": (factories.scripted, f"{HERE}:wide"),
    "scripted": (factories.scripted, f"{HERE}:scripted"),
    "compiled": (lambda: torch.compile(factories.Plain()), None),
    "that is wrapped by its factory": (factories.Plain, f"{HERE}:bare"),
}


@pytest.mark.filterwarnings("ignore:`torch.jit.script.*` is deprecated:DeprecationWarning")
@pytest.mark.parametrize(("make", "factory"), MODELS.values(), ids=MODELS)
def test_a_model_comes_back_with_its_weights(make, factory, tmp_path, rows, background):
    assert_survives(Explainer(trained(make()), background, backend="sampling"), tmp_path, rows, factory)


def test_a_model_that_returns_a_dict_comes_back_with_its_keys(tmp_path, rows, background):
    wrapped = Autoencoder(trained(factories.Keyed()), reconstruct="twice", encode="z")
    assert_survives(Explainer(wrapped, background, head="latent"), tmp_path, rows)


def test_a_lazy_model_comes_back(tmp_path, rows, background):
    model = factories.Lazy()
    model(torch.zeros(2, 6))
    assert_survives(Explainer(trained(model), background), tmp_path, rows)


WRAPPED = {
    "a pair": {"preprocess": (np.arange(6.0), np.arange(1.0, 7))},
    "a pipeline": {"preprocess": make_pipeline(StandardScaler(), MinMaxScaler()).fit(cases.table(20))},
    "paths": {"reconstruct": "part:forward", "encode": "encoder", "decode": "decoder"},
    "the mean": {"noise": "mean"},
    "a draw": {"noise": 3},
    "no replacement": {"noise": None},
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("given", WRAPPED.values(), ids=WRAPPED)
def test_the_arguments_of_an_autoencoder_are_saved_without_a_factory(given, dtype, tmp_path, rows, background):
    wrapped = Autoencoder(trained(factories.Plain()).to(dtype), **given)
    loaded = assert_survives(Explainer(wrapped, background), tmp_path, rows)
    assert_same(loaded.with_head("latent"), Explainer(wrapped, background, head="latent"), rows)


def test_a_sample_of_the_noise_is_saved(tmp_path, rows, background):
    wrapped = Autoencoder(trained(cases.Variational()), noise=3, reconstruct=0)
    assert_survives(Explainer(wrapped, background), tmp_path, rows)


def test_the_names_of_a_scaler_are_checked_later_too(tmp_path, rows):
    frame = pd.DataFrame(cases.table(8), columns=[f"gene {each}" for each in range(6)])
    wrapped = Autoencoder(trained(factories.Plain()), preprocess=StandardScaler().fit(frame))
    loaded = assert_survives(Explainer(wrapped, frame), tmp_path, frame)
    assert loaded._score.autoencoder.preprocess.names == [*frame.columns]
    with pytest.raises(DataError, match="order"):
        loaded(frame.iloc[:, ::-1])


def test_functions_and_modules_come_from_a_factory_that_returns_the_autoencoder(tmp_path, rows, background):
    wrapped = Autoencoder(trained(factories.Plain()), encode=factories.encode, preprocess=trained(factories.Scaling()))
    explainer = Explainer(wrapped, background, head="latent")
    assert_survives(explainer, tmp_path, rows, f"{HERE}:wrapped")
    with pytest.raises(ModelError, match=r"encode=\.\.\., preprocess=\.\.\.\) has functions or modules of your own.*"):
        explainer.save(tmp_path / "other", f"{HERE}:Plain")
    with pytest.raises(ModelError, match=r"weights of preprocess= are not of the model of \S+:bare"):
        explainer.save(tmp_path / "other", f"{HERE}:bare")


SETTINGS = {
    "groups": {"groups": {"pair": ["feature 0", "feature 3"]}, "backend": "exact"},
    "summed groups": {"groups": {"pair": ["feature 0", "feature 3"]}},
    "tolerance": {"tolerance": np.float32(0.2)},
    "latents": {"source": "latent", "backend": "exact"},
    "names": {"feature_names": [f"$x_{each}$ of a name that is quite long" for each in range(6)]},
    "numpy": {"seed": np.int64(5), "n_jobs": np.int32(1), "backend": "sampling", "memory": "2GB"},
    "a backend with arguments": {"backend": backends.Coalitions(3, min_players=2)},
    "a backend as an object": {"backend": backends.named("gradient")},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_settings_come_back(settings, tmp_path, rows, background):
    explainer = Explainer(trained(factories.Plain()), background, **settings)
    loaded = assert_survives(explainer, tmp_path, rows)
    for name in ("n_jobs", "memory", "seed", "progress", "tolerance", "groups", "backend", "head", "feature_names"):
        assert getattr(loaded, name) == getattr(explainer, name)


def test_a_weighted_background_comes_back_with_its_origin(tmp_path, rows):
    weighted = background.kmeans(cases.table(30, seed=4), 5)
    loaded = assert_survives(Explainer(trained(factories.Plain()), weighted), tmp_path, rows)
    assert loaded(rows).made_by["background"].startswith("5 centres of k-means of 30 rows")


def test_a_background_of_one_row_comes_back(tmp_path, rows, background):
    assert_survives(Explainer(trained(factories.Plain()), background[:1]), tmp_path, rows)


def test_another_head_of_an_explainer_is_saved(tmp_path, rows, background):
    explainer = Explainer(trained(factories.Plain()), background)
    explainer(rows)
    assert_survives(explainer.with_head("latent:1"), tmp_path, rows)


def test_weights_are_those_of_now(tmp_path, rows, background):
    """An explainer follows its model, so that its file does not hold the weights of the time when it was made."""
    model = trained(factories.Plain())
    explainer = Explainer(model, background)
    explainer(rows)
    trained(model, seed=1)
    assert_survives(explainer, tmp_path, rows)


def test_names_are_checked_after_loading(tmp_path):
    frame = pd.DataFrame(cases.table(8), columns=[f"gene {each}" for each in range(6)])
    loaded = assert_survives(Explainer(trained(factories.Plain()), frame), tmp_path, frame)
    with pytest.raises(DataError, match="order"):
        loaded(frame.iloc[:, ::-1])


def test_arguments_can_be_changed_when_loading(tmp_path, rows, background):
    explainer = Explainer(trained(factories.Plain()), background)
    folder = explainer.save(tmp_path / "out")
    changed = Explainer.load(
        folder, n_jobs=2, memory="3GB", progress=False, head="latent", backend="exact", device="cpu"
    )
    assert (changed.n_jobs, changed.memory, changed.progress, changed.backend) == (2, 3e9, False, "exact")
    np.testing.assert_array_equal(changed.scores(rows), explainer.with_head("latent").scores(rows))
    with pytest.raises(DataError, match="got background, model"):
        Explainer.load(folder, background=background, model=None)


def test_a_head_of_the_users_own_is_handed_over(tmp_path, rows, background):
    explainer = Explainer(trained(factories.Plain()), background, head=factories.Energy())
    with pytest.raises(OutputError, match=r"its head is Energy\(\), an object of your own.*\(folder, head=\.\.\.\)"):
        Explainer.load(explainer.save(tmp_path / "out"))
    assert_survives(explainer, tmp_path, rows, head=factories.Energy())
    assert Explainer.load(tmp_path / "out", head="latent").head == "latent"


def test_a_function_as_head_is_handed_over_and_compared(tmp_path, rows, background):
    def energy(autoencoder, rows):
        return autoencoder.encode(rows).square().sum(dim=1)

    explainer = Explainer(trained(factories.Plain()), background, head=energy)
    assert_survives(explainer, tmp_path, rows, head=energy)

    def twice(autoencoder, rows):
        return 2 * energy(autoencoder, rows)

    twice.__name__ = "energy"
    with pytest.raises(OutputError, match=r"other scores than the model that was explained: they differ by up to"):
        Explainer.load(tmp_path / "out", head=twice)


def test_a_loss_of_the_users_own_is_not_taken_for_a_loss_with_a_name(tmp_path, rows, background):
    head = heads.ReconstructionError(nn.HuberLoss(reduction="none", delta=2.0))
    explainer = Explainer(trained(factories.Plain()), background, head=head)
    with pytest.raises(OutputError, match="its head is ReconstructionError"):
        Explainer.load(explainer.save(tmp_path / "out"))
    assert_survives(explainer, tmp_path, rows, head=head)


class Zero(backends.RowwiseBackend):
    """A backend of the user's own."""

    additive = False

    def __init__(self, value):
        self.given = value

    def attribute_row(self, game, row, seed):
        return backends.Moments(1, np.full((1, len(row), 1), self.given))


def test_a_backend_of_the_users_own_is_handed_over(tmp_path, rows, background):
    explainer = Explainer(trained(factories.Plain()), background, backend=Zero(2.0))
    with pytest.raises(OutputError, match=r"its backend is Zero, an object of your own.*\(folder, backend=\.\.\.\)"):
        Explainer.load(explainer.save(tmp_path / "out"))
    assert_survives(explainer, tmp_path, rows, backend=Zero(2.0))


def test_a_registered_backend_is_saved_by_its_name(tmp_path, rows, background, monkeypatch):
    monkeypatch.setattr(backends, "_REGISTERED", {})
    backends.register("twos", lambda: Zero(2.0))
    assert_survives(Explainer(trained(factories.Plain()), background, backend="twos"), tmp_path, rows)


LOCAL = type("Local", (factories.Plain,), {"__qualname__": "test.<locals>.Local"})
REFUSED = {
    "a class with arguments": (
        factories.wide,
        None,
        r"class Wide alone.*missing 1 .*factory='my_model:make'",
    ),
    "a class of a function": (LOCAL, None, r"no other process can import test\.<locals>\.Local.*my_model\.py"),
    "a plain Sequential": (
        lambda: nn.Sequential(nn.Linear(6, 6)),
        None,
        r"with unexpected entries 0\.bias, 0\.weight.*def",
    ),
    "a lambda": (factories.wide, lambda: factories.wide(), r"no other process can import \S*<lambda>"),
    "no such module": (factories.wide, "nowhere:wide", "can't find 'nowhere:wide': No module named 'nowhere'"),
    "no such function": (factories.wide, f"{HERE}:nothing", "can't find .* has no attribute 'nothing'"),
    "no model": (factories.wide, f"{HERE}:three", "three must return a torch.nn.Module, got int"),
    "a failing function": (factories.wide, f"{HERE}:failing", "failing can't be called .*: ValueError: no such file"),
    "other shapes": (factories.wide, f"{HERE}:wider", "do not fit the model of .*by their shapes: entr.* encoder"),
    "another function": (factories.Plain, f"{HERE}:steeper", "other scores than the model that was explained"),
    "another module": (factories.Keyed, f"{HERE}:Plain", "they come without entries"),
    "other parts": (factories.Plain, f"{HERE}:wrapped", "is understood as .*'latents': 'encode, "),
}


@pytest.mark.parametrize(("make", "factory", "text"), REFUSED.values(), ids=REFUSED)
def test_a_model_that_is_not_made_again_is_refused_before_anything_is_written(
    make, factory, text, tmp_path, rows, background
):
    earlier = Explainer(trained(factories.Plain()), background)
    earlier.save(tmp_path / "out")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    with pytest.raises(ModelError, match=text) as caught:
        Explainer(make(), background).save(tmp_path / "out", factory)
    assert "\n" not in str(caught.value)
    assert [*tmp_path.iterdir()] == [tmp_path / "out"]
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_a_script_is_no_home_for_a_factory(tmp_path, background, monkeypatch):
    monkeypatch.setattr(factories.Wide, "__module__", "__main__")
    with pytest.raises(ModelError, match=r"no other process can import Wide of __main__\. Move it into a module"):
        Explainer(factories.wide(), background).save(tmp_path / "out")


def test_a_missing_scaler_is_noticed_and_a_saved_one_replaces_it(tmp_path, rows, background):
    model = trained(factories.Plain())
    explainer = Explainer(Autoencoder(model, preprocess=(np.ones(6), np.full(6, 2.0))), background)
    assert_survives(explainer, tmp_path, rows, f"{HERE}:bare")
    with pytest.raises(ModelError, match=r"other scores.*shapae\.Autoencoder\(model, preprocess="):
        Explainer(model, background).save(tmp_path / "other", f"{HERE}:scaled")


def test_a_function_that_differs_only_between_the_rows_of_the_background_is_noticed(tmp_path, monkeypatch):
    """Mixed rows are what an explanation scores."""
    explainer = Explainer(factories.Kinked(), np.outer([0, 20], np.ones(6)))
    explainer.save(tmp_path / "out")
    monkeypatch.setattr(factories.Kinked, "steepness", 2)
    with pytest.raises(ModelError, match="other scores"):
        explainer.save(tmp_path / "other")
    with pytest.raises(OutputError, match="other scores"):
        Explainer.load(tmp_path / "out")


def test_scores_that_mixed_rows_do_not_have_are_no_reason_to_accept_any(tmp_path, rows, background):
    def root(autoencoder, rows):
        return (rows[:, 0] - rows[:, 1]).sqrt() + autoencoder.encode(rows)[:, 0]

    def other(autoencoder, rows):
        return root(autoencoder, rows) + 0.1

    other.__name__ = "root"
    ordered = np.stack([np.arange(7) + 0.5, np.arange(7), *background.T[2:]], axis=1)
    explainer = Explainer(trained(factories.Plain()), ordered, head=root, backend="gradient")
    folder = explainer.save(tmp_path / "out")
    np.testing.assert_array_equal(Explainer.load(folder, head=root).scores(ordered), explainer.scores(ordered))
    with pytest.raises(OutputError, match="other scores"):
        Explainer.load(folder, head=other)


def test_notes_of_an_adapter_come_back(tmp_path, rows, background):
    wrapped = Autoencoder(trained(factories.Plain()))
    wrapped.notes = {"pyod": "its own score is another"}
    loaded = assert_survives(Explainer(wrapped, background), tmp_path, rows)
    assert loaded(rows).made_by["model"]["pyod"] == "its own score is another"


def test_a_state_dict_with_more_than_tensors_is_refused(tmp_path, background):
    with pytest.raises(OutputError, match=r"only dense tensors can be saved, .* has entry _extra_state \(dict\)"):
        Explainer(factories.Noted(), background).save(tmp_path / "out")
    assert not [*tmp_path.iterdir()]


def test_other_files_are_not_replaced(tmp_path, background):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"thesis\.txt"):
        Explainer(factories.Plain(), background).save(tmp_path)


def test_saving_and_loading_leave_everything_as_it_was(tmp_path, rows, background):
    model = trained(factories.Plain()).train()
    model.decoder.eval()
    explainer = Explainer(model, background)
    before, world = cases.snapshot(model), cases.world()
    lent = copy.deepcopy(factories.LENT.state_dict())
    explainer.save(tmp_path / "drawn")  # the weights of a new model are drawn
    Explainer.load(tmp_path / "drawn")
    explainer.save(tmp_path / "out", f"{HERE}:lent")
    loaded = Explainer.load(tmp_path / "out")
    assert_same(loaded, explainer, rows)
    assert cases.snapshot(model) == before
    assert cases.world() == world
    assert all(torch.equal(each, lent[name]) for name, each in factories.LENT.state_dict().items())
    trained(loaded._score.autoencoder.model, seed=2)
    assert all(torch.equal(each, lent[name]) for name, each in factories.LENT.state_dict().items())


def test_a_poor_reconstruction_is_reported_once(tmp_path, background, recwarn):
    explainer = Explainer(trained(factories.Plain()), 100 + background)
    recwarn.clear()
    Explainer.load(explainer.save(tmp_path / "out"))
    assert not recwarn.list


def test_the_files_are_tensors_and_text_and_hold_each_number_once(tmp_path):
    table = cases.table(500).astype(np.float32)
    model = trained(factories.Plain())
    explainer = Explainer(model, pd.DataFrame(table, columns=list("abcdef")))
    explainer(table[:5])
    folder = explainer.save(tmp_path / "out")
    assert {path.name for path in folder.iterdir()} == {RECORD, WEIGHTS, TENSORS}
    assert (folder / TENSORS).stat().st_size < 1.2 * table.nbytes
    state, tensors = load_file(folder / WEIGHTS), load_file(folder / TENSORS)
    assert state.keys() == model.state_dict().keys()
    assert all(torch.equal(each, model.state_dict()[name]) for name, each in state.items())
    np.testing.assert_array_equal(tensors["background"], table)
    record = json.loads((folder / RECORD).read_text())
    assert record["settings"]["feature_names"] == list("abcdef")
    assert record["factory"] == f"{HERE}:Plain"


def test_no_pickle_is_read(tmp_path, rows, background, monkeypatch):
    explainer = Explainer(trained(factories.Plain()), background)
    explainer.save(tmp_path / "out")

    def refuse(*args, **kwargs):
        raise AssertionError("a pickle was read")

    for module, name in ((pickle, "load"), (pickle, "loads"), (pickle, "Unpickler"), (torch, "load")):
        monkeypatch.setattr(module, name, refuse)
    loaded = Explainer.load(tmp_path / "out")
    monkeypatch.undo()
    assert_same(loaded, explainer, rows)


def edit(change):
    """A damage: the record of the folder, changed by a function, with the checksums of a record that was written so."""

    def damage(folder):
        record = read_record(folder / RECORD, format=2, files=(WEIGHTS, TENSORS))
        change(record)
        write_record(folder / RECORD, record, format=record.pop("format"), files=(WEIGHTS, TENSORS))

    return damage


def edit_text(old, new):
    """A damage: some text of the record, changed by hand."""
    return lambda folder: (folder / RECORD).write_text((folder / RECORD).read_text().replace(old, new, 1))


def truncate(name):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-40])


DAMAGES = {
    "a later format": (
        lambda folder: [edit(lambda r: r.update(format=9))(folder), edit_text(__version__, "9.1")(folder)],
        r"was written by shapae 9\.1 in format 9, .* reads format 2\. Update: pip install",
    ),
    "another format": (edit(lambda r: r.update(format=0)), "is not a record of .* in format 2"),
    "no record": (lambda folder: (folder / RECORD).unlink(), r"there is no explainer\.json"),
    "no weights": (lambda folder: (folder / WEIGHTS).unlink(), r"there is no model\.safetensors"),
    "no tensors": (lambda folder: (folder / TENSORS).unlink(), r"there is no explainer\.safetensors"),
    "half a record": (truncate(RECORD), "JSONDecodeError"),
    "half the weights": (truncate(WEIGHTS), r"model\.safetensors is damaged, or of another result"),
    "half the tensors": (truncate(TENSORS), r"explainer\.safetensors is damaged, or of another result"),
    "a list": (lambda folder: (folder / RECORD).write_text("[]"), "holds a list, not an object"),
    "another seed by hand": (edit_text('"seed": 0', '"seed": 1'), r"explainer\.json is damaged: .* by its checksum"),
    "no settings": (edit(lambda r: r.pop("settings")), "KeyError: 'settings'"),
    "another class of heads": (edit(lambda r: r["settings"].update(head={"class": "Nope"})), "class of heads"),
    "no such factory": (edit(lambda r: r.update(factory="gone:Model")), "can't find 'gone:Model'.*Run in the folder"),
    "other shapes": (edit(lambda r: r.update(factory=f"{HERE}:wider")), "do not fit the model|come without"),
    "another model": (edit(lambda r: r.update(factory=f"{HERE}:Bent")), "other scores.*Look whether the code"),
    "other names": (edit(lambda r: r["settings"].update(feature_names=["a"])), "got 6 columns"),
}


@pytest.mark.parametrize(("damage", "text"), DAMAGES.values(), ids=DAMAGES)
def test_a_folder_that_is_not_as_it_was_is_an_error(damage, text, tmp_path, background):
    folder = Explainer(trained(factories.Plain()), background).save(tmp_path / "out")
    damage(folder)
    with pytest.raises(OutputError, match=text) as caught:
        Explainer.load(folder)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("name", [WEIGHTS, TENSORS])
def test_a_flipped_bit_in_the_last_number_is_noticed(name, tmp_path, background):
    folder = Explainer(trained(factories.Plain()), background).save(tmp_path / "out")
    data = bytearray((folder / name).read_bytes())
    data[-8] ^= 1  # of the mantissa: the scores are the same within rounding
    (folder / name).write_bytes(data)
    with pytest.raises(OutputError, match=f"{name} is damaged"):
        Explainer.load(folder)


def test_a_folder_of_the_first_format_is_loaded(tmp_path, rows, background):
    """Versions before the checksums wrote these entries."""
    explainer = Explainer(trained(factories.Plain()), background)
    folder = explainer.save(tmp_path / "out")
    record = json.loads((folder / RECORD).read_text())
    for name in ("written_by", "files", "checksum"):
        del record[name]
    (folder / RECORD).write_text(json.dumps(record | {"format": 1}))
    assert_same(Explainer.load(folder), explainer, rows)


def test_files_can_be_read_by_whom_the_user_lets_read(tmp_path, background):
    before = os.umask(0o027)
    try:
        folder = Explainer(factories.Plain(), background).save(tmp_path / "out")
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o640}
    assert folder.stat().st_mode & 0o777 == 0o750


def test_a_folder_of_something_else_is_an_error(tmp_path, rows, background):
    folder = Explainer(trained(factories.Plain()), background)(rows).save(tmp_path / "out")
    with pytest.raises(OutputError, match=re.escape(f"{folder} does not hold an explainer")):
        Explainer.load(folder)


def test_code_of_the_model_that_changed_since_is_noticed(tmp_path, background, monkeypatch):
    folder = Explainer(trained(factories.Plain()), background).save(tmp_path / "out")
    monkeypatch.setattr(factories.Curve, "function", staticmethod(torch.sin))
    with pytest.raises(OutputError, match=r"other scores.*Look whether the code of the model.*has changed"):
        Explainer.load(folder)


def test_one_row_is_explained_tomorrow_by_another_process(tmp_path, rows, background):
    """Without the background at hand: a new process knows the folder and the row."""
    names = [f"gene {each}" for each in range(6)]
    wrapped = Autoencoder(trained(factories.Plain()), preprocess=StandardScaler().fit(background))
    explainer = Explainer(wrapped, pd.DataFrame(background, columns=names), head="latent:1", backend="sampling", seed=4)
    folder = explainer.save(tmp_path / "out")
    np.save(tmp_path / "row.npy", rows[:1])
    code = (
        "import sys, numpy, shapae\n"
        "explainer = shapae.Explainer.load(sys.argv[1])\n"
        "numpy.save(sys.argv[3], explainer(numpy.load(sys.argv[2])).values)\n"
    )
    paths = [str(folder), str(tmp_path / "row.npy"), str(tmp_path / "values.npy")]
    subprocess.run([sys.executable, "-c", code, *paths], check=True, cwd=Path(__file__).parents[2])
    np.testing.assert_array_equal(np.load(tmp_path / "values.npy"), explainer(rows[:1]).values)
