"""Models that are made again by their names, and the functions that make them."""

import torch
from torch import nn

import shapae


class Curve(nn.Module):
    """An activation; tests bend it."""

    function = staticmethod(torch.tanh)

    def forward(self, rows):
        return self.function(rows)


class Bend(Curve):
    """Another activation."""

    function = staticmethod(torch.sin)


class Plain(nn.Module):
    """An encoder with batch statistics, and a decoder."""

    curve = Curve

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3), self.curve())
        self.decoder = nn.Linear(3, 6)

    def forward(self, rows):
        return self.decoder(self.encoder(rows))


class Tied(Plain):
    """Both halves have one weight, which the decoder sees transposed, and an expanded buffer of integers."""

    def __init__(self):
        super().__init__()
        self.decoder.weight = nn.Parameter(self.encoder[0].weight.detach().t())
        self.second = nn.Linear(6, 6)
        self.third = nn.Linear(6, 6)
        self.third.weight = self.second.weight
        self.register_buffer("sign", torch.tensor([1]).expand(6))

    def forward(self, rows):
        return self.third(self.second(super().forward(rows))) * self.sign


class Unset(nn.Module):
    """A model without parameters."""

    def forward(self, rows):
        return rows.tanh()


class Masked(Plain):
    """A buffer that is not in the state_dict."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mask", torch.eye(6) / 2, persistent=False)

    def forward(self, rows):
        return super().forward(rows @ self.mask)


class Lazy(nn.Module):
    """Its layers learn their widths from the first rows."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.LazyLinear(3), nn.LazyLinear(6)

    def forward(self, rows):
        return self.decoder(self.encoder(rows))


class Keyed(nn.Module):
    """Forward returns a dict; two of its tensors have the shape of the rows."""

    def __init__(self):
        super().__init__()
        self.into, self.out = nn.Linear(6, 2), nn.Linear(2, 6)

    def forward(self, rows):
        latents = self.into(rows)
        return {"x_hat": self.out(latents), "z": latents, "twice": 2 * self.out(latents)}


class Wide(nn.Module):
    """A model that needs an argument."""

    def __init__(self, width):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(6, width), nn.Linear(width, 6)

    def forward(self, rows):
        return self.decoder(self.encoder(rows).relu())


class Scaling(nn.Module):
    """A preprocessing with parameters."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(6))

    def forward(self, rows):
        return rows * self.scale


class Noted(Plain):
    """Its state_dict holds a dict."""

    def get_extra_state(self):
        return {"epoch": 3}

    def set_extra_state(self, state):
        pass


class Energy(nn.Module):
    """A head of the user's own."""

    def forward(self, autoencoder, rows):
        return autoencoder.encode(rows).square().sum(dim=1)


def wide():
    return Wide(4)


def wider():
    return Wide(5)


def normed():
    model = Plain()
    nn.utils.parametrizations.weight_norm(model.decoder)
    return model


def scripted():
    return torch.jit.script(wide())


def encode(model, rows):
    return model.encoder(rows)


def wrapped():
    return shapae.Autoencoder(Plain(), encode=encode, preprocess=Scaling())


def bare():
    return shapae.Autoencoder(Plain())


def scaled():
    return shapae.Autoencoder(Plain(), preprocess=([1.0] * 6, [2.0] * 6))


class Bent(Plain):
    """The same keys and shapes, and another function."""

    curve = Bend


def steeper():
    """The same keys and shapes, and a function that differs by a thousandth."""
    model = Plain()
    model.decoder.register_forward_hook(lambda module, args, output: output * 1.001)
    return model


class Kinked(Plain):
    """A kink at a distance of two columns that no row of the background has, but rows mixed from it."""

    steepness = 1

    def __init__(self):
        super().__init__()
        self.own_steepness = self.steepness

    def forward(self, rows):
        return super().forward(rows) + self.own_steepness * (rows[:, :1] - rows[:, 1:2] - 10).relu()


LENT = Plain()


def lent():
    """A model that others use."""
    return LENT


def three():
    return 3


def failing():
    raise ValueError("no such file")
