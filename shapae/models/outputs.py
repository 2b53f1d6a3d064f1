"""What users' models return: tensors, tuples, dicts, dataclasses and distributions; and what is what in them."""

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

OutputFields = dict[str | int, Any]

RECONSTRUCTIONS = (
    *("recon_x", "x_recon", "recon", "recons", "reconstruction", "reconstructions", "reconstructed", "x_reconstructed"),
    *("x_hat", "xhat", "x_rec", "rec", "x_tilde", "x_prime", "decoded", "px"),
)
MEANS = ("mu", "mean", "z_mu", "mu_z", "z_mean", "mean_z", "qz_m", "embedding", "loc")
LATENTS = (*MEANS, "qz", "z", "latent", "latents", "latent_code", "code", "codes", "encoded", "encoding", "embeddings")
# How each becomes a log variance.
VARIANCES: dict[str, Callable[[Tensor], Tensor]] = {
    **dict.fromkeys(("logvar", "log_var", "log_variance", "log_covariance", "z_logvar", "logvar_z"), torch.clone),
    **dict.fromkeys(("z_log_var", "log_var_z", "logvariance", "log_sigma2", "log_sigma_sq"), torch.clone),
    **dict.fromkeys(("var", "variance", "qz_v"), torch.log),
    **dict.fromkeys(("std", "sigma", "scale", "stddev"), lambda std: 2 * torch.log(std)),
}


def output_fields(output: Any) -> OutputFields:
    """What ``output`` is made of: by name, or by position for a tuple or list; nothing for a tensor."""
    if isinstance(output, Mapping):
        return dict(output)
    if is_dataclass(output):
        return {field.name: getattr(output, field.name) for field in fields(output)}
    if isinstance(output, tuple) and hasattr(output, "_asdict"):
        return dict(output._asdict())
    parts: OutputFields = dict(enumerate(output)) if isinstance(output, (tuple, list)) else {}
    return parts


def reconstruction(output: Any, shape: tuple[int, int] | None = None) -> Tensor | None:
    """The reconstruction in ``output``, without an axis of draws; None where it is not obvious.

    Args:
        output: A tensor or distribution; else what has an obvious name, or else the first tensor of a tuple, or the
            only one, that is of the right shape.
        shape: (n, d), of the rows that are reconstructed; None where they are not known.
    """
    place = _reconstruction_key(output, shape)
    got = tensor(output if place is None else output_fields(output)[place])
    return got.mean(dim=1) if got is not None and got.ndim == 3 and _has_shape(got, shape) else got


def without_reconstruction(output: Any, shape: tuple[int, int]) -> OutputFields:
    """What ``output`` is made of beside the reconstruction of rows of this shape."""
    place = _reconstruction_key(output, shape)
    return {key: value for key, value in output_fields(output).items() if key != place}


def latents(output: Any, n: int) -> Tensor | None:
    """The latents in ``output``, or their mean where they are random; None where they are not obvious.

    Args:
        output: A tensor or distribution; else what has an obvious name, or else the first tensor of a tuple, or the
            only one, that has n rows.
        n: Number of rows that are encoded.
    """
    got = tensor(output)
    if got is None:
        found = output_fields(output)
        key = _obvious_key(found, LATENTS, {key: value for key, value in found.items() if _is_table(tensor(value), n)})
        got = None if key is None else tensor(found[key])
    return got.squeeze(1) if got is not None and got.ndim == 3 else got


def distribution(output: Any, n: int) -> tuple[Tensor, Tensor] | None:
    """Mean and log variance of the latents in ``output``; None where they are not obvious.

    Args:
        output: A normal distribution; a pair (mean, log variance); or what has obvious names.
        n: Number of rows that are encoded.
    """
    found = output_fields(output)
    normals = [each for each in (output, *found.values()) if _is_normal(each)]
    if len(normals) == 1:
        return normals[0].mean, normals[0].variance.log()
    means, spreads = [name for name in MEANS if name in found], [name for name in VARIANCES if name in found]
    if means and spreads:
        return found[means[0]], VARIANCES[spreads[0]](found[spreads[0]])
    pair = [*found.values()]
    if len(pair) != 2 or not _has_positions(found) or not all(_is_table(each, n) for each in pair):
        return None
    return pair[0], pair[1]


def tensor(value: Any) -> Tensor | None:
    """``value``, or the mean of a distribution; None if it is neither."""
    mean = value.mean if isinstance(value, Distribution) else value
    return mean if isinstance(mean, Tensor) else None


def describe_output(output: Any) -> str:
    """What ``output`` is, for a message.

    >>> describe_output({"loss": torch.tensor(0.5), "code": torch.zeros(4, 2)})
    "dict with 'loss' of shape () and 'code' of shape (4, 2)"
    """
    if isinstance(output, Tensor):
        return f"shape {tuple(output.shape)}"
    if isinstance(output, (Exception, dict)) and not output_fields(output):
        return repr(output) if isinstance(output, Exception) else "nothing"
    kind, parts = (
        type(output).__name__,
        [f"{key!r} {_describe_value(value)}" for key, value in output_fields(output).items()],
    )
    return f"{kind} with {', '.join(parts[:-1])}{' and ' * (len(parts) > 1)}{parts[-1]}" if parts else kind


def _describe_value(value: Any) -> str:
    return f"of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"({type(value).__name__})"


def _reconstruction_key(output: Any, shape: tuple[int, int] | None) -> str | int | None:
    """Under which key of ``output`` the reconstruction is."""
    found = output_fields(output)
    fitting = {key: value for key, value in found.items() if _has_shape(tensor(value), shape)}
    return _obvious_key(found, RECONSTRUCTIONS, fitting)


def _obvious_key(found: OutputFields, names: tuple[str, ...], fitting: OutputFields) -> str | int | None:
    """The key in ``found`` that is one of ``names``; else the only of ``fitting``, or the first of a tuple."""
    known: list[str | int] = [name for name in names if name in found] or list(fitting)
    return known[0] if known and (known[0] in names or len(known) == 1 or _has_positions(found)) else None


def _has_positions(found: OutputFields) -> bool:
    return all(isinstance(key, int) for key in found)


def _has_shape(got: Tensor | None, shape: tuple[int, int] | None) -> bool:
    """Whether ``got`` is (n, d), or (n, draws, d)."""
    if got is None or got.ndim not in (2, 3) or not got.is_floating_point():
        return False
    return (got.shape[0], got.shape[-1]) == tuple(shape) if shape is not None else got.ndim == 2 or got.shape[1] == 1


def _is_table(value: Any, n: int) -> bool:
    return isinstance(value, Tensor) and value.ndim in (2, 3) and len(value) == n and value.is_floating_point()


def _is_normal(value: Any) -> bool:
    return isinstance(value.base_dist if isinstance(value, Independent) else value, Normal)
