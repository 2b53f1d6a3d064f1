"""The user's model behind a few methods: ``reconstruct``, ``encode``, ``decode``, ``latent_distribution``."""

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from shapae.errors import ModelError, ShapeError
from shapae.models import outputs
from shapae.models import preprocess as preprocessing
from shapae.models.accessors import FORWARD, Accessor, Part, as_accessor, as_argument, find_parts, has_forward
from shapae.models.noise import FixedNoise, ForwardMode, Noise, zero_noise
from shapae.models.precision import row_dtypes
from shapae.models.refusals import refuse_decoder
from shapae.models.resolver import DECODERS
from shapae.models.trials import Runner, Trials
from shapae.models.understanding import Understanding, understand
from shapae.models.unwrapping import single_precision_template, unwrap
from shapae.models.weights import check_weights, hint_at_module
from shapae.utils.context import inference_state
from shapae.utils.described import Described
from shapae.utils.kinds import Integer, written

# Example of the code of each part, for errors.
WHOLES = {"reconstruct": "m", "encode": "m.encoder", "decode": "m.decoder"}
# Number of rows on which the parts of a model are tried.
TRIAL_ROWS = 8


class Autoencoder(Described, nn.Module):
    """A model with known ways to reconstruct rows, and to encode and decode them.

    Each part may be given as a function ``(model, rows) -> ...``, which must use the model in its first argument,
    because that may be a copy; as the path of a part of the model, "net.encoder"; or as the key or position of a field
    of the output of forward, "x_hat" or 1. "part:mean" and "key:mean" say which of the two a string is. Parts may
    return tensors, tuples, dicts, dataclasses or distributions. Distributions are replaced by their mean.

    Parts that are not given are found by evidence, on the first rows: decode(encode(rows)) must be reconstruct(rows),
    and what is not clear is refused when it is used. ``print(autoencoder)`` says what was understood.

    Args:
        model: The model. ``model.reconstruct`` or its forward reconstructs, ``model.encode`` or ``model.encoder``
            encodes, also with one more layer for the mean, ``model.decode`` or ``model.decoder`` decodes. A model
            without a forward of its own reconstructs by decode(encode(rows)). Models compiled or wrapped for several
            devices are unwrapped.
        reconstruct: -> (n, d).
        encode: -> (n, m).
        decode: A function or a path, latents (n, m) -> (n, d).
        latent_distribution: -> the pair (mean, log variance), each (n, m), or a normal distribution.
        preprocess: Preprocessing in front of the model, so that rows and values refer to the original columns: a pair
            (mean, scale) of d numbers each, for (rows - mean) / scale; a transformer of scikit-learn with such a map,
            or a Pipeline of them; or an nn.Module. Reconstructions stay in the units of the model: see ``target`` and
            ``in_table_units``.
        noise: Replacement of the Gaussian noise that the model draws: "auto" for its mean, if the model is random in
            eval mode, as most variational autoencoders are; "mean" for its mean, 0, in any case; an integer for one
            sample, see ``drawn``; a function ``shapae.models.noise.Noise``; None to let the model draw.

    Attributes:
        notes: Remarks on the model by an adapter, which are printed and recorded.

    Raises:
        ModelError: ``model`` is not an nn.Module, or another argument is not as described.

    >>> import torch
    >>> model = nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 3))
    >>> autoencoder = Autoencoder(model, encode=lambda m, rows: m[:2](rows))
    >>> autoencoder.reconstruct(torch.ones(5, 3)).shape, autoencoder.encode(torch.ones(5, 3)).shape
    (torch.Size([5, 3]), torch.Size([5, 2]))
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        reconstruct: Accessor | str | int | None = None,
        encode: Accessor | str | int | None = None,
        decode: Accessor | str | None = None,
        latent_distribution: Accessor | str | int | None = None,
        preprocess: Any = None,
        noise: str | int | Noise | None = "auto",
    ) -> None:
        super().__init__()
        if not isinstance(model, nn.Module):
            raise ModelError(f"the model must be a torch.nn.Module, got {written(model)}. {hint_at_module(model)}")
        self.model, self.noise = unwrap(model), _as_noise(noise)
        self._settles_noise = isinstance(noise, str) and noise == "auto"
        self.preprocess = preprocessing.as_module(preprocess, single_precision_template(self.model))
        parts = {"reconstruct": reconstruct, "encode": encode, "latent_distribution": latent_distribution}
        self._given = {name: as_accessor(name, part, self.model) for name, part in parts.items()}
        self._given["decode"] = as_accessor("decode", decode, self.model, keys=False)
        self._strings = {name: part for name, part in parts.items() if isinstance(part, str)}
        self._understanding: Understanding | None = None
        self.notes: dict[str, str] = {}

    def understand(self, rows: Tensor) -> Understanding:
        """Find the parts of the model on ``rows`` (n, d), again if that was done before.

        Raises:
            ModelError: A part was given by a string that is both a key and a path; or the weights hold no numbers.
        """
        check_weights(self.model)
        rows = rows[:TRIAL_ROWS].detach()
        with inference_state(self, rows):
            rows = rows.clone()
            runner = Runner(self.model, self.preprocess, None if self._settles_noise else self.noise)
            self._check_strings(runner, rows)
            understanding = understand(runner, self._given, rows, settle_noise=self._settles_noise)
        self._understanding = understanding  # not inside, where attributes come back as they were
        if self._settles_noise:
            self.noise = understanding.noise
        return understanding

    def understood(self, rows: Tensor) -> "Autoencoder":
        """Return the same autoencoder with its parts found on ``rows`` (n, d); the model itself is shared.

        Explainers hold such a twin, so that they do not change each other. The first of them is also printed by the
        autoencoder that it was made from.
        """
        twin = copy.copy(self)
        understanding = twin.understand(rows)
        if self._understanding is None:
            self._understanding, self.noise = understanding, twin.noise
        return twin

    def target(self, rows: Tensor) -> Tensor:
        """(n, d) -> (n, d), the preprocessed rows, with which the reconstruction is compared."""
        with ForwardMode(self.noise, len(rows)):
            target: Tensor = self.preprocess(rows)
        return target

    def in_table_units(self, rows: Tensor) -> Tensor | None:
        """(n, d) -> (n, d): undo the preprocessing, so that reconstructions have the units of the original columns.

        The rows themselves are returned if there is no preprocessing. A module that was given as ``preprocess`` is
        undone by its method ``inverse``; without such a method the result is None.

        Raises:
            ShapeError: The rows have another number of columns, or ``inverse`` does not return rows of their shape.
        """
        return preprocessing.invert(self.preprocess, rows)

    def reconstruct(self, rows: Tensor) -> Tensor:
        """(n, d) -> (n, d), in the units of the model.

        Raises:
            ModelError: The reconstruction of the model is not clear.
            ShapeError: The model returns no reconstruction of this shape.
        """
        output = self._run("reconstruct", rows)
        reconstruction = outputs.as_table(output)
        if reconstruction is None or reconstruction.shape != rows.shape:
            raise ShapeError(_wrong_shape("reconstruct", tuple(rows.shape), output))
        return reconstruction

    def encode(self, rows: Tensor) -> Tensor:
        """(n, d) -> (n, m), one column per latent unit; the means, if the model encodes to a distribution.

        Raises:
            ModelError: The latents of the model are not clear.
            ShapeError: The encoder returns no latents of this shape.
        """
        output = self._run("encode", rows)
        latents = outputs.as_table(output)
        if latents is None or len(latents) != len(rows):
            raise ShapeError(_wrong_shape("encode", (len(rows), "m"), output))
        return latents

    def decode(self, latents: Tensor) -> Tensor:
        """(n, m) -> (n, d), in the units of the model.

        Raises:
            ModelError: The decoder of the model is not clear.
            ShapeError: The decoder returns no rows of this shape.
        """
        parts = self._understanding.parts if self._understanding else {"decode": self._usual_decoder()}
        part = _or_raise(parts["decode"])
        output = Runner(self.model, self.preprocess, self.noise).decode(part, latents)
        rows = outputs.as_table(output)
        if rows is None or len(rows) != len(latents):
            raise ShapeError(_wrong_shape("decode", (len(latents), "d"), output))
        return rows

    def latent_distribution(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """(n, d) -> mean (n, m) and log variance (n, m) of the latents, for models that encode to a distribution.

        Raises:
            ModelError: The model is not known to encode to a distribution.
            ShapeError: The given part returns no such pair.
        """
        output = self._run("latent_distribution", rows)
        pair = outputs.distribution(output, len(rows))
        if pair is None or any(each.shape != pair[0].shape or len(each) != len(rows) for each in pair):
            raise ShapeError(
                f"the latent distribution must be a pair of mean and log variance, both ({len(rows)}, m), or a normal "
                f"distribution, got {outputs.describe_output(output)}. Say how to compute it: Autoencoder(model, "
                f"latent_distribution=lambda m, x: (m.mu(x), m.logvar(x)))."
            )
        return pair

    def forward(self, rows: Tensor) -> Tensor:
        """See ``reconstruct``."""
        return self.reconstruct(rows)

    def drawn(self, number: int) -> "Autoencoder":
        """Fix the noise to one sample, which is shared by all rows and all calls; the model itself is shared.

        Args:
            number: Number of the sample, from 0.
        """
        twin = copy.copy(self)
        twin.noise, twin._settles_noise = FixedNoise(number), False
        return twin

    @property
    def record(self) -> dict[str, str]:
        """The understanding of the model in words: its parts, whether they fit together, and its noise."""
        return self._understanding.record() | self.notes if self._understanding else {}

    def _description(self) -> list[str]:
        twin = copy.copy(self)
        try:
            record = twin.record or twin.understand(self._any_rows()).record(if_found=True)
        except Exception:  # the width of the rows can't be read off the model, or it fails on random rows
            record = {"parts": "not yet tried on rows"}
        first = f"{type(self).__name__} of {type(self.model).__name__}"
        lines = {"preprocess": preprocessing.describe(self.preprocess)} | record
        return [first, *(f"{key}: {text}" for key, text in lines.items() if text)]

    def _any_rows(self) -> Tensor:
        """Make rows between 0 and 1, as wide as the first layer of the model."""
        weights = next(each for each in self.model.parameters() if each.ndim == 2)
        rows = np.random.default_rng(0).random((TRIAL_ROWS, weights.shape[1]))
        return torch.as_tensor(rows).to(weights.device, row_dtypes(self, torch.empty(0))[0])

    def _run(self, name: str, rows: Tensor) -> Any:
        understanding = self._understanding or self.understand(rows)
        return Runner(self.model, self.preprocess, self.noise).run(_or_raise(understanding.parts[name]), rows)

    def _usual_decoder(self) -> Any:
        """Return the decoder by its name, before any rows were seen."""
        found = [self._given["decode"]] if self._given["decode"] else find_parts(self.model, DECODERS)
        return found[0] if found else refuse_decoder(self.model)

    def _check_strings(self, runner: Runner, rows: Tensor) -> None:
        """Check that no string which was given is both a part of the model and a key of the output of forward.

        Raises:
            ModelError: A string is both.
        """
        ambiguous = {name: text for name, text in self._strings.items() if self._given[name] == Part(text)}
        if not ambiguous or not has_forward(self.model):
            return
        fields = outputs.output_fields(Trials(runner, rows).output(FORWARD))
        for name, text in ambiguous.items():
            if text in fields:
                raise ModelError(
                    f"{name}={text!r} is both a key of the output of forward, "
                    f"{outputs.describe_output({text: fields[text]})}, and a part of {type(self.model).__name__}, "
                    f"which would be run on the rows. Write {name}='key:{text}' or {name}='part:{text}'."
                )


def arguments(autoencoder: Autoencoder) -> dict[str, Any]:
    """Return the arguments that make an equal autoencoder of its model: strings and numbers where these suffice."""
    noise: Any = "auto" if autoencoder._settles_noise else autoencoder.noise
    noise = "mean" if noise is zero_noise else noise.number if type(noise) is FixedNoise else noise
    parts = {name: as_argument(accessor) for name, accessor in autoencoder._given.items()}
    return parts | {"preprocess": autoencoder.preprocess, "noise": noise}


def _as_noise(noise: str | int | Noise | None) -> Noise | None:
    if isinstance(noise, str) and noise == "mean":
        return zero_noise
    if isinstance(noise, int) and Integer(0).accepts(noise):
        return FixedNoise(noise)
    if noise is None or (isinstance(noise, str) and noise == "auto"):
        return None
    if isinstance(noise, str | type) or not callable(noise):
        raise ModelError(
            f"noise must be 'auto', 'mean', the number of a draw, a function or None, got {written(noise)}."
        )
    return noise


def _or_raise(part: Any) -> Any:
    if isinstance(part, ModelError):
        raise type(part)(*part.args) from part.__cause__
    return part


def _wrong_shape(name: str, shape: tuple[Any, ...], output: Any) -> str:
    return (
        f"{name} must return a table of shape ({', '.join(map(str, shape))}), got {outputs.describe_output(output)}. "
        f"Say which part is the table: Autoencoder(model, {name}=lambda m, x: {WHOLES[name]}(x)[0])."
    )
