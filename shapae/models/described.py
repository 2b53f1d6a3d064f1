"""Autoencoders in plain text, numbers and tensors, of which they can be made again."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from shapae.errors import ModelError
from shapae.models.autoencoder import Autoencoder, arguments
from shapae.models.files import load_state, make_model, match_dtypes
from shapae.models.preprocess import Affine
from shapae.models.unwrapping import deep_copy, single_precision_template
from shapae.utils.arguments import PLAIN
from shapae.utils.context import seeded


def describe_autoencoder(autoencoder: Autoencoder) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Describe an autoencoder beside its model.

    Returns:
        Text and numbers that JSON holds; and the tensors of its preprocessing, by name.
    """
    given = arguments(autoencoder)
    preprocess = given.pop("preprocess")
    affine = isinstance(preprocess, Affine)
    own = [name for name, each in given.items() if not isinstance(each, PLAIN)]
    own += [] if affine or isinstance(preprocess, nn.Identity) else ["preprocess"]
    described = {
        "arguments": {name: each for name, each in given.items() if name not in own},
        "own": own,
        "affine": affine,
        "columns": [*preprocess.names] if affine and preprocess.names is not None else None,
        "notes": autoencoder.notes,
    }
    return described, preprocess.state_dict()


def make_autoencoder(
    factory: str, described: Mapping[str, Any], state: Mapping[str, Tensor], preprocess: Mapping[str, Tensor]
) -> Autoencoder:
    """Make an autoencoder again.

    Args:
        factory: See ``shapae.models.files.make_model``. If it returns an Autoencoder, this has its own arguments.
        described: See ``describe_autoencoder``.
        state: The state_dict of the model.
        preprocess: The tensors of the preprocessing, by name.

    Raises:
        ModelError: The factory can't be imported, or makes another model.
    """
    with seeded(None), torch.inference_mode(False):
        model = deep_copy(make_model(factory))  # a factory may hand out a model that others use
        if not isinstance(model, Autoencoder):
            _refuse_own_parts(described["own"])
            model = Autoencoder(model, **described["arguments"])
        match_dtypes(model.model, state)
        load_state(model.model, state, "the weights", factory)
        if described["affine"]:
            mean, scale = preprocess["mean"], preprocess["scale"]
            like = single_precision_template(model.model).to(mean.dtype)
            model.preprocess = Affine(mean.numpy(), scale.numpy(), like, described["columns"])
        elif preprocess:
            load_state(model.preprocess, preprocess, "the weights of preprocess=", factory)
    model.notes = described["notes"]
    return model


def _refuse_own_parts(own: list[str]) -> None:
    if own:
        wrapped = f"shapae.Autoencoder(model, {', '.join(f'{name}=...' for name in own)})"
        raise ModelError(
            f"{wrapped} has functions or modules of your own, which can't be saved. Let the factory return {wrapped}."
        )
