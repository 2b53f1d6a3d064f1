"""Skip connections, gates and products of branches."""

import torch
from torch import nn
from torch.nn import functional as F

from tests.deepshap.zoo.base import Around, D, H, enter, lively, mlp


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
    """Scale and shift from another branch of the same row."""

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
    """A RealNVP layer, a lossy clamp, and the inverse layer."""

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
    """A learned function for each edge, on a grid of radial basis functions."""

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
