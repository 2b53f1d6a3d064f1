"""Heads of variational autoencoders: the encoder returns mean and log-variance of a normal distribution."""

import torch
from torch import Tensor, nn

from shapae.errors import ModelError
from shapae.heads.base import HEADS, Choice, PerUnitHead, ScalarHead
from shapae.heads.losses import Elementwise, as_loss
from shapae.models.autoencoder import Autoencoder
from shapae.utils.constraints import check_arguments


@HEADS.register("latent_mean")
class LatentMean(PerUnitHead):
    """Mean of each latent unit.

    Args:
        units: Positions of latent units; None for all units.
    """

    quantity = " mean"

    def forward(self, autoencoder: Autoencoder, rows: Tensor) -> Tensor:
        """(n, d) -> (n, m)."""
        return autoencoder.latent_distribution(rows)[0]


@HEADS.register("latent_log_variance")
class LatentLogVariance(PerUnitHead):
    """Log-variance of each latent unit, the uncertainty of the encoder.

    Args:
        units: Positions of latent units; None for all units.
    """

    quantity = " log-variance"

    def forward(self, autoencoder: Autoencoder, rows: Tensor) -> Tensor:
        """(n, d) -> (n, m)."""
        return autoencoder.latent_distribution(rows)[1]


class Divergence(nn.Module):
    """Kullback-Leibler divergence of N(mu, exp(v)) from N(0, 1), unit by unit: (mu**2 + exp(v) - 1 - v) / 2.

    Reference:
        Kingma and Welling, 2014, appendix B, https://arxiv.org/abs/1312.6114
    """

    def __init__(self) -> None:
        super().__init__()
        self.square, self.exp = Elementwise(torch.square), Elementwise(torch.exp)

    def forward(self, mean: Tensor, log_variance: Tensor) -> Tensor:
        """(n, m), (n, m) -> (n, m), in nats."""
        divergence: Tensor = (self.square(mean) + self.exp(log_variance) - 1 - log_variance) / 2
        return divergence


@HEADS.register("unit_kl")
class UnitKL(PerUnitHead):
    """Divergence of each latent unit from its prior, in nats: the information of the unit about the row.

    Args:
        units: Positions of latent units; None for all units.
    """

    quantity = " KL"

    def __init__(self, units: Choice = None) -> None:
        super().__init__(units)
        self.divergence = Divergence()

    def forward(self, autoencoder: Autoencoder, rows: Tensor) -> Tensor:
        """(n, d) -> (n, m)."""
        divergence: Tensor = self.divergence(*autoencoder.latent_distribution(rows))
        return divergence


@HEADS.register("kl")
class KL(ScalarHead):
    """Divergence of all latent units from their prior, in nats: large for unusual rows."""

    output = "KL"

    def __init__(self) -> None:
        super().__init__()
        self.divergence = Divergence()

    def forward(self, autoencoder: Autoencoder, rows: Tensor) -> Tensor:
        """(n, d) -> (n,)."""
        total: Tensor = self.divergence(*autoencoder.latent_distribution(rows)).sum(dim=1)
        return total


@HEADS.register("elbo")
class ELBO(ScalarHead):
    """Evidence lower bound of each row, in nats: -sum_j loss(r_j(z), x_j) - beta * KL.

    Args:
        loss: Negative log-likelihood of a feature: "gaussian_nll", "bce", "bce_with_logits", or a module; see
            ``shapae.losses``.
        beta: Weight of the divergence.
        draws: Number of samples z = mu + exp(v / 2) * e of the latents, whose mean is explained; 0 for the mean of the
            latents, z = mu. Each e is shared by all rows, so that rows do not differ by chance. Standard errors are
            errors of the mean over the samples.
        seed: Random seed of the samples.

    Raises:
        ModelError: The loss is not by feature, or ``draws`` is negative or 1.

    Reference:
        Kingma and Welling, 2014, equation 10, https://arxiv.org/abs/1312.6114
    """

    output = "ELBO"

    def __init__(
        self, loss: str | nn.Module = "gaussian_nll", *, beta: float = 1.0, draws: int = 0, seed: int = 0
    ) -> None:
        super().__init__()
        check_arguments(beta=beta, draws=draws, seed=seed)
        if draws == 1:
            raise ModelError("draws must be 0 for the mean of the latents, or at least 2, got 1.")
        self.loss, self.divergence, self.exp = as_loss(loss, by_feature=True), Divergence(), Elementwise(torch.exp)
        self.beta, self.draws, self.seed = beta, draws, seed

    def forward(self, autoencoder: Autoencoder, rows: Tensor) -> Tensor:
        """(n, d) -> (n,); (n, draws) if ``draws`` is not 0."""
        mean, log_variance = autoencoder.latent_distribution(rows)
        divergence: Tensor = self.beta * self.divergence(mean, log_variance).sum(dim=1)
        target = autoencoder.target(rows)
        if not self.draws:
            return self._log_likelihood(autoencoder.decode(mean), target) - divergence
        noise = torch.randn(self.draws, mean.shape[1], generator=torch.Generator().manual_seed(self.seed)).to(mean)
        latents = mean.unsqueeze(1) + self.exp(log_variance / 2).unsqueeze(1) * noise
        targets = target.unsqueeze(1).expand(-1, self.draws, -1)
        likelihoods = self._log_likelihood(autoencoder.decode(latents.flatten(0, 1)), targets.flatten(0, 1))
        return likelihoods.reshape(-1, self.draws) - divergence.unsqueeze(1)

    def _log_likelihood(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        losses: Tensor = self.loss(reconstruction, target)
        return -losses.sum(dim=1)
