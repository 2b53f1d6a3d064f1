"""A variational autoencoder whose outputs have any form."""

from torch import nn


class Vae(nn.Module):
    """A VAE at its mean. Forward returns ``function(reconstruction, mean, log variance)``."""

    def __init__(self, function=lambda *parts: parts):
        super().__init__()
        self.function = function
        self.encoder, self.decoder = nn.Sequential(nn.Linear(6, 5), nn.Tanh()), nn.Linear(3, 6)
        self.means, self.log_variances = nn.Linear(5, 3), nn.Linear(5, 3)

    def parts(self, rows):
        hidden = self.encoder(rows)
        return self.decoder(self.means(hidden)), self.means(hidden), self.log_variances(hidden)

    def forward(self, rows):
        return self.function(*self.parts(rows))


class Encoding(Vae):
    """A VAE at its mean. ``encode`` returns ``function(mean, log variance)``."""

    def forward(self, rows):
        return self.parts(rows)[0]

    def encode(self, rows):
        return self.function(*self.parts(rows)[1:])
