"""Functions of tensors between two linear layers."""

import math
from functools import partial

import torch
from torch.nn import functional as F

from tests.deepshap.zoo.base import ZOO, Around, H


def every_function(z):
    """The functional forms of all activations in one function."""
    z = F.elu(F.leaky_relu(F.gelu(z)) + F.silu(z)) + F.softplus(z) - F.mish(z)
    return z + F.hardtanh(z) + F.selu(z) - F.softsign(z) + F.logsigmoid(z) + F.hardswish(z) + F.relu6(z)


def methods_of_tensors(z):
    return torch.tanh(z) + z.sigmoid() - z.clamp(-1, 1) + z.clip(min=0) + z.abs() * z.relu().neg()


def in_place(z):
    z.mul_(2).add_(0.5)
    z += z.sigmoid()
    z[:, 1:] -= z[:, :-1].tanh()
    z *= 1.5
    return F.relu(z, inplace=True)


def slices_assigned(z):
    z = z.clone()
    z[:, :3] = z[:, :3].relu()
    z[:, 3] *= z[:, 4].sigmoid()
    z[..., -1] = 0.5
    return z


def masked_assignments(z):
    z = z.masked_fill(z < -1, -1.0)
    z[z > 1] = 1.0
    return torch.where(z > 0, z, 0.1 * z) + z * (z > 0.5) + z * z.gt(0).to(z.dtype)


def new_tensor_filled(z):
    """An output that is allocated first and filled column by column."""
    out = torch.zeros_like(z)
    for j in range(z.shape[1]):
        out[:, j] = z[:, j].tanh() + z[:, j - 1]
    return out


def acrobatics(z):
    z = z.unsqueeze(1).permute(0, 2, 1).squeeze(-1).flip(1).roll(2, dims=1)
    z = F.pad(z.cumsum(1), (1, 1))[:, 1:-1].contiguous().view(len(z), 2, -1).transpose(1, 2)
    z = torch.cat([each.tanh() for each in z.reshape(-1, H).chunk(3, dim=1)], dim=-1)
    z = torch.stack(z.split(2, dim=1), dim=1).flatten(1).repeat(1, 2)[:, ::2]
    return torch.stack(z.unbind(1)[::-1], dim=1).expand(len(z), -1) + z[:, torch.tensor([1, 0, 3, 2, 5, 4])]


def max_and_min(z):
    top, _ = z.max(dim=1, keepdim=True)
    return torch.cat([top, z.amin(1, keepdim=True), z[:, :4] - z.max(1).values[:, None]], dim=1)


def maxout(z):
    return torch.maximum(z, z.roll(1, 1)) + torch.minimum(z.flip(1), torch.zeros_like(z)) + torch.fmax(z, -z)


def powers(z):
    return z**3 / 4 + z.pow(2) - z * z + (z**2 + 1) ** -1 + (z.abs() + 1) ** 0.5 + 2 ** z.clamp(max=3) - z.square()


def vector_lengths(z):
    pairs = z.view(-1, 3, 2)
    return torch.cat([pairs.norm(dim=2), torch.linalg.vector_norm(pairs, dim=-1)], dim=1)


def standardised(z):
    return (z - z.mean(1, keepdim=True)) / (z.std(dim=1, keepdim=True) + 1e-3) + z.var(1, keepdim=True)


def layer_norm_by_hand(z):
    centred = z - z.mean(-1, keepdim=True)
    return centred / torch.sqrt((centred**2).mean(-1, keepdim=True) + 1e-5)


def logs(z):
    z = z.abs() + 0.1
    return z.log() + z.log2() + z.log10() + z.log1p() + z.reciprocal() + torch.log_softmax(z, 1)


def logsumexp(z):
    return z - torch.logsumexp(z, dim=1, keepdim=True) + torch.logaddexp(z, z.roll(1, 1))


def trigonometry(z):
    return z.sin() + torch.cos(2 * math.pi * z) + z.atan() + torch.atan2(z, z.roll(1, 1).exp()) + torch.sinc(z)


def error_function(z):
    return z * 0.5 * (1 + torch.erf(z / math.sqrt(2))) + torch.erfc(z) + torch.expm1(-z.square())


def while_loop(z):
    """Control flow that takes the same path for all rows."""
    if z.abs().max() > 1e6 or not torch.isfinite(z).all():
        raise ValueError("z is too large")
    width = z.shape[1]
    while width > 1:
        z, width = z + 0.5 * torch.tanh(z.roll(width, 1)), width // 2
    return z


def pairwise_products(z):
    return torch.bmm(z.unsqueeze(2), z.unsqueeze(1)).flatten(1)[:, ::H] + torch.einsum("ni,nj->nij", z, z).sum(2)


def stick_breaking(z):
    part = z.sigmoid()
    return part * F.pad((1 - part).cumprod(1)[:, :-1], (1, 0), value=1.0)


def poincare_ball(z):
    """A map to hyperbolic space and back."""
    length = z.norm(dim=1, keepdim=True).clamp_min(1e-6)
    ball = torch.tanh(length) * z / length * 0.9
    length = ball.norm(dim=1, keepdim=True).clamp(1e-6, 1 - 1e-3)
    return torch.atanh(length) * ball / length


def binary_latents(z):
    """Binary hashing with the straight-through trick."""
    return z.sigmoid() + ((z > 0).to(z.dtype) - z.sigmoid()).detach()


def rounded_latents(z):
    z = 3 * torch.tanh(z)
    return z + (z.round() - z).detach()


def top_k(z):
    """The k-sparse autoencoder."""
    values, indices = z.topk(3, dim=1)
    return torch.zeros_like(z).scatter(1, indices, values.relu())


def half_detached(z):
    """A product of two paths, one of which is detached."""
    return z.tanh() * z.detach().sigmoid()


for name, function in {
    "functional relu": F.relu,
    "torch.tanh": torch.tanh,
    "every functional activation": every_function,
    "methods of tensors": methods_of_tensors,
    "functional glu": lambda z: torch.cat([F.glu(z), F.glu(z.flip(1))], dim=1),
    "functional softmax": lambda z: F.softmax(3 * z, dim=-1),
    "L2-normalised latents": lambda z: F.normalize(z, dim=1),
    "in-place activations": in_place,
    "slices assigned": slices_assigned,
    "masked assignments": masked_assignments,
    "a new tensor filled by columns": new_tensor_filled,
    "shape acrobatics": acrobatics,
    "max and min over features": max_and_min,
    "maximum of two branches": maxout,
    "powers": powers,
    "sqrt of squares": lambda z: torch.sqrt(z**2 + z.roll(1, 1) ** 2 + 1e-6),
    "lengths of vectors": vector_lengths,
    "RMSNorm by rsqrt": lambda z: z * torch.rsqrt(z.pow(2).mean(-1, keepdim=True) + 1e-5),
    "standardised latents": standardised,
    "LayerNorm by hand": layer_norm_by_hand,
    "logarithms": logs,
    "logsumexp": logsumexp,
    "trigonometry": trigonometry,
    "error function": error_function,
    "while loop and checks": while_loop,
    "products of pairs": pairwise_products,
    "stick-breaking": stick_breaking,
    "Poincare ball": poincare_ball,
    "binary latents": binary_latents,
    "rounded latents": rounded_latents,
    "k-sparse": top_k,
    "half detached": half_detached,
}.items():
    ZOO[name] = partial(Around, function)
