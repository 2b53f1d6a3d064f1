"""The Explainer: what goes in, what is refused, what is said, and where the work is done."""

import os
import re
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from joblib import Parallel, delayed, parallel_config
from torch import nn
from torch.nn import functional as F

from shapae import Autoencoder, Explainer, backends, heads
from shapae.errors import AdditivityWarning, DataError, ModelError, ShapeError, TooLarge, UnknownName
from shapae.utils.memory import parse_bytes
from tests import cases

NAMES = list("abcdef")
every_backend = pytest.mark.parametrize("backend", backends.names())


def named(table):
    return pd.DataFrame(table, columns=NAMES)


def polars_frame(table):
    return pytest.importorskip("polars").DataFrame(table, schema=NAMES)


# Inputs


def read_only(table):
    table = table.copy()
    table.flags.writeable = False
    return table


TABLES = {
    "read-only": read_only,
    "reversed": lambda table: table[::-1].copy()[::-1],
    "Fortran": np.asfortranarray,
    "lists": np.ndarray.tolist,
    "tensor": lambda table: torch.tensor(table, requires_grad=True),
    "pandas": named,
    "polars": polars_frame,
}


@pytest.mark.parametrize("kind", TABLES)
def test_any_kind_of_table_is_explained_and_left_as_it_was(kind, model, rows, background):
    given = TABLES[kind](background), TABLES[kind](rows)
    got = Explainer(model, given[0], backend="exact")(given[1])
    np.testing.assert_array_equal(got.values, Explainer(model, background, backend="exact")(rows).values)
    np.testing.assert_array_equal(got.data, rows)
    got.data[:] = 0  # nobody else's memory
    got.values[:] = 0
    for table, want in zip(given, (background, rows), strict=True):
        np.testing.assert_array_equal(table.detach() if isinstance(table, torch.Tensor) else table, want)


@every_backend
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("given", [np.float32, np.float64, np.int8, bool])
def test_everything_comes_out_in_the_dtype_of_the_model(backend, dtype, given, rows, background):
    got = Explainer(cases.build(cases.Question, dtype=dtype), background, backend=backend)((3 * rows).astype(given))
    kinds = {getattr(got, name).dtype for name in ("values", "base_values", "data", "scores", "residual")}
    assert kinds == {np.dtype(str(dtype).removeprefix("torch."))}
    np.testing.assert_array_equal(got.data, (3 * rows).astype(given).astype(got.data.dtype))


def test_float64_tensors_are_explained_with_a_float32_model(rows, background):
    model = cases.build(cases.Question, dtype=torch.float32)
    got = Explainer(model, torch.tensor(background))(torch.tensor(rows, requires_grad=True))
    np.testing.assert_allclose(got.residual, 0, atol=1e-6)


@pytest.mark.parametrize("who", ["background", "rows", "both", "argument", "nobody"])
def test_names_come_from_whoever_has_them(who, model, rows, background):
    explainer = Explainer(
        model,
        named(background) if who in {"background", "both"} else background,
        head="reconstruction",
        feature_names=NAMES if who == "argument" else None,
    )
    got = explainer(named(rows) if who in {"rows", "both"} else rows)
    want = NAMES if who != "nobody" else [f"feature {j}" for j in range(6)]
    assert list(got.feature_names) == list(got.output_names) == want


TAKEN = {"names": named, "no names": np.asarray}


@pytest.mark.parametrize("rows_have", TAKEN)
@pytest.mark.parametrize("background_has", TAKEN)
def test_rows_of_another_width_are_refused(rows_have, background_has, model, background):
    explainer = Explainer(model, TAKEN[background_has](background))
    narrow = TAKEN[rows_have](cases.table(3))
    narrow = narrow.iloc[:, :5] if rows_have == "names" else narrow[:, :5]
    with pytest.raises(DataError, match="got 5 columns in the rows, expected 6|without column f"):
        explainer(narrow)


def test_columns_in_another_order_are_refused_and_the_message_mends_it(model, rows, background):
    explainer = Explainer(model, named(background))
    X = named(rows)[list("fbcdea")]
    with pytest.raises(
        DataError, match=r"another order than expected \(columns f, a moved\)\. Select them as X\[explainer.feature_na"
    ):
        explainer(X)
    np.testing.assert_array_equal(explainer(X[explainer.feature_names]).values, explainer(rows).values)


@pytest.mark.parametrize("what", ["rows", "background"])
def test_nan_is_refused_in_both_tables(what, model, rows, background):
    bad = {"rows": rows, "background": background}
    bad[what][2, 4] = np.nan
    with pytest.raises(DataError, match=f"the {what} .*NaN or infinite, in row 2 and column e"):
        Explainer(model, named(bad["background"]))(named(bad["rows"]))


# Models


class Functional(cases.Question):
    """As the autoencoder of the question, but its activations are no modules."""

    def forward(self, rows):
        hidden = self.encoder[2](F.relu(self.encoder[0](rows)))
        return self.decoder[2](F.relu(self.decoder[0](hidden)))


class Reusing(cases.Question):
    """As the autoencoder of the question, but with one ReLU for both of its halves."""

    def __init__(self):
        super().__init__()
        self.decoder[1] = self.encoder[1]


class Keeping(cases.Question):
    """Keeps results of its last forward pass, in the graph, which torch refuses to copy."""

    def forward(self, rows):
        self.latents = self.encoder(rows)
        self.decoder.result = self.decoder(self.latents)
        return self.decoder.result


class Verbs(cases.Question):
    """Has no forward."""

    forward = nn.Module.forward

    def encode(self, rows):
        return self.encoder(rows)

    def decode(self, latents):
        return self.decoder(latents)


class Detached(cases.Question):
    """Its latents have no gradient."""

    def forward(self, rows):
        return self.decoder(self.encoder(rows).detach())


def hooked(module, inputs, output):
    return output.clone()


@every_backend
@pytest.mark.parametrize("make", [Keeping, Verbs], ids=lambda make: make.__name__)
def test_models_of_all_kinds_have_the_values_of_the_plain_one(backend, make, model, rows, background):
    other = cases.build(make)
    if make is Keeping:
        other.encoder.loss = other(torch.tensor(rows)).sum()
    other.encoder.register_forward_hook(hooked)
    want, got = (Explainer(each, background, backend=backend)(rows).values for each in (model, other))
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-12)


def test_a_model_in_training_mode_is_explained_as_it_predicts(background, rows):
    model = cases.build(cases.Nested)
    want = Explainer(model, background)(rows).values
    np.testing.assert_array_equal(Explainer(model.train(), background)(rows).values, want)
    assert model.training


@every_backend
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_gradients_may_be_switched_off_outside(backend, mode, model, rows, background):
    want = Explainer(model, background, backend=backend)(rows).values
    with mode():
        got = Explainer(model, background, backend=backend)(rows).values
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("make", [Functional, Reusing])
def test_a_result_outside_the_promise_is_a_warning_with_size_rows_and_remedy(make, rows, background):
    model = cases.build(make)
    message = (
        r"the values of \d of 5 rows do not add up to their scores: the residual is up to [\d.e-]+, where the scores "
        r"spread over [\d.e-]+; first in row \d\. shap sees torch's own elementwise modules only.*"
        r"backend='deep'"
    )
    with pytest.warns(AdditivityWarning, match=message) as caught:
        got = Explainer(model, background, backend="shap_deep")(rows)
    assert [Path(warning.filename).name for warning in caught] == [Path(__file__).name]
    assert f"up to {np.abs(got.residual).max():.3g}," in str(caught[0].message)
    for backend in ("deep", "exact", "gradient", "shap_gradient"):  # the remedies; a warning would be an error
        Explainer(model, background, backend=backend)(rows)


class Softmaxed(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 6), nn.Softmax(dim=1))

    def forward(self, rows):
        return self.layers(rows)


def test_a_model_that_mixes_only_many_rows_is_refused(rows):
    model = Function(lambda x: x - x.mean(dim=0) if len(x) > 8 else x)
    with pytest.raises(ModelError, match="mixes rows"):
        Explainer(model, cases.table(30))(rows)


def test_softmax_which_is_not_elementwise_is_not_taken_for_it(rows, background):
    """With shap's own rule the values add up and are wrong: as far from the exact ones as these are large."""
    with pytest.warns(AdditivityWarning, match=r"softmax"):
        Explainer(cases.build(Softmaxed), 9 * background, head="reconstruction", backend="shap_deep")(9 * rows)


@pytest.mark.parametrize("offset", [100, 1000])
def test_a_residual_is_compared_with_the_spread_of_the_scores_not_with_their_level(offset, rows, background):
    model = cases.build(Functional)
    above = Autoencoder(model, reconstruct=lambda m, x: 1e-7 * m(x) + offset)
    with pytest.warns(AdditivityWarning, match=r"do not add up"):
        Explainer(above, background, head="reconstruction", backend="shap_deep")(rows)


def test_a_path_without_gradients_is_seen_in_the_residual(rows, background):
    with pytest.warns(AdditivityWarning, match=r"of 5 rows do not add up"):
        Explainer(cases.build(Detached), background, backend="shap_deep")(rows)


class Constant(nn.Module):
    def forward(self, rows):
        return torch.ones_like(rows)


@every_backend
def test_a_score_that_never_changes_has_the_value_zero(backend, rows, background):
    got = Explainer(Constant(), background, head="reconstruction", backend=backend)(rows)
    np.testing.assert_array_equal(got.values, 0)
    np.testing.assert_array_equal(got.residual, 0)


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, rows):
        return self.function(rows)


BAD_MODELS = {
    "NaN": (lambda x: x * torch.nan, ModelError, r"NaN or infinite scores for 5 of 5 .*rows.*first for row 0"),
    "NaN in one row": (lambda x: (x - X_BAD).log().nan_to_num(0, 1, 1) / (x - X_BAD), ModelError, "for 1 of 5"),
    "mixing": (lambda x: x - x.mean(dim=0), ModelError, "mixes rows: a row alone has another score than in a batch"),
    "random": (lambda x: x + torch.rand_like(x), ModelError, "random in eval mode"),
    "tuple": (lambda x: (x[:, 1:], 0), ShapeError, r"reconstruction of shape \(2, 6\), got tuple with 0 of shape"),
    "narrow": (lambda x: x[:, :3], ShapeError, r"reconstruction of shape \(2, 6\), got shape \(2, 3\)"),
}
X_BAD = torch.tensor(cases.table(5, seed=1))[3]


@every_backend
@pytest.mark.parametrize("kind", BAD_MODELS)
def test_models_that_can_not_be_explained_are_refused(backend, kind, rows, background):
    function, error, message = BAD_MODELS[kind]
    before = cases.world()
    with pytest.raises(error, match=message):
        Explainer(Function(function), background, backend=backend)(rows)
    assert cases.world() == before


def test_a_nan_in_the_scores_of_the_background_is_told_from_one_in_the_rows(rows, background):
    model = Function(lambda x: x / (x - torch.tensor(background[5])))
    with pytest.raises(ModelError, match="NaN or infinite scores for 1 of 7 background rows, first for row 5"):
        Explainer(model, background)(rows)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"head": "latant"}, "no head is called 'latant'; there are: latent"),
        ({"head": "latent:3"}, "no output of Latent is called '3'; there are: latent 0, latent 1, latent 2"),
        ({"backend": "shap_dep"}, "no backend is called 'shap_dep'; there are: shap_deep, "),
    ],
)
def test_unknown_names_are_refused(settings, message, model, background):
    with pytest.raises(UnknownName, match=message):
        Explainer(model, background, **settings)


def test_a_model_without_latents_is_refused_where_they_are_wanted(background):
    with pytest.raises(
        ModelError, match="latent space of Identity can't be found: it has neither `encode` nor `encoder`"
    ):
        Explainer(nn.Identity(), background, head="latent")


# Memory


@pytest.mark.parametrize(
    ("head", "n", "memory"),
    [("reconstruction_error", 200, "15kB"), ("reconstruction", 100, "30kB"), ("latent:0", 5, 400)],
)
def test_a_result_that_does_not_fit_is_refused_with_two_ways_that_work(head, n, memory, model, background):
    rows = cases.table(n, seed=5)
    with pytest.raises(TooLarge, match=f"the values of {n} rows and their standard errors need .* only half") as error:
        Explainer(model, background, head=head, memory=memory)(rows)
    count = int(re.search(r"Explain at most (\d+) rows at a time", str(error.value))[1])
    advised = parse_bytes(re.search(r"set memory='(.*?)'", str(error.value))[1])
    per_row = 2 * 6 * 8 * (6 if head == "reconstruction" else 1)
    assert count == parse_bytes(memory) / 2 // per_row
    assert n * per_row <= advised / 2
    if n > 5:  # nothing else fits into 400 bytes
        Explainer(model, background, head=head, memory=memory)(rows[:count])
        Explainer(model, background, head=head, memory=advised)(rows)


def test_a_row_that_does_not_fit_is_refused_and_more_workers_have_less_room_each(model, rows, background):
    with pytest.raises(TooLarge, match=r"one row against one background row takes about .*Raise memory="):
        Explainer(model, background, backend="exact", memory=20_000)(rows)
    Explainer(model, background, backend="exact", memory=200_000)(rows)
    with pytest.raises(TooLarge, match=r"lower n_jobs="):
        Explainer(model, background, backend="exact", memory=200_000, n_jobs=8)(rows)


# Parallel work


class Noting(heads.ReconstructionError):
    """Notes where it is run: process, thread, and with how many threads torch computes."""

    def __init__(self, file):
        super().__init__()
        self.file = file

    def forward(self, autoencoder, rows):
        with self.file.open("a") as notes:
            notes.write(f"{os.getpid()}\t{threading.current_thread().name}\t{torch.get_num_threads()}\n")
        return super().forward(autoencoder, rows)

    def notes(self):
        """(processes, threads, numbers of threads of torch), each as written."""
        return list(zip(*(line.split("\t") for line in self.file.read_text().splitlines()), strict=True))


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_an_outer_parallel_config_is_honoured(n_jobs, model, rows, background, tmp_path):
    head = Noting(tmp_path / "notes")
    with parallel_config(backend="threading", n_jobs=3):
        Explainer(model, background, head=head, n_jobs=n_jobs)(rows)
    processes, workers, _ = head.notes()
    assert {*processes} == {str(os.getpid())}
    assert len({*workers} - {threading.current_thread().name}) >= 2


def test_without_an_outer_parallel_config_there_is_one_worker(model, rows, background, tmp_path):
    head = Noting(tmp_path / "notes")
    Explainer(model, background, head=head)(rows)
    assert {*head.notes()[1]} == {threading.current_thread().name}


def test_processes_compute_with_one_thread_each_and_lambdas_reach_them(model, rows, background, tmp_path):
    before = torch.get_num_threads()
    Parallel(2)(delayed(torch.set_num_threads)(2) for _ in range(8))  # what they would do without us
    wrapped = Autoencoder(model, reconstruct=lambda m, x: m.decoder(m.encoder(x)), encode=lambda m, x: m.encoder(x))
    head = Noting(tmp_path / "notes")
    got = Explainer(wrapped, background, head=head, n_jobs=2)(rows)
    np.testing.assert_allclose(got.values, Explainer(model, background)(rows).values, rtol=0, atol=1e-12)
    processes, _, threads = head.notes()
    assert {count for pid, count in zip(processes, threads, strict=True) if pid != str(os.getpid())} == {"1"}
    assert torch.get_num_threads() == before


def test_a_model_that_keeps_results_reaches_other_processes(model, rows, background):
    other = cases.build(Keeping)
    other.encoder.loss = other(torch.tensor(rows)).sum()
    got = Explainer(other, background, n_jobs=2)(rows)
    np.testing.assert_allclose(got.values, Explainer(model, background)(rows).values, rtol=0, atol=1e-12)


# What it says


def test_it_is_recorded_how_the_values_were_made(model, rows, background):
    made_by = Explainer(model, background, head="latent:2", backend="shap_gradient", seed=7)(rows).made_by
    assert {name: made_by[name] for name in ("head", "backend", "b", "seed")} == {
        "head": "latent:2",
        "backend": "shap_gradient",
        "b": 7,
        "seed": 7,
    }
    assert made_by["seconds"] > 0
    assert {"shapae", "torch", "shap", "numpy", "python"} <= {*made_by["versions"]}


@pytest.mark.parametrize("progress", [True, False, None])
def test_progress_is_shown_to_who_wants_it(progress, model, rows, background, capsys):
    Explainer(model, background, progress=progress)(rows)
    assert ("explaining" in capsys.readouterr().err) == (progress is True)


def test_the_default_backend_is_additive(model, background):
    assert backends.named(Explainer(model, background).backend).additive
