"""Normalization layers."""

from functools import partial

from torch import nn

from tests.deepshap.zoo.base import ZOO, Around, H, stirred


class InGroups(nn.Module):
    """InstanceNorm1d on two channels of three latents."""

    def __init__(self):
        super().__init__()
        self.norm = stirred(nn.InstanceNorm1d(2, affine=True))

    def forward(self, z):
        return self.norm(z.view(-1, 2, 3)).flatten(1)


def normalised(make):
    """A normalisation between two Linears, with an activation after it."""
    return Around(nn.Sequential(stirred(make()), nn.SiLU()))


ZOO["LayerNorm"] = partial(normalised, partial(nn.LayerNorm, H))
ZOO["RMSNorm"] = partial(normalised, partial(nn.RMSNorm, H))
ZOO["BatchNorm1d"] = partial(normalised, partial(nn.BatchNorm1d, H))
ZOO["GroupNorm"] = partial(normalised, partial(nn.GroupNorm, 2, H))
ZOO["InstanceNorm1d"] = partial(normalised, InGroups)
