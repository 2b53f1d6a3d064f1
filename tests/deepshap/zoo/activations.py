"""Modules of torch.nn: one activation in each autoencoder."""

from functools import partial

from torch import nn

from tests.deepshap.zoo.base import ZOO, D, H, around, lively

SMOOTH = (
    *(nn.CELU, nn.ELU, nn.GELU, partial(nn.GELU, approximate="tanh"), nn.LogSigmoid, nn.Mish, nn.SELU, nn.Sigmoid),
    *(nn.SiLU, nn.Softplus, nn.Softsign, nn.Tanh, nn.Tanhshrink),
)
KINKED = (
    *(nn.Hardshrink, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh, nn.LeakyReLU, nn.PReLU, nn.ReLU, nn.ReLU6, nn.RReLU),
    *(nn.Softshrink, partial(nn.Threshold, 0.1, -0.2)),
)


class Activations(nn.Module):
    """One Linear for each activation, all in a ModuleList."""

    def __init__(self, activations):
        super().__init__()
        self.linears = nn.ModuleList(lively(D, D) for _ in activations)
        self.activations = nn.ModuleList(make() for make in activations)

    def forward(self, rows):
        for linear, activation in zip(self.linears, self.activations, strict=True):
            rows = 0.5 * rows + activation(linear(rows))
        return rows


class Between(nn.Module):
    """The same activation in the encoder and in the decoder."""

    def __init__(self, make, per=1):
        super().__init__()
        self.encoder = nn.Sequential(lively(D, H * per), make(), lively(H, 3 * per), make())
        self.decoder = nn.Sequential(lively(3, H * per), make(), lively(H, D))

    def forward(self, rows):
        return self.decoder(self.encoder(rows))


ZOO["every smooth activation"] = partial(Activations, SMOOTH)
ZOO["every kinked activation"] = partial(Activations, KINKED)
for activation in (*SMOOTH, *KINKED):
    kind = getattr(activation, "func", activation).__name__
    ZOO[f"nn.{kind} tanh" if f"nn.{kind}" in ZOO else f"nn.{kind}"] = partial(Between, activation)
ZOO["nn.GLU"] = partial(Between, nn.GLU, per=2)
for activation in (nn.Softmax, nn.Softmin, nn.LogSoftmax):
    ZOO[f"nn.{activation.__name__}"] = partial(around, partial(activation, dim=1))
