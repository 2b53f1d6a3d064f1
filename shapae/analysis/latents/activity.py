"""Activity of latent units: whether a unit says anything about a row."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Thresholds of a variational autoencoder: variance of the mean, as in section 5 of Burda et al., and mean divergence in
# nats. The variance of the prior is 1, so that both are absolute.
MIN_VARIANCE, MIN_KL = 0.01, 0.01
# Threshold of other autoencoders: variance relative to the largest variance, a standard deviation of 1 % of it.
MIN_RELATIVE_VARIANCE = 1e-4
# Number of rounding errors within which a unit is constant.
ROUNDING = 8


@dataclass(frozen=True, eq=False)
class Activity:
    """Activity of m latent units.

    Attributes:
        variance: (m,). Variance over the rows; of the mean, for a variational autoencoder.
        kl: (m,). Mean divergence of the unit from its prior N(0, 1), in nats; None without a latent distribution.
        active: (m,), bool.
        rule: The rule by which units are active, in words.

    Reference:
        Burda, Grosse and Salakhutdinov, 2016, section 5, https://arxiv.org/abs/1509.00519
    """

    variance: NDArray[Any]
    kl: NDArray[Any] | None
    active: NDArray[Any]
    rule: str

    @property
    def share(self) -> NDArray[Any]:
        """(m,): share of the sum of all variances."""
        total = self.variance.sum()
        return np.asarray(self.variance / total if total > 0 else self.variance)

    @property
    def order(self) -> list[int]:
        """Positions of all units: active units first, then by descending variance."""
        return [int(unit) for unit in np.lexsort((-self.variance, ~self.active))]


def measure_activity(latents: NDArray[Any], kl: NDArray[Any] | None, eps: float) -> Activity:
    """Find the active units.

    Args:
        latents: (n, m), n >= 2; means, for a variational autoencoder.
        kl: (n, m), divergences from the prior; None without a latent distribution.
        eps: Relative rounding error of ``latents``.
    """
    latents = latents.astype(np.float64)
    variance = latents.var(axis=0)
    varies = np.sqrt(variance) > ROUNDING * eps * np.abs(latents).max(axis=0)
    if kl is None:
        rule = f"variance above {MIN_RELATIVE_VARIANCE:g} times the largest variance of a unit"
        return Activity(variance, None, varies & (variance > MIN_RELATIVE_VARIANCE * variance.max()), rule)
    divergence = kl.astype(np.float64).mean(axis=0)
    rule = f"variance of the mean above {MIN_VARIANCE:g}, and mean divergence from the prior above {MIN_KL:g} nats"
    return Activity(variance, divergence, varies & (variance > MIN_VARIANCE) & (divergence > MIN_KL), rule)
