"""Autoencoders that compute the usual layers in different styles of writing."""

from collections import OrderedDict
from functools import partial

import torch
from torch import nn
from torch.func import functional_call, vmap
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

from tests.deepshap.zoo.activations import Between
from tests.deepshap.zoo.base import ZOO, Around, D, H, enter, lively, mlp


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
    """Weights that are computed from other weights."""

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
    """A function with a custom gradient."""

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
    """One decoder for each column, as for tables with columns of several types."""

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
    """One encoder that is used twice, as in USAD."""

    def __init__(self):
        super().__init__()
        self.encoder, self.one, self.two = mlp(D, 5, 3), mlp(3, 5, D), mlp(3, 5, D)

    def forward(self, rows):
        first = torch.sigmoid(self.one(self.encoder(rows)))
        return 0.5 * first + 0.5 * self.two(self.encoder(first))
