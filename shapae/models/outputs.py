"""Outputs of users' models: tensors, tuples, dicts, dataclasses and distributions, and the tensors within them."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

OutputFields = dict[str | int, Any]
# Keys from an output to a tensor within it; None at the end stands for the mean of a distribution.
Keys = tuple[str | int | None, ...]

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
# Depth to which outputs within outputs are searched.
DEPTH = 3


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


def find_tensors(output: Any, depth: int = DEPTH) -> Iterator[tuple[Keys, Tensor]]:
    """List the floating point tensors in ``output``, and the means of its distributions, each with its keys.

    >>> [keys for keys, _ in find_tensors((torch.ones(2), {"mu": torch.ones(2), "kl": 0.5}))]
    [(0,), (1, 'mu')]
    """
    if isinstance(output, Distribution):
        yield from (((None, *keys), mean) for keys, mean in find_tensors(output.mean))
    elif isinstance(output, Tensor) and output.is_floating_point() and is_dense(output):
        yield (), output
    elif depth:
        for key, value in output_fields(output).items():
            yield from (((key, *keys), tensor) for keys, tensor in find_tensors(value, depth - 1))


def is_dense(tensor: Tensor) -> bool:
    """Return whether a tensor holds a number at each place: it is neither sparse nor nested nor on the device meta."""
    return tensor.layout == torch.strided and not tensor.is_nested and not tensor.is_meta


def one_axis_less(tensor: Tensor) -> Tensor:
    """Average over an axis of draws, (n, draws, d) -> (n, d); other tensors stay as they are."""
    return tensor.mean(dim=1) if tensor.ndim == 3 else tensor


def as_table(output: Any) -> Tensor | None:
    """Return the only table in ``output``, (n, d), without an axis of draws; None if there is none, or more than one.

    Args:
        output: A tensor, a distribution, or fields of which one is a table, or one has the name of a reconstruction.
    """
    tables = {keys: tensor for keys, tensor in find_tensors(output) if tensor.ndim in (2, 3)}
    named = [tensor for keys, tensor in tables.items() if set(keys) & set(RECONSTRUCTIONS)]
    found = named or [*tables.values()]
    return one_axis_less(found[0]) if len(found) == 1 else None


def distribution(output: Any, n: int) -> tuple[Tensor, Tensor] | None:
    """Find mean and log variance of the latents in ``output``; None if they are ambiguous.

    Args:
        output: A normal distribution; a pair (mean, log variance); or fields with usual names.
        n: Number of encoded rows.
    """
    fields = output_fields(output)
    pair = named_distribution(output)
    if pair is not None:
        return pair
    values = [*fields.values()]
    if len(values) != 2 or not all(isinstance(key, int) for key in fields) or not all(_has_rows(v, n) for v in values):
        return None
    return values[0], values[1]


def named_distribution(output: Any) -> tuple[Tensor, Tensor] | None:
    """Find mean and log variance in ``output`` by type or by name: its only normal distribution, or its usual fields.

    >>> named_distribution({"mu": torch.zeros(1), "std": torch.ones(1)})
    (tensor([0.]), tensor([0.]))
    """
    fields = output_fields(output)
    normals = [each for each in (output, *fields.values()) if _is_normal(each)]
    if len(normals) == 1:
        return normals[0].mean, normals[0].variance.log()
    means, variances = [name for name in MEANS if name in fields], [name for name in VARIANCES if name in fields]
    if not means or not variances:
        return None
    return fields[means[0]], VARIANCES[variances[0]](fields[variances[0]])


def describe_output(output: Any) -> str:
    """Describe ``output`` for an error message.

    >>> describe_output({"loss": torch.tensor(0.5), "code": torch.zeros(4, 2)})
    "dict with 'loss' of shape () and 'code' of shape (4, 2)"
    """
    if isinstance(output, Tensor):
        return _describe_tensor(output)
    fields = [f"{key!r} {_describe_value(value)}" for key, value in output_fields(output).items()]
    if fields:
        return f"{type(output).__name__} with {', '.join(fields[:-1])}{' and ' * (len(fields) > 1)}{fields[-1]}"
    if isinstance(output, Exception):
        return f"{type(output).__name__} ({' '.join(str(output).split())})"
    return "nothing" if isinstance(output, dict) else type(output).__name__


def _describe_value(value: Any) -> str:
    return f"of {_describe_tensor(value)}" if isinstance(value, Tensor) else f"({type(value).__name__})"


def _describe_tensor(tensor: Tensor) -> str:
    """Describe the shape of a tensor, and what keeps it from being a table of numbers."""
    if tensor.is_nested:
        return "a nested tensor"
    faults = [
        *([] if tensor.is_floating_point() else [str(tensor.dtype)]),
        *([] if tensor.layout == torch.strided else [f"the layout {tensor.layout}"]),
        *(["the device meta"] if tensor.is_meta else []),
    ]
    return f"shape {tuple(tensor.shape)}{faults and ' and ' or ''}{' and '.join(faults)}"


def _has_rows(value: Any, n: int) -> bool:
    return isinstance(value, Tensor) and value.ndim in (2, 3) and len(value) == n and value.is_floating_point()


def _is_normal(value: Any) -> bool:
    return isinstance(value.base_dist if isinstance(value, Independent) else value, Normal)
