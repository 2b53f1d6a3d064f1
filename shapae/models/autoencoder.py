"""The user's model behind a few names: ``reconstruct``, ``encode``, ``decode``, ``latent_distribution``."""

import copy
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

from torch import Tensor, nn

from shapae.errors import ModelError, ShapeError
from shapae.models import outputs as returned
from shapae.models import preprocess as preprocessing
from shapae.models.accessors import Accessor, ModulePath, OtherOutputs, as_accessor, find_paths, has_forward
from shapae.models.noise import FixedNoise, ForwardMode, Noise, zero_noise
from shapae.models.unwrapping import single_precision_template, unwrap

M = TypeVar("M", bound=nn.Module)


class Autoencoder(nn.Module):
    """A model of which shapae knows how it reconstructs rows, and how it encodes and decodes them.

    Each part may be given as a function ``(model, rows) -> ...``, which must use the model that it is handed, because
    that may be a copy; as the path of a part of the model, "net.encoder"; or as the key or position of what the
    model's forward returns, "x_hat" or 1. A string is a path if the model has such an attribute, and otherwise a key.
    Parts may return tensors, tuples, dicts, dataclasses or distributions, whose mean is taken.

    Args:
        model: What is not given is found: ``model.reconstruct`` or its forward reconstructs, ``model.encode`` or
            ``model.encoder`` encodes, ``model.decode`` or ``model.decoder`` decodes. A model without a forward of its
            own is taken as decode(encode(rows)). Models compiled or wrapped for several devices are taken out.
        reconstruct: -> (n, d).
        encode: -> (n, m).
        decode: A function or a path, latents (n, m) -> (n, d).
        latent_distribution: -> the pair (mean, log variance), each (n, m), or a normal distribution.
        preprocess: In front of the model, so that rows and values refer to the columns as they are: a pair (mean,
            scale) of d numbers each, for (rows - mean) / scale; a transformer of scikit-learn that does such a thing;
            or an nn.Module. Reconstructions stay in the units of the model: see ``target``.
        noise: What stands for the Gaussian numbers that the model draws: "mean" for their mean, 0; an integer for
            one draw, see ``drawn``; a function ``shapae.models.noise.Noise``; None to let it draw.

    Raises:
        ModelError: ``model`` is not an nn.Module, or something else not as described.

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
            raise ModelError(f"the model must be a torch.nn.Module, got {type(model).__name__}.")
        self.model, self.noise = unwrap(model), _as_noise(noise)
        self.preprocess = preprocessing.as_module(preprocess, single_precision_template(self.model))
        given = {"reconstruct": reconstruct, "encode": encode, "latent_distribution": latent_distribution}
        self._accessors = {name: as_accessor(name, way, self.model) for name, way in given.items()}
        self._accessors["decode"] = as_accessor("decode", decode, self.model, keys=False)
        for name, found in USUAL_NAMES.items():
            self._accessors[name] = self._accessors[name] or next(iter(find_paths(self.model, *found)), None)
        if self._accessors["reconstruct"] is None and has_forward(self.model):
            self._accessors["reconstruct"] = ModulePath("forward")

    def target(self, rows: Tensor) -> Tensor:
        """(n, d) -> (n, d), what the reconstruction is compared with: ``rows``, as the model is handed them."""
        with ForwardMode(self.noise, len(rows)):
            target: Tensor = self.preprocess(rows)
        return target

    def reconstruct(self, rows: Tensor) -> Tensor:
        """(n, d) -> (n, d), in the units of the model.

        Raises:
            ShapeError: The model returns something else.
        """
        way = self._accessors["reconstruct"]
        if way is None:
            return self.decode(self.encode(rows))
        output = self._run(way, rows)
        got = returned.reconstruction(output, (rows.shape[0], rows.shape[1]))
        if got is None or got.shape != rows.shape:
            raise ShapeError(
                f"the model must return a reconstruction of shape {tuple(rows.shape)}, got "
                f"{returned.describe_output(output)}. "
                f"Say which part is the reconstruction: Autoencoder(model, reconstruct=lambda m, x: m(x)[0]), or "
                f"reconstruct={_example_key(output)} for what forward returns under that key."
            )
        return got

    def encode(self, rows: Tensor) -> Tensor:
        """(n, d) -> (n, m), one column for each latent unit; their means, where the model encodes to a distribution.

        Raises:
            ModelError: It is not known how the model encodes.
            ShapeError: The encoder returns something else.
        """
        way = self._accessors["encode"] or self._find("encode", rows, returned.distribution, returned.latents)
        output = self._run(way, rows)
        got = returned.latents(output, len(rows))
        if got is None or got.ndim != 2 or len(got) != len(rows):
            raise ShapeError(
                f"the encoder must return latents of shape ({len(rows)}, m), got {returned.describe_output(output)}. "
                f"Say which part are the latents: Autoencoder(model, encode=lambda m, x: m.encoder(x)[0])."
            )
        return got

    def decode(self, latents: Tensor) -> Tensor:
        """(n, m) -> (n, d), in the units of the model.

        Raises:
            ModelError: It is not known how the model decodes.
            ShapeError: The decoder returns something else.
        """
        way = self._accessors["decode"]
        if way is None:
            raise ModelError(
                f"{type(self.model).__name__} has neither `decode` nor `decoder`. Say how it decodes: "
                f"Autoencoder(model, decode=lambda m, z: m.layers[4:](z))."
            )
        with ForwardMode(self.noise, len(latents)):
            output = way(self.model, latents)
        got = returned.reconstruction(output)
        if got is None or got.ndim != 2 or len(got) != len(latents):
            raise ShapeError(
                f"the decoder must return rows of shape ({len(latents)}, d), got "
                f"{returned.describe_output(output)}. Say which "
                f"part they are: Autoencoder(model, decode=lambda m, z: m.decoder(z)[0])."
            )
        return got

    def latent_distribution(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """(n, d) -> mean (n, m) and log variance (n, m) of the latents, for models that encode to such a distribution.

        Raises:
            ModelError: It is not known how the model does that.
            ShapeError: The part that was given returns something else.
        """
        way = self._accessors["latent_distribution"] or self._find("latent_distribution", rows, returned.distribution)
        output = self._run(way, rows)
        pair = returned.distribution(output, len(rows))
        if pair is None or any(each.shape != pair[0].shape or len(each) != len(rows) for each in pair):
            raise ShapeError(
                f"the latent distribution must be a pair of mean and log variance, both ({len(rows)}, m), or a normal "
                f"distribution, got {returned.describe_output(output)}; latent_distribution=lambda m, x: (m.mu(x), "
                f"m.logvar(x))."
            )
        return pair

    def forward(self, rows: Tensor) -> Tensor:
        """See ``reconstruct``."""
        return self.reconstruct(rows)

    def drawn(self, number: int) -> "Autoencoder":
        """The same, of the same model, with one draw of the noise: the same for all rows, and each time.

        Args:
            number: Which draw, from 0.
        """
        twin = copy.copy(self)
        twin.noise = FixedNoise(number)
        return twin

    def _run(self, way: Accessor, rows: Tensor) -> Any:
        with ForwardMode(self.noise, len(rows)):
            return way(self.model, self.preprocess(rows.clone()))  # a clone, for models that write into their input

    def _find(self, name: str, rows: Tensor, *reads: Callable[[Any, int], Any]) -> Accessor:
        """The part that returns for ``rows`` what one of ``reads``, the first rather than the second, can read.

        It is kept, so that it is looked for only once.

        Raises:
            ModelError: There is none.
        """
        encode = self._accessors["encode"]
        encoders: list[Accessor] = [encode] if encode else find_paths(self.model, "encoder")
        ways: list[Accessor] = [*encoders, OtherOutputs()] if has_forward(self.model) else encoders
        tried = [(way, self._try(way, rows)) for way in ways]
        for read in reads:
            for way, output in tried:
                if read(output, len(rows)) is not None:
                    self._accessors[name] = way
                    return way
        gave = [f"{way} gives {returned.describe_output(output)}" for way, output in tried]
        missing = [] if encoders else ["it has neither `encode` nor `encoder`"]
        what, mended = REMEDIES[name]
        raise ModelError(
            f"the {what} of {type(self.model).__name__} can't be found: {', '.join([*missing, *gave])}. Say how to "
            f"compute it: Autoencoder(model, {name}={mended})."
        )

    def _try(self, way: Accessor, rows: Tensor) -> Any:
        try:
            with warnings.catch_warnings(action="ignore"):
                return self._run(way, rows)
        except Exception as error:  # it takes something else than rows
            return error


# What is looked for among the methods and parts of a model.
USUAL_NAMES = {"reconstruct": ["reconstruct"], "encode": ["encode"], "decode": ["decode", "decoder"]}
# What can't be found, and a line that gives it.
REMEDIES = {
    "encode": ("latent space", "lambda m, x: m.layers[:4](x)"),
    "latent_distribution": ("latent distribution", "lambda m, x: (m.mu(x), m.logvar(x))"),
}


def as_autoencoder(model: nn.Module | Autoencoder) -> Autoencoder:
    """``model`` itself if it is an Autoencoder already."""
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
    return repr(next(iter(returned.output_fields(output)), 0))
