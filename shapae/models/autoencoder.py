"""The user's model behind a few methods: ``reconstruct``, ``encode``, ``decode``, ``latent_distribution``."""

import copy
import warnings
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from shapae.errors import ModelError, ShapeError
from shapae.models import outputs
from shapae.models import preprocess as preprocessing
from shapae.models.accessors import Accessor, ModulePath, OtherOutputs, as_accessor, find_paths, has_forward
from shapae.models.noise import FixedNoise, ForwardMode, Noise, zero_noise
from shapae.models.unwrapping import single_precision_template, unwrap


class Autoencoder(nn.Module):
    """A model with known ways to reconstruct rows, and to encode and decode them.

    Each part may be given as a function ``(model, rows) -> ...``, which must use the model in its first argument,
    because that may be a copy; as the path of a part of the model, "net.encoder"; or as the key or position of a field
    of the output of forward, "x_hat" or 1. A string is a path if the model has such an attribute, and otherwise a key.
    Parts may return tensors, tuples, dicts, dataclasses or distributions. Distributions are replaced by their mean.

    Args:
        model: The model. Parts that are not given are found: ``model.reconstruct`` or its forward reconstructs,
            ``model.encode`` or ``model.encoder`` encodes, ``model.decode`` or ``model.decoder`` decodes. A model
            without a forward of its own reconstructs by decode(encode(rows)). Models compiled or wrapped for several
            devices are unwrapped.
        reconstruct: -> (n, d).
        encode: -> (n, m).
        decode: A function or a path, latents (n, m) -> (n, d).
        latent_distribution: -> the pair (mean, log variance), each (n, m), or a normal distribution.
        preprocess: Preprocessing in front of the model, so that rows and values refer to the original columns: a pair
            (mean, scale) of d numbers each, for (rows - mean) / scale; a transformer of scikit-learn with such a map;
            or an nn.Module. Reconstructions stay in the units of the model: see ``target``.
        noise: Replacement of the Gaussian noise that the model draws: "mean" for its mean, 0; an integer for one
            sample, see ``drawn``; a function ``shapae.models.noise.Noise``; None to let the model draw.

    Raises:
        ModelError: ``model`` is not an nn.Module, or another argument is not as described.

    >>> import torch
    >>> model = nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 3))
    >>> autoencoder = Autoencoder(model, encode=lambda m, rows: m[:2](rows))
    >>> autoencoder.reconstruct(torch.zeros(5, 3)).shape, autoencoder.encode(torch.zeros(5, 3)).shape
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
        noise: str | int | Noise | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(model, nn.Module):
            call = f" Did you mean {model.__name__}()?" if isinstance(model, type) else ""
            raise ModelError(f"the model must be a torch.nn.Module, got {type(model).__name__}.{call}")
        self.model, self.noise = unwrap(model), _as_noise(noise)
        self.preprocess = preprocessing.as_module(preprocess, single_precision_template(self.model))
        parts = {"reconstruct": reconstruct, "encode": encode, "latent_distribution": latent_distribution}
        self._accessors = {name: as_accessor(name, part, self.model) for name, part in parts.items()}
        self._accessors["decode"] = as_accessor("decode", decode, self.model, keys=False)
        for name, paths in USUAL_NAMES.items():
            self._accessors[name] = self._accessors[name] or next(iter(find_paths(self.model, *paths)), None)
        if self._accessors["reconstruct"] is None and has_forward(self.model):
            self._accessors["reconstruct"] = ModulePath("forward")

    def target(self, rows: Tensor) -> Tensor:
        """(n, d) -> (n, d), the preprocessed rows, with which the reconstruction is compared."""
        with ForwardMode(self.noise, len(rows)):
            target: Tensor = self.preprocess(rows)
        return target

    def reconstruct(self, rows: Tensor) -> Tensor:
        """(n, d) -> (n, d), in the units of the model.

        Raises:
            ShapeError: The model returns no reconstruction of this shape.
        """
        accessor = self._accessors["reconstruct"]
        if accessor is None:
            return self.decode(self.encode(rows))
        output = self._run(accessor, rows)
        reconstruction = outputs.reconstruction(output, (rows.shape[0], rows.shape[1]))
        if reconstruction is None or reconstruction.shape != rows.shape:
            raise ShapeError(
                f"the model must return a reconstruction of shape {tuple(rows.shape)}, got "
                f"{outputs.describe_output(output)}. "
                f"Say which part is the reconstruction: Autoencoder(model, reconstruct=lambda m, x: m(x)[0]), or "
                f"reconstruct={_example_key(output)} for the output of forward under that key."
            )
        return reconstruction

    def encode(self, rows: Tensor) -> Tensor:
        """(n, d) -> (n, m), one column per latent unit; the means, if the model encodes to a distribution.

        Raises:
            ModelError: The encoder of the model is not known.
            ShapeError: The encoder returns no latents of this shape.
        """
        accessor = self._accessors["encode"] or self._find("encode", rows, outputs.distribution, outputs.latents)
        output = self._run(accessor, rows)
        latents = outputs.latents(output, len(rows))
        if latents is None or latents.ndim != 2 or len(latents) != len(rows):
            raise ShapeError(
                f"the encoder must return latents of shape ({len(rows)}, m), got {outputs.describe_output(output)}. "
                f"Say which part is the latents: Autoencoder(model, encode=lambda m, x: m.encoder(x)[0])."
            )
        return latents

    def decode(self, latents: Tensor) -> Tensor:
        """(n, m) -> (n, d), in the units of the model.

        Raises:
            ModelError: The decoder of the model is not known.
            ShapeError: The decoder returns no rows of this shape.
        """
        accessor = self._accessors["decode"]
        if accessor is None:
            raise ModelError(
                f"{type(self.model).__name__} has neither `decode` nor `decoder`. Say how it decodes: "
                f"Autoencoder(model, decode=lambda m, z: m.layers[4:](z))."
            )
        with ForwardMode(self.noise, len(latents)):
            output = accessor(self.model, latents)
        rows = outputs.reconstruction(output)
        if rows is None or rows.ndim != 2 or len(rows) != len(latents):
            raise ShapeError(
                f"the decoder must return rows of shape ({len(latents)}, d), got {outputs.describe_output(output)}. "
                f"Say which part is the rows: Autoencoder(model, decode=lambda m, z: m.decoder(z)[0])."
            )
        return rows

    def latent_distribution(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """(n, d) -> mean (n, m) and log variance (n, m) of the latents, for models that encode to a distribution.

        Raises:
            ModelError: The latent distribution of the model is not known.
            ShapeError: The given part returns no such pair.
        """
        accessor = self._accessors["latent_distribution"]
        output = self._run(accessor or self._find("latent_distribution", rows, outputs.distribution), rows)
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
        twin.noise = FixedNoise(number)
        return twin

    def _run(self, accessor: Accessor, rows: Tensor) -> Any:
        with ForwardMode(self.noise, len(rows)):
            return accessor(
                self.model, self.preprocess(rows.clone())
            )  # a clone, for models that write into their input

    def _find(self, name: str, rows: Tensor, *readers: Callable[[Any, int], Any]) -> Accessor:
        """Find the accessor whose output for ``rows`` can be read, by the first of ``readers`` if possible.

        The accessor is stored, so that it is searched for only once.

        Raises:
            ModelError: No output can be read.
        """
        encode = self._accessors["encode"]
        encoders: list[Accessor] = [encode] if encode else find_paths(self.model, "encoder")
        candidates: list[Accessor] = [*encoders, OtherOutputs()] if has_forward(self.model) else encoders
        results = [(accessor, self._output_or_error(accessor, rows)) for accessor in candidates]
        for read in readers:
            for accessor, output in results:
                if read(output, len(rows)) is not None:
                    self._accessors[name] = accessor
                    return accessor
        reasons = [] if encoders else ["it has neither `encode` nor `encoder`"]
        reasons += [f"{accessor} gives {outputs.describe_output(output)}" for accessor, output in results]
        noun, example = EXAMPLES[name]
        raise ModelError(
            f"the {noun} of {type(self.model).__name__} can't be found: {', '.join(reasons)}. Say how to compute it: "
            f"Autoencoder(model, {name}={example})."
        )

    def _output_or_error(self, accessor: Accessor, rows: Tensor) -> Any:
        try:
            with warnings.catch_warnings(action="ignore"):
                return self._run(accessor, rows)
        except Exception as error:  # the part takes another input than rows
            return error


# Usual names of methods and modules of a model, in the order in which they are tried.
USUAL_NAMES = {"reconstruct": ["reconstruct"], "encode": ["encode"], "decode": ["decode", "decoder"]}
# Names of the parts that are searched for in outputs, and examples of their code, for the error message.
EXAMPLES = {
    "encode": ("latent space", "lambda m, x: m.layers[:4](x)"),
    "latent_distribution": ("latent distribution", "lambda m, x: (m.mu(x), m.logvar(x))"),
}


def as_autoencoder(model: nn.Module | Autoencoder) -> Autoencoder:
    """Wrap ``model`` unless it is an Autoencoder already."""
    return model if isinstance(model, Autoencoder) else Autoencoder(model)


def _as_noise(noise: str | int | Noise | None) -> Noise | None:
    if noise == "mean":
        return zero_noise
    if isinstance(noise, int):
        return FixedNoise(noise)
    if isinstance(noise, str) or not (noise is None or callable(noise)):
        raise ModelError(f"noise must be 'mean', the number of a draw, a function or None, got {noise!r}.")
    return noise


def _example_key(output: Any) -> str:
    return repr(next(iter(outputs.output_fields(output)), 0))
