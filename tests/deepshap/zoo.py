"""A zoo of small autoencoders, one for each style of writing them: names to functions that make one, (n, D) -> (n, D).

Each takes float32 or float64, whatever its ``.to(dtype)`` says; in eval mode it is deterministic, row by row.
"""

import math
from collections import OrderedDict
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn
from torch.func import functional_call, vmap
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

D = 8
H = 6  # latents
ZOO = {}


def enter(name):
    """Decorator: put the decorated class into the zoo."""

    def put(make):
        assert name not in ZOO, name
        ZOO[name] = make
        return make

    return put


def lively(n, m):
    """A Linear whose outputs reach both sides of kinks and the flat ends of activations."""
    linear = nn.Linear(n, m)
    nn.init.normal_(linear.weight, std=1.5 / n**0.5)
    return linear


def stirred(norm):
    """A normalisation layer as if trained."""
    for held in [*norm.parameters(), *norm.buffers()]:
        if held.is_floating_point():
            nn.init.uniform_(held, 0.5, 2)
    return norm


def excited(recurrent):
    """A recurrent layer whose gates open and close."""
    for held in recurrent.parameters():
        nn.init.normal_(held)
    return recurrent


def mlp(n, hidden, m):
    return nn.Sequential(lively(n, hidden), nn.ReLU(), lively(hidden, m))


class Around(nn.Module):
    """A Linear, something in the middle, a Linear."""

    def __init__(self, middle=None, n=H, m=H):
        super().__init__()
        self.first, self.last = lively(D, n), lively(m, D)
        if middle is not None:
            self.middle = middle

    def encode(self, rows):
        return self.middle(self.first(rows))

    def forward(self, rows):
        return self.last(self.encode(rows))


def around(make):
    """A fresh module between two Linears."""
    return Around(make())


# Modules of torch.nn, one activation after another.

SMOOTH = (
    *(nn.CELU, nn.ELU, nn.GELU, partial(nn.GELU, approximate="tanh"), nn.LogSigmoid, nn.Mish, nn.SELU, nn.Sigmoid),
    *(nn.SiLU, nn.Softplus, nn.Softsign, nn.Tanh, nn.Tanhshrink),
)
KINKED = (
    *(nn.Hardshrink, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh, nn.LeakyReLU, nn.PReLU, nn.ReLU, nn.ReLU6, nn.RReLU),
    *(nn.Softshrink, partial(nn.Threshold, 0.1, -0.2)),
)


class Activations(nn.Module):
    """One Linear for each activation, all in a ModuleList."""

    def __init__(self, activations):
        super().__init__()
        self.linears = nn.ModuleList(lively(D, D) for _ in activations)
        self.activations = nn.ModuleList(make() for make in activations)

    def forward(self, rows):
        for linear, activation in zip(self.linears, self.activations, strict=True):
            rows = 0.5 * rows + activation(linear(rows))
        return rows


class Between(nn.Module):
    """The same activation in the encoder and in the decoder."""

    def __init__(self, make, per=1):
        super().__init__()
        self.encoder = nn.Sequential(lively(D, H * per), make(), lively(H, 3 * per), make())
        self.decoder = nn.Sequential(lively(3, H * per), make(), lively(H, D))

    def forward(self, rows):
        return self.decoder(self.encoder(rows))


ZOO["every smooth activation"] = partial(Activations, SMOOTH)
ZOO["every kinked activation"] = partial(Activations, KINKED)
for activation in (*SMOOTH, *KINKED):
    kind = getattr(activation, "func", activation).__name__
    ZOO[f"nn.{kind} tanh" if f"nn.{kind}" in ZOO else f"nn.{kind}"] = partial(Between, activation)
ZOO["nn.GLU"] = partial(Between, nn.GLU, per=2)
for activation in (nn.Softmax, nn.Softmin, nn.LogSoftmax):
    ZOO[f"nn.{activation.__name__}"] = partial(around, partial(activation, dim=1))


# Functions in the middle.


def every_function(z):
    """The functional forms of the activations, all in one."""
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
    """To hyperbolic space and back."""
    length = z.norm(dim=1, keepdim=True).clamp_min(1e-6)
    ball = torch.tanh(length) * z / length * 0.9
    length = ball.norm(dim=1, keepdim=True).clamp(1e-6, 1 - 1e-3)
    return torch.atanh(length) * ball / length


def binary_latents(z):
    """Hashing, with the straight-through trick."""
    return z.sigmoid() + ((z > 0).to(z.dtype) - z.sigmoid()).detach()


def rounded_latents(z):
    z = 3 * torch.tanh(z)
    return z + (z.round() - z).detach()


def top_k(z):
    """The k-sparse autoencoder."""
    values, indices = z.topk(3, dim=1)
    return torch.zeros_like(z).scatter(1, indices, values.relu())


def half_detached(z):
    """No gradient by one of two ways."""
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


# Styles of writing.


@enter("Linear and ReLU")
class Question(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = mlp(D, 6, 4), mlp(4, 6, D)

    def forward(self, rows):
        return self.decoder(self.encoder(rows))


@enter("all linear")
class Linear(Around):
    def middle(self, z):
        return z


@enter("one Sequential")
class OneSequential(nn.Module):
    def __init__(self):
        super().__init__()
        layers = {"in": lively(D, 5), "act": nn.Tanh(), "code": lively(5, 3), "act2": nn.Tanh(), "out": lively(3, D)}
        self.net = nn.Sequential(OrderedDict(layers))

    def encode(self, rows):
        return self.net[:3](rows)

    def forward(self, rows):
        return self.net(rows)


@enter("one ReLU used many times")
class OneReLU(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2, self.fc3, self.fc4 = lively(D, 6), lively(6, 3), lively(3, 6), lively(6, D)
        self.relu = nn.ReLU()

    def encode(self, rows):
        return self.relu(self.fc2(self.relu(self.fc1(rows))))

    def forward(self, rows):
        return self.fc4(self.relu(self.fc3(self.encode(rows))))


@enter("in-place modules")
class InPlace(Between):
    def __init__(self):
        super().__init__(partial(nn.ReLU, inplace=True))


@enter("tied weights")
class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, D) / 2)
        self.bias, self.back = nn.Parameter(torch.randn(4)), nn.Parameter(torch.randn(D))

    def encode(self, rows):
        return torch.sigmoid(F.linear(rows, self.weight, self.bias))

    def forward(self, rows):
        return F.linear(self.encode(rows), self.weight.t(), self.back)


@enter("functions and a ParameterDict")
class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        shapes = {"w1": (D, 5), "b1": (5,), "w2": (5, 3), "w3": (3, D), "b3": (D,)}
        self.p = nn.ParameterDict({name: torch.randn(shape) / 2 for name, shape in shapes.items()})

    def forward(self, rows):
        hidden = torch.addmm(self.p["b1"], rows, self.p["w1"]).relu()
        return torch.matmul(hidden @ self.p["w2"], self.p.w3) + self.p.b3


@enter("functional_call")
class Called(nn.Module):
    """Weights which are computed from others."""

    def __init__(self):
        super().__init__()
        self.net, self.gain = mlp(D, 5, D), nn.Parameter(torch.rand(()) + 0.5)

    def forward(self, rows):
        return functional_call(self.net, {k: v * self.gain for k, v in self.net.named_parameters()}, (rows,))


@enter("vmap over rows")
class Mapped(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = mlp(D, 5, D)

    def forward(self, rows):
        return vmap(lambda row: self.net(row) + row.sin() * row.mean())(rows)


@enter("checkpointed")
class Checkpointed(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = mlp(D, 5, 3), mlp(3, 5, D)

    def forward(self, rows):
        return self.decoder(checkpoint(self.encoder, rows, use_reentrant=False))


class Swish(torch.autograd.Function):
    """The user's own gradient."""

    @staticmethod
    def forward(ctx, z):
        ctx.save_for_backward(z)
        return z * z.sigmoid()

    @staticmethod
    def backward(ctx, grad):
        (z,) = ctx.saved_tensors
        s = z.sigmoid()
        return grad * s * (1 + z * (1 - s))


ZOO["autograd.Function"] = partial(Around, Swish.apply)


@enter("loops over a ModuleList")
class Looped(nn.Module):
    def __init__(self, widths=(D, 7, 5, 3)):
        super().__init__()
        pairs = list(zip(widths, widths[1:], strict=False))
        self.down = nn.ModuleList(lively(n, m) for n, m in pairs)
        self.up = nn.ModuleList(lively(m, n) for n, m in reversed(pairs))

    def encode(self, rows):
        for layer in self.down:
            rows = F.leaky_relu(layer(rows), 0.2)
        return rows

    def forward(self, rows):
        z = self.encode(rows)
        for i, layer in enumerate(self.up):
            z = layer(z) if i == len(self.up) - 1 else F.leaky_relu(layer(z), 0.2)
        return z


@enter("latents kept on self")
class Keeping(Question):
    def forward(self, rows):
        self.latents = self.encoder(rows)
        return self.decoder(self.latents)


@enter("a decoder for each feature")
class Decoders(Around):
    """As for tables with columns of several kinds."""

    def __init__(self):
        super().__init__(nn.Tanh())
        self.last = nn.Identity()
        self.decoders = nn.ModuleDict({f"column{j}": mlp(H, 3, 1) for j in range(D)})

    def forward(self, rows):
        z = self.encode(rows)
        return torch.cat([decoder(z) for decoder in self.decoders.values()], dim=1)


@enter("scaled inside and back")
class Scaled(Question):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.randn(D))
        self.register_buffer("scale", torch.rand(D) + 0.5)

    def forward(self, rows):
        return super().forward((rows - self.mean) / self.scale) * self.scale + self.mean


@enter("missing values imputed")
class Imputing(Scaled):
    def forward(self, rows):
        missing = torch.isnan(rows)
        return super().forward(torch.where(missing, self.mean, rows)) * ~missing


@enter("dropout")
class Dropped(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Dropout(0.2), lively(D, 5), nn.SELU(), nn.AlphaDropout(0.5), lively(5, 3))
        self.decoder = lively(3, D)

    def forward(self, rows):
        noisy = rows + torch.randn_like(rows) if self.training else rows
        return self.decoder(F.dropout(self.encoder(noisy), 0.5, self.training))


@enter("spectral_norm")
class Spectral(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(parametrizations.spectral_norm(lively(D, 4)), nn.LeakyReLU(0.2))
        self.decoder = parametrizations.spectral_norm(lively(4, D))

    def forward(self, rows):
        return self.decoder(self.encoder(rows))


@enter("weight_norm and orthogonal")
class WeightNormed(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(parametrizations.weight_norm(lively(D, 4)), nn.ELU())
        self.decoder = parametrizations.orthogonal(lively(4, D))

    def forward(self, rows):
        return self.decoder(self.encoder(rows))


@enter("pseudo-inverse decoder")
class PseudoInverse(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(D, 3))

    def forward(self, rows):
        return F.softshrink(rows @ self.weight, 0.3) @ torch.linalg.pinv(self.weight)


@enter("two autoencoders in turn")
class Twice(nn.Module):
    """As in USAD: one encoder, used twice."""

    def __init__(self):
        super().__init__()
        self.encoder, self.one, self.two = mlp(D, 5, 3), mlp(3, 5, D), mlp(3, 5, D)

    def forward(self, rows):
        first = torch.sigmoid(self.one(self.encoder(rows)))
        return 0.5 * first + 0.5 * self.two(self.encoder(first))


# Skips and gates.


@enter("residual blocks")
class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(mlp(D, 4, D) for _ in range(3))

    def forward(self, rows):
        for block in self.blocks:
            rows = F.relu(rows + 0.5 * block(rows))
        return rows


@enter("U-shaped with cat")
class UShaped(nn.Module):
    def __init__(self):
        super().__init__()
        self.down1, self.down2, self.up1, self.up2 = lively(D, 5), lively(5, 3), lively(3, 5), lively(10, D)

    def forward(self, rows):
        skip = F.gelu(self.down1(rows))
        return self.up2(torch.cat([F.gelu(self.up1(F.gelu(self.down2(skip)))), skip], 1))


@enter("dense skips")
class Dense(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(lively(D + 3 * i, 3) for i in range(3))
        self.last = lively(D + 9, D)

    def forward(self, rows):
        seen = [rows]
        for layer in self.layers:
            seen.append(F.silu(layer(torch.cat(seen, dim=-1))))
        return self.last(torch.hstack(seen))


@enter("highway")
class Highway(Around):
    def __init__(self):
        super().__init__()
        self.change, self.gate = lively(H, H), lively(H, H)

    def middle(self, z):
        gate = torch.sigmoid(self.gate(z))
        z = gate * F.relu(self.change(z)) + (1 - gate) * z
        return torch.lerp(z, z.tanh(), gate)


@enter("SwiGLU")
class SwiGLU(Around):
    def __init__(self):
        super().__init__()
        self.w, self.v, self.back = lively(H, 10), lively(H, 10), lively(10, H)

    def middle(self, z):
        return z + self.back(F.silu(self.w(z)) * self.v(z))


@enter("FiLM")
class FiLM(Around):
    """Scale and shift by another branch of the same row."""

    def __init__(self):
        super().__init__()
        self.condition = lively(D, 2 * H)

    def encode(self, rows):
        scale, shift = self.condition(rows).chunk(2, dim=1)
        return torch.addcmul(shift, scale, F.relu(self.first(rows)))


@enter("nn.Bilinear")
class Bilinear(Around):
    def __init__(self):
        super().__init__()
        self.bilinear = nn.Bilinear(H, H, H)

    def middle(self, z):
        return self.bilinear(z, z.tanh())


@enter("quotient of two branches")
class Quotient(Around):
    def __init__(self):
        super().__init__()
        self.above, self.below = lively(H, H), lively(H, H)

    def middle(self, z):
        return self.above(z) / (1 + F.softplus(self.below(z))) + torch.div(z, z.exp() + 1) + 1 / (1 + z**2)


@enter("mixture of experts")
class Experts(Around):
    def __init__(self):
        super().__init__()
        self.gate, self.experts = lively(H, 3), nn.ModuleList(mlp(H, 4, H) for _ in range(3))

    def middle(self, z):
        weights = F.softmax(self.gate(z), dim=-1)
        return sum(weights[:, i : i + 1] * expert(z) for i, expert in enumerate(self.experts))


@enter("squeeze and excite")
class Excited(Around):
    def __init__(self):
        super().__init__()
        self.excite = nn.Sequential(nn.AdaptiveAvgPool1d(1), nn.Flatten(), lively(2, 2), nn.Sigmoid())

    def middle(self, z):
        channels = z.unflatten(1, (2, 3))
        return (channels * self.excite(channels)[:, :, None]).flatten(1)


@enter("factorisation machine")
class Factorisation(nn.Module):
    def __init__(self):
        super().__init__()
        self.factors, self.last = nn.Parameter(torch.randn(D, 4) / 2), lively(4, D)

    def forward(self, rows):
        terms = rows.unsqueeze(-1) * self.factors
        return self.last(0.5 * (terms.sum(1).pow(2) - terms.pow(2).sum(1)))


@enter("soft decision tree")
class Tree(nn.Module):
    def __init__(self):
        super().__init__()
        self.nodes, self.leaves = lively(D, 3), nn.Parameter(torch.randn(4, D))

    def forward(self, rows):
        root, left, right = torch.sigmoid(self.nodes(rows)).unbind(1)
        ways = [root * left, root * (1 - left), (1 - root) * right, (1 - root) * (1 - right)]
        return torch.stack(ways, dim=1) @ self.leaves


@enter("coupling flow")
class Coupling(nn.Module):
    """RealNVP there, something lost, and back."""

    def __init__(self):
        super().__init__()
        self.scale, self.shift = mlp(4, 5, 4), mlp(4, 5, 4)

    def encode(self, rows):
        kept, moved = rows.chunk(2, dim=1)
        return torch.cat([kept, moved * torch.exp(torch.tanh(self.scale(kept))) + self.shift(kept)], dim=1)

    def forward(self, rows):
        kept, moved = self.encode(rows).clamp(-1, 1).split(4, dim=1)
        return torch.cat([kept, (moved - self.shift(kept)) * (-self.scale(kept).tanh()).exp()], dim=1)


@enter("Euler steps")
class Euler(Around):
    """A neural ODE."""

    def __init__(self):
        super().__init__()
        self.field = mlp(H + 1, 5, H)

    def middle(self, z):
        for time in torch.linspace(0, 1, 4):
            z = z + 0.25 * torch.tanh(self.field(torch.cat([z, time.to(z).expand(len(z), 1)], dim=1)))
        return z


@enter("radial Kolmogorov-Arnold")
class Kolmogorov(nn.Module):
    """A learned function for each edge, on a grid of bumps."""

    def __init__(self):
        super().__init__()
        self.register_buffer("grid", torch.linspace(-2, 2, 5))
        self.down, self.up = nn.Parameter(torch.randn(D, 5, 3)), nn.Parameter(torch.randn(3, 5, D))

    def bumps(self, z):
        return torch.exp(-((z[..., None] - self.grid) ** 2))

    def encode(self, rows):
        return torch.einsum("nig,igo->no", self.bumps(rows), self.down)

    def forward(self, rows):
        return torch.einsum("nig,igo->no", self.bumps(self.encode(rows)), self.up)


# Attention and sequences over features.


class Tokens(nn.Module):
    """A token for each feature, as in the FT-Transformer; a number from each token."""

    def __init__(self, width=4):
        super().__init__()
        self.names, self.values = nn.Embedding(D, width), nn.Parameter(torch.randn(D, width))
        self.last = lively(width, 1)
        self.register_buffer("index", torch.arange(D))

    def encode(self, rows):
        return self.mix(rows.unsqueeze(-1) * self.values + self.names(self.index)).flatten(1)

    def forward(self, rows):
        return self.last(self.encode(rows).view(len(rows), D, -1)).squeeze(-1)


@enter("own attention")
class Attention(Tokens):
    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = lively(4, 4), lively(4, 4), lively(4, 4)

    def mix(self, tokens):
        weights = torch.softmax(self.q(tokens) @ self.k(tokens).transpose(-2, -1) / math.sqrt(4), dim=-1)
        return tokens + weights @ self.v(tokens)


@enter("linear attention")
class LinearAttention(Attention):
    def mix(self, tokens):
        q, k = F.elu(self.q(tokens)) + 1, F.elu(self.k(tokens)) + 1
        context = torch.einsum("ntk,ntv->nkv", k, self.v(tokens))
        return torch.einsum("ntk,nkv->ntv", q, context) / (q @ k.sum(1, keepdim=True).mT)


@enter("scaled_dot_product_attention")
class ScaledDotProduct(Attention):
    def mix(self, tokens):
        heads = [each(tokens).view(len(tokens), D, 2, 2).transpose(1, 2) for each in (self.q, self.k, self.v)]
        return F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)


@enter("nn.MultiheadAttention")
class Multihead(Tokens):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def mix(self, tokens):
        mixed, _ = self.attention(tokens, tokens, tokens)
        return tokens + mixed


@enter("nn.TransformerEncoderLayer")
class Transformer(Tokens):
    def __init__(self):
        super().__init__()
        self.mix = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True, activation="gelu")


@enter("nn.TransformerEncoder, norm first")
class TransformerStack(Tokens):
    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True, norm_first=True)
        self.mix = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


@enter("MLP mixer")
class Mixer(Tokens):
    def __init__(self):
        super().__init__()
        self.tokens, self.channels, self.norm = mlp(D, 5, D), mlp(4, 5, 4), stirred(nn.LayerNorm(4))

    def mix(self, tokens):
        tokens = tokens + self.tokens(self.norm(tokens).transpose(1, 2)).transpose(1, 2)
        return tokens + self.channels(tokens)


@enter("LSTM over features")
class LSTM(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = excited(nn.LSTM(1, 4, batch_first=True))
        self.decoder, self.last = excited(nn.LSTM(4, 4, batch_first=True)), lively(4, 1)

    def encode(self, rows):
        _, (hidden, _) = self.encoder(rows.unsqueeze(-1))
        return hidden[-1]

    def forward(self, rows):
        out, _ = self.decoder(self.encode(rows).unsqueeze(1).repeat(1, D, 1))
        return self.last(out).squeeze(-1)


@enter("GRU over features")
class GRU(Tokens):
    def __init__(self):
        super().__init__()
        self.gru = excited(nn.GRU(4, 2, batch_first=True, bidirectional=True))

    def mix(self, tokens):
        return self.gru(tokens)[0]


@enter("GRUCell in a loop")
class Cells(Tokens):
    def __init__(self):
        super().__init__()
        self.cell = excited(nn.GRUCell(4, 4))

    def mix(self, tokens):
        state, states = tokens.new_zeros(len(tokens), 4), []
        for token in tokens.unbind(1):
            state = self.cell(token, state)
            states.append(state)
        return torch.stack(states, dim=1)


# Convolution and pooling over features.


@enter("conv1d")
class Conv1d(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Unflatten(1, (1, D)), nn.Conv1d(1, 4, 3, padding=1), nn.ReLU())
        self.decoder = nn.Sequential(nn.Conv1d(4, 1, 3, padding=1), nn.Flatten())

    def forward(self, rows):
        return self.decoder(self.encoder(rows))


@enter("strided and transposed convolution")
class Transposed(nn.Module):
    def __init__(self):
        super().__init__()
        self.down1, self.down2 = nn.Conv1d(1, 3, 4, stride=2, padding=1), nn.Conv1d(3, 4, 4, stride=2, padding=1)
        self.up1 = nn.ConvTranspose1d(4, 3, 4, stride=2, padding=1)
        self.up2 = nn.ConvTranspose1d(3, 1, 4, stride=2, padding=1)
        self.norm = stirred(nn.BatchNorm1d(3))

    def encode(self, rows):
        return F.relu(self.down2(F.relu(self.down1(rows[:, None])))).flatten(1)

    def forward(self, rows):
        z = self.encode(rows).view(-1, 4, 2)
        return self.up2(F.relu(self.norm(self.up1(z)))).squeeze(1)


@enter("conv2d on a reshaped row")
class Conv2d(nn.Module):
    def __init__(self):
        super().__init__()
        self.down, self.norm = nn.Conv2d(1, 4, 3, padding=1), stirred(nn.BatchNorm2d(4))
        self.up = nn.ConvTranspose2d(4, 1, 2, stride=2)

    def forward(self, rows):
        images = rows.reshape(-1, 1, 2, 4)
        return torch.sigmoid(self.up(F.max_pool2d(F.relu(self.norm(self.down(images))), 2))).reshape(len(rows), -1)


@enter("depthwise and dilated convolution")
class Dilated(nn.Module):
    """A causal temporal network."""

    def __init__(self):
        super().__init__()
        self.first, self.deep = nn.Conv1d(1, 4, 1), nn.Conv1d(4, 4, 2, dilation=2, groups=4)
        self.last = nn.Conv1d(4, 1, 1)

    def forward(self, rows):
        z = self.first(rows.unsqueeze(1))
        return self.last(z + torch.tanh(self.deep(F.pad(z, (2, 0))))).squeeze(1)


@enter("max pooling and upsampling")
class MaxPooled(nn.Module):
    def __init__(self):
        super().__init__()
        self.down, self.up = nn.Conv1d(1, 4, 3, padding=1), nn.Conv1d(4, 1, 3, padding=1)
        self.encoder = nn.Sequential(nn.Unflatten(1, (1, D)), self.down, nn.ReLU(), nn.MaxPool1d(2))
        self.decoder = nn.Sequential(nn.Upsample(scale_factor=2), self.up, nn.Flatten())

    def forward(self, rows):
        return self.decoder(self.encoder(rows))


@enter("max pooling and unpooling")
class Unpooled(nn.Module):
    def __init__(self):
        super().__init__()
        self.down, self.up = nn.Conv1d(1, 4, 3, padding=1), nn.Conv1d(4, 1, 3, padding=1)
        self.pool, self.unpool = nn.MaxPool1d(2, return_indices=True), nn.MaxUnpool1d(2)

    def forward(self, rows):
        z, where = self.pool(self.down(rows.unsqueeze(1)).tanh())
        return self.up(self.unpool(z, where)).squeeze(1)


@enter("average pooling and interpolation")
class AveragePooled(nn.Module):
    def __init__(self):
        super().__init__()
        self.down, self.up = nn.Conv1d(1, 4, 3, padding="same"), nn.Conv1d(4, 1, 3, padding=1, padding_mode="circular")

    def forward(self, rows):
        z = F.avg_pool1d(F.silu(self.down(rows.unsqueeze(1))), 2)
        return self.up(F.interpolate(z, size=D, mode="linear")).squeeze(1)


# Normalisation.


class InGroups(nn.Module):
    """InstanceNorm1d on two channels of three latents."""

    def __init__(self):
        super().__init__()
        self.norm = stirred(nn.InstanceNorm1d(2, affine=True))

    def forward(self, z):
        return self.norm(z.view(-1, 2, 3)).flatten(1)


def normalised(make):
    """A normalisation between two Linears, with an activation after it."""
    return Around(nn.Sequential(stirred(make()), nn.SiLU()))


ZOO["LayerNorm"] = partial(normalised, partial(nn.LayerNorm, H))
ZOO["RMSNorm"] = partial(normalised, partial(nn.RMSNorm, H))
ZOO["BatchNorm1d"] = partial(normalised, partial(nn.BatchNorm1d, H))
ZOO["GroupNorm"] = partial(normalised, partial(nn.GroupNorm, 2, H))
ZOO["InstanceNorm1d"] = partial(normalised, InGroups)


# Prototypes, memories, dictionaries.


class Prototypes(Around):
    """Latents told by where they are among five prototypes."""

    def __init__(self):
        super().__init__(m=5)
        self.prototypes = nn.Parameter(torch.randn(5, H))


@enter("cosine similarity to prototypes")
class Cosine(Prototypes):
    def middle(self, z):
        near = F.cosine_similarity(z.unsqueeze(1), self.prototypes.unsqueeze(0), dim=-1)
        return near + F.normalize(z, dim=-1) @ F.normalize(self.prototypes, dim=-1).T


@enter("squared distances to prototypes")
class Squared(Prototypes):
    def middle(self, z):
        return ((z[:, None, :] - self.prototypes[None]) ** 2).sum(-1) / H


@enter("cdist to prototypes")
class Distances(Prototypes):
    def middle(self, z):
        return torch.cdist(z, self.prototypes)


@enter("radial basis functions")
class Radial(Prototypes):
    def middle(self, z):
        return torch.exp(-0.1 * torch.cdist(z, self.prototypes).pow(2))


@enter("soft assignment to clusters")
class Clusters(Prototypes):
    """Student's t, as in deep embedded clustering."""

    def middle(self, z):
        q = 1 / (1 + (z.unsqueeze(1) - self.prototypes).pow(2).sum(2))
        return q / q.sum(dim=1, keepdim=True)


@enter("memory with hard shrinkage")
class Memory(Prototypes):
    """MemAE."""

    def middle(self, z):
        w = F.softmax(z @ self.prototypes.t(), dim=1)
        w = F.relu(w - 0.1) * w / (torch.abs(w - 0.1) + 1e-12)
        return F.normalize(w, p=1, dim=1)


@enter("vector quantised")
class Quantised(Prototypes):
    """The nearest prototype instead of the latents, with the straight-through trick."""

    def __init__(self):
        super().__init__()
        self.last = lively(H, D)

    def middle(self, z):
        nearest = torch.cdist(z, self.prototypes).argmin(dim=1)
        return z + (self.prototypes[nearest] - z).detach()


@enter("unrolled soft thresholds")
class Lista(nn.Module):
    """LISTA: sparse coding, iteration by iteration."""

    def __init__(self, m=12):
        super().__init__()
        self.dictionary, self.threshold = nn.Parameter(torch.randn(m, D) / 3), nn.Parameter(torch.full((m,), 0.1))

    def encode(self, rows):
        code = rows.new_zeros(len(rows), len(self.dictionary))
        for _ in range(4):
            code = code - 0.3 * (code @ self.dictionary - rows) @ self.dictionary.T
            code = torch.sign(code) * F.relu(code.abs() - self.threshold)
        return code

    def forward(self, rows):
        return self.encode(rows) @ self.dictionary


@enter("JumpReLU")
class JumpReLU(Around):
    def __init__(self):
        super().__init__()
        self.threshold = nn.Parameter(torch.rand(H))

    def middle(self, z):
        return z * (z > self.threshold)


@enter("features selected")
class Concrete(nn.Module):
    """The concrete autoencoder, which selects by the largest logits."""

    def __init__(self):
        super().__init__()
        self.logits, self.decoder = nn.Parameter(torch.randn(3, D)), mlp(3, 5, D)

    def encode(self, rows):
        return rows @ F.one_hot(self.logits.argmax(1), D).to(rows.dtype).T

    def forward(self, rows):
        return self.decoder(self.encode(rows)) + 0.1 * rows.index_select(1, self.logits[0].argsort())


@enter("Fourier features")
class Fourier(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("frequencies", torch.randn(D, 5) / 3)
        self.net = mlp(10, 5, D)

    def forward(self, rows):
        angles = 2 * math.pi * rows @ self.frequencies
        return self.net(torch.cat([angles.sin(), angles.cos()], dim=-1))


# Variational, and counts.


class Variational(nn.Module):
    """Linear heads for mean and logarithm of the variance."""

    def __init__(self):
        super().__init__()
        self.hidden, self.mu, self.logvar, self.decoder = lively(D, 6), lively(6, 3), lively(6, 3), mlp(3, 6, D)

    def encode(self, rows):
        return self.mu(torch.relu(self.hidden(rows)))

    def both(self, rows):
        hidden = torch.relu(self.hidden(rows))
        return self.mu(hidden), self.logvar(hidden)

    def sample(self, mu, logvar):
        return mu + torch.randn_like(mu) * (0.5 * logvar).exp() if self.training else mu


@enter("VAE, tuples inside")
class TupleVae(Variational):
    def parts(self, rows):
        mu, logvar = self.both(rows)
        return self.decoder(self.sample(mu, logvar)), mu, logvar

    def forward(self, rows):
        return self.parts(rows)[0]


@enter("VAE, a dict inside")
class DictVae(Variational):
    def parts(self, rows):
        mu, logvar = self.both(rows)
        kl = -0.5 * (1 + logvar - mu.pow(2) - logvar.exp()).sum(1)
        return {"reconstruction": self.decoder(self.sample(mu, logvar)), "mu": mu, "kl": kl}

    def forward(self, rows):
        return self.parts(rows)["reconstruction"]


@dataclass
class Output:
    mean: torch.Tensor
    scale: torch.Tensor


class Gaussian(nn.Module):
    """A module that returns a dataclass."""

    def __init__(self, n, m):
        super().__init__()
        self.mean, self.scale = lively(n, m), lively(n, m)

    def forward(self, z):
        return Output(mean=self.mean(z), scale=F.softplus(self.scale(z)))


@enter("VAE, dataclasses inside")
class DataclassVae(nn.Module):
    def __init__(self):
        super().__init__()
        self.posterior, self.likelihood = Gaussian(D, 3), Gaussian(3, D)

    def encode(self, rows):
        return self.posterior(rows).mean

    def forward(self, rows):
        return self.likelihood(torch.tanh(self.encode(rows))).mean


@enter("VAE, torch.distributions")
class DistributionVae(DataclassVae):
    def forward(self, rows):
        q = self.posterior(rows)
        latents = torch.distributions.Normal(q.mean, q.scale, validate_args=False)
        out = self.likelihood(latents.rsample() if self.training else latents.mean)
        return torch.distributions.LogNormal(out.mean.tanh(), out.scale.tanh(), validate_args=False).mean


@enter("product of two Gaussian experts")
class Precision(Variational):
    """Means weighted by precisions, as in multimodal VAEs."""

    def forward(self, rows):
        (mu1, var1), (mu2, var2) = self.both(rows), self.both(rows.flip(1))
        w1, w2 = torch.exp(-var1), torch.exp(-var2)
        return self.decoder((mu1 * w1 + mu2 * w2) / (1 + w1 + w2))


@enter("softmax output")
class Proportions(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = mlp(D, 5, 3), mlp(3, 5, D)

    def forward(self, rows):
        return F.softmax(self.decoder(self.encoder(rows)), dim=-1)


@enter("log1p and exp of counts")
class Counts(Question):
    """A Poisson autoencoder."""

    def encode(self, rows):
        return self.encoder(torch.log1p(F.softplus(rows)))

    def forward(self, rows):
        return torch.exp(self.decoder(self.encode(rows)).clamp(-10, 3)) + torch.expm1(rows.abs().log1p())


@enter("scVI-like")
class Scvi(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.norm = lively(D, 6), stirred(nn.BatchNorm1d(6))
        self.mu, self.decoder = lively(6, 3), mlp(3, 6, D)

    def forward(self, rows):
        counts = F.softplus(rows) * 10
        library = counts.sum(1, keepdim=True)
        z = self.mu(F.relu(self.norm(self.encoder(torch.log1p(counts / library * 1e1)))))
        return library * torch.softmax(self.decoder(z), dim=-1)


@enter("zero-inflated counts")
class ZeroInflated(nn.Module):
    """The mean of a zero-inflated negative binomial, as in DCA."""

    def __init__(self):
        super().__init__()
        self.encoder, self.mean, self.dropout = mlp(D, 6, 3), lively(3, D), lively(3, D)

    def forward(self, rows):
        size = F.softplus(rows).sum(dim=1, keepdim=True) / D
        z = F.relu(self.encoder(torch.log(F.softplus(rows) / size + 1)))
        return (1 - self.dropout(z).sigmoid()) * self.mean(z).exp().clamp(1e-5, 10) * size


@enter("asinh and sinh")
class Cytometry(Question):
    def forward(self, rows):
        return torch.sinh(torch.tanh(super().forward(torch.asinh(5 * rows)))) * 2


@enter("logit and sigmoid")
class Fractions(Question):
    """For methylation: numbers between 0 and 1."""

    def forward(self, rows):
        fractions = torch.sigmoid(rows).clamp(1e-3, 1 - 1e-3)
        return super().forward(torch.logit(fractions)).sigmoid()


# Those that run operators without a rule, and the operators.
REFUSED = {
    "k-sparse": r"aten\.topk\.default in Score\.autoencoder\.model",
    "max pooling and unpooling": r"aten\.index_put\.default in Score\.autoencoder\.model\.unpool",
    "vector quantised": r"aten\.index\.Tensor in Score\.autoencoder\.model",
}
