"""Variational autoencoders, and autoencoders of counts."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from tests.deepshap.zoo.base import D, enter, lively, mlp, stirred
from tests.deepshap.zoo.writing_styles import Question


class Variational(nn.Module):
    """Linear heads for the mean and the log variance."""

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
    """Numbers between 0 and 1, as of methylation."""

    def forward(self, rows):
        fractions = torch.sigmoid(rows).clamp(1e-3, 1 - 1e-3)
        return super().forward(torch.logit(fractions)).sigmoid()
