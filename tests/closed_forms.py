"""Shapley values in closed form for linear autoencoders, and from all orders of the players for any score."""

from itertools import permutations

import numpy as np
import torch


def affine(*layers):
    """Matrix and offset of affine ``layers``, one after the other."""
    matrix, offset = np.eye(layers[0].in_features), np.zeros(layers[0].in_features)
    for layer in layers:
        weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
        matrix, offset = weight @ matrix, weight @ offset + bias
    return matrix, offset


def pairs(x, b):
    """x - b and x + b of all pairs: (n, b, d) each."""
    return x[:, None] - b, x[:, None] + b


def moving_error(model, x, b):
    """phi_i = mean_b (x_i - b_i) [Q (x + b) + q]_i with A = W - I, Q = A'A/d, q = 2 A'c/d."""
    w, c = affine(model.encoder, model.decoder)
    a, d = w - np.eye(len(w)), len(w)
    delta, total = pairs(x, b)
    return (delta * (total @ (a.T @ a / d) + 2 * a.T @ c / d)).mean(axis=1)


def feature_error(model, x, b):
    """The same quadratic form for the error of output j: phi_ij = mean_b (x_i - b_i) A_ji [A (x + b) + 2 c]_j."""
    w, c = affine(model.encoder, model.decoder)
    a = w - np.eye(len(w))
    delta, total = pairs(x, b)
    return np.einsum("nbi,ji,nbj->nij", delta, a, total @ a.T + 2 * c) / len(b)


def linear(matrix, x, b):
    """phi_ik = (x_i - mean b_i) M_ki."""
    return (x - b.mean(axis=0))[:, :, None] * matrix.T


def label_free(model, x, b):
    """phi_i = (x_i - mean b_i) [E' e(x)]_i."""
    e, c = affine(model.encoder)
    return (x - b.mean(axis=0)) * ((x @ e.T + c) @ e)


def latent_norm(model, x, b):
    """phi_i = mean_b (x_i - b_i) [E' (e(x) + e(b))]_i."""
    e, c = affine(model.encoder)
    delta, total = pairs(x, b)
    return (delta * ((total @ e.T + 2 * c) @ e)).mean(axis=1)


CLOSED = {
    "reconstruction_error": moving_error,
    "feature_error": feature_error,
    "reconstruction": lambda model, x, b: linear(affine(model.encoder, model.decoder)[0], x, b),
    "latent": lambda model, x, b: linear(affine(model.encoder)[0], x, b),
    "label_free": label_free,
    "latent_norm": latent_norm,
}


def shapley_values(game, row):
    """(players, k), from all orders of the players; what each coalition is worth is a weighted mean, written out."""
    weights = np.ones(len(game.background)) if game.weights is None else game.weights.numpy()
    player_of = game.player_of_feature.numpy()
    score, players, worth = game.score.anchored_at(row), range(player_of.max() + 1), {}

    def of(coalition):
        if coalition not in worth:
            joined = torch.tensor([player in coalition for player in player_of])
            with torch.no_grad():
                scores = score(torch.where(joined, row, game.background)).numpy()
            worth[coalition] = (weights[:, None] * scores).sum(axis=0) / weights.sum()
        return worth[coalition]

    orders = list(permutations(players))
    values = np.zeros((len(players), len(of(frozenset()))))
    for order in orders:
        for place, player in enumerate(order):
            values[player] += of(frozenset(order[: place + 1])) - of(frozenset(order[:place]))
    return values / len(orders)
