"""Small autoencoders of several architectures, trained in seconds by a fixed random seed."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from shapae.datasets.synthetic import EncoderDecoder
from shapae.models.autoencoder import Autoencoder
from shapae.utils.context import preserve_rng

STEPS, BATCH = 400, 64
TOKEN = 8  # size of the token of a feature


class Attention(nn.Module):
    """A transformer block over the features, each a token, with one head; then all tokens side by side: (n, 8 d)."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.randn(d, TOKEN))
        self.place = nn.Parameter(torch.randn(d, TOKEN))
        self.query, self.key, self.value = (nn.Linear(TOKEN, TOKEN) for _ in range(3))
        self.softmax, self.norm = nn.Softmax(dim=-1), nn.LayerNorm(TOKEN)
        self.feed_forward = nn.Sequential(nn.Linear(TOKEN, 2 * TOKEN), nn.GELU(), nn.Linear(2 * TOKEN, TOKEN))

    def forward(self, rows: Tensor) -> Tensor:
        """(n, d) -> (n, 8 d)."""
        tokens = rows.unsqueeze(2) * self.scale + self.place
        weights = self.softmax(self.query(tokens) @ self.key(tokens).mT / TOKEN**0.5)
        tokens = self.norm(tokens + weights @ self.value(tokens))
        found: Tensor = (tokens + self.feed_forward(tokens)).flatten(1)
        return found


class Variational(nn.Module):
    """A variational autoencoder: rows -> (reconstruction, mean, log-variance); it samples in training."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def distribution(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """(n, d) -> mean (n, m) and log-variance (n, m)."""
        mean, log_variance = self.encoder(rows).chunk(2, dim=1)
        return mean, log_variance

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(n, d) -> (n, d), (n, m), (n, m)."""
        mean, log_variance = self.distribution(rows)
        noise = torch.randn_like(mean) if self.training else 0.0
        return self.decoder(mean + noise * torch.exp(log_variance / 2)), mean, log_variance


def dense(activation: Callable[[], nn.Module], d: int, hidden: int, latents: int) -> EncoderDecoder:
    """Create an autoencoder with one hidden layer on each side."""
    return EncoderDecoder(
        nn.Sequential(nn.Linear(d, hidden), activation(), nn.Linear(hidden, latents)),
        nn.Sequential(nn.Linear(latents, hidden), activation(), nn.Linear(hidden, d)),
    )


def variational(d: int, hidden: int, latents: int) -> Variational:
    """Create a variational autoencoder with one hidden layer of tanh on each side."""
    encoder = nn.Sequential(nn.Linear(d, hidden), nn.Tanh(), nn.Linear(hidden, 2 * latents))
    return Variational(encoder, nn.Sequential(nn.Linear(latents, hidden), nn.Tanh(), nn.Linear(hidden, d)))


def transformer(d: int, hidden: int, latents: int) -> EncoderDecoder:
    """Create an encoder with attention over the features, and a decoder with one hidden layer."""
    encoder = nn.Sequential(Attention(d), nn.Linear(TOKEN * d, latents))
    return EncoderDecoder(encoder, nn.Sequential(nn.Linear(latents, hidden), nn.ReLU(), nn.Linear(hidden, d)))


def convolutional(channels: int, latents: int) -> EncoderDecoder:
    """Create a convolutional autoencoder of pictures of 8 x 8 pixels."""
    size = 16 * channels
    encode: list[nn.Module] = [nn.Unflatten(1, (1, 8)), nn.Conv2d(1, channels, 3, 2, 1), nn.ReLU(), nn.Flatten()]
    decode = [nn.Linear(latents, size), nn.ReLU(), nn.Unflatten(1, (channels, 4, 4))]
    encoder = nn.Sequential(nn.Unflatten(1, (8, 8)), *encode, nn.Linear(size, latents))
    return EncoderDecoder(encoder, nn.Sequential(*decode, nn.ConvTranspose2d(channels, 1, 2, 2), nn.Flatten()))


def train(create: Callable[[], nn.Module], rows: Tensor, seed: int = 0) -> Autoencoder:
    """Create a model and train it to reconstruct ``rows`` (n, d), for a fixed number of steps."""
    with preserve_rng():
        torch.manual_seed(seed)
        model = create()
        optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
        for _ in range(STEPS):
            optimizer.zero_grad()
            torch.autograd.backward(_loss(model, rows[torch.randint(len(rows), (BATCH,))]))
            optimizer.step()
    model.eval()
    if not isinstance(model, Variational):
        return Autoencoder(model)
    return Autoencoder(
        model,
        reconstruct=lambda m, x: m(x)[0],
        encode=lambda m, x: m.distribution(x)[0],
        decode="decoder",
        latent_distribution=lambda m, x: m.distribution(x),
    )


def _loss(model: nn.Module, rows: Tensor) -> Tensor:
    """Compute the squared error; for a variational autoencoder the negative evidence lower bound, both per feature."""
    if not isinstance(model, Variational):
        return nn.functional.mse_loss(model(rows), rows)
    reconstruction, mean, log_variance = model(rows)
    divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1).mean() / 2
    loss: Tensor = nn.functional.mse_loss(reconstruction, rows) / 2 + divergence / rows.shape[1]
    return loss
