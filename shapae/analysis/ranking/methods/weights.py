"""Importances from the weights of linear layers, without any row."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shapae.analysis.ranking.task import RankingTask
from shapae.errors import ModelError
from shapae.models.autoencoder import Autoencoder
from shapae.models.unwrapping import deep_copy


def _first_layer(weights: list[Tensor]) -> Tensor:
    return weights[0].square().sum(dim=0)


def _gedeon(weights: list[Tensor]) -> Tensor:
    shares = weights[-1].new_full((len(weights[-1]),), 1 / len(weights[-1]))
    for weight in reversed(weights):
        shares = nn.functional.normalize(weight.abs(), p=1, dim=1).mT @ shares
    return shares


def _paths(weights: list[Tensor]) -> Tensor:
    sums = weights[-1].new_ones(len(weights[-1]))
    for weight in reversed(weights):
        sums = weight.abs().mT @ sums
    return sums


_MEASURES = {"first_layer": _first_layer, "gedeon": _gedeon, "paths": _paths}
QUANTITIES = DEFAULT = tuple(_MEASURES)


def measure(task: RankingTask, quantities: Sequence[str]) -> NDArray[Any]:
    """Measure importances by the weights W_1 ... W_L (out, in) of the linear layers.

    "first_layer": norm of column i of W_1. "gedeon": share of the feature in the weights of each unit, propagated from
    layer to layer and averaged over the outputs. "paths": product of absolute weights, summed over all paths from the
    feature to an output: the sum of column i of abs(W_L) ... abs(W_1).

    Activations, norms and additions between the layers are ignored, and so is the scale of the features. The
    importances do not depend on rows, so their standard errors are 0.

    Raises:
        ModelError: The ``torch.nn.Linear`` layers of the model are not one chain from the features to the outputs.

    Reference:
        Gedeon, 1997, Data mining of inputs: analysing magnitude and functional measures, section 2,
        https://doi.org/10.1142/S0129065797000227
    """
    weights = _weight_chain(task.autoencoder, task.rows[:1])
    importances = torch.stack([_MEASURES[quantity](weights) for quantity in quantities])
    sums = task.sum_by_player(importances.detach()).mT.double().cpu().numpy()
    is_squared = np.array([quantity == "first_layer" for quantity in quantities])
    return np.stack([np.where(is_squared, np.sqrt(sums), sums), np.zeros_like(sums)], axis=-1)


def _weight_chain(autoencoder: Autoencoder, row: Tensor) -> list[Tensor]:
    """List the weights of the linear layers in the order of execution, recorded by hooks on a copy.

    Raises:
        ModelError: The layers are not one chain from the features to the outputs.
    """
    copy, executed = deep_copy(autoencoder), list[nn.Linear]()
    copy.understand(row)
    for layer in copy.modules():
        if isinstance(layer, nn.Linear):
            layer.register_forward_hook(lambda module, arguments, output: executed.append(module))
    with torch.no_grad():
        copy.reconstruct(row)
    d, shapes = row.shape[1], [(layer.in_features, layer.out_features) for layer in executed]
    sources, destinations = [d, *(output for _, output in shapes)], [*(width for width, _ in shapes), d]
    if not shapes or sources != destinations:
        layers = ", ".join(f"{width} to {output}" for width, output in shapes) or "none"
        raise ModelError(
            f"the model runs these torch.nn.Linear layers: {layers}. The weights methods take one chain of linear "
            f"layers from {d} features to {d} outputs. Use other methods, such as methods=['permutation']."
        )
    return [layer.weight for layer in executed]
