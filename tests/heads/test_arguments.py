"""Heads by their class and arguments."""

import json

import pytest
import torch
from torch import nn

from shapae import heads, losses
from shapae.errors import UnknownName
from shapae.heads.arguments import describe_head, make_head
from shapae.heads.losses import LOSSES
from shapae.utils.arguments import alike


@pytest.mark.parametrize("name", heads.HEADS)
def test_each_head_with_a_name_is_made_again(name):
    head = heads.named(name)
    assert alike(make_head(json.loads(json.dumps(describe_head(head)))), head)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("target", ["moving", "fixed"])
def test_losses_and_targets_are_read_back(loss, target):
    described = describe_head(heads.ReconstructionError(loss, target))
    assert described == {"class": "ReconstructionError", "loss": loss, "target": target}


def test_attributes_that_were_set_later_count():
    head = heads.ELBO(draws=4)
    head.beta = 3.0
    assert describe_head(head)["beta"] == 3
    assert make_head(describe_head(head)).beta == 3


class Latent(heads.Latent):
    """A head of the user's own."""


@pytest.mark.parametrize(
    "head",
    [
        Latent(),
        nn.Linear(2, 1),
        heads.as_head(lambda autoencoder, rows: rows.sum(dim=1)),
        heads.ReconstructionError(nn.MSELoss(reduction="none")),
        heads.ReconstructionError(losses.Huber(2.0)),
        heads.ELBO(losses.GaussianNLL(torch.ones(3))),
    ],
)
def test_heads_with_more_than_text_and_numbers_are_the_users_own(head):
    assert describe_head(head) is None


def test_a_head_with_another_attribute_is_the_users_own():
    head = heads.Latent()
    head.output_names = ["a", "b"]
    assert describe_head(head) is None


def test_an_unknown_class_is_an_error():
    with pytest.raises(UnknownName, match="no class of heads is called 'Latant'; there are: Latent"):
        make_head({"class": "Latant"})
