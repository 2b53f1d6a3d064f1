"""Outputs of users' models: tensors, tuples, dicts, dataclasses and distributions, and the tensors within them."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

OutputFields = dict[str | int, Any]

# Usual names of reconstructions, latent means and latents, in the order in which they are tried.
RECONSTRUCTIONS = (
    *("recon_x", "x_recon", "recon", "recons", "reconstruction", "reconstructions", "reconstructed", "x_reconstructed"),
    *("x_hat", "xhat", "x_rec", "rec", "x_tilde", "x_prime", "decoded", "px"),
)
MEANS = ("mu", "mean", "z_mu", "mu_z", "z_mean", "mean_z", "qz_m", "embedding", "loc")
LATENTS = (*MEANS, "qz", "z", "latent", "latents", "latent_code", "code", "codes", "encoded", "encoding", "embeddings")
# Usual names of variances, and the conversion of each to a log variance.
VARIANCES: dict[str, Callable[[Tensor], Tensor]] = {
    **dict.fromkeys(("logvar", "log_var", "log_variance", "log_covariance", "z_logvar", "logvar_z"), torch.clone),
    **dict.fromkeys(("z_log_var", "log_var_z", "logvariance", "log_sigma2", "log_sigma_sq"), torch.clone),
    **dict.fromkeys(("var", "variance", "qz_v"), torch.log),
    **dict.fromkeys(("std", "sigma", "scale", "stddev"), lambda std: 2 * torch.log(std)),
}


def output_fields(output: Any) -> OutputFields:
    """Return the fields of ``output`` by name, or by position for a tuple or list; a tensor has no fields."""
    if isinstance(output, Mapping):
        return dict(output)
    if dataclasses.is_dataclass(output):
        return {field.name: getattr(output, field.name) for field in dataclasses.fields(output)}
    if isinstance(output, tuple) and hasattr(output, "_asdict"):
        return dict(output._asdict())
    fields: OutputFields = dict(enumerate(output)) if isinstance(output, (tuple, list)) else {}
    return fields


def reconstruction(output: Any, shape: tuple[int, int] | None = None) -> Tensor | None:
    """Find the reconstruction in ``output``, averaged over an axis of draws; None if it is ambiguous.

    Args:
        output: A tensor or distribution; otherwise the field with a usual name; otherwise the only field of the right
            shape, or the first such field of a tuple.
        shape: (n, d), shape of the reconstructed rows; None if it is unknown.
    """
    key = _reconstruction_key(output, shape)
    tensor = as_tensor(output if key is None else output_fields(output)[key])
    return tensor.mean(dim=1) if tensor is not None and tensor.ndim == 3 and _has_shape(tensor, shape) else tensor


def without_reconstruction(output: Any, shape: tuple[int, int]) -> OutputFields:
    """Return the fields of ``output`` except the reconstruction of rows of this shape."""
    reconstruction_key = _reconstruction_key(output, shape)
    return {key: value for key, value in output_fields(output).items() if key != reconstruction_key}


def latents(output: Any, n: int) -> Tensor | None:
    """Find the latents in ``output``, or their mean if they are a distribution; None if they are ambiguous.

    Args:
        output: A tensor or distribution; otherwise the field with a usual name; otherwise the only field with n rows,
            or the first such field of a tuple.
        n: Number of encoded rows.
    """
    tensor = as_tensor(output)
    if tensor is None:
        fields = output_fields(output)
        candidates = {key: value for key, value in fields.items() if _has_rows(as_tensor(value), n)}
        key = _obvious_key(fields, LATENTS, candidates)
        tensor = None if key is None else as_tensor(fields[key])
    return tensor.squeeze(1) if tensor is not None and tensor.ndim == 3 else tensor


def distribution(output: Any, n: int) -> tuple[Tensor, Tensor] | None:
    """Find mean and log variance of the latents in ``output``; None if they are ambiguous.

    Args:
        output: A normal distribution; a pair (mean, log variance); or fields with usual names.
        n: Number of encoded rows.
    """
    fields = output_fields(output)
    normals = [each for each in (output, *fields.values()) if _is_normal(each)]
    if len(normals) == 1:
        return normals[0].mean, normals[0].variance.log()
    means, variances = [name for name in MEANS if name in fields], [name for name in VARIANCES if name in fields]
    if means and variances:
        return fields[means[0]], VARIANCES[variances[0]](fields[variances[0]])
    pair = [*fields.values()]
    if len(pair) != 2 or not _has_positions(fields) or not all(_has_rows(each, n) for each in pair):
        return None
    return pair[0], pair[1]


def as_tensor(value: Any) -> Tensor | None:
    """Return ``value`` if it is a tensor, the mean if it is a distribution, and None otherwise."""
    mean = value.mean if isinstance(value, Distribution) else value
    return mean if isinstance(mean, Tensor) else None


def describe_output(output: Any) -> str:
    """Describe ``output`` for an error message.

    >>> describe_output({"loss": torch.tensor(0.5), "code": torch.zeros(4, 2)})
    "dict with 'loss' of shape () and 'code' of shape (4, 2)"
    """
    if isinstance(output, Tensor):
        return f"shape {tuple(output.shape)}"
    fields = [f"{key!r} {_describe_value(value)}" for key, value in output_fields(output).items()]
    if fields:
        return f"{type(output).__name__} with {', '.join(fields[:-1])}{' and ' * (len(fields) > 1)}{fields[-1]}"
    if isinstance(output, Exception):
        return repr(output)
    return "nothing" if isinstance(output, dict) else type(output).__name__


def _describe_value(value: Any) -> str:
    return f"of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"({type(value).__name__})"


def _reconstruction_key(output: Any, shape: tuple[int, int] | None) -> str | int | None:
    fields = output_fields(output)
    candidates = {key: value for key, value in fields.items() if _has_shape(as_tensor(value), shape)}
    return _obvious_key(fields, RECONSTRUCTIONS, candidates)


def _obvious_key(fields: OutputFields, names: tuple[str, ...], candidates: OutputFields) -> str | int | None:
    """Find the first of ``names`` in ``fields``; otherwise the only candidate, or the first of a tuple."""
    keys: list[str | int] = [name for name in names if name in fields] or list(candidates)
    return keys[0] if keys and (keys[0] in names or len(keys) == 1 or _has_positions(fields)) else None


def _has_positions(fields: OutputFields) -> bool:
    return all(isinstance(key, int) for key in fields)


def _has_shape(tensor: Tensor | None, shape: tuple[int, int] | None) -> bool:
    """Return whether ``tensor`` has the shape (n, d), or (n, draws, d)."""
    if tensor is None or tensor.ndim not in (2, 3) or not tensor.is_floating_point():
        return False
    if shape is None:
        return tensor.ndim == 2 or tensor.shape[1] == 1
    return (tensor.shape[0], tensor.shape[-1]) == tuple(shape)


def _has_rows(value: Any, n: int) -> bool:
    return isinstance(value, Tensor) and value.ndim in (2, 3) and len(value) == n and value.is_floating_point()


def _is_normal(value: Any) -> bool:
    return isinstance(value.base_dist if isinstance(value, Independent) else value, Normal)
