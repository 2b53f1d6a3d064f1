"""Outputs of the heads, and their names."""

import numpy as np
import pytest
import torch

from shapae import Autoencoder, Explainer, heads
from shapae.errors import DataError, ModelError, UnknownName
from shapae.heads.losses import LOSSES
from shapae.heads.score import Score
from shapae.plots._figure import score_label
from shapae.utils.arguments import alike
from tests import cases

NAMES = list("abcdef")
X = torch.tensor(cases.table(4))
LATENTS = ["latent 0", "latent 1", "latent 2"]


@pytest.fixture
def autoencoder(model):
    return Autoencoder(model)


# Choices among the outputs of heads. The numbers themselves are tested in test_laws.
CHOICES = {
    "latent:1": [1],
    "latent:latent 2": [2],
    "reconstruction:c": [2],
    "reconstruction:5": [5],
    "feature_error:a": [0],
    heads.Latent([2, 0]): [2, 0],
    heads.Latent(["latent 1"]): [1],
    heads.Reconstruction(["f", 0]): [5, 0],
    heads.FeatureError(["b"], loss="mae"): [1],
}


@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_chosen_outputs_equal_the_outputs_of_the_whole_head(choice, autoencoder):
    head = heads.named(choice) if isinstance(choice, str) else choice
    score, columns = Score(autoencoder, head, NAMES, X), CHOICES[choice]
    everything = head(autoencoder, X)
    assert torch.equal(score(X), everything[:, columns])
    names = LATENTS if isinstance(head, heads.Latent) else NAMES
    assert score.outputs(NAMES) == [names[column] for column in columns]


def test_a_name_takes_precedence_over_a_position(autoencoder):
    names = ["2", "1", "0", "x", "y", "z"]
    assert Score(autoencoder, heads.Reconstruction(["0"]), names, X).outputs(names) == ["0"]
    assert torch.equal(Score(autoencoder, heads.Reconstruction(["0"]), names, X)(X)[:, 0], autoencoder(X)[:, 2])


@pytest.mark.parametrize("loss", ["mse", "mae"])
def test_the_reconstruction_error_is_the_mean_of_the_feature_errors(loss, autoencoder):
    whole, parts = heads.ReconstructionError(loss=loss), heads.FeatureError(loss=loss)
    torch.testing.assert_close(whole(autoencoder, X), parts(autoencoder, X).mean(dim=1))


def test_a_single_unit_needs_no_list(autoencoder):
    outputs = [Score(autoencoder, heads.Latent(unit), NAMES, X).outputs(NAMES) for unit in (1, "1", [1])]
    assert outputs == [["latent 1"]] * 3


def test_a_head_without_outputs_is_refused(autoencoder):
    with pytest.raises(ModelError, match=r"choose one or more outputs of Latent, each once, or None for all; got \[\]"):
        Score(autoencoder, heads.Latent([]), NAMES, X)


def test_an_output_is_chosen_once(autoencoder):
    with pytest.raises(ModelError, match=r"each once, or None for all; got \[2, '2'\]"):
        Score(autoencoder, heads.Latent([2, "2"]), NAMES, X)


def test_digits_are_no_position_if_names_are_digits(autoencoder):
    genes = ["1000", "1001", "1002", "1003", "1004", "1005"]
    with pytest.raises(UnknownName, match="no output of Reconstruction is called '2'; there are: 100"):
        Score(autoencoder, heads.named("reconstruction:2"), genes, X)
    assert Score(autoencoder, heads.Reconstruction(2), genes, X).outputs(genes) == ["1002"]


@pytest.mark.parametrize("units", [3, "3", [3], np.array([3])])
def test_a_head_prints_its_chosen_outputs(units):
    assert str(heads.Latent(units)) in {"Latent(chosen=[3])", "Latent(chosen=['3'])"}


def test_a_head_is_a_name_a_module_or_a_function():
    head = heads.Latent()
    assert heads.as_head(head) is head
    assert isinstance(heads.as_head("latent:3"), heads.Latent)
    with pytest.raises(ModelError, match=r"got the class Latent\. Did you mean Latent\(\)\?"):
        heads.as_head(heads.Latent)
    with pytest.raises(ModelError, match="must be a name, a torch.nn.Module, or a function .* got 3"):
        heads.as_head(3)
    rows = torch.ones(2, 3)
    assert torch.equal(heads.as_head(lambda autoencoder, rows: 2 * rows)(None, rows), 2 * rows)


def test_outputs_have_names(autoencoder):
    vae = Autoencoder(cases.build(cases.Variational))
    variational = [name for name, make in heads.HEADS.items() if make.__module__ == "shapae.heads.variational"]
    outputs = {
        name: Score(vae if name in variational else autoencoder, heads.named(name), NAMES, X).outputs(NAMES)
        for name in heads.HEADS
    }
    assert outputs == {
        "reconstruction_error": ["reconstruction error"],
        "feature_error": NAMES,
        "reconstruction": NAMES,
        "latent": LATENTS,
        "latent_norm": ["latent norm"],
        "label_free": ["label-free"],
        "latent_mean": [f"{name} mean" for name in LATENTS],
        "latent_log_variance": [f"{name} log-variance" for name in LATENTS],
        "unit_kl": [f"{name} KL" for name in LATENTS],
        "kl": ["KL"],
        "elbo": ["ELBO"],
    }
    assert Score(autoencoder, cases.LatentEnergy(), NAMES, X).outputs(NAMES) == ["LatentEnergy"]
    many = Score(autoencoder, cases.Normed().eval(), NAMES, X).outputs(NAMES)
    assert many == [f"Normed {output}" for output in range(6)]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("latant", r"no head is called 'latant'; there are: latent, "),
        ("latent:3", r"no output of Latent is called '3'; there are: latent 0, latent 1, latent 2\."),
        ("latent:-1", r"no output of Latent is called '-1'"),
        ("reconstruction:g", r"no output of Reconstruction is called 'g'; there are: a, b, c, d, e, f\."),
    ],
)
def test_the_error_of_an_unknown_name_lists_the_known_names(name, message, autoencoder):
    with pytest.raises(UnknownName, match=message):
        Score(autoencoder, heads.named(name), NAMES, X)


def test_unknown_losses_and_targets_are_refused():
    with pytest.raises(UnknownName, match="no loss is called 'mes'; there are: mse, mae"):
        heads.ReconstructionError(loss="mes")
    with pytest.raises(DataError, match="target must be 'moving' or 'fixed', got 'fix'"):
        heads.ReconstructionError(target="fix")


@pytest.mark.parametrize("target", ["moving", "fixed"])
@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_adds_up_to_both_targets(loss, target, model):
    between = torch.nn.Sequential(model, torch.nn.Sigmoid())
    head = heads.ReconstructionError(loss, target)
    got = Explainer(between, cases.table(7, seed=2) / 10 + 0.5, head=head)(cases.table(5, seed=1) / 10 + 0.5)
    assert np.ptp(got.scores) > 1e-4
    np.testing.assert_allclose(got.residual, 0, atol=1e-12)


def test_heads_print_their_settings():
    assert str(heads.named("latent:3")) == "Latent(chosen=['3'])"


WRITTEN = [
    "ReconstructionError()",
    "ReconstructionError(target='fixed')",
    "ReconstructionError(loss='mae', target='fixed')",
    "FeatureError(features=['a'], loss='mae')",
    "FeatureError(worst=5)",
    "Reconstruction(worst=2)",
    "ErrorFromOthers(worst=3, loss='huber')",
]


@pytest.mark.parametrize("call", WRITTEN)
def test_a_head_of_errors_prints_the_call_that_makes_it(call):
    head = eval(f"heads.{call}")
    assert str(head) == call
    assert alike(eval(f"heads.{head}"), head)


NAMED = {
    "reconstruction_error:fixed": heads.ReconstructionError(target="fixed"),
    "reconstruction_error:mae": heads.ReconstructionError("mae"),
    "reconstruction_error:mae,fixed": heads.ReconstructionError("mae", "fixed"),
    "reconstruction_error:moving, l2": heads.ReconstructionError("l2"),
}


@pytest.mark.parametrize("name", NAMED)
def test_losses_and_targets_have_names(name, model):
    assert alike(heads.named(name), NAMED[name])
    got, want = Explainer(model, X, head=name)(X), Explainer(model, X, head=NAMED[name])(X)
    np.testing.assert_array_equal(got.values, want.values)
    assert got.made_by["head"] == name
    assert score_label(got) == got.output_names


@pytest.mark.parametrize("options", ["", "0", "fixt", "mae,mse", "fixed,moving", "fixed,maee"])
def test_other_losses_and_targets_are_refused_with_those_that_there_are(options):
    with pytest.raises(UnknownName, match="no loss or target of the reconstruction error is called .*mae,fixed"):
        heads.named(f"reconstruction_error:{options}")


def test_the_name_of_a_loss_is_answered_by_the_head_that_has_it():
    with pytest.raises(UnknownName, match="no head is called 'mae'; there are: reconstruction_error:mae, "):
        heads.named("mae")


def test_a_fixed_target_is_in_the_name_of_the_output_and_in_the_record(model):
    moving = Explainer(model, X)
    fixed = moving.with_head(heads.ReconstructionError("mae", target="fixed"))(X)
    assert fixed.output_names == "reconstruction error (mae, fixed target)"
    assert fixed.made_by["head"] == "ReconstructionError(loss='mae', target='fixed')"
    assert moving(X).output_names == "reconstruction error"


class Writing(torch.nn.Module):
    """A model that writes into its input, as in-place activations do."""

    def forward(self, rows):
        return rows.mul_(2).tanh()


@pytest.mark.parametrize("backend", ["deep", "exact", "gradient"])
def test_the_target_is_the_unchanged_row_for_models_that_write_into_it(backend):
    rows, background = cases.table(5, seed=1), cases.table(7, seed=2)
    got = Explainer(Writing(), background, backend=backend)(rows)
    np.testing.assert_allclose(got.scores, ((np.tanh(2 * rows) - rows) ** 2).mean(axis=1), atol=1e-12)
