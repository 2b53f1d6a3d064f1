"""Attention and sequences over features."""

import math

import torch
from torch import nn
from torch.nn import functional as F

from tests.deepshap.zoo.base import D, enter, excited, lively, mlp, stirred


class Tokens(nn.Module):
    """One token for each feature, as in the FT-Transformer, and one output from each token."""

    def __init__(self, width=4):
        super().__init__()
        self.names, self.values = nn.Embedding(D, width), nn.Parameter(torch.randn(D, width))
        self.last = lively(width, 1)
        self.register_buffer("index", torch.arange(D))

    def encode(self, rows):
        return self.mix(rows.unsqueeze(-1) * self.values + self.names(self.index)).flatten(1)

    def forward(self, rows):
        return self.last(self.encode(rows).view(len(rows), D, -1)).squeeze(-1)


@enter("own attention")
class Attention(Tokens):
    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = lively(4, 4), lively(4, 4), lively(4, 4)

    def mix(self, tokens):
        weights = torch.softmax(self.q(tokens) @ self.k(tokens).transpose(-2, -1) / math.sqrt(4), dim=-1)
        return tokens + weights @ self.v(tokens)


@enter("linear attention")
class LinearAttention(Attention):
    def mix(self, tokens):
        q, k = F.elu(self.q(tokens)) + 1, F.elu(self.k(tokens)) + 1
        context = torch.einsum("ntk,ntv->nkv", k, self.v(tokens))
        return torch.einsum("ntk,nkv->ntv", q, context) / (q @ k.sum(1, keepdim=True).mT)


@enter("scaled_dot_product_attention")
class ScaledDotProduct(Attention):
    def mix(self, tokens):
        heads = [each(tokens).view(len(tokens), D, 2, 2).transpose(1, 2) for each in (self.q, self.k, self.v)]
        return F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)


@enter("nn.MultiheadAttention")
class Multihead(Tokens):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def mix(self, tokens):
        mixed, _ = self.attention(tokens, tokens, tokens)
        return tokens + mixed


@enter("nn.TransformerEncoderLayer")
class Transformer(Tokens):
    def __init__(self):
        super().__init__()
        self.mix = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True, activation="gelu")


@enter("nn.TransformerEncoder, norm first")
class TransformerStack(Tokens):
    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True, norm_first=True)
        self.mix = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


@enter("MLP mixer")
class Mixer(Tokens):
    def __init__(self):
        super().__init__()
        self.tokens, self.channels, self.norm = mlp(D, 5, D), mlp(4, 5, 4), stirred(nn.LayerNorm(4))

    def mix(self, tokens):
        tokens = tokens + self.tokens(self.norm(tokens).transpose(1, 2)).transpose(1, 2)
        return tokens + self.channels(tokens)


@enter("LSTM over features")
class LSTM(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = excited(nn.LSTM(1, 4, batch_first=True))
        self.decoder, self.last = excited(nn.LSTM(4, 4, batch_first=True)), lively(4, 1)

    def encode(self, rows):
        _, (hidden, _) = self.encoder(rows.unsqueeze(-1))
        return hidden[-1]

    def forward(self, rows):
        out, _ = self.decoder(self.encode(rows).unsqueeze(1).repeat(1, D, 1))
        return self.last(out).squeeze(-1)


@enter("GRU over features")
class GRU(Tokens):
    def __init__(self):
        super().__init__()
        self.gru = excited(nn.GRU(4, 2, batch_first=True, bidirectional=True))

    def mix(self, tokens):
        return self.gru(tokens)[0]


@enter("GRUCell in a loop")
class Cells(Tokens):
    def __init__(self):
        super().__init__()
        self.cell = excited(nn.GRUCell(4, 4))

    def mix(self, tokens):
        state, states = tokens.new_zeros(len(tokens), 4), []
        for token in tokens.unbind(1):
            state = self.cell(token, state)
            states.append(state)
        return torch.stack(states, dim=1)
