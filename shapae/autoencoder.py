"""The user's model behind two names: ``reconstruct`` and ``encode``."""

import copy
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from shapae.errors import ModelError, ShapeError

Part = Callable[[Any, Tensor], Any]
M = TypeVar("M", bound=nn.Module)


class Autoencoder(nn.Module):
    """A model of which shapae knows how it reconstructs rows and how it encodes them.

    Args:
        model: Its forward gives the reconstruction; ``model.encode(rows)`` or ``model.encoder(rows)`` gives the
            latents. A model without a forward of its own is taken as decode(encode(rows)).
        reconstruct: ``(model, rows) -> (n, d)``, for a model that does it in another way.
        encode: ``(model, rows) -> (n, m)``, for a model that does it in another way. Both must use the model that
            they are handed, which may be a copy.

    Raises:
        ModelError: ``model`` is not an nn.Module, or ``reconstruct`` or ``encode`` not a function.

    >>> model = nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 3))
    >>> autoencoder = Autoencoder(model, encode=lambda m, rows: m[:2](rows))
    >>> autoencoder.reconstruct(torch.zeros(5, 3)).shape, autoencoder.encode(torch.zeros(5, 3)).shape
    (torch.Size([5, 3]), torch.Size([5, 2]))
    """

    def __init__(self, model: nn.Module, *, reconstruct: Part | None = None, encode: Part | None = None) -> None:
        super().__init__()
        if not isinstance(model, nn.Module):
            raise ModelError(f"the model must be a torch.nn.Module, got {type(model).__name__}.")
        for name, part in {"reconstruct": reconstruct, "encode": encode}.items():
            if part is not None and (isinstance(part, nn.Module) or not callable(part)):
                raise ModelError(
                    f"{name} must be a function of the model and the rows, got {type(part).__name__}; "
                    f"write {name}=lambda m, x: m.part(x), with the part that does it."
                )
        self.model = model
        self._reconstruct = reconstruct or _find_reconstruct(model)
        self._encode = encode or _find(model, "encode", "encoder")

    def reconstruct(self, rows: Tensor) -> Tensor:
        """(n, d) -> (n, d).

        Raises:
            ShapeError: The model returns something else.
        """
        got = self._reconstruct(self.model, rows)
        if not isinstance(got, Tensor) or got.shape != rows.shape:
            raise ShapeError(
                f"the model must return a reconstruction of shape {tuple(rows.shape)}, got {_shape(got)}. "
                f"If it returns more than that, say which part is the reconstruction: "
                f"Autoencoder(model, reconstruct=lambda m, x: m(x)[0])."
            )
        return got

    def decode(self, latents: Tensor) -> Tensor:
        """(n, m) -> (n, d)."""
        return self.model.decoder(latents)

    def latent_distribution(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """(n, d) -> mean (n, m) and log-variance (n, m)."""
        return self.model.encoder(rows)

    def target(self, rows: Tensor) -> Tensor:
        """(n, d) -> (n, d): what the reconstruction is compared with."""
        return rows

    def encode(self, rows: Tensor) -> Tensor:
        """(n, d) -> (n, m), one column for each latent unit.

        Raises:
            ModelError: It is not known how the model encodes.
            ShapeError: The encoder returns something else.
        """
        if self._encode is None:
            raise ModelError(
                f"{type(self.model).__name__} has neither `encode` nor `encoder`, so its latents can't be found. "
                f"Say how it encodes: Autoencoder(model, encode=lambda m, x: m.layers[:4](x))."
            )
        got = self._encode(self.model, rows)
        if not isinstance(got, Tensor) or got.ndim != 2 or len(got) != len(rows):
            raise ShapeError(
                f"the encoder must return latents of shape ({len(rows)}, m), got {_shape(got)}. "
                f"If it returns more than that, say which part are the latents: "
                f"Autoencoder(model, encode=lambda m, x: m.encoder(x)[0])."
            )
        return got

    def forward(self, rows: Tensor) -> Tensor:
        """See ``reconstruct``."""
        return self.reconstruct(rows)


def as_autoencoder(model: nn.Module | Autoencoder) -> Autoencoder:
    """``model`` itself if it is an Autoencoder already."""
    return model if isinstance(model, Autoencoder) else Autoencoder(model)


def example(module: nn.Module, rows: Tensor) -> Tensor:
    """An empty tensor of the dtype and device that ``module`` computes with.

    Args:
        module: Its floating point parameters and buffers tell.
        rows: They tell where it has none.

    Returns:
        (0,).

    Raises:
        ModelError: The dtype is neither float32 nor float64.
    """
    held = (each for each in [*module.parameters(), *module.buffers(), rows] if each.is_floating_point())
    found = next(held, torch.empty(0)).detach().new_empty(0)
    if found.dtype not in (torch.float32, torch.float64):
        raise ModelError(f"the model must compute in float32 or float64, got {found.dtype}; use model.float().")
    return found


def full_precision(module: M) -> M:
    """``module`` itself, or a copy in float32 if it computes in bfloat16 or float16."""
    halves = (torch.bfloat16, torch.float16)
    held = any(each.dtype in halves for each in [*module.parameters(), *module.buffers()])
    return copied(module).float() if held else module


def copied(module: M) -> M:
    """A deep copy, also where ``module`` keeps results of its last forward pass, which torch refuses to copy."""
    kept = [each for part in module.modules() for each in vars(part).values() if isinstance(each, Tensor)]
    return copy.deepcopy(module, {id(each): each.detach().clone() for each in kept if not each.is_leaf})


def _find_reconstruct(model: nn.Module) -> Part:
    encode, decode = _find(model, "encode", "encoder"), _find(model, "decode", "decoder")
    has_forward = type(model).forward is not nn.Module.forward
    if has_forward or encode is None or decode is None:
        return _call
    return _Chain(encode, decode)


def _find(model: nn.Module, *names: str) -> Part | None:
    found = [name for name in names if callable(getattr(model, name, None))]
    return _Attribute(found[0]) if found else None


# Parts are small callable objects, not closures: a copy or a worker process gets them without the user's model.


def _call(model: nn.Module, rows: Tensor) -> Any:
    return model(rows)


class _Attribute:
    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, model: nn.Module, rows: Tensor) -> Any:
        return getattr(model, self.name)(rows)


class _Chain:
    def __init__(self, first: Part, second: Part) -> None:
        self.first, self.second = first, second

    def __call__(self, model: nn.Module, rows: Tensor) -> Any:
        return self.second(model, self.first(model, rows))


def _shape(got: Any) -> str:
    return f"shape {tuple(got.shape)}" if isinstance(got, Tensor) else type(got).__name__
