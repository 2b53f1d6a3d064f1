"""The table of the zoo, and the building blocks of its autoencoders."""

from torch import nn

D = 8
H = 6  # latents
ZOO = {}


def enter(name):
    """Return a decorator that registers a class in the zoo."""

    def decorate(make):
        assert name not in ZOO, name
        ZOO[name] = make
        return make

    return decorate


def lively(n, m):
    """A Linear with large weights: its outputs reach both sides of kinks and the flat ends of activations."""
    linear = nn.Linear(n, m)
    nn.init.normal_(linear.weight, std=1.5 / n**0.5)
    return linear


def stirred(norm):
    """A normalization layer with random parameters and statistics, as after training."""
    for tensor in [*norm.parameters(), *norm.buffers()]:
        if tensor.is_floating_point():
            nn.init.uniform_(tensor, 0.5, 2)
    return norm


def excited(recurrent):
    """A recurrent layer with large weights, so that its gates open and close."""
    for parameter in recurrent.parameters():
        nn.init.normal_(parameter)
    return recurrent


def mlp(n, hidden, m):
    return nn.Sequential(lively(n, hidden), nn.ReLU(), lively(hidden, m))


class Around(nn.Module):
    """A module or function between two Linears."""

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
    """A new module between two Linears."""
    return Around(make())
