"""Convolution and pooling over features."""

import torch
from torch import nn
from torch.nn import functional as F

from tests.deepshap.zoo.base import D, enter, stirred


@enter("conv1d")
class Conv1d(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Unflatten(1, (1, D)), nn.Conv1d(1, 4, 3, padding=1), nn.ReLU())
        self.decoder = nn.Sequential(nn.Conv1d(4, 1, 3, padding=1), nn.Flatten())

    def forward(self, rows):
        return self.decoder(self.encoder(rows))


@enter("strided and transposed convolution")
class Transposed(nn.Module):
    def __init__(self):
        super().__init__()
        self.down1, self.down2 = nn.Conv1d(1, 3, 4, stride=2, padding=1), nn.Conv1d(3, 4, 4, stride=2, padding=1)
        self.up1 = nn.ConvTranspose1d(4, 3, 4, stride=2, padding=1)
        self.up2 = nn.ConvTranspose1d(3, 1, 4, stride=2, padding=1)
        self.norm = stirred(nn.BatchNorm1d(3))

    def encode(self, rows):
        return F.relu(self.down2(F.relu(self.down1(rows[:, None])))).flatten(1)

    def forward(self, rows):
        z = self.encode(rows).view(-1, 4, 2)
        return self.up2(F.relu(self.norm(self.up1(z)))).squeeze(1)


@enter("conv2d on a reshaped row")
class Conv2d(nn.Module):
    def __init__(self):
        super().__init__()
        self.down, self.norm = nn.Conv2d(1, 4, 3, padding=1), stirred(nn.BatchNorm2d(4))
        self.up = nn.ConvTranspose2d(4, 1, 2, stride=2)

    def forward(self, rows):
        images = rows.reshape(-1, 1, 2, 4)
        return torch.sigmoid(self.up(F.max_pool2d(F.relu(self.norm(self.down(images))), 2))).reshape(len(rows), -1)


@enter("depthwise and dilated convolution")
class Dilated(nn.Module):
    """A causal temporal network."""

    def __init__(self):
        super().__init__()
        self.first, self.deep = nn.Conv1d(1, 4, 1), nn.Conv1d(4, 4, 2, dilation=2, groups=4)
        self.last = nn.Conv1d(4, 1, 1)

    def forward(self, rows):
        z = self.first(rows.unsqueeze(1))
        return self.last(z + torch.tanh(self.deep(F.pad(z, (2, 0))))).squeeze(1)


@enter("max pooling and upsampling")
class MaxPooled(nn.Module):
    def __init__(self):
        super().__init__()
        self.down, self.up = nn.Conv1d(1, 4, 3, padding=1), nn.Conv1d(4, 1, 3, padding=1)
        self.encoder = nn.Sequential(nn.Unflatten(1, (1, D)), self.down, nn.ReLU(), nn.MaxPool1d(2))
        self.decoder = nn.Sequential(nn.Upsample(scale_factor=2), self.up, nn.Flatten())

    def forward(self, rows):
        return self.decoder(self.encoder(rows))


@enter("max pooling and unpooling")
class Unpooled(nn.Module):
    def __init__(self):
        super().__init__()
        self.down, self.up = nn.Conv1d(1, 4, 3, padding=1), nn.Conv1d(4, 1, 3, padding=1)
        self.pool, self.unpool = nn.MaxPool1d(2, return_indices=True), nn.MaxUnpool1d(2)

    def forward(self, rows):
        z, where = self.pool(self.down(rows.unsqueeze(1)).tanh())
        return self.up(self.unpool(z, where)).squeeze(1)


@enter("average pooling and interpolation")
class AveragePooled(nn.Module):
    def __init__(self):
        super().__init__()
        self.down, self.up = nn.Conv1d(1, 4, 3, padding="same"), nn.Conv1d(4, 1, 3, padding=1, padding_mode="circular")

    def forward(self, rows):
        z = F.avg_pool1d(F.silu(self.down(rows.unsqueeze(1))), 2)
        return self.up(F.interpolate(z, size=D, mode="linear")).squeeze(1)
