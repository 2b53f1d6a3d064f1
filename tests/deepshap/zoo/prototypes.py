"""Prototypes, memories and dictionaries."""

import math

import torch
from torch import nn
from torch.nn import functional as F

from tests.deepshap.zoo.base import Around, D, H, enter, lively, mlp


class Prototypes(Around):
    """Latents that are described by their similarity to five prototypes."""

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
    """Memory addressing as in MemAE."""

    def middle(self, z):
        w = F.softmax(z @ self.prototypes.t(), dim=1)
        w = F.relu(w - 0.1) * w / (torch.abs(w - 0.1) + 1e-12)
        return F.normalize(w, p=1, dim=1)


@enter("vector quantised")
class Quantised(Prototypes):
    """Latents replaced by their nearest prototype, with the straight-through trick."""

    def __init__(self):
        super().__init__()
        self.last = lively(H, D)

    def middle(self, z):
        nearest = torch.cdist(z, self.prototypes).argmin(dim=1)
        return z + (self.prototypes[nearest] - z).detach()


@enter("unrolled soft thresholds")
class Lista(nn.Module):
    """LISTA: unrolled iterations of sparse coding."""

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
    """The concrete autoencoder, which selects features by the largest logits."""

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
